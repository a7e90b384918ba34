"""Tests of the WFLW reader, on lists written field by field."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from lightmark.data.read import read_samples
from lightmark.data.sample import load_image
from lightmark.errors import DataError
from lightmark.schema import WFLW98

FOLDER = Path("WFLW_annotations", "list_98pt_rect_attr_train_test")


def line(shift: float = 0.0, rect: str = "10 20 110 140", flags: str = "0 0 0 0 0 0", name: str = "a/b.jpg") -> str:
    """One line as WFLW publishes it."""
    coordinates = " ".join(f"{shift + i:.6f} {shift + 2 * i:.6f}" for i in range(98))
    return f"{coordinates} {rect} {flags} {name}"


def write_list(root: Path, part: str, *lines: str) -> Path:
    """A list of WFLW's in its official place."""
    path = root / FOLDER / f"list_98pt_rect_attr_{part}.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")
    return path


def test_line_is_read_field_by_field(tmp_path):
    """Coordinates, box, attributes and picture name go where they belong."""
    write_list(tmp_path, "test", line(0.5, "10 20 110 140", "1 0 0 1 0 0", "37--Soccer/x.jpg"))
    (face,) = read_samples(tmp_path)
    assert face.points[:2].tolist() == [[0.5, 0.5], [1.5, 2.5]]
    assert face.box.tolist() == [0.5, 0.5, 97.5, 194.5]
    assert face.schema is WFLW98
    assert face.path == tmp_path / "WFLW_images" / "37--Soccer" / "x.jpg"
    assert face.photo == "wflw/37--Soccer/x.jpg"
    assert face.attributes["rect"] == (10, 20, 110, 140)
    assert face.attributes["make-up"] is True
    assert face.attributes["blur"] is False
    assert face.subsets == {"test", "pose", "make-up"}


def test_attributes_name_no_subsets_of_the_training_list(tmp_path):
    """The six subsets are test subsets: a training face in profile is not in "pose"."""
    write_list(tmp_path, "train", line(flags="1 1 1 1 1 1"))
    (face,) = read_samples(tmp_path)
    assert face.subsets == {"train"}
    assert face.attributes["pose"] is True


def test_faces_of_one_picture_have_names_of_their_own(tmp_path):
    """Faces of one picture have different indices."""
    write_list(tmp_path, "test", line(name="a.jpg"), line(3, name="b.jpg"), line(5, name="a.jpg"))
    faces = read_samples(tmp_path)
    assert [face.attributes["index"] for face in faces] == [0, 0, 1]
    assert len({face.name for face in faces}) == 3


def test_both_lists_are_read(tmp_path):
    """The folder's two lists make the two subsets."""
    write_list(tmp_path, "train", line(name="a.jpg"), line(name="b.jpg"))
    write_list(tmp_path, "test", line(name="c.jpg"))
    assert Counter(name for face in read_samples(tmp_path) for name in face.subsets) == {"train": 2, "test": 1}


def test_line_of_another_length_is_named(tmp_path):
    """The lists without box and attributes have fewer fields."""
    write_list(tmp_path, "test", line(), "1 2 3 a.jpg")
    with pytest.raises(DataError, match=r"test\.txt: line 2: got 4 fields, expected 207 .*without box and"):
        read_samples(tmp_path)


def test_word_among_the_numbers_is_named(tmp_path):
    """A field that is no number is quoted."""
    write_list(tmp_path, "test", line().replace("0.000000", "zero", 1))
    with pytest.raises(DataError, match=r"line 1: got 207 fields, .*; 'zero' is no number"):
        read_samples(tmp_path)


def test_attribute_that_is_no_flag_is_named(tmp_path):
    """Attributes are 0 or 1."""
    write_list(tmp_path, "test", line(flags="0 0 2 0 0 0"))
    with pytest.raises(DataError, match=r"line 1: got attributes .*2\.0.* expected six of 0 or 1"):
        read_samples(tmp_path)


def test_list_without_boxes_is_read(tmp_path):
    """list_98pt_test_largepose.txt has 196 numbers and a name, which may have spaces; its name gives the subsets."""
    path = tmp_path / "WFLW_annotations" / "list_98pt_test" / "list_98pt_test_largepose.txt"
    path.parent.mkdir(parents=True)
    path.write_text(" ".join([str(i) for i in range(196)] + ["7--Cheering/7 Cheering 2 a.jpg"]) + "\n")
    (face,) = read_samples(path)
    assert face.points[-1].tolist() == [194, 195]
    assert face.path == tmp_path / "WFLW_images" / "7--Cheering" / "7 Cheering 2 a.jpg"
    assert (face.subsets, dict(face.attributes)) == ({"test", "pose"}, {"index": 0})


def test_name_with_spaces_is_read_from_a_list_with_boxes(tmp_path):
    """What follows the 206 numbers is the name."""
    write_list(tmp_path, "test", line(name="0--Parade/0 Parade 12.jpg"))
    assert read_samples(tmp_path)[0].path == tmp_path / "WFLW_images" / "0--Parade" / "0 Parade 12.jpg"


def test_faces_of_several_lists_are_read_once(tmp_path):
    """The folder holds the test faces up to eight times: with boxes, without, and in the lists of the subsets."""
    write_list(tmp_path, "test", line(name="a.jpg"))
    plain = " ".join([*line(name="a.jpg").split()[:196], "a.jpg"]) + "\n"
    for name in ("list_98pt_test.txt", "list_98pt_test_blur.txt", "list_98pt_train.txt"):
        path = tmp_path / "WFLW_annotations" / "list_98pt_test" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(plain)
    assert Counter(name for face in read_samples(tmp_path) for name in face.subsets) == {"test": 1, "train": 1}


def test_real_wflw_faces(real_data):
    """98 faces in 87 pictures, every picture there, every point in or near it."""
    faces = read_samples(real_data / "wflw")
    assert len(faces) == 98
    assert len({face.photo for face in faces}) == 87
    assert len({face.name for face in faces}) == 98
    for face in faces:
        height, width, _ = load_image(face).shape
        assert (face.points > -20).all()
        assert (face.points < np.array([width, height]) + 20).all()
