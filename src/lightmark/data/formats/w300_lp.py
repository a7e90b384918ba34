"""300W-LP reader: faces rotated in 3D, 68 points in `.mat` files.

A picture AFW_134212_1_0.jpg has AFW_134212_1_0.mat beside it, with pt2d (2, 68) and Pose_Para (1, 7). In the rotated
copies (last number 1 and up) pt2d holds the points before the rotation, as users of the set report (cleardusk/3DDFA
issue 192, ainrichman/Peppa-Facial-Landmark-PyTorch issue 6); the rotated points are pts_2d (68, 2) in
landmarks/AFW/AFW_134212_1_1_pts.mat.

Pixels count from 1. This is not documented, but the MATLAB code of the set flips y as height + 1 − y, and its points
come from 300W's, which count from 1. (-1, -1), which marks hidden points in AFLW2000-3D, a set of the same format,
(0, 0) and NaN are missing points.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from lightmark.data.formats.matlab import read_matlab5
from lightmark.data.missing import missing_as_nan
from lightmark.data.pictures import pictures_beside
from lightmark.data.sample import Sample
from lightmark.data.subsets import is_300w_lp, photo_of, subsets_of
from lightmark.errors import DataError, reader
from lightmark.geometry import Array, tight_box
from lightmark.schema import IBUG68


@reader("a label file of 300W-LP")
def read_300w_lp_file(path: str | Path) -> Sample:
    """Read the face of one label file of 300W-LP.

    The attributes are "pitch", "yaw" and "roll" in degrees, with the signs of the file. Raises `DataError` if a
    variable is missing or has another shape, or a rotated face has no file under landmarks/.
    """
    path = Path(path)
    return _sample(path, pictures_beside([path])[path])


def is_lp_label(path: Path) -> bool:
    """Whether `path` has the name of a 300W-LP label file and is not in a folder of mirror images."""
    return path.suffix == ".mat" and is_300w_lp(path) and not path.resolve().parent.name.endswith("_Flip")


def _sample(file: Path, picture: Path) -> Sample:
    label = read_matlab5(file)
    points = _rotated_points(file) if _is_rotated(file) else _points(_variable(file, label, "pt2d", (2, IBUG68.size)).T)
    pitch, yaw, roll = np.degrees(_variable(file, label, "Pose_Para", (1, 7))[0, :3]).tolist()
    place = file.resolve()
    return Sample(
        path=picture,
        points=points,
        box=tight_box(points),
        schema=IBUG68,
        photo=photo_of(place),
        subsets=subsets_of(place),
        attributes={"pitch": pitch, "yaw": yaw, "roll": roll},
    )


def _is_rotated(file: Path) -> bool:
    return is_300w_lp(file) and not file.stem.endswith("_0")


def _rotated_points(file: Path) -> Array:
    place = file.resolve()
    landmarks = place.parent.parent / "landmarks" / place.parent.name / f"{place.stem}_pts.mat"
    if not landmarks.is_file():
        raise DataError(
            f"{file}: pt2d of a turned face holds the points before the turn; {landmarks}, which holds those after it, "
            "is not there: unpack the folder landmarks of 300W_LP beside the pictures' folders"
        )
    return _points(_variable(landmarks, read_matlab5(landmarks), "pts_2d", (IBUG68.size, 2)))


def _points(stored: Array) -> Array:
    """Points (N, 2) in pixels from 0, NaN where missing, of the stored ones."""
    return missing_as_nan(stored) - 1


def _variable(file: Path, label: Mapping[str, Array | None], name: str, shape: tuple[int, int]) -> Array:
    if name not in label:
        names = ", ".join(sorted(label))
        raise DataError(f"{file}: no {name}; it holds {names or 'nothing'}; is this a label file of 300W-LP?")
    value = label[name]
    if value is None:
        raise DataError(f"{file}: {name} holds no real numbers, expected {shape} of them")
    if value.shape != shape:
        raise DataError(f"{file}: {name} has shape {value.shape}, expected {shape}")
    return value
