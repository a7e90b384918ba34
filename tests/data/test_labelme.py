"""Tests of the labelme reader, on files written field by field as labelme 5 saves them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lightmark.data.read import read_samples
from lightmark.errors import DataError
from lightmark.schema import IBUG68, Schema


def shape(label: str, x: float, y: float, group: int | None = None, **changes: Any) -> dict[str, Any]:
    """One point with all of labelme's fields."""
    return {
        "label": label, "points": [[x, y]], "group_id": group, "description": "", "shape_type": "point", "flags": {},
        "mask": None,
    } | changes  # fmt: skip


def write(path: Path, *shapes: dict[str, Any], **changes: Any) -> Path:
    """A file of labelme with `shapes`."""
    content = {
        "version": "5.4.1", "flags": {}, "shapes": list(shapes), "imagePath": f"{path.stem}.jpg", "imageData": None,
        "imageHeight": 80, "imageWidth": 100,
    } | changes  # fmt: skip
    path.write_text(json.dumps(content, indent=2))
    return path


def test_points_are_read_field_by_field(tmp_path):
    """A click on the centre of the first pixel is at 0.5, 0.5 in labelme, at 0, 0 here; names are in order."""
    (face,) = read_samples(write(tmp_path / "a.json", shape("right eye", 30.5, 20.25), shape("left eye", 0.5, 0.5)))
    assert face.points.tolist() == [[0, 0], [30, 19.75]]
    assert face.schema.point_names == ("left eye", "right eye")
    assert (face.path, dict(face.attributes)) == (tmp_path / "a.jpg", {"labelled_size": (100, 80)})


def test_files_of_a_folder_share_their_points(tmp_path):
    """A point that one file lacks is missing there, not another point."""
    write(tmp_path / "a.json", shape("nose", 5, 5), shape("chin", 6, 9))
    write(tmp_path / "b.json", shape("nose", 7, 7))
    first, second = read_samples(tmp_path)
    assert first.schema == second.schema
    np.testing.assert_array_equal(second.points, [[np.nan, np.nan], [6.5, 6.5]])


def test_numbers_are_points_in_order(tmp_path):
    """68 points called 0 to 67 are those of 300W."""
    (face,) = read_samples(write(tmp_path / "a.json", *(shape(str(i), i, 2 * i) for i in reversed(range(68)))))
    assert face.schema is IBUG68
    assert face.points[10].tolist() == [9.5, 19.5]


def test_group_id_separates_faces(tmp_path):
    """Each group is a face, and a rectangle of the group is its box; other shapes are passed over."""
    box = shape("face", 0, 0, 1, shape_type="rectangle", points=[[40, 30], [10, 5]])
    hair = shape("hair", 0, 0, None, shape_type="polygon", points=[[1, 1], [2, 2], [3, 1]])
    first, second = read_samples(
        write(tmp_path / "a.json", shape("nose", 5, 5, 1), box, hair, shape("nose", 50, 50, 2))
    )
    assert first.attributes["rect"] == (9.5, 4.5, 39.5, 29.5)
    assert (first.attributes["index"], second.attributes["index"]) == (0, 1)
    assert second.points.tolist() == [[49.5, 49.5]]


def test_rectangle_may_have_four_corners(tmp_path):
    """X-AnyLabeling, which writes labelme's files, gives the corners in turn; the last is not opposite to the first."""
    corners = [[10, 5], [40, 5], [40, 30], [10, 30]]
    box = shape("face", 0, 0, 1, shape_type="rectangle", points=corners)
    (face,) = read_samples(write(tmp_path / "a.json", shape("nose", 15, 15, 1), box))
    assert face.attributes["rect"] == (9.5, 4.5, 39.5, 29.5)


def test_points_follow_the_names_of_a_schema(tmp_path):
    """A schema with names puts the points in its order, and names those that it lacks."""
    schema = Schema("mine", (0, 1, 2), (0, 2), point_names=("nose", "chin", "brow"))
    path = write(tmp_path / "a.json", shape("chin", 5, 6), shape("nose", 1, 2))
    (face,) = read_samples(path, schema)
    np.testing.assert_array_equal(face.points, [[0.5, 1.5], [4.5, 5.5], [np.nan, np.nan]])
    with pytest.raises(DataError, match=r"a\.json: group_id None: point 'ear' is not in schema mine, which has nose"):
        read_samples(write(path, shape("ear", 5, 6)), schema)


@pytest.mark.parametrize(
    ("shapes", "text"),
    [
        ([shape("nose", 1, 1), shape("nose", 9, 9)], "shape 1: label 'nose' is there twice; give the points of each"),
        ([shape("nose", 1, 1), {"label": "chin"}], "shape 1: KeyError: 'points'; expected label and points"),
        ([shape("nose", 1, float("inf"))], "point 'nose' is at 0.5, inf; expected finite numbers"),
    ],
)
def test_broken_shape_is_named_or_left_out(tmp_path, shapes, text):
    """The place is in the sentence, and the other files are read."""
    write(tmp_path / "a.json", *shapes)
    write(tmp_path / "b.json", shape("nose", 7, 7))
    with pytest.raises(DataError, match=text):
        read_samples(tmp_path)
    left_out: list[str] = []
    assert [face.path.name for face in read_samples(tmp_path, left_out=left_out)] == ["b.jpg"]
    assert text in left_out[0]


def test_windows_path_leads_to_the_picture(tmp_path):
    """imagePath keeps the labeller's folders, with backslashes."""
    (tmp_path / "a.jpg").touch()
    path = write(tmp_path / "a.json", shape("nose", 7, 7), imagePath="..\\..\\pictures\\a.jpg")
    assert read_samples(path)[0].path == tmp_path / "a.jpg"
