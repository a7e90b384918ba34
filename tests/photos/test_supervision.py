"""Faces arrive in supervision as its own key points; its real package is asked where it is installed."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from types import ModuleType

import numpy as np
import pytest

from lightmark.errors import MissingExtraError, SchemaError
from lightmark.face import Face
from lightmark.photos.supervision import faces_to_supervision
from lightmark.schema import IBUG68, Schema

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
    """The base install says what to install."""
    monkeypatch.setitem(sys.modules, "supervision", None)
    with pytest.raises(MissingExtraError, match=r'pip install "lightmark\[supervision\]"'):
        faces_to_supervision([face(10)])


def test_an_old_supervision_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
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
