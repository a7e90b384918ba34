"""Tests of the YOLO-pose reader and writer, on label files written as Ultralytics describes them."""

import numpy as np
import pytest
from PIL import Image

from lightmark.data.convert import convert
from lightmark.data.read import read_samples
from lightmark.errors import DataError, ImageError
from lightmark.schema import Schema

YAML = """# faces
path: ../datasets/faces
train: images/train
val: images/val
kpt_shape: [3, 3] # number of keypoints, number of dims
flip_idx: [1, 0, 2]
names:
  0: face
kpt_names:
  0:
    - left
    - right
    - nose
"""


@pytest.fixture
def labels(tmp_path, tiny_picture):
    """Function that writes a label file of a picture of 64 × 48, with data.yaml above if one is given."""

    def write(*lines, yaml=None):
        for folder in ("images/train", "labels/train"):
            (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        Image.fromarray(tiny_picture).save(tmp_path / "images/train/a.png")
        (tmp_path / "labels/train/a.txt").write_text("".join(f"{line}\n" for line in lines))
        if yaml is not None:
            (tmp_path / "data.yaml").write_text(yaml)
        return tmp_path / "labels/train/a.txt"

    return write


def test_line_is_read_field_by_field(tmp_path, labels):
    """Shares of width and height count from the corner of the first pixel; visibility 0 is missing, 1 occluded."""
    path = labels("0 0.5 0.5 0.25 0.5 0.5 0.25 2 0.0078125 0.5 1 0.000000 0.000000 0", yaml=YAML)
    (face,) = read_samples(tmp_path)
    np.testing.assert_array_equal(face.points, [[31.5, 11.5], [0, 23.5], [np.nan, np.nan]])
    assert face.occluded.tolist() == [False, True, False]
    assert face.attributes["rect"] == (23.5, 11.5, 39.5, 35.5)
    assert (face.schema.mirror, face.schema.point_names) == ((1, 0, 2), ("left", "right", "nose"))
    assert (face.path, face.subsets) == (tmp_path / "images/train/a.png", {"train"})
    assert len(read_samples(path)) == 1


def test_number_of_points_is_read_without_yaml(labels):
    """Every third number a visibility, or pairs alone, of which 0 0 is missing."""
    assert read_samples(labels("0 0.5 0.5 0.5 0.5 0.1 0.2 2 0.3 0.4 1"))[0].schema.size == 2
    face = read_samples(labels("0 0.5 0.5 0.5 0.5 0.1 0.2 0 0 0.3 0.4"))[0]
    assert np.isnan(face.points[:, 0]).tolist() == [False, True, False]


def test_block_lists_of_yaml_are_read(tmp_path, labels):
    """A list may have a line an item, as PyYAML writes it."""
    labels("0 .5 .5 .5 .5 .1 .2 .3 .4", yaml="kpt_shape:\n- 2\n- 2\nflip_idx:\n- 1\n- 0\nnames:\n- face\n")
    assert read_samples(tmp_path)[0].schema.mirror == (1, 0)


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("0 .5 .5 .5 .5 .1 .2 2 .3", "line 2: 4 numbers after the box, expected 3 points of 3"),
        ("0 .5 .5 .5 .5 .1 .2 2 .3 .4 x .5 .6 2", "line 2: expected a class, a box and x, y of each point"),
        ("0 .5 .5 .5 .5 0 0 0 0 0 0 0 0 0", "line 2: no point is labelled"),
    ],
)
def test_broken_line_is_named_or_left_out(labels, line, text):
    """The other lines of the file are read."""
    path = labels("0 .5 .5 .5 .5 .1 .2 2 .3 .4 2 .5 .6 2", line, yaml=YAML)
    with pytest.raises(DataError, match=rf"a\.txt: {text}"):
        read_samples(path)
    assert len(read_samples(path, left_out=[])) == 1


def test_missing_picture_is_named(tmp_path, labels):
    """Its size is needed."""
    path = labels("0 .5 .5 .5 .5 .1 .2 2 .3 .4 2 .5 .6 2")
    (tmp_path / "images/train/a.png").unlink()
    with pytest.raises((DataError, ImageError), match=r"a\.jpg: cannot be read"):
        read_samples(path)


def test_conversion_to_yolo_gives_everything_back(tmp_path, labels):
    """Points, flags and schema survive; two faces of a picture share its label file."""
    labels(
        "0 0.5 0.5 0.25 0.5 0.5 0.25 2 0.1 0.5 1 0 0 0", "0 0.5 0.5 0.25 0.5 0.6 0.25 2 0.2 0.5 2 0.3 0.1 2", yaml=YAML
    )
    assert convert(tmp_path, tmp_path / "out", "yolo") == 2
    assert sorted(path.name for path in (tmp_path / "out").rglob("*.*")) == ["a.png", "a.txt", "data.yaml"]
    for face, back in zip(read_samples(tmp_path / "labels"), read_samples(tmp_path / "out"), strict=True):
        np.testing.assert_allclose(back.points, face.points, atol=1e-5)
        np.testing.assert_array_equal(back.occluded, face.occluded)
        assert back.schema == face.schema


def test_point_outside_the_picture_is_written_as_missing(tmp_path, labels):
    """YOLO refuses a picture with coordinates beyond 0 to 1."""
    labels("0 .5 .5 .5 .5 .1 .2 2 1.2 .4 2 .5 .6 2", yaml=YAML)
    convert(tmp_path, tmp_path / "out", "yolo")
    assert np.isnan(read_samples(tmp_path / "out")[0].points[:, 0]).tolist() == [False, True, False]


def test_several_schemas_are_refused(tmp_path, labels):
    """kpt_shape holds for all pictures."""
    labels("0 .5 .5 .5 .5 .1 .2 2 .3 .4 2")
    (tmp_path / "b.csv").write_text("file,x0,y0\nimages/train/a.png,1,2\n")
    with pytest.raises(DataError, match="faces of points1, points2; YOLO-pose holds those of one"):
        convert(tmp_path, tmp_path / "out", "yolo")


def test_given_schema_must_fit(labels):
    """A schema of another size is refused."""
    with pytest.raises(DataError, match="3 points"):
        read_samples(labels("0 .5 .5 .5 .5 .1 .2 2 .3 .4 2 .5 .6 2", yaml=YAML), Schema("two", (0, 1), (0, 1)))


def test_many_points_are_no_wflw_list(labels):
    """A line of 68 points and visibilities begins with more numbers than WFLW's 196."""
    (face,) = read_samples(labels(f"0 0.5 0.5 0.5 0.5{' 0.25 0.5 2' * 68}"))
    assert (face.schema.size, face.points[67].tolist()) == (68, [15.5, 23.5])
