"""Records of tracked faces, a row a face and frame, as JSON lines or CSV."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO, TypeAlias

from lightmark.errors import VideoError
from lightmark.files import replacing
from lightmark.geometry import Array
from lightmark.video.frames import Frame
from lightmark.video.tracker import TrackedFace

DECIMALS = 3  # of pixels and seconds: a hundredth of what any point is worth

STANDARD_OUTPUT = Path("-")

Write: TypeAlias = Callable[[Frame, TrackedFace], None]


@contextmanager
def writing_records(path: str | Path) -> Iterator[Write]:
    """A function that adds one row; the file is at `path` when the block is left, not there if it is left by an error.

    `.jsonl` holds an object a line: frame, seconds, id, then what `Face.to_dict` holds. `.csv` holds the columns
    frame, seconds, id, x0, y0, x1, y1 (the box), score, then p0_x, p0_y … and u0 … (uncertainty) for each point; what
    the model does not give is empty. Pixels and seconds have three decimals. "-" writes `.jsonl`'s lines to standard
    output, each at once. Raises `VideoError` for other suffixes, `WriteError` where the file cannot be written.
    """
    target = require_records_name(path)
    if target == STANDARD_OUTPUT:
        yield json_lines(sys.stdout, at_once=True)
        return
    with replacing(target) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        yield FORMATS[target.suffix.lower()](file)


def require_records_name(path: str | Path) -> Path:
    """`path` where its suffix names a form of records; raises `VideoError` listing them."""
    if Path(path) != STANDARD_OUTPUT and Path(path).suffix.lower() not in FORMATS:
        known = ", ".join(FORMATS)
        raise VideoError(f"{path}: records are written as {known}; give a name that ends in one of them, or -")
    return Path(path)


def json_lines(file: TextIO, at_once: bool = False) -> Write:
    """Writes an object a line into `file`; handed on `at_once` where somebody reads along."""

    def write(frame: Frame, tracked: TrackedFace) -> None:
        row = {"frame": frame.index, "seconds": frame.seconds, "id": tracked.id, **tracked.face.to_dict()}
        file.write(json.dumps(rounded(row)) + "\n")
        if at_once:
            file.flush()

    return write


def csv_table(file: TextIO) -> Write:
    """Writes a header before the first row into `file`, then a row a face."""
    table = csv.writer(file)
    header: list[str] = []

    def write(frame: Frame, tracked: TrackedFace) -> None:
        face = tracked.face
        count = len(face.points)
        if not header:
            points = [f"p{i}_{axis}" for i in range(count) for axis in "xy"]
            header.extend(["frame", "seconds", "id", "x0", "y0", "x1", "y1", "score", *points])
            header.extend(f"u{i}" for i in range(count))
            table.writerow(header)
        doubts = [""] * count if face.uncertainty is None else numbers(face.uncertainty)
        score = "" if face.score is None else round(face.score, DECIMALS)
        place = [frame.index, round(frame.seconds, DECIMALS), tracked.id]
        table.writerow([*place, *numbers(face.box), score, *numbers(face.points), *doubts])

    return write


def numbers(array: Array) -> list[float]:
    """All of `array` in order, rounded."""
    return [round(float(value), DECIMALS) for value in array.ravel()]


def rounded(value: Any) -> Any:
    """`value` with every float in its lists and dictionaries rounded."""
    if isinstance(value, float):
        return round(value, DECIMALS)
    if isinstance(value, list):
        return [rounded(one) for one in value]
    if isinstance(value, dict):
        return {key: rounded(one) for key, one in value.items()}
    return value


FORMATS: dict[str, Callable[[TextIO], Write]] = {".jsonl": json_lines, ".csv": csv_table}
