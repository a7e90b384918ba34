"""WFLW reader: 98 points, box and attributes, one line per face."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import numpy as np

from lightmark.data.left_out import LeftOut, leaving_out
from lightmark.data.missing import missing_as_nan
from lightmark.data.sample import Sample
from lightmark.errors import DataError, reader
from lightmark.geometry import tight_box
from lightmark.schema import WFLW98

ATTRIBUTES = ("pose", "expression", "illumination", "make-up", "occlusion", "blur")
# 196 coordinates, the box's 4 numbers, 6 attributes, the picture's name.
_FIELDS = 2 * WFLW98.size + 4 + len(ATTRIBUTES) + 1
_LIST_FOLDER = Path("WFLW_annotations", "list_98pt_rect_attr_train_test")
_LIST_NAME = re.compile(r"list_98pt_rect_attr_(train|test)\.txt")


def is_wflw_list(path: Path) -> bool:
    """Whether `path` has the name of one of WFLW's two lists with boxes and attributes."""
    return _LIST_NAME.fullmatch(path.name) is not None


@reader("a WFLW list")
def read_wflw_list(path: str | Path, left_out: LeftOut | None = None) -> list[Sample]:
    """Read the faces of one list; pictures are in WFLW_images, beside the WFLW_annotations of the list.

    The attributes are the six flags (bool), "rect" (x_min, y_min, x_max, y_max) and "index", the number of the face
    among those of its picture. Subsets are "train" or "test", in the test list also the attributes that are set.
    Coordinates count from 0; `-1 -1`, `0 0` and `nan nan` are missing points. Raises `DataError` naming a broken line;
    with `left_out` the message is added there instead.
    """
    path = Path(path)
    part = _LIST_NAME.fullmatch(path.name)
    if part is None or len(path.parents) < 3:
        raise DataError(f"{path}: no list of WFLW's; expected {_LIST_FOLDER.as_posix()}/list_98pt_rect_attr_test.txt")
    pictures = path.parents[2] / "WFLW_images"
    next_index: Counter[str] = Counter()
    samples = []
    for number, line in enumerate(_read_lines(path), start=1):
        if line.strip():
            with leaving_out(left_out):
                samples.append(_sample(path, number, line, part[1], pictures, next_index))
    return samples


def _read_lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read as a WFLW list: {error}") from error


def _sample(path: Path, number: int, line: str, part: str, pictures: Path, next_index: Counter[str]) -> Sample:
    """Face of a line; `next_index` holds the next "index" of each picture and is updated."""
    fields = line.split()
    if len(fields) != _FIELDS:
        raise DataError(
            f"{path}: line {number}: got {len(fields)} fields, expected {_FIELDS} (196 coordinates, 4 box numbers, "
            "6 attributes, picture name); is this the list without boxes and attributes?"
        )
    *numbers, picture = fields
    try:
        values = np.array(numbers, dtype=np.float64)
    except ValueError as error:
        raise DataError(f"{path}: line {number}: {error}; expected {_FIELDS - 1} numbers before {picture!r}") from None
    flags = values[-len(ATTRIBUTES) :]
    if not np.isin(flags, (0, 1)).all():
        raise DataError(f"{path}: line {number}: got attributes {flags.tolist()}, expected six of 0 or 1")
    points = missing_as_nan(values[: 2 * WFLW98.size].reshape(-1, 2))
    attributes = {name: bool(flag) for name, flag in zip(ATTRIBUTES, flags, strict=True)}
    next_index[picture] += 1
    return Sample(
        path=pictures / picture,
        points=points,
        box=tight_box(points),
        schema=WFLW98,
        photo=f"wflw/{picture}",
        subsets=frozenset({part, *(name for name in ATTRIBUTES if part == "test" and attributes[name])}),
        attributes={**attributes, "rect": tuple(values[196:200].tolist()), "index": next_index[picture] - 1},
    )
