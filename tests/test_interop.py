"""Conversions to other libraries, tested with the real packages where they are installed."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from lightmark.data.formats.cvat import read_cvat
from lightmark.data.synthetic import synthetic_samples
from lightmark.draw import write_png
from lightmark.errors import GeometryError, MissingExtraError, SchemaError
from lightmark.face import Face, table_columns
from lightmark.geometry import tight_box
from lightmark.interop import (
    faces_to_supervision,
    from_mediapipe,
    to_cvat,
    to_fiftyone,
    to_label_studio,
    to_opencv,
    to_rows,
)
from lightmark.mesh_points import ROWS
from lightmark.schema import IBUG68, Schema

RESULT = Path(__file__).parents[1] / "benchmarks" / "results" / "mediapipe-points.json"

FIVE = Schema("five", mirror=(1, 0, 2, 4, 3), normaliser=(0, 1), edges=((0, 1), (3, 4)))
SHAPE = np.array([[0.3, 0.4], [0.7, 0.4], [0.5, 0.55], [0.35, 0.7], [0.65, 0.7]])


def face(x: float, confidence: float | None = 0.9, expected_error: float | None = 1.5) -> Face:
    """Five points in a box of 20 px whose corner is (x, x)."""
    errors = None if expected_error is None else np.full(5, expected_error)
    return Face(x + 20 * SHAPE, np.array([x, x, x + 20, x + 20]), FIVE, errors, confidence)


def test_points_scores_and_boxes_arrive() -> None:
    """Two faces become two skeletons in supervision's fields, of its types."""
    pytest.importorskip("supervision", reason="the extra supervision")
    made = faces_to_supervision([face(10), face(50, confidence=0.25, expected_error=3)])
    assert len(made) == 2
    assert made.xy.dtype == np.float32
    np.testing.assert_allclose(made.xy[1], 50 + 20 * SHAPE, rtol=1e-6)
    np.testing.assert_allclose(made.detection_confidence, [0.9, 0.25])
    assert made.keypoint_confidence is None
    np.testing.assert_array_equal(made.data["expected_error"], [[1.5] * 5, [3] * 5])
    np.testing.assert_array_equal(made.data["box"][0], [10, 10, 30, 30])
    assert made.data["class_name"].tolist() == ["face", "face"]


def test_supervision_filters_boxes_and_draws_them() -> None:
    """A mask by confidence, boxes around the points, dots and lines in a picture: what users do next."""
    sv = pytest.importorskip("supervision", reason="the extra supervision")
    made = faces_to_supervision([face(10), face(50, confidence=0.25)])
    (kept,) = made[made.detection_confidence > 0.5].as_detections().xyxy
    np.testing.assert_allclose(kept, [16, 18, 24, 24], atol=1e-4)
    scene = np.zeros((100, 100, 3), np.uint8)
    edges = [(a + 1, b + 1) for a, b in FIVE.edges]
    scene = sv.EdgeAnnotator(edges=edges).annotate(sv.VertexAnnotator(radius=1).annotate(scene, made), made)
    assert scene[18, 16].any()
    assert scene[24, 20].any()  # on the line between the mouth's corners


def test_models_without_confidence_leave_it_out() -> None:
    """No made-up numbers, even where only one face lacks them."""
    pytest.importorskip("supervision", reason="the extra supervision")
    made = faces_to_supervision([face(10), face(50, confidence=None, expected_error=None)])
    assert made.detection_confidence is None
    assert "expected_error" not in made.data


def test_no_faces_are_empty_key_points() -> None:
    """Supervision's own word for nothing."""
    sv = pytest.importorskip("supervision", reason="the extra supervision")
    assert faces_to_supervision([]) == sv.KeyPoints.empty()


def test_faces_of_several_schemas_are_refused() -> None:
    """An array has one number of points."""
    pytest.importorskip("supervision", reason="the extra supervision")
    other = Face(np.zeros((68, 2)), np.array([0.0, 0, 1, 1]), IBUG68)
    with pytest.raises(SchemaError, match="faces of five, ibug68: KeyPoints hold one number of points"):
        faces_to_supervision([face(10), other])


def test_without_supervision_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the base install the error has the install line."""
    monkeypatch.setitem(sys.modules, "supervision", None)
    with pytest.raises(MissingExtraError, match=r'pip install "lightmark\[supervision\]"'):
        faces_to_supervision([face(10)])


def test_an_old_supervision_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before 0.29 its fields were others."""

    @dataclass
    class KeyPoints:
        """As they were: one confidence for both."""

        confidence: float | None = None

    old = ModuleType("supervision")
    old.KeyPoints = KeyPoints  # type: ignore[attr-defined]  # a stand-in
    monkeypatch.setitem(sys.modules, "supervision", old)
    with pytest.raises(MissingExtraError, match=r"older than 0\.29"):
        faces_to_supervision([face(10)])


def mesh(count: int = 468) -> np.ndarray:
    """Normalised landmarks (M, 3) as of a face mesh."""
    return np.random.default_rng(0).uniform(0.2, 0.8, (count, 3))


def objects(landmarks: np.ndarray) -> list[SimpleNamespace]:
    """As MediaPipe's NormalizedLandmark has them."""
    return [SimpleNamespace(x=x, y=y, z=z) for x, y, z in landmarks]


@pytest.mark.parametrize("count", [468, 478])
def test_all_results_of_mediapipe_are_read_alike(count: int) -> None:
    """Those of solutions and of tasks, and arrays, with and without irises; half a pixel off MediaPipe's corner."""
    marks = mesh(count)
    expected = np.stack([
        sum(weight * (marks[index, :2] * [640, 480] - 0.5) for index, weight in row.items()) for row in ROWS
    ])
    solutions = SimpleNamespace(multi_face_landmarks=[SimpleNamespace(landmark=objects(marks))])
    tasks = SimpleNamespace(face_landmarks=[objects(marks)], face_blendshapes=[])
    for result in (solutions, tasks, marks[None]):
        (found,) = from_mediapipe(result, 640, 480)
        np.testing.assert_allclose(found.points, expected, atol=1e-9)
        np.testing.assert_allclose(found.box, tight_box(expected))
        assert found.schema is IBUG68


def test_no_faces_of_mediapipe_are_none() -> None:
    """`solutions` returns None for no face where `tasks` returns an empty list."""
    assert from_mediapipe(SimpleNamespace(multi_face_landmarks=None), 640, 480) == []
    assert from_mediapipe(SimpleNamespace(face_landmarks=[]), 640, 480) == []
    with pytest.raises(GeometryError, match="a face of 106 landmarks; the face mesh has 468 or 478"):
        from_mediapipe(mesh(106)[None], 640, 480)


def test_weights_of_mesh_points_move_with_the_face() -> None:
    """They sum to 1 for each of the 68, and are those of the measured table."""
    assert len(ROWS) == 68
    for row in ROWS:
        assert sum(row.values()) == pytest.approx(1)
    if RESULT.exists():
        rows = json.loads(RESULT.read_text())["rows"]
        assert [{str(index): weight for index, weight in row.items()} for row in ROWS] == list(rows.values())


def test_opencv_key_points_hold_place_error_and_number() -> None:
    """Of its own class, with the expected error as radius."""
    (points,) = to_opencv([face(10)])
    assert [point.class_id for point in points] == [0, 1, 2, 3, 4]
    np.testing.assert_allclose([point.pt for point in points], 10 + 20 * SHAPE, rtol=1e-6)
    assert (points[0].size, points[0].response) == (3.0, pytest.approx(0.9))
    assert to_opencv([face(10, confidence=None, expected_error=None)])[0][0].size == 1.0


def test_rows_make_a_table() -> None:
    """The columns of CSV as numbers; unknown ones are None, so that pandas makes them NaN."""
    rows = to_rows([face(10), face(50, confidence=None)], measures=True)
    assert list(rows[0]) == table_columns(5, measures=True)
    assert (rows[0]["confidence"], rows[0]["x0"], rows[1]["confidence"], rows[0]["yaw"]) == (0.9, 16.0, None, None)
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    assert pandas.DataFrame(rows)["confidence"].isna().tolist() == [False, True]


def test_fiftyone_has_shares_of_the_picture() -> None:
    """From its corner, one Keypoint a face; plain JSON."""
    made = json.loads(json.dumps(to_fiftyone([face(9.5), face(50, confidence=None)], 200, 100)))
    assert made["_cls"] == "Keypoints"
    first, second = made["keypoints"]
    assert (first["_cls"], first["label"], first["confidence"]) == ("Keypoint", "face", [0.9] * 5)
    assert second["confidence"] == []
    np.testing.assert_allclose(first["points"][0], [(15.5 + 0.5) / 200, (17.5 + 0.5) / 100])
    fiftyone = pytest.importorskip("fiftyone", reason="fiftyone is not installed")
    assert len(fiftyone.Keypoints.from_dict(made).keypoints) == 2


def test_label_studio_gets_predictions_in_per_cent() -> None:
    """A rectangle for each face and its points as children, with the least confidence as the score."""
    task = json.loads(json.dumps(to_label_studio("a.jpg", [face(9.5), face(50, confidence=0.25)], 200, 100)))
    assert task["data"] == {"image": "a.jpg"}
    (prediction,) = task["predictions"]
    assert prediction["score"] == 0.25
    boxes = [one for one in prediction["result"] if one["type"] == "rectanglelabels"]
    points = [one for one in prediction["result"] if one["type"] == "keypointlabels"]
    assert (len(boxes), len(points)) == (2, 10)
    assert points[0]["value"] == {"x": 8.0, "y": 18.0, "width": 0.5, "keypointlabels": ["0"]}
    assert {point["parentID"] for point in points} == {box["id"] for box in boxes}
    assert len({one["id"] for one in prediction["result"]}) == 12
    assert boxes[0]["value"]["width"] == pytest.approx(100 * 20 * 0.4 / 200)


def test_cvat_reads_back_its_own_files(tmp_path: Path) -> None:
    """Points by their names, half a pixel of its corner put back, pictures named from the XML's folder."""
    sample = synthetic_samples(1, seed=0)[0]
    write_png(sample.image, tmp_path / "a.png")
    found = Face(sample.points, sample.box, IBUG68)
    faces = [found, replace(found, points=found.points + 3)]
    (tmp_path / "a.xml").write_bytes(to_cvat({tmp_path / "a.png": faces}, tmp_path))
    first, second = read_cvat(tmp_path / "a.xml", IBUG68)
    np.testing.assert_allclose(first.points, sample.points, atol=1e-3)
    np.testing.assert_allclose(second.points, sample.points + 3, atol=1e-3)
    assert first.path == tmp_path / "a.png"
