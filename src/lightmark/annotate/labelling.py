"""Pre-annotations for labelling tools from the parts of a job, with doubtful points flagged."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from lightmark.annotate.chunk import open_landmarker
from lightmark.annotate.job import Job
from lightmark.annotate.part import part_path, read_part
from lightmark.data.formats.coco import coco_document
from lightmark.data.formats.cvat import CONFIDENCE, ERROR, cvat_labels, cvat_xml
from lightmark.data.sample import Sample
from lightmark.errors import ConfigError
from lightmark.face import Face
from lightmark.files import replacing
from lightmark.geometry import box_centre, longer_side, tight_box
from lightmark.interop import label_studio_config, to_label_studio
from lightmark.schema import Schema

Tool = Literal["cvat", "labelstudio", "coco"]
DOUBTFUL = 0.03  # expected error relative to the longer side of the face's box
LOCAL_FILES = "/data/local-files/?d="  # of Label Studio: a path below LOCAL_FILES_DOCUMENT_ROOT


@dataclass(frozen=True)
class Picture:
    """A picture of the job by its `key`, its `size` (height, width), and its faces with their masks of doubtful points.
    """

    key: str
    size: tuple[int, int]
    faces: tuple[Face, ...]
    doubtful: tuple[NDArray[np.bool_], ...]


@dataclass(frozen=True)
class Labelling:
    """Files that were written, and counts of faces, points and doubtful points."""

    files: tuple[Path, ...]
    faces: int
    points: int
    doubtful: int


def write_labelling(job: Job, tool: Tool, limit: float = DOUBTFUL) -> Labelling:
    """Write the faces of a finished job into its folder for `tool`; pictures are named from the job's source.

    A point is doubtful where its expected error exceeds `limit` times the longer side of the face's box; points outside
    the picture are missing ones. Files are replaced, since they follow from the parts. Raises `ConfigError` for
    pictures inside tar and Parquet files, which no tool can open.
    """
    inside = next((chunk.place for chunk in job.listing.chunks if chunk.kind != "pictures"), None)
    if inside is not None:
        raise ConfigError(f"{inside}: labelling tools open picture files only; unpack it, and annotate its folder")
    schema = open_landmarker(job.settings).spec.schema
    pictures = list(_pictures(job, schema, limit))
    files = {job.out / name: content for name, content in _WRITERS[tool](pictures, schema).items()}
    for path, content in files.items():
        with replacing(path) as temporary:
            temporary.write_bytes(content)
    masks = [mask for picture in pictures for mask in picture.doubtful]
    return Labelling(tuple(files), len(masks), sum(map(len, masks)), sum(int(mask.sum()) for mask in masks))


def _pictures(job: Job, schema: Schema, limit: float) -> Iterator[Picture]:
    for chunk in job.listing.chunks:
        for row in read_part(part_path(job.out, chunk.number)):
            if row["error"] is None:
                faces = tuple(_face(fields, schema) for fields in row["faces"])
                doubtful = tuple(_doubtful(face, limit) for face in faces)
                yield Picture(row["key"], (row["height"], row["width"]), faces, doubtful)


def _face(fields: Mapping[str, Any], schema: Schema) -> Face:
    errors = fields["expected_error"]
    points, box = np.array(fields["points"], dtype=np.float64), np.array(fields["box"], dtype=np.float64)
    return Face(points, box, schema, None if errors is None else np.array(errors), fields["confidence"])


def _doubtful(face: Face, limit: float) -> NDArray[np.bool_]:
    if face.expected_error is None:
        return np.zeros(len(face.points), dtype=bool)
    return np.asarray(face.expected_error > limit * longer_side(face.box))


def _samples(pictures: list[Picture]) -> tuple[list[Sample], list[tuple[int, int]]]:
    """A sample and the picture's size for each face; doubtful points are `occluded`, those outside missing."""
    samples, sizes = [], []
    for picture in pictures:
        height, width = picture.size
        for index, (face, doubtful) in enumerate(zip(picture.faces, picture.doubtful, strict=True)):
            points = np.where(face.inside(width, height)[:, None], face.points, np.nan)
            if np.isnan(points).all():
                continue
            errors = None if face.expected_error is None else face.expected_error.round(3).tolist()
            number = index if len(picture.faces) > 1 else None
            values = {CONFIDENCE: face.confidence, ERROR: errors, "index": number}
            attributes = {name: value for name, value in values.items() if value is not None}
            own: dict[str, Any] = {"attributes": attributes, "occluded": doubtful}
            samples.append(Sample(Path(picture.key), points, tight_box(points), face.schema, picture.key, **own))
            sizes.append(picture.size)
    return samples, sizes


def _cvat(pictures: list[Picture], schema: Schema) -> dict[str, bytes]:
    samples, sizes = _samples(pictures)
    shapes = [(face.points - box_centre(face.box)) / longer_side(face.box) for one in pictures for face in one.faces]
    places = np.mean(shapes, axis=0) if shapes else np.zeros((schema.size, 2))
    xml = cvat_xml(samples, [sample.path for sample in samples], sizes, Path())
    return {"cvat.xml": xml, "cvat-labels.json": _json(cvat_labels(schema, places))}


def _label_studio(pictures: list[Picture], schema: Schema) -> dict[str, bytes]:
    tasks = [
        to_label_studio(LOCAL_FILES + one.key, one.faces, one.size[1], one.size[0], one.doubtful) for one in pictures
    ]
    return {"labelstudio.json": _json(tasks), "labelstudio.xml": label_studio_config(schema)}


def _coco(pictures: list[Picture], _: Schema) -> dict[str, bytes]:
    samples, sizes = _samples(pictures)
    return {"coco.json": _json(coco_document(samples, [sample.path for sample in samples], sizes, Path()))}


def _json(value: Any) -> bytes:
    return json.dumps(value, allow_nan=False).encode()


_WRITERS: dict[Tool, Callable[[list[Picture], Schema], dict[str, bytes]]] = {
    "cvat": _cvat,
    "labelstudio": _label_studio,
    "coco": _coco,
}
