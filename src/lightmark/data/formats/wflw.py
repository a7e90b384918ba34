"""WFLW reader: 98 points, box and attributes, one line per face."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lightmark.data.left_out import LeftOut, leaving_out
from lightmark.data.missing import missing_as_nan
from lightmark.data.sample import Sample
from lightmark.errors import DataError, reader
from lightmark.geometry import Array, tight_box
from lightmark.schema import WFLW98

ATTRIBUTES = ("pose", "expression", "illumination", "make-up", "occlusion", "blur")
# 196 coordinates, the box's 4 numbers, 6 attributes, the picture's name.
_FIELDS = 2 * WFLW98.size + 4 + len(ATTRIBUTES) + 1
_LIST_NAME = re.compile(r"list_98pt_rect_attr_(train|test)\.txt")
# The lists without boxes and attributes: list_98pt_test/list_98pt_test_largepose.txt and others.
_PLAIN_NAME = re.compile(r"(?:list_98pt_)?(train|test)(?:_(\w+))?\.txt")
_SUBSETS = {"largepose": "pose", "makeup": "make-up"}  # their names of two subsets


def is_wflw_list(path: Path) -> bool:
    """Whether `path` has the name of one of WFLW's two lists with boxes and attributes."""
    return _LIST_NAME.fullmatch(path.name) is not None


def is_wflw_line(line: str) -> bool:
    """Whether the first line of a text file is a face of WFLW: 196 numbers, more or none, and a name."""
    fields = line.split(maxsplit=2 * WFLW98.size)
    return len(fields) > 2 * WFLW98.size and _all_numbers(fields[: 2 * WFLW98.size])


def repeated_lists(files: Sequence[Path]) -> set[Path]:
    """Lists without boxes among the lists `files` whose faces another one has: that with boxes, or that of all."""
    complete = {match[1] for file in files if (match := _LIST_NAME.fullmatch(file.name))}
    parts = {file: match for file in files if (match := _PLAIN_NAME.fullmatch(file.name))}
    whole = complete | {match[1] for match in parts.values() if match[2] is None}
    return {file for file, match in parts.items() if match[1] in (complete if match[2] is None else whole)}


@reader("a WFLW list")
def read_wflw_list(path: str | Path, left_out: LeftOut | None = None) -> list[Sample]:
    """Read the faces of one list; pictures are in WFLW_images, beside the WFLW_annotations of the list.

    The attributes are the six flags (bool), "rect" (x_min, y_min, x_max, y_max) and "index", the number of the face
    among those of its picture; a list without boxes has the last alone. Subsets are "train" or "test", by the list's
    name, in the test list also the attributes that are set. File names may have spaces.
    Coordinates count from 0; `-1 -1`, `0 0` and `nan nan` are missing points. Raises `DataError` naming a broken line;
    with `left_out` the message is added there instead.
    """
    path = Path(path)
    match = _LIST_NAME.fullmatch(path.name) or _PLAIN_NAME.fullmatch(path.name)
    subsets = frozenset(_SUBSETS.get(name, name) for name in (match.groups() if match else ()) if name)
    homes = [parent / "WFLW_images" for parent in path.parents[:3]]
    pictures = next((home for home in homes if home.is_dir()), homes[-1])
    next_index: Counter[str] = Counter()
    samples = []
    for number, line in enumerate(_read_lines(path), start=1):
        if line.strip():
            with leaving_out(left_out):
                samples.append(_sample(path, number, line, subsets, pictures, next_index))
    return samples


def _read_lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read as a WFLW list: {error}") from error


def _sample(
    path: Path, number: int, line: str, subsets: frozenset[str], pictures: Path, next_index: Counter[str]
) -> Sample:
    """Face of a line; `next_index` holds the next "index" of each picture and is updated."""
    where = f"{path}: line {number}"
    values, picture = _fields(where, line)
    flags = values[2 * WFLW98.size + 4 :]
    if not np.isin(flags, (0, 1)).all():
        raise DataError(f"{where}: got attributes {flags.tolist()}, expected six of 0 or 1")
    points = missing_as_nan(values[: 2 * WFLW98.size].reshape(-1, 2))
    attributes: dict[str, Any] = {name: bool(flag) for name, flag in zip(ATTRIBUTES, flags, strict=False)}
    if attributes:
        attributes["rect"] = tuple(values[196:200].tolist())
    next_index[picture] += 1
    return Sample(
        path=pictures / picture,
        points=points,
        box=tight_box(points),
        schema=WFLW98,
        photo=f"wflw/{picture}",
        subsets=subsets | {name for name in ATTRIBUTES if "test" in subsets and attributes.get(name)},
        attributes={**attributes, "index": next_index[picture] - 1},
    )


def _fields(where: str, line: str) -> tuple[Array, str]:
    """Numbers of a line, (206,), or (196,) of a list without boxes, and the picture's name."""
    for count in (_FIELDS - 1, 2 * WFLW98.size):
        *numbers, picture = line.split(maxsplit=count)
        if len(numbers) == count and _all_numbers(numbers):
            return np.array(numbers, dtype=np.float64), picture.strip().replace("\\", "/")
    words = line.split()
    word = next((f"; {field!r} is no number" for field in words[: 2 * WFLW98.size] if not _all_numbers([field])), "")
    raise DataError(
        f"{where}: got {len(words)} fields, expected {_FIELDS} (196 coordinates, 4 box numbers, 6 attributes, "
        f"picture name), or 197 without box and attributes{word}"
    )


def _all_numbers(fields: Sequence[str]) -> bool:
    try:
        return bool([float(field) for field in fields])
    except ValueError:
        return False
