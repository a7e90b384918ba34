"""Tests of the reader of Kaggle's facial key points, on a table with its header and pixels."""

import numpy as np
import pytest

from lightmark.data.read import read_samples
from lightmark.data.sample import load_image
from lightmark.errors import DataError, NoLabelsError

HEADER = "left_eye_center_x,left_eye_center_y,nose_tip_x,nose_tip_y,Image\n"
PIXELS = " ".join(str(i) for i in range(96 * 96 // 255)) + " 7" * (96 * 96 - 96 * 96 // 255)


def write(folder, *rows):
    """training.csv with `rows`."""
    path = folder / "training.csv"
    path.write_text(HEADER + "".join(f"{row}\n" for row in rows))
    return path


def test_row_is_read_field_by_field(tmp_path):
    """Coordinates count from 0, an empty pair is missing, the picture is grey and in the row."""
    first, second = read_samples(write(tmp_path, f"66.03,39.002,44.42,57.07,{PIXELS}", f",,1,2,{PIXELS}"))
    assert first.points.tolist() == [[66.03, 39.002], [44.42, 57.07]]
    assert np.isnan(second.points[0]).all()
    assert first.schema.point_names == ("left_eye_center", "nose_tip")
    image = load_image(first)
    assert image.shape == (96, 96, 3)
    assert image[0, :3, 1].tolist() == [0, 1, 2]
    assert first.photo != second.photo


@pytest.mark.parametrize(
    ("row", "text"),
    [
        ("1,2,3,4,1 2 3", "line 2: Image: 3 values, expected those of a square picture"),
        (f"1,2,3,4,{PIXELS[:-1]}300", "line 2: Image: 9216 values, expected those of a square picture from 0 to 255"),
        (f"1,,3,4,{PIXELS}", "line 2: point left_eye_center: expected two numbers, or two empty cells"),
        (f"1,2,3,{PIXELS}", "line 2: 4 columns, expected 5"),
    ],
)
def test_broken_row_is_named_or_left_out(tmp_path, row, text):
    """The line is in the sentence, and the others are read."""
    path = write(tmp_path, row, f"1,2,3,4,{PIXELS}")
    with pytest.raises(DataError, match=text):
        read_samples(path)
    assert len(read_samples(path, left_out=[])) == 1


def test_table_of_pictures_without_points_is_named(tmp_path):
    """test.csv has pictures alone."""
    (tmp_path / "test.csv").write_text(f"ImageId,Image\n1,{PIXELS}\n")
    with pytest.raises(NoLabelsError, match=r"test\.csv"):
        read_samples(tmp_path / "test.csv")
