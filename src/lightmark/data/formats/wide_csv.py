"""Wide CSV reader: one row per face with the picture's file name and x, y of each point."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from lightmark.data.formats.csv_columns import Columns, columns_in_turn, read_header
from lightmark.data.left_out import LeftOut, leaving_out
from lightmark.data.missing import missing_as_nan
from lightmark.data.pictures import named_picture
from lightmark.data.sample import Sample
from lightmark.data.schema_choice import schema_for
from lightmark.data.subsets import photo_of, subsets_of
from lightmark.errors import DataError, reader
from lightmark.geometry import Array, tight_box
from lightmark.schema import SCHEMAS, Schema

# training_frames_keypoints.csv and test_frames_keypoints.csv are cut from YouTube Faces: name of the person, frame.
_YTF_TABLE = re.compile(r"(training|test)_frames_keypoints\.csv")
_YTF_FRAME = re.compile(r"(.+)_\d+")
# Spreadsheets in countries with a decimal comma write semicolons, databases often tabs.
_SEPARATORS = (",", ";", "\t")

Row: TypeAlias = tuple[int, list[str]]  # line number and cells


@reader("CSV")
def read_csv(path: str | Path, schema: Schema | None = None, left_out: LeftOut | None = None) -> list[Sample]:
    """Read the faces of a wide CSV file with the columns of `csv_columns`; coordinates count from 0.

    Cells are separated by commas, semicolons or tabs. Empty cells, nan, `-1, -1` and `0, 0` are missing points. The
    attributes are "rect", the box, if there is one, and "index", the number of the face in a picture with several.
    Pictures are in the folder beside the file that is called as the first word of its name (training/ for
    training_frames_keypoints.csv) if there is one, otherwise where `named_picture` finds them. The `photo` of a YouTube
    Faces frame is its person. The default `schema` depends on the number of points. Raises `DataError` naming a broken
    or repeated line; with `left_out` the message is added there instead.
    """
    path = Path(path)
    (first, cells), *rows = _read_rows(path)
    columns = read_header(f"{path}: line {first}", cells)
    if columns is None:
        columns = columns_in_turn(f"{path}: line {first}", len(cells))
        rows = [(first, cells), *rows]
    if not rows:
        raise DataError(f"{path}: no face below the header row; is the file cut?")
    rows = _usable_rows(path, rows, columns, left_out)
    faces_of = Counter(row[columns.name].strip() for _, row in rows)
    schema = _schema(columns, schema, path)
    next_index: Counter[str] = Counter()
    samples = []
    for number, row in rows:
        name = row[columns.name].strip()
        index = next_index[name] if faces_of[name] > 1 else None
        next_index[name] += 1
        with leaving_out(left_out):
            samples.append(_sample(path, number, row, columns, schema, index))
    return samples


def _schema(columns: Columns, schema: Schema | None, path: Path) -> Schema:
    """`schema`, or by default the one of that many points, with their names."""
    chosen = schema_for(len(columns.points), schema, path)
    if schema is not None or not columns.point_names or chosen in SCHEMAS.values():
        return chosen
    return replace(chosen, point_names=columns.point_names)


def _read_rows(path: Path) -> list[Row]:
    """Rows that are not blank, with their line numbers; the separator is the most frequent one in the first line."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        head = file.readline()
        file.seek(0)
        table = csv.reader(file, delimiter=max(_SEPARATORS, key=head.count))
        rows = [(table.line_num, row) for row in table if row]
    if not rows:
        raise DataError(f"{path}: empty; expected a header row, then a row a face")
    return rows


def _usable_rows(path: Path, rows: Sequence[Row], columns: Columns, left_out: LeftOut | None) -> list[Row]:
    """Rows with all columns and a file name, without repetitions."""
    lines: dict[tuple[str, ...], int] = {}
    usable = []
    for number, row in rows:
        with leaving_out(left_out):
            _require_columns(path, number, row, columns)
            before = lines.setdefault(tuple(row), number)
            if before != number:
                raise DataError(f"{path}: line {number}: is line {before} again; take one of them out")
            usable.append((number, row))
    return usable


def _require_columns(path: Path, number: int, row: Sequence[str], columns: Columns) -> None:
    if len(row) != columns.count:
        raise DataError(
            f"{path}: line {number}: got {len(row)} columns, expected {columns.count} as in the first line "
            f"({len(columns.points)} points); correct the row or take it out"
        )
    if not row[columns.name].strip():
        raise DataError(f"{path}: line {number}: no file name; correct the row or take it out")


def _sample(
    path: Path, number: int, row: Sequence[str], columns: Columns, schema: Schema, index: int | None
) -> Sample:
    points = missing_as_nan(_numbers(path, number, [[row[i] for i in point] for point in columns.points]))
    picture = named_picture(path, row[columns.name].strip(), _picture_folder(path))
    attributes: dict[str, Any] = {} if index is None else {"index": index}
    if columns.box is not None:
        a, b, c, d = _numbers(path, number, [[row[i] for i in columns.box]])[0].tolist()
        attributes["rect"] = (a, b, c, d) if columns.corners else (a, b, a + c, b + d)
    return Sample(
        path=picture,
        points=points,
        box=tight_box(points),
        schema=schema,
        photo=_photo(path, picture),
        subsets=subsets_of(picture.resolve()),
        attributes=attributes,
    )


def _numbers(path: Path, number: int, groups: Sequence[Sequence[str]]) -> Array:
    """Cells of `groups` as numbers; NaN where a whole group is empty, as spreadsheets and pandas write missing values.

    Raises `DataError` for words, infinite numbers, and a group that is only partly empty.
    """
    filled = [["nan"] * len(group) if not "".join(group).strip() else group for group in groups]
    try:
        values = np.array([[float(cell) for cell in group] for group in filled], dtype=np.float64)
    except ValueError as error:
        comma = any("," in cell for group in groups for cell in group)
        hint = "; write numbers with a decimal point" if comma else ""
        raise DataError(f"{path}: line {number}: {error}; expected numbers for x and y{hint}") from None
    if np.isinf(values).any():
        raise DataError(f"{path}: line {number}: an infinite number; correct the row or take it out")
    return values


def _picture_folder(path: Path) -> Path:
    folder = path.parent / path.stem.partition("_")[0]
    return folder if folder.is_dir() else path.parent


def _photo(path: Path, picture: Path) -> str:
    frame = _YTF_FRAME.fullmatch(picture.stem) if _YTF_TABLE.fullmatch(path.name) else None
    return f"ytf/{frame[1]}" if frame else photo_of(picture.resolve())
