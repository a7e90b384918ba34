"""Kaggle's Facial Keypoints Detection (training.csv): points and the pixels of the picture in one row.

Format (kaggle.com/c/facial-keypoints-detection): columns left_eye_center_x, left_eye_center_y …, of which many are
empty, and Image, the grey values 0 to 255 of a square picture (96 × 96) row by row, with spaces between. Left and right
are the person's. Coordinates count from 0.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from lightmark.data.formats.csv_columns import Columns, read_header
from lightmark.data.formats.documents import read_bytes
from lightmark.data.formats.named_points import NamedFace, named_samples
from lightmark.data.left_out import LeftOut, leaving_out
from lightmark.data.sample import Sample
from lightmark.errors import DataError, NoLabelsError, foreign_errors_as, reader
from lightmark.image import Picture
from lightmark.schema import Schema

COLUMN = "image"  # in any case
_MAX_SIDE = 1024  # pixels
_CELL = 16 * 2**20  # characters; a picture of that side has 4 MB of them


def is_pixels_csv(line: str) -> bool:
    """Whether the first line of a CSV is Kaggle's header: points and, in the last column, Image."""
    cells = [cell.strip().lower() for cell in line.split(",")]
    return len(cells) > 2 and cells[-1] == COLUMN and all(cell.endswith(("_x", "_y")) for cell in cells[:-1])


@reader("Kaggle's CSV")
def read_pixels_csv(path: str | Path, schema: Schema | None = None, left_out: LeftOut | None = None) -> list[Sample]:
    """Read the faces of a table with pixels; pictures are in memory, their names are those of the rows.

    Empty cells are missing points, and rows without any point are skipped. Raises `DataError` naming a broken line;
    with `left_out` the message is added there instead.
    """
    path = Path(path)
    csv.field_size_limit(_CELL)
    rows = csv.reader(io.StringIO(read_bytes(path).decode("utf-8-sig")))
    header = next(rows, [])
    if not is_pixels_csv(",".join(header)):
        raise NoLabelsError(f"{path}: expected columns of points, such as nose_tip_x, and Image as the last")
    columns = read_header(str(path), header)
    assert columns is not None, "names are no numbers"
    faces, pictures = [], []
    for row in rows:
        with leaving_out(left_out):
            where = f"{path}: line {rows.line_num}"
            face = _face(where, path / f"{rows.line_num:06}.png", row, columns)
            if face.points:
                pictures.append(_picture(where, row[columns.name]))
                faces.append(face)
    samples = named_samples(faces, schema, left_out, columns.point_names)
    by_path = {face.picture: picture for face, picture in zip(faces, pictures, strict=True)}
    return [replace(sample, image=by_path[sample.path]) for sample in samples]


def _face(where: str, picture: Path, row: Sequence[str], columns: Columns) -> NamedFace:
    if len(row) != columns.count:
        raise DataError(f"{where}: {len(row)} columns, expected {columns.count}")
    points = {}
    for name, (x, y) in zip(columns.point_names, columns.points, strict=True):
        if row[x].strip() or row[y].strip():
            with foreign_errors_as(DataError, f"{where}: point {name}: expected two numbers, or two empty cells"):
                points[name] = float(row[x]), float(row[y])
    return NamedFace(where, picture, points)


def _picture(where: str, cell: str) -> Picture:
    """RGB uint8 (S, S, 3) of a cell with S · S grey values."""
    with foreign_errors_as(DataError, f"{where}: Image: expected grey values with spaces between"):
        values = np.array(cell.split(), dtype=np.float64)
    side = math.isqrt(len(values))
    if side * side != len(values) or not 0 < side <= _MAX_SIDE or not ((values >= 0) & (values <= 255)).all():
        raise DataError(
            f"{where}: Image: {len(values)} values, expected those of a square picture from 0 to 255, of at most "
            f"{_MAX_SIDE} × {_MAX_SIDE} pixels"
        )
    return np.repeat(values.astype(np.uint8).reshape(side, side, 1), 3, axis=2)
