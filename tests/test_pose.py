"""Pose: known angles are found again, whatever the place, size, mirror and noise of the points."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import product

import cv2
import numpy as np
import pytest

from lightmark.data.synthetic import synthetic_samples
from lightmark.errors import GeometryError, SchemaError
from lightmark.face import Face
from lightmark.geometry import rotation_angles, rotation_matrix, tight_box
from lightmark.mean_head import HALF, RIGID, head_points
from lightmark.pose import assumed_camera, fit_rotation, head_pose, head_transform
from lightmark.schema import COFW29, IBUG68, WFLW98, plain_schema


def project(rotation: np.ndarray, scale: float = 80.0) -> np.ndarray:
    """Points (68, 2) of the mean head so turned, in parallel projection; jaw and mouth are anywhere."""
    points = np.full((68, 2), 1234.5)
    points[list(RIGID)] = scale * head_points() @ rotation[:2].T + [320, 240]
    return points


def angles(points: np.ndarray) -> tuple[float, float, float]:
    """Yaw, pitch and roll that are found."""
    found = head_pose(points, IBUG68)
    assert found is not None
    return found.yaw, found.pitch, found.roll


@pytest.mark.parametrize("yaw", [-85, -60, -30, -5, 0, 15, 45, 75, 85])
def test_known_angles_are_found(yaw: float) -> None:
    """Exactly, for every pitch and roll of a grid."""
    for pitch, roll in product((-40, -10, 0, 25), (-120, -30, 0, 10, 45)):
        assert angles(project(rotation_matrix(yaw, pitch, roll))) == pytest.approx((yaw, pitch, roll), abs=1e-4)


@pytest.mark.parametrize("yaw", [-90, 90])
def test_profiles_are_found(yaw: float) -> None:
    """At a right angle nodding and tilting are one motion: the rotation is right, and so is yaw."""
    for pitch, roll in product((-20, 0, 30), (-30, 0, 10)):
        expected = rotation_matrix(yaw, pitch, roll)
        points = project(expected)
        np.testing.assert_allclose(fit_rotation(points[list(RIGID)], head_points()), expected, atol=1e-5)
        assert angles(points)[0] == pytest.approx(yaw, abs=0.1)


def test_signs_are_what_the_viewer_sees() -> None:
    """The nose to the right is yaw, up is pitch; the left eye's corner below the right one's is roll."""
    tip = project(np.eye(3))[30]
    assert project(rotation_matrix(20, 0, 0))[30, 0] > tip[0]
    assert project(rotation_matrix(0, 20, 0))[30, 1] < tip[1]
    left, right = project(rotation_matrix(0, 0, 20))[[36, 45]]
    assert left[1] > right[1]


def test_noise_moves_the_angles_little() -> None:
    """Labels off by 3 % of the eye distance along each axis: a few degrees, up to a yaw of 60."""
    rng = np.random.default_rng(0)
    errors = []
    for _ in range(120):
        expected = rng.uniform(-1, 1, 3) * (60, 25, 40)
        points = project(rotation_matrix(*expected)) + rng.normal(0, 0.03 * 80, (68, 2))
        errors.append(np.subtract(angles(points), expected))
    assert (np.abs(errors).mean(axis=0) < (2.5, 2.5, 1.5)).all()
    assert np.abs(errors).max() < 15


def test_a_narrow_face_is_not_a_turned_one() -> None:
    """A head a tenth narrower that looks straight ahead."""
    points = project(np.eye(3))
    points[:, 0] = 320 + 0.9 * (points[:, 0] - 320)
    assert angles(points) == pytest.approx((0, 0, 0), abs=1)


def test_a_mirrored_face_has_yaw_and_roll_negated() -> None:
    """In a mirrored face yaw and roll are negated and pitch is unchanged."""
    points = project(rotation_matrix(35, -12, 20)) + np.random.default_rng(0).normal(0, 1.5, (68, 2))
    yaw, pitch, roll = angles(points)
    mirrored = points[list(IBUG68.mirror)] * [-1, 1] + [639, 0]
    assert angles(mirrored) == pytest.approx((-yaw, pitch, -roll), abs=1e-5)


def test_turning_the_picture_changes_roll_alone() -> None:
    """Counter-clockwise as displayed is positive."""
    points = project(rotation_matrix(25, 10, 5)) + np.random.default_rng(0).normal(0, 1.5, (68, 2))
    yaw, pitch, roll = angles(points)
    assert angles(points @ rotation_matrix(0, 0, 30)[:2, :2].T) == pytest.approx((yaw, pitch, roll + 30), abs=1e-5)


def test_place_and_size_do_not_matter() -> None:
    """The pose does not depend on position, size and unit of the points."""
    points = project(rotation_matrix(25, 10, 5)) + np.random.default_rng(0).normal(0, 1.5, (68, 2))
    assert angles(points * 0.001 - 7) == pytest.approx(angles(points), abs=1e-5)


def test_jaw_and_mouth_do_not_matter() -> None:
    """They vary with expression and visibility."""
    points = project(rotation_matrix(25, 10, 5))
    moved = points.copy()
    moved[[*range(17), *range(48, 68)]] += 50
    assert angles(moved) == angles(points)


def test_synthetic_faces_have_the_angles_they_were_drawn_with() -> None:
    """Another head, in perspective, of random persons and expressions."""
    errors = []
    for sample in synthetic_samples(60, seed=3, size=64):
        truth = [sample.attributes[name] for name in ("yaw", "pitch", "roll")]
        errors.append(np.subtract(angles(sample.points), truth))
    assert (np.abs(errors).mean(axis=0) < (3.5, 6.5, 2.5)).all()


def test_the_head_is_symmetric_and_looks_ahead() -> None:
    """Under the schema's mirror, the eye corners one unit apart, the nose towards the viewer."""
    head = dict(zip(RIGID, head_points(), strict=True))
    for index, point in head.items():
        np.testing.assert_array_equal(head[IBUG68.mirror[index]], point * [-1, 1, 1])
    assert set(HALF) | {IBUG68.mirror[index] for index in HALF} == set(RIGID)
    np.testing.assert_array_equal(head[45] - head[36], [1, 0, 0])
    assert head[30][2] == max(point[2] for point in head.values())


def test_points_of_wflw_give_the_pose_too() -> None:
    """The pose of WFLW's 98 points is that of the 68 points in them."""
    sources = {**{33 + i: 17 + i for i in range(5)}, **{42 + i: 22 + i for i in range(5)}}
    sources |= {51 + i: 27 + i for i in range(9)}
    points68 = project(rotation_matrix(20, 5, -10))
    points = np.zeros((98, 2))
    points[list(sources)] = points68[list(sources.values())]
    for first68, first98 in ((36, 60), (42, 68)):
        a, b, c, d, e, f = points68[first68 : first68 + 6]
        # The 68 have two points a lid, thirds between its three: these three give just these two.
        upper, lower = [(5 * b - c) / 4, (b + c) / 2, (5 * c - b) / 4], [(5 * e - f) / 4, (e + f) / 2, (5 * f - e) / 4]
        points[first98 : first98 + 8] = [a, *upper, d, *lower]
    found = head_pose(points, WFLW98)
    assert (found.yaw, found.pitch, found.roll) == pytest.approx((20, 5, -10), abs=1e-4)


@pytest.mark.parametrize("schema", [COFW29, plain_schema(68)])
def test_other_points_give_no_pose(schema) -> None:
    """Sixty-eight points without names are not these."""
    assert head_pose(np.zeros((schema.size, 2)), schema) is None


def test_a_wrong_shape_is_refused() -> None:
    """Points of a wrong shape raise an error."""
    with pytest.raises(SchemaError, match=r"head_pose: points of shape \(67, 2\)"):
        head_pose(np.zeros((67, 2)), IBUG68)


@pytest.mark.parametrize(
    ("points", "complaint"),
    [
        (np.zeros((68, 2)), "lie on one line or all in one place"),
        (np.arange(136.0).reshape(68, 2), "lie on one line"),
        (np.full((68, 2), np.nan), "not all finite"),
    ],
)
def test_points_that_span_nothing_are_refused(points: np.ndarray, complaint: str) -> None:
    """Collinear or coinciding points raise an error."""
    with pytest.raises(GeometryError, match=complaint):
        head_pose(points, IBUG68)


def test_a_face_has_its_pose() -> None:
    """As a property, and in its dictionary as plain numbers."""
    points = project(rotation_matrix(20, 5, -10))
    face = Face(points, tight_box(points), IBUG68)
    assert face.pose == head_pose(points, IBUG68)
    assert json.loads(json.dumps(face.to_dict()))["pose"] == pytest.approx({"yaw": 20, "pitch": 5, "roll": -10})


def test_a_face_without_a_pose_has_none() -> None:
    """Other points and points in one place: None, and nothing in the dictionary."""
    nowhere = Face(np.zeros((68, 2)), np.array([0.0, 0, 1, 1]), IBUG68)
    for face in (nowhere, replace(nowhere, points=np.zeros((29, 2)), schema=COFW29)):
        assert face.pose is None
        assert "pose" not in face.to_dict()


def test_angles_come_back_from_the_rotation() -> None:
    """The convention of the points is that of `rotation_matrix`."""
    expected = rotation_matrix(-40, 15, 25)
    found = fit_rotation(project(expected)[list(RIGID)], head_points())
    assert rotation_angles(found) == pytest.approx((-40, 15, 25), abs=1e-5)


GLASSES = np.array([[-0.5, 0, 0.1], [0, 0, 0.3], [0.5, 0, 0.1], [0.55, 0.2, 0.0], [0.6, 0.0, -0.9], [-0.6, 0.0, -0.9]])
CAMERA = np.array([[800.0, 0, 310], [0, 820.0, 250], [0, 0, 1]])


def photograph(angles: tuple[float, float, float], place: tuple[float, float, float], camera: np.ndarray) -> tuple:
    """Points (68, 2) of the mean head by a pinhole camera, and the transform (4, 4) that took it there (OpenCV's)."""
    flip = np.diag([1.0, 1.0, -1.0])
    known = np.eye(4)
    known[:3, :3], known[:3, 3] = flip @ rotation_matrix(*angles) @ flip, place
    points = np.full((68, 2), 1234.5)
    points[list(RIGID)] = seen(known, head_points() @ flip, camera)
    return points, known


def seen(matrix: np.ndarray, solid: np.ndarray, camera: np.ndarray) -> np.ndarray:
    """Pixels (N, 2) by OpenCV of points (N, 3) that `matrix` moves."""
    turn, _ = cv2.Rodrigues(matrix[:3, :3])
    return cv2.projectPoints(solid, turn, matrix[:3, 3], camera, None)[0][:, 0]


VIEWS = [((0, 0, 0), (0, 0, 8)), ((30, -20, 15), (2, -1, 5)), ((-60, 10, 0), (-1.5, 1, 4)), ((20, 20, -160), (0, 0, 3))]


@pytest.mark.parametrize(("angles", "place"), VIEWS)
def test_the_transform_is_the_heads_in_the_cameras_axes(angles: tuple, place: tuple) -> None:
    """Rotation, and translation in units of the head, under perspective and off the middle of the picture."""
    points, known = photograph(angles, place, CAMERA)
    found = head_transform(points, IBUG68, CAMERA)
    np.testing.assert_allclose(found, known, atol=2e-3)
    np.testing.assert_allclose(found[:3, :3] @ found[:3, :3].T, np.eye(3), atol=1e-9)
    assert np.linalg.det(found[:3, :3]) == pytest.approx(1)


@pytest.mark.parametrize(("angles", "place"), VIEWS)
def test_glasses_drawn_by_opengl_lie_where_opencv_draws_them(angles: tuple, place: tuple) -> None:
    """The same mesh and axes, out of the face and upwards in OpenGL's axes, to the same pixels."""
    width, height, near, far = 640, 480, 0.1, 100.0
    points, known = photograph(angles, place, CAMERA)
    (fx, _, cx), (_, fy, cy) = CAMERA[:2]
    clip = np.array([
        [2 * fx / width, 0, 1 - 2 * (cx + 0.5) / width, 0],
        [0, 2 * fy / height, 2 * (cy + 0.5) / height - 1, 0],
        [0, 0, -(far + near) / (far - near), -2 * far * near / (far - near)],
        [0, 0, -1, 0],
    ])
    mesh = np.vstack([GLASSES, np.eye(3), np.zeros(3)])
    matrix = head_transform(points, IBUG68, CAMERA, "opengl")
    x, y, z, w = (clip @ matrix @ np.column_stack([mesh, np.ones(len(mesh))]).T)
    assert (np.abs(z / w) < 1).all()
    pixels = np.column_stack([(x / w + 1) * width / 2 - 0.5, (1 - y / w) * height / 2 - 0.5])
    np.testing.assert_allclose(pixels, seen(known, mesh * [1, -1, -1], CAMERA), atol=0.5)


def test_a_face_that_looks_into_the_camera_is_not_turned() -> None:
    """In either convention; it lies before the camera, along OpenCV's z and against OpenGL's."""
    points, _ = photograph((0, 0, 0), (0.5, 0.25, 10), assumed_camera(640, 480))
    face = Face(points, tight_box(points), IBUG68)
    np.testing.assert_allclose(face.transform(assumed_camera(640, 480))[:3, 3], [0.5, 0.25, 10], atol=1e-3)
    matrix = face.transform(assumed_camera(640, 480), "opengl")
    np.testing.assert_allclose(matrix[:3], np.column_stack([np.eye(3), [0.5, -0.25, -10]]), atol=1e-3)


def test_the_assumed_camera_sees_63_degrees() -> None:
    """From the upper edge of the picture to the lower, about its middle."""
    camera = assumed_camera(640, 480)
    edges = np.linalg.solve(camera, [[319.5, 319.5], [-0.5, 479.5], [1, 1]])
    np.testing.assert_allclose(np.degrees(np.arctan(edges[1])), [-31.5, 31.5])
    np.testing.assert_allclose(edges[0], 0, atol=1e-12)


def test_a_transform_needs_a_camera_and_known_points() -> None:
    """None for other schemas; errors that name an invalid camera or axes."""
    points, _ = photograph((0, 0, 0), (0, 0, 8), CAMERA)
    assert head_transform(np.zeros((29, 2)), COFW29, CAMERA) is None
    for camera in (np.eye(4), np.zeros((3, 3)), np.full((3, 3), np.nan)):
        with pytest.raises(GeometryError, match=r"needs a \(3, 3\) matrix with positive focal lengths"):
            head_transform(points, IBUG68, camera)
    with pytest.raises(GeometryError, match="axes 'vulkan': needs one of opencv, opengl"):
        head_transform(points, IBUG68, CAMERA, "vulkan")
