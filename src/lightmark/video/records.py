"""Records of tracked faces as JSON Lines or CSV, one row per face and frame."""

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

DECIMALS = 3  # of pixels and seconds: far finer than the error of any point

STANDARD_OUTPUT = Path("-")

Write: TypeAlias = Callable[[Frame, TrackedFace], None]


@contextmanager
def writing_records(path: str | Path, measures: bool = False) -> Iterator[Write]:
    """Context manager that yields a function to write one row; the file appears at `path` only without an error.

    `.jsonl` has one object per line: frame, seconds, id and the keys of `Face.to_dict`. `.csv` has the columns
    frame, seconds, id and `table_columns`; `measures` adds those of the face to both. Pixels and seconds have three
    decimals. "-" writes JSON Lines to standard output and flushes each line. Raises `VideoError` for other
    suffixes, `WriteError` if the file cannot be written.
    """
    target = require_records_name(path)
    if target == STANDARD_OUTPUT:
        yield json_lines(sys.stdout, measures, flush=True)
        return
    with replacing(target) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        yield FORMATS[target.suffix.lower()](file, measures)


def require_records_name(path: str | Path) -> Path:
    """`path` if its suffix is a known record format; else raises `VideoError` listing the formats."""
    if Path(path) != STANDARD_OUTPUT and Path(path).suffix.lower() not in FORMATS:
        known = ", ".join(FORMATS)
        raise VideoError(f"{path}: records are written as {known}; give a name that ends in one of them, or -")
    return Path(path)


def json_lines(file: TextIO, measures: bool = False, flush: bool = False) -> Write:
    """Function that writes one JSON object per line to `file`, with `flush` after each, for a reading pipe."""

    def write(frame: Frame, tracked: TrackedFace) -> None:
        row = {"frame": frame.index, "seconds": round(frame.seconds, DECIMALS), "id": tracked.id}
        height, width = frame.image.shape[:2]
        file.write(json.dumps(row | tracked.face.to_dict((width, height) if measures else None)) + "\n")
        if flush:
            file.flush()

    return write


def csv_table(file: TextIO, measures: bool = False) -> Write:
    """Function that writes one CSV row per face to `file`, with a header before the first."""
    table = csv.writer(file)
    started = False

    def write(frame: Frame, tracked: TrackedFace) -> None:
        nonlocal started
        if not started:
            table.writerow(["frame", "seconds", "id", *table_columns(len(tracked.face.points), measures)])
            started = True
        table.writerow([frame.index, round(frame.seconds, DECIMALS), tracked.id, *table_cells(tracked.face, measures)])

    return write


FORMATS: dict[str, Callable[[TextIO, bool], Write]] = {".jsonl": json_lines, ".csv": csv_table}
