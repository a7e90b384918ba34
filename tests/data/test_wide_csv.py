"""Tests of the wide CSV reader."""

import io
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from lightmark.data.formats.wide_csv import read_csv
from lightmark.errors import DataError
from lightmark.face import Face
from lightmark.photos.detect import Detection
from lightmark.photos.inputs import Input
from lightmark.photos.results import write_csv
from lightmark.schema import IBUG68, plain_schema


def test_row_is_read_field_by_field(tmp_path):
    """Under a header of numbers a row is a file name, then x and y of each point, counted from 0."""
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


@pytest.mark.parametrize("name", ["a.jpg", "pictures\\a.jpg", "C:\\Users\\me\\a.jpg"])
def test_pictures_lie_where_tools_put_them(tmp_path, name):
    """As for other formats: in images/ beside the table, or beside its folder, without the labeller's folders."""
    for folder in ("labels", "images"):
        (tmp_path / folder).mkdir()
    (tmp_path / "images" / "a.jpg").touch()
    path = tmp_path / "labels" / "mine.csv"
    path.write_text(f"file,x0,y0\n{name},1,2\n")
    assert read_csv(path)[0].path == tmp_path / "images" / "a.jpg"


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
    with pytest.raises(DataError, match=r"mine\.csv: line 3: got 4 columns, expected 5 as in the first line"):
        read_csv(tmp_path / "mine.csv")


def test_word_among_the_numbers_is_named(tmp_path):
    """A cell that is no number is quoted with its line."""
    (tmp_path / "mine.csv").write_text(",0,1,2,3\na.jpg,1,2,3,\n")
    with pytest.raises(DataError, match=r"line 2: could not convert string to float: ''; expected numbers for x and y"):
        read_csv(tmp_path / "mine.csv")


def test_other_table_is_named(tmp_path):
    """A header of other columns names them."""
    (tmp_path / "mine.csv").write_text("epoch,loss\n1,2\n")
    with pytest.raises(DataError, match=r"line 1: columns not understood: 'loss'; expected a file name and"):
        read_csv(tmp_path / "mine.csv")


@pytest.mark.parametrize(("text", "error"), [("", "empty; expected a header row"), (",0,1,2,3\n", "no face below")])
def test_empty_table_is_named(tmp_path, text, error):
    """A file without rows is an error, not an empty data set."""
    (tmp_path / "mine.csv").write_text(text)
    with pytest.raises(DataError, match=error):
        read_csv(tmp_path / "mine.csv")


@pytest.mark.parametrize(
    ("header", "row"),
    [
        ("file,x0,y0,x1,y1", "a.jpg,1,2,3,4"),
        ("file,x0,x1,y0,y1", "a.jpg,1,3,2,4"),
        ("x1,y1,x2,y2,filename", "1,2,3,4,a.jpg"),
        ("image, X_0, Y_0, X_1, Y_1", "a.jpg, 1, 2, 3, 4"),
        (",0_x,0_y,1_x,1_y", "a.jpg,1,2,3,4"),
        (",p0_x,p0_y,p1_x,p1_y", "a.jpg,1,2,3,4"),
        (",y1,x1,y0,x0", "a.jpg,4,3,2,1"),
        ("Image,left_eye_x,left_eye_y,nose_x,nose_y", "a.jpg,1,2,3,4"),
        (",0,1,2,3", "a.jpg,1,2,3,4"),
        (",1,2,3,4", "a.jpg,1,2,3,4"),
        ("file;x0;y0;x1;y1", "a.jpg;1;2;3;4"),
        ("file\tx0\ty0\tx1\ty1", "a.jpg\t1\t2\t3\t4"),
        ("file;x0;y0;x1;y1", '"a.jpg";1.0;2e0;+3;4'),
    ],
)
def test_header_decides_the_meaning(tmp_path, header, row):
    """Points together or apart, in any order, named or numbered; commas, semicolons and tabs."""
    (tmp_path / "mine.csv").write_text(f"{header}\n{row}\n")
    (face,) = read_csv(tmp_path / "mine.csv")
    assert face.points.tolist() == [[1, 2], [3, 4]]
    assert face.path == tmp_path / "a.jpg"
    assert "rect" not in face.attributes


@pytest.mark.parametrize(
    ("columns", "cells"),
    [
        ("box_x0,box_y0,box_x1,box_y1", "10,20,30,50"),
        ("xmin,ymin,xmax,ymax", "10,20,30,50"),
        ("left,top,right,bottom", "10,20,30,50"),
        ("left,top,width,height", "10,20,20,30"),
        ("x,y,w,h", "10,20,20,30"),
        ("bbox_x,bbox_y,bbox_w,bbox_h", "10,20,20,30"),
    ],
)
def test_box_is_no_point(tmp_path, columns, cells):
    """A box beside the points becomes "rect", wherever its columns stand."""
    for header, row in ((f"file,{columns},x0,y0,x1,y1", f"a.jpg,{cells},1,2,3,4"),
                        (f"file,x0,y0,x1,y1,{columns}", f"a.jpg,1,2,3,4,{cells}")):  # fmt: skip
        (tmp_path / "mine.csv").write_text(f"{header}\n{row}\n")
        (face,) = read_csv(tmp_path / "mine.csv")
        assert face.points.tolist() == [[1, 2], [3, 4]]
        assert face.attributes["rect"] == (10, 20, 30, 50)


def test_table_of_detections_is_read(tmp_path):
    """What `lightmark detect --format csv` writes is labels that `read_csv` reads."""
    stream = io.StringIO()
    face = Face(np.arange(6.0).reshape(3, 2), np.array([1.0, 2, 30, 40]), plain_schema(3), None, 0.5)
    with write_csv(stream, plain_schema(3), tmp_path) as add:
        add(Detection(Input(tmp_path / "a.jpg", Path("a.jpg")), 100, 80, [face, face]))
    (tmp_path / "found.csv").write_text(stream.getvalue())
    first, second = read_csv(tmp_path / "found.csv")
    np.testing.assert_array_equal(first.points, face.points)
    assert first.attributes == {"index": 0, "rect": (1, 2, 30, 40)}
    assert second.attributes["index"] == 1


def test_first_row_without_header_is_a_face(tmp_path):
    """A table without a header loses no face."""
    (tmp_path / "mine.csv").write_text("a.jpg,1,2,3,4\nb.jpg,5,6,7,8\n")
    assert [face.points.tolist() for face in read_csv(tmp_path / "mine.csv")] == [[[1, 2], [3, 4]], [[5, 6], [7, 8]]]
    (tmp_path / "mine.csv").write_text("a.jpg,0,1,2,3\n")
    assert [face.points.tolist() for face in read_csv(tmp_path / "mine.csv")] == [[[0, 1], [2, 3]]]


@pytest.mark.parametrize(
    ("header", "text"),
    [
        ("file,a,b,c,d", "columns not understood: 'a', 'b', 'c', 'd'"),
        ("file,x0,y0,x1,y1,age", "columns not understood: 'age'"),
        ("file,x0,y0,x1,y1,v0,v1", "columns not understood: 'v0', 'v1'"),
        ("file,x0,y0,x2,y2", "points are numbered 0, 2 … 2; expected 0, 1, 2"),
        ("file,x0,y0,x1", "point 1 has x alone"),
        ("file,x0,y0,x0,y1", "two columns are x of point 0"),
        ("file,x0,y0,eye_lmk_x_0,eye_lmk_y_0", "columns not understood: 'eye_lmk_x_0'"),
        ("file,score", "no columns of points"),
        ("frame,seconds,id,x0,y0,x1,y1,score,p0_x,p0_y", "two columns are x of point 0"),
    ],
)
def test_header_that_is_not_understood_is_refused(tmp_path, header, text):
    """Nothing is guessed: the columns are named."""
    (tmp_path / "mine.csv").write_text(f"{header}\n" + ",".join("1" * len(header.split(","))) + "\n")
    with pytest.raises(DataError, match=rf"mine\.csv: line 1: .*{text}"):
        read_csv(tmp_path / "mine.csv")


@pytest.mark.parametrize(
    ("rows", "text"),
    [
        ("a.jpg,1,2,3,4\nb.jpg,1,2,3,4\na.jpg,1,2,3,4\n", "line 4: is line 2 again"),
        ("a.jpg,1,2,3,4\n,1,2,3,4\n", "line 3: no file name"),
        ("a.jpg,1,2,3,4\n,,,,\n", "line 3: no file name"),
        ("a.jpg,1,2,3,4,5\n", "line 2: got 6 columns, expected 5"),
        ("a.jpg,1,2,3,inf\n", "line 2: an infinite number"),
        ('"a.jpg",1,2,3,"4,5"\n', "line 2: .*write numbers with a decimal point"),
        ('"a\n.jpg",1,2,3,4\nb.jpg,1,2\n', "line 4: got 3 columns"),
    ],
)
def test_row_that_cannot_be_a_face_is_named(tmp_path, rows, text):
    """No row is lost without a word: rows that repeat, lack the file or cells, or hold other than numbers."""
    (tmp_path / "mine.csv").write_text(f"file,x0,y0,x1,y1\n{rows}")
    with pytest.raises(DataError, match=rf"mine\.csv: {text}"):
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
