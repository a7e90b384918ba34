"""Samples of labels in which points have names instead of an order, as most labelling tools keep them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lightmark.data.left_out import LeftOut, leaving_out
from lightmark.data.sample import LABELLED_SIZE, Sample
from lightmark.data.schema_choice import schema_for
from lightmark.data.subsets import photo_of, subsets_of
from lightmark.data.video_frame import VideoFrame
from lightmark.errors import DataError
from lightmark.geometry import tight_box
from lightmark.schema import SCHEMAS, Schema, plain_schema

_MAX_NUMBER = 10_000  # largest name that is taken for a point's number, so that no file asks for a billion points


@dataclass(frozen=True)
class NamedFace:
    """Points of a face by their names, in image pixels, pixel centres at integers; missing points are not there.

    `where` names its place in the label file for errors. `rect` is the tool's box (x0, y0, x1, y1), `size` the width
    and height that the file gives for the picture, `frame` the picture where it is one of a video.
    """

    where: str
    picture: Path
    points: Mapping[str, tuple[float, float]]
    occluded: frozenset[str] = frozenset()
    rect: tuple[float, float, float, float] | None = None
    size: tuple[float, float] | None = None
    frame: VideoFrame | None = None


def named_samples(
    faces: Sequence[NamedFace],
    schema: Schema | None = None,
    left_out: LeftOut | None = None,
    declared: Sequence[str] = (),
    edges: Iterable[tuple[str, str]] = (),
    name: str | None = None,
) -> list[Sample]:
    """Samples of `faces`, whose points are brought into the order of `schema`; faces without points are skipped.

    If `schema` has names, they must be those of the points. By default the order is that of `declared` names, then by
    number or alphabet; points called by numbers from 0 or 1 without a gap have the built-in schema of that many points,
    others a plain one, called `name`, with their names and `edges`. Raises `DataError` naming the place of a point that
    the schema lacks, or of one that is not finite; with `left_out` the message is added there instead.
    """
    faces = [face for face in faces if face.points]
    if not faces:
        return []
    order = _order({point for face in faces for point in face.points}, declared)
    schema = schema or _schema(order, edges, name)
    index = _indices(order, schema, faces[0].where)
    faces_of = Counter((face.picture, face.frame) for face in faces)
    next_index: Counter[Any] = Counter()
    samples = []
    for face in faces:
        key = face.picture, face.frame
        number = next_index[key] if faces_of[key] > 1 else None
        next_index[key] += 1
        with leaving_out(left_out):
            samples.append(_sample(face, schema, index, number))
    return samples


def _order(found: set[str], declared: Sequence[str]) -> list[str]:
    """All names in the order of their points."""
    names = found.union(declared)
    by_number = {int(point): point for point in names if point.isascii() and point.isdigit() and len(point) < 6}
    if len(by_number) == len(names) and max(by_number) < _MAX_NUMBER:
        return [by_number.get(i, str(i)) for i in range(0 if 0 in by_number else 1, max(by_number) + 1)]
    return [*dict.fromkeys(declared), *sorted(found.difference(declared), key=_natural)]


def _natural(point: str) -> list[tuple[bool, int, str]]:
    """Sorting key: eye2 comes before eye10."""
    parts = re.split(r"(\d{1,9})", point)
    return [(part.isdigit(), int(part) if part.isdigit() else 0, part) for part in parts]


def _schema(order: Sequence[str], edges: Iterable[tuple[str, str]], name: str | None) -> Schema:
    if all(point.isdigit() for point in order) and len(order) in {known.size for known in SCHEMAS.values()}:
        return schema_for(len(order), None, "")
    plain, place = plain_schema(len(order)), {point: i for i, point in enumerate(order)}
    return Schema(
        name=name or plain.name,
        mirror=plain.mirror,
        normaliser=plain.normaliser,
        edges=tuple((place[a], place[b]) for a, b in edges if a in place and b in place),
        point_names=tuple(order),
        normaliser_name=plain.normaliser_name,
    )


def _indices(order: Sequence[str], schema: Schema, where: str) -> dict[str, int]:
    """Index in `schema` of each named point; raises `DataError` for an order that does not fit it."""
    if schema.point_names:
        return {point: i for i, point in enumerate(schema.point_names)}
    if len(order) < schema.size and all(point.isdigit() for point in order):
        return {point: i for i, point in enumerate(order)}  # the last points are labelled nowhere
    schema_for(len(order), schema, where)
    return {point: i for i, point in enumerate(order)}


def _sample(face: NamedFace, schema: Schema, index: Mapping[str, int], number: int | None) -> Sample:
    points, occluded = np.full((schema.size, 2), np.nan), np.zeros(schema.size, dtype=bool)
    for name, (x, y) in face.points.items():
        if name not in index:
            known = ", ".join(schema.point_names[:5])
            raise DataError(f"{face.where}: point {name!r} is not in schema {schema.name}, which has {known} …")
        if not (np.isfinite(x) and np.isfinite(y)):
            raise DataError(f"{face.where}: point {name!r} is at {x}, {y}; expected finite numbers")
        points[index[name]] = x, y
        occluded[index[name]] = name in face.occluded
    place = face.picture.resolve() if face.frame is None else face.frame.file.resolve()
    attributes: dict[str, Any] = {} if number is None else {"index": number}
    attributes |= {} if face.rect is None else {"rect": face.rect}
    attributes |= {} if face.size is None else {LABELLED_SIZE: face.size}
    return Sample(
        path=face.picture,
        points=points,
        box=tight_box(points),
        schema=schema,
        photo=photo_of(place),
        subsets=subsets_of(place),
        attributes=attributes,
        occluded=occluded,
        member=face.frame,
    )
