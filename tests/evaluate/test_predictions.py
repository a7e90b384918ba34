"""Prediction files: read, written, and matched to faces by their paths."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lightmark.errors import DataError
from lightmark.evaluate.predictions import (
    Predictions,
    match_names,
    match_predictions,
    read_predictions,
    write_predictions,
)


def named(names: list[str], count: int = 3) -> Predictions:
    """Predictions whose i-th face has every coordinate equal to i."""
    return Predictions("points3", {name: np.full((count, 2), float(i)) for i, name in enumerate(names)})


def write(path: Path, data: object) -> Path:
    """A JSON file."""
    path.write_text(json.dumps(data))
    return path


def test_written_predictions_are_read_back(tmp_path) -> None:
    """Names, schema and points survive, to a ten-thousandth of a pixel."""
    points = np.random.default_rng(0).uniform(0, 300, (2, 3, 2))
    write_predictions(tmp_path / "p.json", "points3", ["a/1.png", "b/1.png#2"], points)
    read = read_predictions(tmp_path / "p.json")
    assert read.schema == "points3"
    assert list(read.points) == ["a/1.png", "b/1.png#2"]
    assert np.stack(list(read.points.values())) == pytest.approx(points, abs=5.1e-5)


def test_a_failed_write_leaves_the_old_file(tmp_path) -> None:
    """A failed write leaves the old file unchanged."""
    path = tmp_path / "p.json"
    write_predictions(path, "points3", ["a.png"], np.zeros((1, 3, 2)))
    before = path.read_text()
    with pytest.raises(ValueError, match="zip"):
        write_predictions(path, "points3", ["a.png", "b.png"], np.zeros((1, 3, 2)))
    assert path.read_text() == before
    assert [file.name for file in tmp_path.iterdir()] == ["p.json"]


def test_points_come_in_the_order_of_the_faces(blob_sample) -> None:
    """Points are in the order of the samples, whatever the order of the file."""
    samples = [blob_sample(0, name="/d/b.png"), blob_sample(1, name="/d/a.png")]
    assert match_predictions(named(["a.png", "b.png"]), samples)[:, 0, 0].tolist() == [1.0, 0.0]


@pytest.mark.parametrize("prefix", ["", "/elsewhere/300w/", "C:\\sets\\"])
def test_names_match_by_their_trailing_parts(prefix: str) -> None:
    """Relative names, another machine's absolute paths and Windows's all find their face."""
    faces = ["/data/lfpw/testset/1.png", "/data/helen/testset/1.png"]
    keys = [f"{prefix}helen/testset/1.png", f"{prefix}lfpw/testset/1.png"]
    if "\\" in prefix:
        keys = [key.replace("/", "\\") for key in keys]
    assert match_names(faces, keys) == dict(zip(faces, reversed(keys), strict=True))


def test_the_index_of_a_face_is_part_of_its_name() -> None:
    """Several faces of one picture keep apart."""
    assert match_names(["/d/1.png#0", "/d/1.png#1"], ["1.png#1", "1.png#0"]) == {
        "/d/1.png#0": "1.png#0",
        "/d/1.png#1": "1.png#1",
    }


def test_a_name_that_fits_two_faces_fits_neither() -> None:
    """A bare file name that two folders have is no match."""
    assert match_names(["/d/a/1.png", "/d/b/1.png"], ["1.png"]) == {}


def test_a_face_does_not_take_its_neighbour_s_prediction() -> None:
    """The better partner has it, however good it looks to others."""
    assert match_names(["/d/a/1.png", "/d/b/1.png"], ["b/1.png"]) == {"/d/b/1.png": "b/1.png"}


def test_missing_and_surplus_faces_are_named(blob_sample) -> None:
    """Whoever wrote the file learns which faces are wrong."""
    samples = [blob_sample(0, name="/d/a.png"), blob_sample(1, name="/d/b.png")]
    with pytest.raises(DataError) as caught:
        match_predictions(named(["a.png", "c.png"]), samples)
    assert "1 of 2 faces have no prediction of their own, such as /d/b.png" in str(caught.value)
    assert "1 predictions belong to no face, such as c.png" in str(caught.value)


def test_faces_outside_the_subset_may_be_predicted(blob_sample) -> None:
    """A file for the whole set serves each of its subsets."""
    samples = [blob_sample(0, name="/d/a.png"), blob_sample(1, name="/d/b.png")]
    assert len(match_predictions(named(["a.png", "b.png"]), samples[:1], others=samples[1:])) == 1


def test_a_wrong_number_of_points_names_the_face(blob_sample) -> None:
    """A prediction with a wrong number of points raises an error that names the face."""
    with pytest.raises(DataError, match=r"/d/a\.png: 4 points predicted, 3 are labelled"):
        match_predictions(named(["a.png"], count=4), [replace(blob_sample(0), path=Path("/d/a.png"))])


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        ([], "needs {"),
        ({"predictions": {}}, "needs {"),
        ({"schema": "points3", "predictions": {}}, "holds no predictions"),
        ({"schema": "points1", "predictions": {"a.png": [1, 2]}}, r"a\.png: got points of shape \(2,\)"),
        ({"schema": "points1", "predictions": {"a.png": [["x", 2]]}}, r"a\.png: points are pairs of numbers"),
        ({"schema": "points1", "predictions": {"a.png": [[float("nan"), 2]]}}, "finite"),
        ({"schema": "ibug68", "predictions": {"a.png": [[1, 2]]}}, r"a\.png: 1 points, ibug68 needs 68"),
    ],
)
def test_a_file_of_another_form_is_refused(tmp_path, data, complaint: str) -> None:
    """The error names the file, the face and what is wrong with it."""
    with pytest.raises(DataError, match=rf"p\.json: .*{complaint}"):
        read_predictions(write(tmp_path / "p.json", data))


def test_faces_of_unequal_counts_are_refused(tmp_path) -> None:
    """All faces of a file have the same points."""
    data = {"schema": "mine", "predictions": {"a.png": [[1, 2]], "b.png": [[1, 2], [3, 4]]}}
    with pytest.raises(DataError, match=r"b\.png: 2 points, mine needs 1"):
        read_predictions(write(tmp_path / "p.json", data))


def test_a_file_that_is_no_json_is_refused(tmp_path) -> None:
    """A file that is no JSON raises an error that names it."""
    (tmp_path / "p.json").write_text("hello")
    with pytest.raises(DataError, match=r"p\.json: cannot be read as JSON"):
        read_predictions(tmp_path / "p.json")
