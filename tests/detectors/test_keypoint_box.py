"""A few points become the tight box of the mean face laid on them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from lightmark.data.synthetic.head import mean_points
from lightmark.detectors.keypoint_box import (
    EXTENT,
    FACE,
    MEDIAPIPE,
    PLACES,
    YUNET,
    box_of_keypoints,
    keypoints_of,
    roll_of_keypoints,
)
from lightmark.errors import GeometryError, SchemaError
from lightmark.geometry import similarity_matrix, transform
from lightmark.pose import head_pose
from lightmark.schema import IBUG68
from lightmark.spec import ModelSpec, face_roll

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


def test_keypoints_are_means_of_the_68_points() -> None:
    """Eye centres of six points each, the tip of the nose, the outer corners of the mouth; of many faces at once."""
    points = np.random.default_rng(0).normal(0, 50, (2, 3, 68, 2))
    right_eye, left_eye, nose, right_mouth, left_mouth = np.moveaxis(keypoints_of(points), -2, 0)
    np.testing.assert_allclose(right_eye, points[:, :, 36:42].mean(axis=2))
    np.testing.assert_allclose(left_eye, points[:, :, 42:48].mean(axis=2))
    np.testing.assert_array_equal(nose, points[:, :, 30])
    np.testing.assert_array_equal(right_mouth, points[:, :, 48])
    np.testing.assert_array_equal(left_mouth, points[:, :, 54])
    with pytest.raises(SchemaError, match="ibug68 needs"):
        keypoints_of(points[..., :5, :])


MEAN_FACE = np.array([PLACES[name] for name in FACE])


@pytest.mark.parametrize("angle", [-179.0, -90.0, -31.0, 0.0, 5.0, 90.0, 135.0])
def test_roll_is_signed_as_the_pose(angle: float) -> None:
    """Counter-clockwise in the picture is positive; place and size do not matter, nor how far the head is turned."""
    turned = transform(similarity_matrix(ORIGIN, np.array([120.0, 80.0]), 50.0, angle), MEAN_FACE)
    assert float(roll_of_keypoints(turned)) == pytest.approx(angle, abs=0.3)
    narrow = transform(similarity_matrix(ORIGIN, ORIGIN, 50.0, angle), MEAN_FACE * [0.1, 1])
    assert float(roll_of_keypoints(narrow)) == pytest.approx(angle, abs=0.3)
    flat = transform(similarity_matrix(ORIGIN, ORIGIN, 50.0, angle), MEAN_FACE * [1, 0.1])
    assert float(roll_of_keypoints(flat)) == pytest.approx(angle, abs=0.3)


def test_roll_of_a_head_agrees_with_its_pose() -> None:
    """For the mean head with roll only."""
    solid = mean_points()
    for roll in (-150.0, -20.0, 0.0, 45.0, 100.0):
        points = transform(similarity_matrix(ORIGIN, ORIGIN, 80.0, roll), solid[:, :2])
        pose = head_pose(points, IBUG68)
        assert pose is not None
        assert float(roll_of_keypoints(keypoints_of(points))) == pytest.approx(pose.roll, abs=1)


def test_roll_of_keypoints_is_that_of_the_landmarks() -> None:
    """One rule for the detector's boxes and for the crops that tracking cuts, whatever the points."""
    spec = ModelSpec(IBUG68, 128, 1.25)
    for points in np.random.default_rng(3).normal(0, 30, (20, 68, 2)):
        assert float(roll_of_keypoints(keypoints_of(points))) == pytest.approx(face_roll(spec, points))


def test_rolls_of_many_faces_come_at_once() -> None:
    """One a face; 0 for points that all coincide; none for no face."""
    faces = np.stack([MEAN_FACE, MEAN_FACE[:, ::-1] * [1, -1], np.zeros((5, 2))])
    np.testing.assert_allclose(roll_of_keypoints(faces), [0, 90, 0], atol=0.3)
    assert roll_of_keypoints(np.empty((0, 5, 2))).shape == (0,)


def test_coinciding_points_are_an_error() -> None:
    """A box of no size would be cut from nothing."""
    with pytest.raises(GeometryError):
        box_of_keypoints(np.full((5, 2), 7.0), YUNET)


def test_the_constants_are_those_that_were_fitted() -> None:
    """The script's JSON and the module hold the same numbers."""
    fitted = json.loads(FIT.read_text())
    assert {name: list(place) for name, place in PLACES.items()} == fitted["places"]
    assert list(EXTENT) == fitted["extent"]
