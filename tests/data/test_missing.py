"""Missing points from every label format to the crops that training sees."""

from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import scipy.io

from lightmark.data.crops.augment import Augmentation
from lightmark.data.crops.dataset import CropDataset, Key
from lightmark.data.formats.cofw import read_cofw
from lightmark.data.formats.pts import read_pts
from lightmark.data.formats.w300_lp import read_300w_lp_file
from lightmark.data.formats.wflw import read_wflw_list
from lightmark.data.formats.wide_csv import read_csv
from lightmark.data.missing import missing_as_nan, with_normaliser
from lightmark.data.sample import Sample
from lightmark.data.synthetic import synthetic_samples
from lightmark.errors import DataError
from lightmark.geometry import labelled, tight_box
from lightmark.schema import IBUG68
from lightmark.spec import ModelSpec

MARKS = pytest.mark.parametrize("mark", [-1.0, 0.0, np.nan])


def without(sample: Sample, *indices: int) -> Sample:
    """The face with these points missing."""
    points = sample.points.copy()
    points[list(indices)] = np.nan
    return replace(sample, points=points, box=tight_box(points))


def row_of(count: int, mark: float) -> np.ndarray:
    """Points (count, 2) of a file, all labelled but number 1."""
    points = np.stack([np.arange(count) + 10.5, np.arange(count) * 2 + 20.5], axis=1)
    points[1] = mark
    return points


def require_second_missing(points: np.ndarray) -> None:
    assert np.flatnonzero(~labelled(points)).tolist() == [1]
    assert np.isnan(points[1]).all()


@MARKS
def test_pts_marks_are_missing_points(tmp_path, mark):
    """In the file's own numbers, which count from 1; (1, 1), the first pixel, is a point."""
    (tmp_path / "a.pts").write_text(f"1 1\n{mark} {mark}\n0 5\n-1 5\n")
    np.testing.assert_array_equal(read_pts(tmp_path / "a.pts"), [[0, 0], [np.nan, np.nan], [-1, 4], [-2, 4]])


@MARKS
def test_wflw_marks_are_missing_points(tmp_path, mark):
    """Coordinates of a list are unchanged, except for missing values."""
    path = tmp_path / "WFLW_annotations" / "x" / "list_98pt_rect_attr_test.txt"
    path.parent.mkdir(parents=True)
    numbers = " ".join(map(str, row_of(98, mark).ravel()))
    path.write_text(f"{numbers} 1 2 3 4 0 0 0 0 0 0 a.jpg\n")
    (face,) = read_wflw_list(path)
    require_second_missing(face.points)
    assert face.box.tolist() == [10.5, 20.5, 107.5, 214.5]


@MARKS
def test_cofw_marks_are_missing_points(tmp_path, mark):
    """Points are marked in the file's own numbers, before one is taken off."""
    phis = np.concatenate([*row_of(29, mark).T, np.zeros(29)])[:, None]
    with h5py.File(tmp_path / "COFW_test_color.mat", "w") as file:
        stored = file.create_dataset("#refs#/0", data=np.zeros((3, 5, 4), np.uint8))
        references = np.array([[stored.ref]], dtype=h5py.ref_dtype)
        file.create_dataset("IsT", data=references, dtype=h5py.ref_dtype)
        file.create_dataset("phisT", data=phis)
        file.create_dataset("bboxesT", data=np.ones((4, 1)))
    (face,) = read_cofw(tmp_path / "COFW_test_color.mat")
    require_second_missing(face.points)
    assert face.points[0].tolist() == [9.5, 19.5]


@MARKS
def test_300w_lp_marks_are_missing_points(tmp_path, mark):
    """AFLW2000-3D, which has the same files, writes -1 for hidden points."""
    pose = np.zeros((1, 7))
    scipy.io.savemat(tmp_path / "AFW_134212_1_0.mat", {"pt2d": row_of(68, mark).T, "Pose_Para": pose})
    require_second_missing(read_300w_lp_file(tmp_path / "AFW_134212_1_0.mat").points)


@pytest.mark.parametrize("cells", ["-1,-1", "0,0", "nan,NaN", ",", " , "])
def test_csv_marks_are_missing_points(tmp_path, cells):
    """Empty cells, as spreadsheets and pandas write them, are missing values as well."""
    (tmp_path / "mine.csv").write_text(f",0,1,2,3,4,5\na.jpg,0,7,{cells},8,9\n")
    (face,) = read_csv(tmp_path / "mine.csv")
    np.testing.assert_array_equal(face.points, [[0, 7], [np.nan, np.nan], [8, 9]])


def test_one_coordinate_equal_to_the_missing_value_is_a_coordinate():
    """Only both coordinates together mark a missing point."""
    points = np.array([[0.0, 3.0], [-1.0, 0.0], [0.0, -1.0], [3.0, -1.0]])
    assert np.array_equal(missing_as_nan(points), points)


def test_faces_without_the_normaliser_are_not_judged():
    """The others stay, in order; where none is left the points are named."""
    faces = synthetic_samples(3, seed=1, size=64)
    lacking = without(faces[1], 45)
    assert with_normaliser([faces[0], lacking, faces[2]]) == [faces[0], faces[2]]
    with pytest.raises(DataError, match=r"000001\.png: of 1 faces .* point 36 and point 45 labelled"):
        with_normaliser([lacking])


def test_crops_frame_the_labelled_points_and_mirror_the_missing_ones():
    """A missing jaw narrows the crop; a mirrored crop lacks the mirror partner, and the pixels are no others."""
    (face,) = synthetic_samples(1, seed=2, size=96)
    lacking = without(face, 17, 40)
    spec, mirrored = ModelSpec(IBUG68, 32), replace(Augmentation(), mirror=1.0)
    whole, part = (CropDataset([one], [one.points], spec, mirrored, 3)[Key(0, 0)] for one in (face, lacking))
    gone = [i for i in range(68) if IBUG68.mirror[i] in (17, 40)]
    assert part.points.isnan().all(dim=-1).nonzero().ravel().tolist() == sorted(gone)
    kept = [i for i in range(68) if i not in gone]
    assert np.array_equal(part.points[kept], whole.points[kept])  # 17 and 40 lie inside the box
    assert np.array_equal(part.crops, whole.crops)
    jawless = without(face, *range(17))
    np.testing.assert_array_equal(jawless.box, tight_box(face.points[17:]))
    assert Path(jawless.name) == Path(face.name)
