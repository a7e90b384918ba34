"""Text files of a count and as many points: JD-landmark and LaPa (106 points).

Format (JD-landmark, facial-landmarks-localization-challenge.github.io): landmark/1.jpg.txt for picture/1.jpg, LaPa:
landmarks/1.txt for images/1.jpg; the first line is the number of points, then a line `x y` a point. Coordinates count
from 0; neither set documents it, but LaPa's own code draws them unshifted.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lightmark.data.formats.documents import read_bytes
from lightmark.data.missing import missing_as_nan
from lightmark.data.pictures import pictures_beside
from lightmark.data.sample import Sample
from lightmark.data.schema_choice import schema_for
from lightmark.data.subsets import photo_of, subsets_of
from lightmark.errors import DataError, reader
from lightmark.geometry import tight_box
from lightmark.schema import Schema


def is_numbered(line: str) -> bool:
    """Whether the first line of a text file is a number of points and nothing else."""
    return line.strip().isascii() and line.strip().isdigit() and len(line.strip()) < 5


@reader("a text file of points")
def read_numbered(path: str | Path, schema: Schema | None = None) -> Sample:
    """Read the face of one file; raises `DataError` naming a broken line and for another number of points."""
    path = Path(path)
    lines = [(n, line.split()) for n, line in enumerate(read_bytes(path).decode("utf-8-sig").splitlines(), 1)]
    (_, first), *rows = [(n, fields) for n, fields in lines if fields] or [(1, ["0"])]
    if len(first) != 1 or not first[0].isdigit() or int(first[0]) != len(rows) or not rows:
        raise DataError(f"{path}: line 1 says {' '.join(first)!r}, {len(rows)} points follow; is the file cut?")
    for number, fields in rows:
        if len(fields) != 2:
            raise DataError(f"{path}: line {number}: got {' '.join(fields)!r}, expected two numbers `x y`")
    points = missing_as_nan(np.array([fields for _, fields in rows], dtype=np.float64))
    if np.isinf(points).any():
        raise DataError(f"{path}: an infinite number; correct the line")
    picture = pictures_beside([path])[path]
    place = picture.resolve()
    return Sample(
        path=picture,
        points=points,
        box=tight_box(points),
        schema=schema_for(len(points), schema, path),
        photo=photo_of(place),
        subsets=subsets_of(place),
    )
