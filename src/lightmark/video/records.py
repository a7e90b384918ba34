"""Records of tracked faces, a row a face and frame, as JSON lines or CSV."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO, TypeAlias

from lightmark.errors import VideoError
from lightmark.face import table_cells, table_columns
from lightmark.files import replacing
from lightmark.video.frames import Frame
from lightmark.video.tracker import TrackedFace

DECIMALS = 3  # of pixels and seconds: a hundredth of what any point is worth

STANDARD_OUTPUT = Path("-")

Write: TypeAlias = Callable[[Frame, TrackedFace], None]


@contextmanager
def writing_records(path: str | Path) -> Iterator[Write]:
    """A function that adds one row; the file is at `path` when the block is left, not there if it is left by an error.

    `.jsonl` holds an object a line: frame, seconds, id, then what `Face.to_dict` holds. `.csv` holds the columns
    frame, seconds, id and `table_columns`. Pixels and seconds have three decimals. "-" writes `.jsonl`'s lines to
    standard output, each at once. Raises `VideoError` for other suffixes, `WriteError` if the file cannot be written.
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
        row = {"frame": frame.index, "seconds": round(frame.seconds, DECIMALS), "id": tracked.id}
        file.write(json.dumps(row | tracked.face.to_dict()) + "\n")
        if at_once:
            file.flush()

    return write


def csv_table(file: TextIO) -> Write:
    """Writes a header before the first row into `file`, then a row a face."""
    table = csv.writer(file)
    started = False

    def write(frame: Frame, tracked: TrackedFace) -> None:
        nonlocal started
        if not started:
            table.writerow(["frame", "seconds", "id", *table_columns(len(tracked.face.points))])
            started = True
        table.writerow([frame.index, round(frame.seconds, DECIMALS), tracked.id, *table_cells(tracked.face)])

    return write


FORMATS: dict[str, Callable[[TextIO], Write]] = {".jsonl": json_lines, ".csv": csv_table}
