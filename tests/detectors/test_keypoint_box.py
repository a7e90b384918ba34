"""A few points become the tight box of the mean face laid on them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from lightmark.detectors.keypoint_box import EXTENT, MEDIAPIPE, PLACES, YUNET, box_of_keypoints
from lightmark.errors import GeometryError
from lightmark.geometry import similarity_matrix, transform

FIT = Path(__file__).parents[2] / "benchmarks" / "results" / "keypoint-box.json"
ORIGIN = np.zeros(2)


@pytest.mark.parametrize("names", [YUNET, MEDIAPIPE])
@pytest.mark.parametrize("angle", [0.0, 30.0, -75.0])
def test_the_mean_face_gives_the_mean_box(names: tuple, angle: float) -> None:
    """Anywhere, of any size, turned or not: centre and extent are those of the upright mean face."""
    matrix = similarity_matrix(ORIGIN, np.array([120.0, 80.0]), 50.0, angle)
    box = box_of_keypoints(transform(matrix, np.array([PLACES[name] for name in names])), names)
    np.testing.assert_allclose((box[:2] + box[2:]) / 2, [120, 80], atol=1e-9)
    np.testing.assert_allclose(box[2:] - box[:2], 50 * np.array(EXTENT), atol=1e-9)


def test_coinciding_points_are_an_error() -> None:
    """A box of no size would be cut from nothing."""
    with pytest.raises(GeometryError):
        box_of_keypoints(np.full((5, 2), 7.0), YUNET)


def test_the_constants_are_those_that_were_fitted() -> None:
    """The script's JSON and the module hold the same numbers."""
    fitted = json.loads(FIT.read_text())
    assert {name: list(place) for name, place in PLACES.items()} == fitted["places"]
    assert list(EXTENT) == fitted["extent"]
