"""Tests of the wide CSV reader."""

from collections import Counter

import pytest

from lightmark.data.wide_csv import read_csv
from lightmark.errors import DataError
from lightmark.schema import IBUG68


def test_row_is_read_field_by_field(tmp_path):
    """A row is a file name, then x and y of each point, counted from 0; the header only tells how many."""
    (tmp_path / "mine.csv").write_text(",0,1,2,3\na.jpg,1.5,2,10,20\n\n")
    (face,) = read_csv(tmp_path / "mine.csv")
    assert face.points.tolist() == [[1.5, 2.0], [10.0, 20.0]]
    assert face.box.tolist() == [1.5, 2.0, 10.0, 20.0]
    assert face.schema.name == "points2"
    assert face.path == tmp_path / "a.jpg"
    assert face.name == (tmp_path / "a.jpg").as_posix()


def test_pictures_lie_in_the_folder_the_name_begins_with(tmp_path):
    """training_frames_keypoints.csv is about training/, and its frames are grouped by person."""
    (tmp_path / "training").mkdir()
    (tmp_path / "training_frames_keypoints.csv").write_text(",0,1,2,3\nJames_Wolfensohn_00.jpg,1,2,3,4\n")
    (face,) = read_csv(tmp_path / "training_frames_keypoints.csv")
    assert face.path == tmp_path / "training" / "James_Wolfensohn_00.jpg"
    assert face.photo == "ytf/James_Wolfensohn"
    assert face.subsets == {"train"}


def test_rows_of_one_picture_are_numbered(tmp_path):
    """Two faces of a picture have two names, a face alone in its picture keeps the plain one."""
    (tmp_path / "mine.csv").write_text(",0,1,2,3\na.jpg,1,2,3,4\nb.jpg,1,2,3,4\na.jpg,5,6,7,8\n")
    assert [face.attributes.get("index") for face in read_csv(tmp_path / "mine.csv")] == [0, None, 1]


def test_schema_must_fit(tmp_path):
    """A schema of another size is refused with the file's name."""
    (tmp_path / "mine.csv").write_text(",0,1,2,3\na.jpg,1,2,3,4\n")
    with pytest.raises(DataError, match=r"mine\.csv: 2 points, ibug68 needs 68"):
        read_csv(tmp_path / "mine.csv", IBUG68)


def test_short_row_is_named(tmp_path):
    """A row shorter than the header is named with its line."""
    (tmp_path / "mine.csv").write_text(",0,1,2,3\na.jpg,1,2,3,4\nb.jpg,1,2,3\n")
    with pytest.raises(DataError, match=r"mine\.csv: line 3: got 4 columns, wanted 5 as in the header"):
        read_csv(tmp_path / "mine.csv")


def test_word_among_the_numbers_is_named(tmp_path):
    """A cell that is no number is quoted with its line."""
    (tmp_path / "mine.csv").write_text(",0,1,2,3\na.jpg,1,2,3,\n")
    with pytest.raises(DataError, match=r"line 2: could not convert string to float: ''; wanted 4 numbers after"):
        read_csv(tmp_path / "mine.csv")


def test_other_table_is_named(tmp_path):
    """A header with an even number of columns cannot be a name and pairs."""
    (tmp_path / "mine.csv").write_text("epoch,loss\n1,2\n")
    with pytest.raises(DataError, match=r"line 1: got 2 columns, wanted .* an odd number from 5 on"):
        read_csv(tmp_path / "mine.csv")


@pytest.mark.parametrize(("text", "error"), [("", "empty; wanted a header row"), (",0,1,2,3\n", "no face below")])
def test_empty_table_is_named(tmp_path, text, error):
    """A file without rows is an error, not an empty data set."""
    (tmp_path / "mine.csv").write_text(text)
    with pytest.raises(DataError, match=error):
        read_csv(tmp_path / "mine.csv")


def test_real_ytf_faces(real_data):
    """3462 and 770 frames of the same 347 people, all with 68 points and their pictures there."""
    parts = [read_csv(real_data / "ytf68" / f"{part}_frames_keypoints.csv") for part in ("training", "test")]
    assert [len(part) for part in parts] == [3462, 770]
    train, test = ({face.photo for face in part} for part in parts)
    assert train == test
    assert len(train) == 347
    faces = [face for part in parts for face in part]
    assert Counter(face.schema.name for face in faces) == {"ibug68": 3462 + 770}
    assert all(face.path.is_file() for face in faces)
