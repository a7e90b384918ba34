"""Tests of the COFW reader, on MATLAB v7.3 files written field by field."""

import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from lightmark.data.formats.cofw import read_cofw
from lightmark.data.sample import load_image
from lightmark.errors import DataError, MissingExtraError
from lightmark.schema import COFW29


def write_cofw(path: Path, pictures: list[np.ndarray], phis: np.ndarray, boxes: np.ndarray, suffix: str) -> Path:
    """Write as MATLAB does: arrays transposed, a cell array as references into #refs#, 512 bytes of text in front."""
    with h5py.File(path, "w", userblock_size=512) as file:
        references = np.empty((1, len(pictures)), dtype=h5py.ref_dtype)
        for i, picture in enumerate(pictures):
            stored = file.create_dataset(f"#refs#/{i}", data=picture.T)
            references[0, i] = stored.ref
        file.create_dataset(f"Is{suffix}", data=references, dtype=h5py.ref_dtype)
        file.create_dataset(f"phis{suffix}", data=phis.T)
        file.create_dataset(f"bboxes{suffix}", data=boxes.T)
    with path.open("r+b") as stream:
        stream.write(b"MATLAB 7.3 MAT-file, Platform: PCWIN64")
    return path


@pytest.fixture
def colour() -> np.ndarray:
    """A picture (H, W, 3) whose height, width and planes cannot be mistaken for one another."""
    return np.arange(5 * 7 * 3, dtype=np.uint8).reshape(5, 7, 3)


@pytest.fixture
def phis() -> np.ndarray:
    """Labels of two faces: x 1 to 29, y 101 to 129, every third point covered; then the same a pixel on."""
    row = np.concatenate([np.arange(1, 30), np.arange(101, 130), np.arange(29) % 3 == 0])
    return np.stack([row, row + np.repeat([1, 0], [58, 29])]).astype(np.float64)


@pytest.fixture
def boxes() -> np.ndarray:
    """Left, top, width, height of two faces, counted from 1."""
    return np.array([[1.0, 2, 30, 40], [11, 12, 30, 40]])


def test_training_file_is_read_field_by_field(tmp_path, colour, phis, boxes):
    """Points and box are counted from 0, occlusion flags set, pictures turned back."""
    grey = np.arange(20, dtype=np.uint8).reshape(4, 5)
    faces = read_cofw(write_cofw(tmp_path / "COFW_train_color.mat", [colour, grey], phis, boxes, "Tr"))
    first, second = faces
    assert first.schema is COFW29
    assert first.points[0].tolist() == [0, 100]
    assert first.points[28].tolist() == [28, 128]
    assert second.points[0].tolist() == [1, 101]
    assert first.box.tolist() == [0, 100, 28, 128]
    assert first.occluded.tolist() == [i % 3 == 0 for i in range(29)]
    assert first.attributes["rect"] == (0, 1, 30, 41)
    assert first.subsets == {"train"}
    assert first.name != second.name
    assert first.photo != second.photo
    np.testing.assert_array_equal(load_image(first), colour)
    np.testing.assert_array_equal(load_image(second), np.stack([grey] * 3, axis=2))


def test_test_file_has_its_own_names(tmp_path, colour, phis, boxes):
    """The test file's variables are IsT, phisT and bboxesT."""
    (face,) = read_cofw(write_cofw(tmp_path / "COFW_test_color.mat", [colour], phis[:1], boxes[:1], "T"))
    assert face.subsets == {"test"}


def test_variables_of_another_file_are_named(tmp_path):
    """A v7.3 file that is not COFW's is an error that lists its contents."""
    with h5py.File(tmp_path / "a.mat", "w") as file:
        file["weights"] = np.zeros(3)
    with pytest.raises(DataError, match=r"a\.mat: holds weights; expected IsTr, phisTr, bboxesTr or IsT"):
        read_cofw(tmp_path / "a.mat")


def test_labels_of_another_shape_are_named(tmp_path, colour, phis, boxes):
    """Labels that are not 87 numbers a picture are refused."""
    path = write_cofw(tmp_path / "a.mat", [colour, colour], phis[:, :58], boxes, "Tr")
    with pytest.raises(DataError, match=r"phisTr has shape \(58, 2\), expected \(87, 2\)"):
        read_cofw(path)


def test_picture_of_another_type_is_named(tmp_path, colour, phis, boxes):
    """A picture that is not uint8 is refused."""
    path = write_cofw(tmp_path / "a.mat", [colour, colour.astype(float)], phis, boxes, "Tr")
    with pytest.raises(DataError, match=r"picture 1: float64 \(5, 7, 3\), expected uint8"):
        read_cofw(path)


def test_older_matlab_file_is_named(tmp_path):
    """A file that is no HDF5 is refused with its name."""
    (tmp_path / "a.mat").write_bytes(b"MATLAB 5.0 MAT-file")
    with pytest.raises(DataError, match=r"a\.mat: cannot be read as MATLAB v7\.3 \(HDF5\)"):
        read_cofw(tmp_path / "a.mat")


def test_missing_library_gives_the_install_line(tmp_path, monkeypatch):
    """Without h5py the error has the install line."""
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(MissingExtraError, match=r'a\.mat: reading it needs h5py; pip install "lightmark\[train\]"'):
        read_cofw(tmp_path / "a.mat")
