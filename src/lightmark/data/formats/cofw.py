"""COFW reader: 29 points with occlusion flags; pictures and labels are in one MATLAB v7.3 (HDF5) file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from lightmark.data.missing import missing_as_nan
from lightmark.data.sample import Sample
from lightmark.errors import DataError, NoLabelsError, reader
from lightmark.extras import import_extra
from lightmark.geometry import Array, tight_box
from lightmark.image import Picture
from lightmark.schema import COFW29

# Variables of the pictures, points and boxes in COFW_train_color.mat and COFW_test_color.mat.
_VARIABLES = {"train": ("IsTr", "phisTr", "bboxesTr"), "test": ("IsT", "phisT", "bboxesT")}

# Limits for untrusted files. HDF5 can store one picture for many references, or none of its bytes, so that a small file
# may claim more than the memory.
MOST_FACES = 100_000
MOST_UNFOLDED = 100  # decompressed size relative to the file's; MATLAB compresses photographs to a half


@reader("MATLAB v7.3 (HDF5) of COFW_color")
def read_cofw(path: str | Path) -> list[Sample]:
    """Read the faces of COFW_train_color.mat or COFW_test_color.mat, with pictures in memory and `occluded` flags.

    The file counts pixels from 1; (-1, -1), (0, 0) and NaN are missing points. The attributes are "index", the number
    of the face in the file from 0, and "rect" (x0, y0, x1, y1), COFW's face box. Raises `MissingExtraError` without
    h5py, `DataError` for a file without COFW's variables or with variables of other shapes.
    """
    path = Path(path)
    h5py = import_extra("h5py", path)
    with h5py.File(path, "r") as file:
        return _samples(path, file)


def _samples(path: Path, file: Any) -> list[Sample]:
    part = next((part for part, names in _VARIABLES.items() if all(name in file for name in names)), None)
    if part is None:
        names = ", ".join(sorted(map(str, file))) or "nothing"
        raise NoLabelsError(
            f"{path}: holds {names}; expected IsTr, phisTr, bboxesTr or IsT, phisT, "
            "bboxesT as in COFW_train_color.mat and COFW_test_color.mat"
        )
    pictures, phis, boxes = (file[name] for name in _VARIABLES[part])
    if pictures.size > MOST_FACES:
        raise DataError(f"{path}: {_VARIABLES[part][0]} has {pictures.size:,} pictures, COFW has at most 1,345")
    references = np.asarray(pictures).reshape(-1)
    labels = _columns(path, _VARIABLES[part][1], phis, 3 * COFW29.size, len(references))
    rects = _columns(path, _VARIABLES[part][2], boxes, 4, len(references))
    stored = [file[reference] for reference in references]
    unfolded = sum(picture.nbytes for picture in stored)
    if unfolded > MOST_UNFOLDED * path.stat().st_size:
        raise DataError(f"{path}: its pictures unfold to {unfolded:,} bytes, which no photographs do; fetch it again")
    return [
        _sample(path, part, index, _picture(path, index, picture), labels[index], rects[index])
        for index, picture in enumerate(stored)
    ]


def _columns(path: Path, name: str, variable: Any, height: int, count: int) -> Array:
    """Rows (count, height) of a variable, which HDF5 stores transposed."""
    if variable.shape != (height, count):
        raise DataError(f"{path}: {name} has shape {variable.shape}, expected ({height}, {count}), a column a picture")
    if variable.dtype.kind not in "fiu":
        raise DataError(f"{path}: {name} holds {variable.dtype}, expected numbers")
    return np.asarray(variable, dtype=np.float64).T


def _picture(path: Path, index: int, stored: Any) -> Picture:
    """RGB picture (H, W, 3) of a stored one, which is transposed and has three planes or is grey."""
    pixels = np.asarray(stored).T
    if pixels.dtype != np.uint8 or 0 in pixels.shape or not (
        pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] == 3)
    ):
        raise DataError(f"{path}: picture {index}: {pixels.dtype} {pixels.shape}, expected uint8 (H, W) or (H, W, 3)")
    return np.ascontiguousarray(pixels if pixels.ndim == 3 else np.repeat(pixels[:, :, None], 3, axis=2))


def _sample(path: Path, part: str, index: int, picture: Picture, phis: Array, rect: Array) -> Sample:
    x, y, occluded = phis.reshape(3, COFW29.size)
    points = missing_as_nan(np.stack([x, y], axis=1)) - 1
    left, top = rect[:2] - 1
    return Sample(
        path=path,
        points=points,
        box=tight_box(points),
        schema=COFW29,
        photo=f"cofw/{part}/{index}",
        subsets=frozenset({part}),
        attributes={"index": index, "rect": (left, top, left + rect[2], top + rect[3])},
        occluded=occluded > 0.5,
        image=picture,
    )
