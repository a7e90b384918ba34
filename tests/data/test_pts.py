"""Tests of `.pts` reading."""

from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest

from lightmark.data.formats.pts import read_pts, read_pts_tree
from lightmark.data.sample import load_image
from lightmark.errors import DataError, ImageError
from lightmark.schema import COFW29, IBUG68, WFLW98


def write_points(path: Path, count: int = 68, shift: float = 0.0) -> Path:
    """A .pts file with the usual header and `count` points from (1, 2) on, as 300W writes it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [f"{1 + i + shift:.3f} {2 + i * i % 7:.3f}" for i in range(count)]
    path.write_text("version: 1\nn_points:  " + str(count) + "\n{\n" + "\n".join(lines) + "\n}\n")
    return path


def test_file_counts_from_1_and_points_from_0(tmp_path):
    """The top-left pixel centre, (1, 1) in the file, is (0, 0) in memory."""
    path = tmp_path / "a.pts"
    path.write_text("version: 1\nn_points: 2\n{\n1 1\n10.5 21.25\n}\n")
    assert read_pts(path).tolist() == [[0.0, 0.0], [9.5, 20.25]]
    assert read_pts(path).dtype == np.float64


def test_bare_numbers_are_read_too(tmp_path):
    """A file without header gives the same points as one with it."""
    path = tmp_path / "a.pts"
    path.write_text("1 1\n10.5\t21.25\n\n")
    assert read_pts(path).tolist() == [[0.0, 0.0], [9.5, 20.25]]


def test_windows_line_ends_and_byte_order_mark_are_read(tmp_path):
    """Files saved by Windows editors are read."""
    path = tmp_path / "a.pts"
    path.write_bytes(b"\xef\xbb\xbfversion: 1\r\nn_points: 1\r\n{\r\n3 4\r\n}\r\n")
    assert read_pts(path).tolist() == [[2.0, 3.0]]


@pytest.mark.parametrize("line", ["3,5 4", "3", "3 4 5", "x y"])
def test_bad_line_is_named(tmp_path, line):
    """A line that is no point is named with its number, text and what was expected."""
    path = tmp_path / "a.pts"
    path.write_text(f"version: 1\nn_points: 2\n{{\n1 1\n{line}\n}}\n")
    with pytest.raises(DataError, match=rf"a\.pts: line 5: got '{line}', expected two numbers `x y`.*correct the line"):
        read_pts(path)


def test_cut_file_is_named(tmp_path):
    """Fewer points than n_points are an error, not a smaller face."""
    path = tmp_path / "a.pts"
    path.write_text("version: 1\nn_points: 3\n{\n1 1\n2 2\n")
    with pytest.raises(DataError, match=r"a\.pts: line 2: n_points is 3, but 2 points follow; the file is cut"):
        read_pts(path)


def test_bad_count_is_named(tmp_path):
    """An n_points line without an integer is an error."""
    path = tmp_path / "a.pts"
    path.write_text("version: 1\nn_points: many\n{\n1 1\n}\n")
    with pytest.raises(DataError, match=r"line 2: got 'n_points: many', expected `n_points: 68`"):
        read_pts(path)


def test_empty_file_is_named(tmp_path):
    """An empty file holds no points."""
    (tmp_path / "a.pts").write_text("")
    with pytest.raises(DataError, match=r"a\.pts: no points; expected a line `x y` a point"):
        read_pts(tmp_path / "a.pts")


def test_binary_file_is_named(tmp_path):
    """A file that is no text is named."""
    (tmp_path / "a.pts").write_bytes(b"\xff\xd8\xff\xe0\x00")
    with pytest.raises(DataError, match=r"a\.pts: cannot be read as a \.pts text file"):
        read_pts(tmp_path / "a.pts")


def test_tree_picks_the_schema_by_count(tmp_path):
    """68, 98 and 29 points have their usual schemas, others a plain one."""
    for count in (68, 98, 29, 5):
        write_points(tmp_path / f"{count:03}.pts", count)
    assert [s.schema.name for s in read_pts_tree(tmp_path)] == ["points5", COFW29.name, IBUG68.name, WFLW98.name]


def test_schema_that_does_not_fit_is_named(tmp_path):
    """A file of another number of points than the schema asked for says which schema would fit."""
    write_points(tmp_path / "a.pts", 98)
    with pytest.raises(DataError, match=r"a\.pts: 98 points, ibug68 needs 68; a wflw98 file\? pass that schema"):
        read_pts_tree(tmp_path, IBUG68)


def test_box_is_tight(tmp_path):
    """The box goes from the smallest to the largest coordinate of the points."""
    write_points(tmp_path / "a.pts", 68)
    assert read_pts_tree(tmp_path)[0].box.tolist() == [0.0, 1.0, 67.0, 5.0]


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".JPEG", ".PNG"])
def test_picture_beside_is_found(tmp_path, suffix):
    """The picture may be PNG or JPEG, its suffix in any case."""
    write_points(tmp_path / "a.pts")
    (tmp_path / f"a{suffix}").touch()
    assert read_pts_tree(tmp_path)[0].path == tmp_path / f"a{suffix}"


def test_lossless_picture_is_preferred(tmp_path):
    """Where a picture is there as PNG and JPEG, the PNG is read."""
    write_points(tmp_path / "a.pts")
    for suffix in (".jpg", ".png", ".jpeg"):
        (tmp_path / f"a{suffix}").touch()
    assert read_pts_tree(tmp_path)[0].path.suffix == ".png"


def test_missing_picture_is_an_error_only_when_loaded(tmp_path):
    """A label without its picture is read; loading the picture names it."""
    write_points(tmp_path / "a.pts")
    (sample,) = read_pts_tree(tmp_path)
    with pytest.raises(ImageError, match=r"a\.jpg: no such picture"):
        load_image(sample)


def test_dot_files_are_passed_over(tmp_path):
    """The `._a.pts` that macOS adds to archives is no label."""
    write_points(tmp_path / "a.pts")
    (tmp_path / "._a.pts").write_bytes(b"\x00\x05\x16\x07")
    assert len(read_pts_tree(tmp_path)) == 1


def test_folder_without_labels_is_named(tmp_path):
    """A folder without .pts files is an error, as is one that is not there."""
    with pytest.raises(DataError, match=r"no \.pts file in this folder or below; was the archive unpacked"):
        read_pts_tree(tmp_path)
    with pytest.raises(DataError, match="nowhere: no such folder"):
        read_pts_tree(tmp_path / "nowhere")


def test_subsets_are_found_from_a_subfolder(tmp_path, monkeypatch):
    """The official subset is known even where the root is the folder itself, given relative."""
    write_points(tmp_path / "lfpw" / "testset" / "image_0001.pts")
    monkeypatch.chdir(tmp_path / "lfpw" / "testset")
    (sample,) = read_pts_tree(".")
    assert sample.subsets == {"test", "common", "full", "lfpw"}
    assert sample.photo == "lfpw/testset/image_0001"


def test_real_300w_counts(real_data):
    """Every face of the real tree is read, its official subsets complete where they are complete."""
    samples = read_pts_tree(real_data / "300w")
    counts = Counter(subset for sample in samples for subset in sample.subsets)
    assert counts == {
        "train": 805 + 870 + 337,
        "test": 689,
        "full": 689,
        "common": 224 + 330,
        "lfpw": 224,
        "helen": 330,
        "challenging": 135,
        "ibug": 135,
        "repeats-test": 3,
    }


def test_real_300w_train_and_test_share_no_photograph(real_data):
    """No source photograph lies on both sides of the official split."""
    samples = read_pts_tree(real_data / "300w")
    sides = [{s.photo for s in samples if side in s.subsets} for side in ("train", "test")]
    assert not sides[0] & sides[1]


def test_real_300w_lp_photographs_are_afw_photographs(real_data):
    """Every turned AFW face is known to come from its AFW photograph."""
    turned = read_pts_tree(real_data / "300w_lp")
    assert len(turned) == 1011
    assert {s.photo for s in turned} <= {s.photo for s in read_pts_tree(real_data / "300w" / "afw")}


def test_real_helen29_photographs_are_known_in_300w(real_data):
    """234 of the 348 faces with 29 points lie in the HELEN part of 300W's training set, none in its test set."""
    faces = read_pts_tree(real_data / "helen29")
    assert {s.schema.name for s in faces} == {COFW29.name}
    train = {s.path.stem for s in read_pts_tree(real_data / "300w/helen/trainset")}
    test = {s.photo for s in read_pts_tree(real_data / "300w/helen/testset")}
    assert sum(s.path.stem in train for s in faces) == 234
    assert not {s.photo for s in faces} & test


def test_real_scut86_has_a_plain_schema(real_data):
    """86 points have no schema of their own; the two folders are the subsets."""
    samples = read_pts_tree(real_data / "scut86")
    assert {s.schema.name for s in samples} == {"points86"}
    assert Counter(name for s in samples for name in s.subsets) == {"train": 825, "test": 549}


@pytest.mark.parametrize(
    ("label", "picture"),
    [
        ("annotations/a.pts", "images/a.png"),
        ("landmarks/p/q/a.pts", "pictures/p/q/a.jpg"),
        ("set/pts/a.pts", "set/cropped_imgs/a.JPG"),
    ],
)
def test_pictures_may_lie_in_a_folder_of_their_own(tmp_path, label, picture):
    """A folder of labels has the pictures in the folder beside it, with the same folders below."""
    for name in (label, picture):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / label).write_text("1 2\n3 4\n")
    (tmp_path / picture).touch()
    (face,) = read_pts_tree(tmp_path)
    assert face.path == tmp_path / picture


def test_picture_of_another_set_is_not_taken(tmp_path):
    """testset/image_0001 is another picture than trainset/image_0001."""
    for name in ("trainset/image_0001.pts", "testset/image_0001.png"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text("1 2\n3 4\n")
    (face,) = read_pts_tree(tmp_path)
    assert face.path == tmp_path / "trainset" / "image_0001.jpg"


def test_frames_of_300_vw_are_read(tmp_path):
    """annot/000002.pts labels the second frame of the video beside annot/; all frames are one photograph."""
    (tmp_path / "300VW" / "001" / "annot").mkdir(parents=True)
    writer = cv2.VideoWriter(str(tmp_path / "300VW/001/vid.avi"), cv2.VideoWriter.fourcc(*"FFV1"), 25, (64, 48))
    for number in range(3):
        writer.write(np.full((48, 64, 3), 50 * number, np.uint8))
        (tmp_path / f"300VW/001/annot/{number + 1:06}.pts").write_text("version: 1\nn_points: 2\n{\n1 2\n3 4\n}\n")
    writer.release()
    faces = read_pts_tree(tmp_path)
    assert [int(np.median(load_image(face))) for face in faces] == [0, 50, 100]
    assert {face.photo for face in faces} == {"300VW/001"}
    assert len({face.name for face in faces}) == 3
    assert faces[0].points.tolist() == [[0, 1], [2, 3]]
