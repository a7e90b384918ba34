"""Rows: what is measured on each face, and the table on disk."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lightmark.data.sample import Sample
from lightmark.errors import DataError, SchemaError
from lightmark.evaluate.report.rows import FaceRow, face_names, face_rows, nme_key, read_rows, write_rows
from lightmark.geometry import tight_box
from lightmark.schema import IBUG68, Schema, plain_schema

FACE = Schema("face4", (1, 0, 2, 3), (0, 1), groups={"jaw": (3,), "eyes": (0, 1), "mouth": (2,)})
POINTS = np.array([[0.0, 0.0], [50.0, 0.0], [25.0, 30.0], [25.0, 80.0]])


def sample(name: str = "/data/set/a.png", **changes: object) -> Sample:
    """A face of four points, eyes 50 pixels apart, in a box of 50×80."""
    whole = Sample(Path(name), POINTS, tight_box(POINTS), FACE, "a", frozenset({"test", "common"}))
    return replace(whole, **changes)


def row_of(moved: dict[int, tuple[float, float]]) -> FaceRow:
    """Row of the face with some points predicted off by (dx, dy)."""
    points = POINTS.copy()
    for index, by in moved.items():
        points[index] += by
    return face_rows([sample()], points[None])[0]


def test_nme_is_the_mean_over_points() -> None:
    """One point of four off by 5 of 50 pixels is 2.5 %."""
    assert row_of({2: (3, 4)}).nme == pytest.approx(0.025)


def test_inner_points_leave_out_the_jaw() -> None:
    """An error on the jaw alone does not count among inner points."""
    assert row_of({3: (3, 4)}).nme_inner == 0
    assert row_of({2: (3, 4)}).nme_inner == pytest.approx(0.1 / 3)


def test_groups_have_errors_of_their_own() -> None:
    """One eye of two off by 10 % is 5 % for the eyes and nothing elsewhere."""
    assert row_of({0: (0, 5)}).groups == pytest.approx({"jaw": 0, "eyes": 0.05, "mouth": 0})


def test_normaliser_and_size_are_in_pixels() -> None:
    """The eyes are 50 pixels apart, the box's longer side is 80."""
    row = row_of({})
    assert (row.normaliser_px, row.size_px) == (50, 80)


def test_missing_points_count_for_nothing() -> None:
    """Means are over the labelled points, of which the row has the number; a group without any has no error."""
    points = POINTS.copy()
    points[2] = np.nan
    row = face_rows([sample(points=points)], (POINTS + np.array([3, 4]))[None])[0]
    assert (row.points, row.nme, row.nme_inner) == pytest.approx((3, 0.1, 0.1))
    assert {name: error for name, error in row.groups.items() if name != "mouth"} == pytest.approx(
        {"jaw": 0.1, "eyes": 0.1}
    )
    assert np.isnan(row.groups["mouth"])


def test_subsets_are_kept_in_order() -> None:
    """The same face always gives the same text."""
    assert row_of({}).subsets == ("common", "test")


def test_names_are_relative_to_the_data() -> None:
    """Reports made on two machines can be compared."""
    assert face_names([sample("/data/set/a.png")], Path("/data")) == ["set/a.png"]


def test_names_outside_the_data_stay_whole() -> None:
    """A picture elsewhere keeps its path."""
    assert face_names([sample("/other/a.png")], Path("/data")) == ["/other/a.png"]


def test_a_name_that_comes_twice_is_refused() -> None:
    """Faces are paired by name: two of one name could not be."""
    with pytest.raises(DataError, match="two faces have this name"):
        face_names([sample(), sample()])


def test_faces_of_several_schemas_are_refused() -> None:
    """Samples of several schemas raise an error."""
    other = sample("b.png", schema=plain_schema(4))
    with pytest.raises(SchemaError, match=r"b\.png: labelled with points4, those before it with face4"):
        face_rows([sample(), other], np.stack([POINTS, POINTS]))


def test_no_faces_are_refused() -> None:
    """An empty list of samples raises an error."""
    with pytest.raises(DataError, match="no faces to evaluate"):
        face_rows([], np.zeros((0, 4, 2)))


def test_the_key_names_the_normaliser() -> None:
    """Errors are never written without what divides them."""
    assert nme_key(IBUG68) == "nme_inter_ocular"
    assert nme_key(plain_schema(4)) == "nme_first_to_last"


def test_rows_are_read_back(tmp_path) -> None:
    """Nine digits of every number, and every word, survive the table."""
    rows = [row_of({2: (1 / 3, 0)}), replace(row_of({}), name='odd, "name".png', subsets=())]
    write_rows(tmp_path / "faces.csv", rows, "nme_inter_ocular")
    key, read = read_rows(tmp_path / "faces.csv")
    assert key == "nme_inter_ocular"
    assert [(row.name, row.subsets) for row in read] == [(row.name, row.subsets) for row in rows]
    assert read[0].nme == pytest.approx(rows[0].nme, rel=1e-8)
    assert read[0].groups == pytest.approx(rows[0].groups, rel=1e-8)


def test_a_table_of_something_else_is_refused(tmp_path) -> None:
    """A CSV with other columns raises an error that lists the needed ones."""
    (tmp_path / "x.csv").write_text("a,b\n1,2\n")
    with pytest.raises(DataError, match=r"x\.csv: no table of faces"):
        read_rows(tmp_path / "x.csv")


def test_a_broken_line_is_named(tmp_path) -> None:
    """A broken line raises an error with its number."""
    write_rows(tmp_path / "faces.csv", [row_of({})], "nme_inter_ocular")
    with (tmp_path / "faces.csv").open("a") as file:
        file.write("b.png,test,oops\n")
    with pytest.raises(DataError, match=r"faces\.csv: line 3"):
        read_rows(tmp_path / "faces.csv")


def test_a_missing_table_is_named(tmp_path) -> None:
    """A folder without faces.csv is no report."""
    with pytest.raises(DataError, match=r"faces\.csv: cannot be read"):
        read_rows(tmp_path / "faces.csv")


def test_a_row_with_missing_points_is_read_back(tmp_path) -> None:
    """The number of labelled points and groups without errors come back."""
    points = POINTS.copy()
    points[2] = np.nan
    rows = face_rows([sample(points=points)], POINTS[None])
    write_rows(tmp_path / "faces.csv", rows, "nme_inter_ocular")
    (back,) = read_rows(tmp_path / "faces.csv")[1]
    assert (back.points, np.isnan(back.groups["mouth"])) == (3, True)
