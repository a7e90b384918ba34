"""YOLO-pose (Ultralytics): reader of label files with their data.yaml, writer of both.

Format (docs.ultralytics.com/datasets/pose): labels/…/1.txt for images/…/1.jpg, a line a face: class, box x y width
height, and x y, or x y visibility, of each point, all relative to the picture's width and height. data.yaml has
kpt_shape [points, 2 or 3], flip_idx, the mirror permutation, names of the classes and, in newer sets, kpt_names.
Visibility is COCO's: 0 is a missing point, 1 an occluded one. Relative coordinates count from the corner of the first
pixel: x = (pixel + 0.5) / width.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lightmark.data.formats.coco import OCCLUDED, UNLABELLED, VISIBLE
from lightmark.data.formats.documents import read_bytes
from lightmark.data.left_out import LeftOut, leaving_out
from lightmark.data.pictures import pictures_beside
from lightmark.data.sample import Sample
from lightmark.data.schema_choice import schema_for
from lightmark.data.subsets import photo_of, subsets_of
from lightmark.errors import DataError, SchemaError, foreign_errors_as, reader
from lightmark.geometry import Array, labelled, tight_box
from lightmark.schema import Schema, plain_schema
from lightmark.source import header_size

_BOX = 5  # class and box before the points
_YAML = ("data.yaml", "dataset.yaml")
_LEVELS = 4  # folders above a label file that may hold data.yaml


def is_yolo(line: str) -> bool:
    """Whether the first line of a text file is a face of YOLO-pose."""
    fields = line.split()
    try:
        values = [float(field) for field in fields]
    except ValueError:
        return False
    return len(fields) > _BOX + 1 and fields[0].isdigit() and all(0 <= value <= 1 for value in values[1:_BOX])


@reader("a YOLO-pose label file")
def read_yolo(path: str | Path, schema: Schema | None = None, left_out: LeftOut | None = None) -> list[Sample]:
    """Read the faces of one label file; its picture is beside it or in images/, its data.yaml in a folder above.

    Without data.yaml and schema, points have a visibility if every third number is 0, 1 or 2. A point 0, 0 without
    visibility is missing, too. Raises `DataError` naming a broken line, `ImageError` for a missing picture, whose size
    is needed; with `left_out` the message is added there instead.
    """
    path = Path(path)
    lines = [(n, line.split()) for n, line in enumerate(read_bytes(path).decode("utf-8-sig").splitlines(), 1)]
    lines = [(n, fields) for n, fields in lines if fields]
    places = [base / name for base in path.parents[:_LEVELS] for name in _YAML]
    described = next((file for file in places if file.is_file()), None)
    settings = {} if described is None else _settings(described)
    picture = pictures_beside([path])[path]
    samples: list[Sample] = []
    with leaving_out(left_out):
        with foreign_errors_as(DataError, f"{picture}: cannot be read"):
            size = np.array(header_size(picture.read_bytes(), str(picture)), dtype=np.float64)
        for number, fields in lines:
            with leaving_out(left_out):
                index = len(samples) if len(lines) > 1 else None
                samples.append(_sample(f"{path}: line {number}", fields, picture, size, settings, schema, index))
    return samples


def _sample(
    where: str, fields: Sequence[str], picture: Path, size: Array, settings: dict[str, Any], schema: Schema | None,
    index: int | None,
) -> Sample:  # fmt: skip
    with foreign_errors_as(DataError, f"{where}: expected a class, a box and x, y of each point as numbers"):
        values = np.array(fields, dtype=np.float64)
    rows = _rows(where, values[_BOX:], settings, schema)
    missing = (rows[:, :2] == 0).all(axis=1) if rows.shape[1] == 2 else rows[:, 2] == UNLABELLED
    missing |= ~np.isfinite(rows[:, :2]).all(axis=1)
    points = np.where(missing[:, None], np.nan, rows[:, :2] * size - 0.5)
    if not labelled(points).any():
        raise DataError(f"{where}: no point is labelled")
    centre, half = values[1:3] * size - 0.5, values[3:_BOX] * size / 2
    place = picture.resolve()
    return Sample(
        path=picture,
        points=points,
        box=tight_box(points),
        schema=schema_for(len(points), schema or settings.get("schema"), where),
        photo=photo_of(place),
        subsets=subsets_of(place),
        attributes={"rect": (*(centre - half).tolist(), *(centre + half).tolist())}
        | ({} if index is None else {"index": index}),
        occluded=rows[:, 2] == OCCLUDED if rows.shape[1] == 3 else None,
    )


def _rows(where: str, numbers: Array, settings: dict[str, Any], schema: Schema | None) -> Array:
    """Numbers of a face as (N, 2) or, with visibilities, (N, 3)."""
    shape = settings.get("shape") or (None if schema is None else (schema.size, len(numbers) // schema.size))
    if shape is None:
        visible = len(numbers) % 3 == 0 and np.isin(numbers[2::3], (UNLABELLED, OCCLUDED, VISIBLE)).all()
        shape = len(numbers) // (3 if visible else 2), 3 if visible else 2
    if shape[1] not in (2, 3) or len(numbers) != shape[0] * shape[1]:
        raise DataError(f"{where}: {len(numbers)} numbers after the box, expected {shape[0]} points of {shape[1]}")
    return numbers.reshape(shape)


def _settings(path: Path) -> dict[str, Any]:
    """kpt_shape of a data.yaml as "shape", and a schema of it as "schema"; without kpt_shape nothing.

    Only these keys are parsed, as lists in brackets or with dashes, so that no YAML library is needed.
    """
    text = read_bytes(path).decode("utf-8-sig", "replace")
    shape = [int(number) for number in _list(text, "kpt_shape") if number.isdigit()][:2]
    if len(shape) != 2 or shape[0] < 1:
        return {}
    plain = plain_schema(shape[0]) if shape[0] <= 10_000 else None
    mirror = [int(number) for number in _list(text, "flip_idx") if number.isdigit()]
    names = _list(text, "kpt_names")
    if plain is None or (not mirror and len(names) != shape[0]):
        return {"shape": tuple(shape)}
    try:
        schema = Schema(
            name=plain.name,
            mirror=tuple(mirror) or plain.mirror,
            normaliser=plain.normaliser,
            point_names=tuple(names) if len(names) == shape[0] else (),
            normaliser_name=plain.normaliser_name,
        )
    except SchemaError as error:
        raise DataError(f"{path}: flip_idx: {error}") from error
    return {"shape": tuple(shape), "schema": schema}


def _list(text: str, key: str) -> list[str]:
    """Items of a list in YAML, below `key` or below the number of a class in it."""
    match = re.search(rf"^{key}:[ \t]*(?:\n?\s*0:)?\s*\[([^\]]*)\]", text, re.MULTILINE)
    if match:
        items = match[1].split(",")
    else:
        match = re.search(rf"^{key}:[^\n]*\n((?:[ \t]*(?:0:|-[^\n]*|#[^\n]*)[ \t]*(?:\n|$))*)", text, re.MULTILINE)
        items = re.findall(r"-\s*([^\n#]+)", match[1]) if match else []
    return [item.strip().strip("\"'") for item in items if item.strip()]


def yolo_lines(samples: Sequence[Sample], size: tuple[int, int]) -> str:
    """Label file of the faces in a picture of `size` (height, width).

    A point outside the picture is written as a missing one, since YOLO takes coordinates from 0 to 1 only.
    """
    extent = np.array([size[1], size[0]])
    lines = []
    for sample in samples:
        places = (sample.points + 0.5) / extent
        mask = labelled(places) & (np.nan_to_num(places, nan=-1.0) >= 0).all(axis=1)
        mask &= (np.nan_to_num(places, nan=2.0) <= 1).all(axis=1)
        occluded = np.zeros(len(places), dtype=bool) if sample.occluded is None else sample.occluded
        flags = np.where(mask, np.where(occluded, OCCLUDED, VISIBLE), UNLABELLED)
        places = np.where(mask[:, None], places, 0.0)
        corners = np.clip((sample.box.reshape(2, 2) + 0.5) / extent, 0, 1)
        box = [*corners.mean(axis=0), *(corners[1] - corners[0])]
        numbers = [f"{value:.8f}" for value in box]
        for (x, y), flag in zip(places, flags, strict=True):
            numbers += [f"{x:.8f}", f"{y:.8f}", str(flag)]
        lines.append(" ".join(["0", *numbers]))
    return "".join(f"{line}\n" for line in lines)


def yolo_yaml(schema: Schema) -> str:
    """data.yaml of faces with `schema`, whose pictures are all in images/."""
    names = "".join(f"    - {name!r}\n" for name in schema.point_names)
    flip = f"flip_idx: {list(schema.mirror)}\n" if schema.knows_mirror else ""
    return (
        "path: .\ntrain: images\nval: images  # the same pictures: split them before training\n"
        f"kpt_shape: [{schema.size}, 3]\n{flip}names:\n  0: face\n" + (f"kpt_names:\n  0:\n{names}" if names else "")
    )
