"""Tests of the reader of JD-landmark and LaPa, on files of their format."""

import pytest

from lightmark.data.read import read_samples
from lightmark.errors import DataError


@pytest.mark.parametrize(
    ("label", "picture"),
    [("landmark/AFW_1.jpg.txt", "picture/AFW_1.jpg"), ("train/landmarks/1_0.txt", "train/images/1_0.jpg")],
)
def test_file_is_read_field_by_field(tmp_path, label, picture):
    """The number of points, then x and y from 0; the picture is in the folder beside that of the labels."""
    for name in (label, picture):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / picture).touch()
    (tmp_path / label).write_text("106\n" + "".join(f"{i}.5 {2 * i}\n" for i in range(106)))
    (tmp_path / "README.txt").write_text("Faces\n106 points each\n")
    (face,) = read_samples(tmp_path)
    assert (face.schema.size, face.points[3].tolist()) == (106, [3.5, 6])
    assert face.path == tmp_path / picture


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("3\n1 2\n3 4\n", "line 1 says '3', 2 points follow"),
        ("2\n1 2\n3 4 5\n", "line 3: got '3 4 5', expected two numbers"),
        ("2\n1 2\n3 inf\n", "an infinite number"),
    ],
)
def test_broken_file_is_named(tmp_path, content, text):
    """The line is in the sentence."""
    (tmp_path / "a.txt").write_text(content)
    with pytest.raises(DataError, match=rf"a\.txt: {text}"):
        read_samples(tmp_path)
