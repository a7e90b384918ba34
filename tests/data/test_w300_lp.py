"""Tests of the 300W-LP reader, on `.mat` files written field by field."""

from pathlib import Path

import numpy as np
import pytest
import scipy.io

from lightmark.data.formats.w300_lp import read_300w_lp_file
from lightmark.data.read import read_samples
from lightmark.errors import DataError
from lightmark.schema import IBUG68


def write_label(folder: Path, name: str = "AFW_134212_1_0", **variables: np.ndarray) -> Path:
    """A label file with pt2d x 1 to 68, y 101 to 168, and a pose of 0.1, −0.5, 0.2 rad, as 300W-LP stores them."""
    folder.mkdir(parents=True, exist_ok=True)
    points = np.stack([np.arange(1, 69), np.arange(101, 169)]).astype(np.float64)
    pose = np.array([[0.1, -0.5, 0.2, 200.0, 250.0, -60.0, 0.001]])
    scipy.io.savemat(folder / f"{name}.mat", {"pt2d": points, "Pose_Para": pose} | variables)
    return folder / f"{name}.mat"


def write_turned_points(root: Path, name: str, shift: float = 0.0) -> None:
    """The points after the rotation, from 300W-LP's landmark files."""
    folder = root / "landmarks" / name.partition("_")[0]
    folder.mkdir(parents=True, exist_ok=True)
    points = np.stack([np.arange(68), np.arange(68)], axis=1) + shift
    scipy.io.savemat(folder / f"{name}_pts.mat", {"pts_2d": points, "pts_3d": points + 7})


def test_label_is_read_field_by_field(tmp_path):
    """Points are counted from 0, the pose is in degrees, the picture lies beside the label."""
    write_label(tmp_path / "AFW")
    (tmp_path / "AFW" / "AFW_134212_1_0.jpg").touch()
    (face,) = read_samples(tmp_path)
    assert face.points[0].tolist() == [0, 100]
    assert face.points[67].tolist() == [67, 167]
    assert face.box.tolist() == [0, 100, 67, 167]
    assert face.schema is IBUG68
    assert face.path == tmp_path / "AFW" / "AFW_134212_1_0.jpg"
    assert face.photo == "afw/134212"
    assert face.subsets == {"train", "300w_lp"}
    assert face.attributes == pytest.approx({"pitch": 5.7296, "yaw": -28.6479, "roll": 11.4592}, abs=1e-4)


def test_turned_face_has_the_points_after_the_turn(tmp_path):
    """For turned copies pt2d is the unturned face, so the points come from the folder landmarks."""
    path = write_label(tmp_path / "AFW", "AFW_134212_1_12")
    write_turned_points(tmp_path, "AFW_134212_1_12", shift=11)
    face = read_300w_lp_file(path)
    assert face.points[0].tolist() == [10, 10]
    assert face.points[67].tolist() == [77, 77]


def test_turned_face_without_its_points_is_named(tmp_path):
    """An error names the files to unpack, instead of the wrong points of pt2d."""
    path = write_label(tmp_path / "AFW", "AFW_134212_1_12")
    with pytest.raises(DataError, match=r"AFW_134212_1_12\.mat: pt2d of a turned face .* unpack the folder landmarks"):
        read_300w_lp_file(path)


def test_mirror_images_and_landmarks_are_no_labels(tmp_path):
    """Neither the folders ..._Flip nor the files under landmarks/ are faces of their own."""
    write_label(tmp_path / "AFW")
    write_label(tmp_path / "AFW_Flip")
    write_turned_points(tmp_path, "AFW_134212_1_0")
    assert len(read_samples(tmp_path)) == 1


def test_missing_variable_is_named(tmp_path):
    """A .mat file without pt2d is an error that lists its variables."""
    scipy.io.savemat(tmp_path / "AFW_134212_1_0.mat", {"Tex_Para": np.zeros(3)})
    with pytest.raises(DataError, match=r"no pt2d; it holds Tex_Para; is this a label file of 300W-LP\?"):
        read_samples(tmp_path)


def test_variable_of_another_shape_is_named(tmp_path):
    """A variable of another shape, such as AFLW's 21 points, raises an error that names it."""
    write_label(tmp_path, pt2d=np.zeros((2, 21)))
    with pytest.raises(DataError, match=r"pt2d has shape \(2, 21\), expected \(2, 68\)"):
        read_samples(tmp_path)


def test_cut_file_is_named(tmp_path):
    """A file that ends too early is named."""
    path = write_label(tmp_path)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(DataError, match=r"AFW_134212_1_0\.mat: cannot be read as a MATLAB 5 file"):
        read_samples(tmp_path)
