"""Wide CSV tables, a row a face: file name, then x0, y0, x1, y1 and so on, as YouTube Faces keypoints come."""

from __future__ import annotations

import csv
import re
from collections import Counter
from pathlib import Path

import numpy as np

from lightmark.data.missing import missing_as_nan
from lightmark.data.origin import photo_of, subsets_of
from lightmark.data.sample import Sample
from lightmark.data.schema_choice import schema_for
from lightmark.errors import DataError
from lightmark.geometry import tight_box
from lightmark.schema import Schema

# training_frames_keypoints.csv and test_frames_keypoints.csv are cut from YouTube Faces: name of the person, frame.
_YTF_TABLE = re.compile(r"(training|test)_frames_keypoints\.csv")
_YTF_FRAME = re.compile(r"(.+)_\d+")


def read_csv(path: str | Path, schema: Schema | None = None) -> list[Sample]:
    """Faces of a wide CSV file with a header row; coordinates count from 0.

    Empty cells, nan, `-1, -1` and `0, 0` are missing points.
    Pictures lie in the folder beside the file with which its name begins (training_frames_keypoints.csv: training/),
    else in its own folder. The `photo` of a YouTube Faces frame is its person. Where a picture has several rows,
    "index" numbers them. Without `schema` the number of points picks it. Raises `DataError` naming the line.
    """
    path = Path(path)
    header, *rows = _read_rows(path)
    if len(header) < 5 or len(header) % 2 == 0:
        raise DataError(
            f"{path}: line 1: got {len(header)} columns, wanted a file name and x, y of each point, so an odd number "
            "from 5 on; is this a table of landmarks?"
        )
    filled = [(number, row) for number, row in enumerate(rows, start=2) if row]
    if not filled:
        raise DataError(f"{path}: no face below the header row; is the file cut?")
    several = Counter(row[0] for _, row in filled)
    schema = schema_for(len(header) // 2, schema, path)
    seen: Counter[str] = Counter()
    samples = []
    for number, row in filled:
        index = seen[row[0]] if several[row[0]] > 1 else None
        seen[row[0]] += 1
        samples.append(_sample(path, number, row, len(header), schema, index))
    return samples


def _read_rows(path: Path) -> list[list[str]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.reader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: cannot be read as CSV: {error}") from error
    if not rows:
        raise DataError(f"{path}: empty; wanted a header row, then a row a face")
    return rows


def _sample(path: Path, number: int, row: list[str], columns: int, schema: Schema, index: int | None) -> Sample:
    if len(row) != columns:
        raise DataError(
            f"{path}: line {number}: got {len(row)} columns, wanted {columns} as in the header "
            f"(file name, x and y of {columns // 2} points); correct the row or take it out"
        )
    name, *numbers = row
    try:
        # Spreadsheets and pandas leave the cells of a missing point empty.
        pairs = zip(numbers[::2], numbers[1::2], strict=True)
        values = np.array([("nan", "nan") if not "".join(pair).strip() else pair for pair in pairs], dtype=np.float64)
    except ValueError as error:
        raise DataError(f"{path}: line {number}: {error}; wanted {columns - 1} numbers after {name!r}") from None
    points = missing_as_nan(values)
    picture = _picture_folder(path) / name
    return Sample(
        path=picture,
        points=points,
        box=tight_box(points),
        schema=schema,
        photo=_photo(path, picture),
        subsets=subsets_of(picture.resolve()),
        attributes={} if index is None else {"index": index},
    )


def _picture_folder(path: Path) -> Path:
    folder = path.parent / path.stem.partition("_")[0]
    return folder if folder.is_dir() else path.parent


def _photo(path: Path, picture: Path) -> str:
    frame = _YTF_FRAME.fullmatch(picture.stem) if _YTF_TABLE.fullmatch(path.name) else None
    return f"ytf/{frame[1]}" if frame else photo_of(picture.resolve())
