"""Tests of reading whatever a path is."""

from collections import Counter
from pathlib import Path

import pytest
import scipy.io

from lightmark.data.read import read_samples
from lightmark.errors import DataError, NoLabelsError
from lightmark.schema import IBUG68, WFLW98


def write_pts(path: Path, count: int = 68) -> None:
    """A `.pts` file of bare numbers."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{i} {i * i % 7}\n" for i in range(1, count + 1)))


def test_tree_may_mix_formats(tmp_path):
    """A folder with `.pts` files and a table gives the faces of both."""
    write_pts(tmp_path / "a" / "one.pts")
    (tmp_path / "mine.csv").write_text(",0,1,2,3\nb.jpg,1,2,3,4\n")
    assert Counter(face.schema.name for face in read_samples(tmp_path)) == {"ibug68": 1, "points2": 1}


def test_matlab_files_of_other_kinds_in_a_folder_are_passed_over(tmp_path):
    """A folder of 300W-LP holds `.mat` files that are no labels: only those with its names are read."""
    write_pts(tmp_path / "one.pts")
    (tmp_path / "Model_Expression.mat").write_bytes(b"MATLAB 5.0 MAT-file")
    assert len(read_samples(tmp_path)) == 1


@pytest.mark.parametrize("start", [b"MATLAB 7.3 MAT-file", b"\x89HDF\r\n\x1a\n"])
def test_new_matlab_file_is_taken_for_cofw(tmp_path, start):
    """A `.mat` file of version 7.3 goes to the COFW reader, alone or found in a folder."""
    (tmp_path / "COFW_train_color.mat").write_bytes(start)
    for path in (tmp_path, tmp_path / "COFW_train_color.mat"):
        with pytest.raises(DataError, match=r"cannot be read as MATLAB v7\.3 \(HDF5\)"):
            read_samples(path)


def test_old_matlab_file_is_taken_for_300w_lp(tmp_path):
    """A `.mat` file of version 5 goes to the 300W-LP reader, alone or found in a folder by its name."""
    scipy.io.savemat(tmp_path / "AFW_134212_1_0.mat", {"a": 1})
    for path in (tmp_path, tmp_path / "AFW_134212_1_0.mat"):
        with pytest.raises(DataError, match="no pt2d; it holds a"):
            read_samples(path)


def test_json_is_taken_for_coco(tmp_path):
    """A `.json` file goes to the COCO reader, alone or found in a folder."""
    (tmp_path / "faces.json").write_text("{}")
    for path in (tmp_path, tmp_path / "faces.json"):
        with pytest.raises(DataError, match="expected COCO's images, annotations, categories"):
            read_samples(path)


@pytest.mark.parametrize(
    ("name", "content"),
    [("settings.json", '{"a": 1}'), ("list.json", "[1]"), ("loss.csv", "epoch,loss\n1,2\n"), ("a.csv", "1,2\n")],
)
def test_stray_file_in_a_folder_is_named_and_passed_over(tmp_path, caplog, name, content):
    """Settings and tables of something else stop nothing; read alone they are an error."""
    write_pts(tmp_path / "one.pts")
    (tmp_path / name).write_text(content)
    assert len(read_samples(tmp_path)) == 1
    (record,) = caplog.records
    assert record.getMessage().startswith(str(tmp_path / name))
    assert record.getMessage().endswith("; passed over")
    with pytest.raises(NoLabelsError, match=name):
        read_samples(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "content"), [("a.csv", "file,x0,y0\na.jpg,1\n"), ("a.json", '{"images": ['), ("b.pts", "1 x\n")]
)
def test_broken_label_file_in_a_folder_is_an_error(tmp_path, name, content):
    """It is an error, since training or evaluation on the rest would go unnoticed."""
    write_pts(tmp_path / "one.pts")
    (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match=name):
        read_samples(tmp_path)


def test_subset_is_kept(tmp_path):
    """Only the faces of the subset are returned."""
    write_pts(tmp_path / "ibug" / "image_003_1.pts")
    write_pts(tmp_path / "afw" / "1_1.pts")
    (face,) = read_samples(tmp_path, subset="challenging")
    assert face.photo == "ibug/image_003"


def test_unknown_subset_is_named_with_those_present(tmp_path):
    """The error lists the subsets that are there, with their counts."""
    write_pts(tmp_path / "ibug" / "image_003_1.pts")
    with pytest.raises(DataError, match=r"no face of subset 'commn'; subsets here: challenging \(1\), full \(1\)"):
        read_samples(tmp_path, subset="commn")


def test_data_without_subsets_is_an_error(tmp_path):
    """Asking for a subset of data that has none is an error."""
    write_pts(tmp_path / "one.pts")
    with pytest.raises(DataError, match="no face of subset 'test'; subsets here: none"):
        read_samples(tmp_path, subset="test")


def test_folder_without_labels_lists_what_was_looked_for(tmp_path):
    """A folder of pictures alone names every format that is read."""
    (tmp_path / "a.jpg").touch()
    with pytest.raises(DataError, match=r"no labelled faces .* looked for \.pts .*WFLW.*COFW.*COCO.*YOLO.*\.csv"):
        read_samples(tmp_path)


def test_unknown_file_lists_the_known_formats(tmp_path):
    """A file of another kind names every format that is read."""
    (tmp_path / "a.txt").write_text("hello")
    with pytest.raises(DataError, match=r"a\.txt: not a format read here; expected \.pts files"):
        read_samples(tmp_path / "a.txt")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.xml", '<annotations><image name="a.jpg"><polygon points="1,2;3,4;5,1"/></image></annotations>'),
        ("a.xml", '<dataset><images><image file="a.jpg"><box top="1" left="1" /></image></images></dataset>'),
        ("a.json", '[{"id": 1, "annotations": [], "data": {"image": "a.jpg"}}]'),
        ("a.json", '{"imagePath": "a.jpg", "shapes": [{"label": "hair", "points": [[1, 2]]}]}'),
    ],
)
def test_file_without_points_is_an_error(tmp_path, name, content):
    """Boxes and polygons of a labelling tool are no faces; nothing would be checked or converted."""
    (tmp_path / name).write_text(content)
    with pytest.raises(NoLabelsError, match=rf"{name}: no labelled point; are its labels boxes or polygons only\?"):
        read_samples(tmp_path / name)


def test_missing_path_is_named(tmp_path):
    """A path that is not there is named."""
    with pytest.raises(DataError, match="nowhere: no such file or folder"):
        read_samples(tmp_path / "nowhere")


def test_schema_must_fit_a_fixed_format_too(real_data):
    """WFLW has 98 points whatever schema is passed."""
    with pytest.raises(DataError, match=r"98 points, ibug68 needs 68; a wflw98 file\?"):
        read_samples(real_data / "wflw", schema=IBUG68)
    assert len(read_samples(real_data / "wflw", schema=WFLW98)) == 98


def test_real_data_is_read_as_one_tree(real_data):
    """Every labelled face of every set is found, and each has a name of its own."""
    faces = read_samples(real_data)
    assert Counter(face.schema.name for face in faces) == {
        "ibug68": 2012 + 689 + 1011 + 3462 + 770,
        "points86": 825 + 549,
        "cofw29": 348,
        "wflw98": 98,
    }
    assert len({face.name for face in faces}) == len(faces)


@pytest.mark.parametrize(("subset", "count"), [("common", 554), ("challenging", 135), ("full", 689), ("train", 2012)])
def test_real_300w_subsets(real_data, subset, count):
    """The official subsets have the faces the data's description states."""
    assert len(read_samples(real_data / "300w", subset=subset)) == count
