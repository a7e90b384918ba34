"""Tests of boxes, matrices, alignment and rotations: values by hand and slow references."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightmark.errors import GeometryError
from lightmark.geometry import (
    align,
    box_centre,
    compose,
    crop_matrix,
    from_normalized,
    invert,
    labelled,
    largest_first,
    longer_side,
    map_box,
    matrix_scale,
    mirror_matrix,
    order_by_area,
    overlaps,
    require_angles,
    require_box,
    require_boxes_near,
    rotation_angles,
    rotation_matrix,
    similarity_matrix,
    suppress,
    tight_box,
    to_normalized,
    transform,
    upright_box,
    wrap_degrees,
)

SEEDS = pytest.mark.parametrize("seed", range(4))


def random_similarity(rng):
    """Random similarity: rotation, scale and translation."""
    angle, zoom = rng.uniform(-3, 3), rng.uniform(0.2, 4)
    cos, sin = zoom * math.cos(angle), zoom * math.sin(angle)
    return np.array([[cos, -sin, rng.uniform(-9, 9)], [sin, cos, rng.uniform(-9, 9)]])


def test_unit_runs_over_the_whole_crop():
    """The outer edge of the first pixel is 0, that of the last is 1, and the centre of the crop is ½."""
    assert to_normalized(np.array([[-0.5, 127.5], [63.5, 0.0]]), 128).tolist() == [[0.0, 1.0], [0.5, 0.5 / 128]]


@SEEDS
def test_unit_and_crop_are_inverse(seed):
    """Crop pixels to normalized_points and back are the same."""
    points = np.random.default_rng(seed).uniform(-20, 250, (7, 2))
    np.testing.assert_allclose(from_normalized(to_normalized(points, 224), 224), points, atol=1e-12)


def test_mirror_of_normalized_points_is_one_minus_x():
    """Mirroring in crop pixels and in normalized_points is consistent."""
    points = np.random.default_rng(0).uniform(0, 127, (7, 2))
    mirrored = to_normalized(transform(mirror_matrix(128), points), 128)
    np.testing.assert_allclose(mirrored, to_normalized(points, 128) * [-1, 1] + [1, 0], atol=1e-12)


def test_mirror_swaps_the_outer_pixels():
    """Column 0 goes to the last column and back, rows stay."""
    assert transform(mirror_matrix(10), np.array([[0.0, 3.0], [9.0, 4.0], [4.5, 5.0]])).tolist() == [
        [9.0, 3.0],
        [0.0, 4.0],
        [4.5, 5.0],
    ]


def test_tight_box_of_many_faces():
    """Each face has its own smallest and largest coordinate."""
    faces = np.array([[[3, 1], [2, 8], [5, 4]], [[0, 0], [-1, 2], [4, -7]]], dtype=np.float32)
    boxes = tight_box(faces)
    assert boxes.tolist() == [[2, 1, 5, 8], [-1, -7, 4, 2]]
    assert boxes.dtype == np.float64


def test_crop_matrix_by_hand():
    """A box of 20 about (20, 30) at twice its size fills 40 pixels one to one, half a pixel off."""
    np.testing.assert_allclose(crop_matrix([10, 20, 30, 40], 40, 2.0), [[1, 0, -0.5], [0, 1, -10.5]], atol=1e-12)


def test_crop_matrix_takes_the_longer_side():
    """A wide box is cut out as a square of its width."""
    np.testing.assert_allclose(crop_matrix([0, 0, 40, 10], 20, 1.0), [[0.5, 0, -0.5], [0, 0.5, 7]], atol=1e-12)


@SEEDS
def test_crop_edges_are_the_outer_edges_of_the_border_pixels(seed):
    """The centre of the box is the centre of the crop; the square's edges lie at −0.5 and size − 0.5."""
    rng = np.random.default_rng(seed)
    x, y, width, height = rng.uniform(-50, 100), rng.uniform(-50, 100), rng.uniform(1, 90), rng.uniform(1, 90)
    matrix = crop_matrix([x, y, x + width, y + height], 96, 1.25)
    centre, half = np.array([x + width / 2, y + height / 2]), 1.25 * max(width, height) / 2
    seen = transform(matrix, np.array([centre, centre - half, centre + half]))
    np.testing.assert_allclose(seen, [[47.5, 47.5], [-0.5, -0.5], [95.5, 95.5]], atol=1e-9)


def test_positive_angle_turns_content_counter_clockwise():
    """At +90° what was right of the centre is above it (y grows downwards), at −90° below."""
    box = [0, 0, 10, 10]
    right = np.array([[9.0, 5.0]])
    np.testing.assert_allclose(transform(crop_matrix(box, 10, 1.0, 90), right), [[4.5, 0.5]], atol=1e-12)
    np.testing.assert_allclose(transform(crop_matrix(box, 10, 1.0, -90), right), [[4.5, 8.5]], atol=1e-12)


@pytest.mark.parametrize("angle", [-170.0, -31.5, 12.0, 90.0])
def test_angle_keeps_the_centre_and_the_scale(angle):
    """A rotation is about the centre of the box and preserves lengths."""
    box = [3, 4, 33, 28]
    matrix, straight = crop_matrix(box, 64, 1.25, angle), crop_matrix(box, 64, 1.25)
    np.testing.assert_allclose(transform(matrix, np.array([[18.0, 16.0]])), [[31.5, 31.5]], atol=1e-9)
    assert matrix_scale(matrix) == pytest.approx(matrix_scale(straight), rel=1e-12)
    assert np.linalg.det(matrix[:, :2]) > 0


@pytest.mark.parametrize(
    ("box", "text"),
    [
        ([10, 10, 5, 40], r"x1 must exceed x0 and y1 exceed y0; got width -5 and height 30 \(is it x, y"),
        ([10, 10, 10, 40], "got width 0 and height 30"),
        ([10, 40, 20, 40], "got width 10 and height 0"),
        ([0, 0, float("nan"), 1], "needs four finite numbers x0, y0, x1, y1"),
        ([0, 0, float("inf"), 1], "needs four finite numbers"),
        ([0, 0, 1], "needs four finite numbers"),
        ([[0, 0, 1, 1]], "needs four finite numbers"),
    ],
)
def test_unusable_box_is_refused(box, text):
    """The error has the box and the fault."""
    with pytest.raises(GeometryError, match=text):
        require_box(box)


def test_crop_of_an_empty_box_is_refused():
    """A face of one point has no crop."""
    with pytest.raises(GeometryError, match="got width 0 and height 0"):
        crop_matrix([5, 5, 5, 5], 64, 1.25)


def test_map_box_by_hand():
    """Offsets are shares of the box's own width and height."""
    moved = map_box(np.array([10.0, 20.0, 30.0, 60.0]), [-0.1, 0.25, 0.2, -0.5])
    np.testing.assert_allclose(moved, [8, 30, 34, 40], atol=1e-12)


def test_zero_offsets_keep_the_box():
    """A model of the 68 points uses the 68-point box."""
    assert map_box(np.array([1.0, 2.0, 3.0, 4.0]), [0, 0, 0, 0]).tolist() == [1, 2, 3, 4]


@SEEDS
def test_compose_applies_the_inner_matrix_first(seed):
    """The composed matrix does what one after the other does, and not the other way round."""
    rng = np.random.default_rng(seed)
    outer, inner, points = random_similarity(rng), random_similarity(rng), rng.normal(size=(5, 2))
    one_after_the_other = transform(outer, transform(inner, points))
    np.testing.assert_allclose(transform(compose(outer, inner), points), one_after_the_other, atol=1e-9)
    assert not np.allclose(transform(compose(inner, outer), points), one_after_the_other)


@SEEDS
def test_inverse_brings_points_back(seed):
    """A matrix and its inverse, in either order, change nothing."""
    rng = np.random.default_rng(seed)
    matrix = random_similarity(rng)
    for both in (compose(invert(matrix), matrix), compose(matrix, invert(matrix))):
        np.testing.assert_allclose(both, [[1, 0, 0], [0, 1, 0]], atol=1e-9)


def test_singular_matrix_has_no_inverse():
    """A matrix that flattens the plane is named."""
    with pytest.raises(GeometryError, match=r"matrix \[\[1\.0, 1\.0, 0\.0\], .*has no inverse: it flattens the plane"):
        invert(np.array([[1.0, 1.0, 0.0], [1.0, 1.0, 5.0]]))


def test_transform_moves_every_face():
    """Any number of leading axes, and integers, are accepted."""
    matrix = np.array([[2.0, 0, 1], [0, 3, -1]])
    points = np.arange(12).reshape(2, 3, 2)
    np.testing.assert_allclose(transform(matrix, points), points * [2, 3] + [1, -1])


@SEEDS
def test_matrix_scale_is_the_growth_of_lengths(seed):
    """Under a similarity, mirrored or not, every length grows by the scale."""
    rng = np.random.default_rng(seed)
    matrix, points = random_similarity(rng), rng.normal(size=(2, 2))
    growth = np.linalg.norm(np.diff(transform(matrix, points), axis=0)) / np.linalg.norm(np.diff(points, axis=0))
    assert matrix_scale(matrix) == pytest.approx(growth, rel=1e-9)
    assert matrix_scale(compose(mirror_matrix(7), matrix)) == pytest.approx(growth, rel=1e-9)


@pytest.mark.filterwarnings("ignore:invalid value")
@pytest.mark.parametrize("matrix", [[[1, 1, 0], [1, 1, 0]], [[0, 0, 3], [0, 0, 4]], [[float("nan"), 0, 0], [0, 1, 0]],
                                    [[float("inf"), 0, 0], [0, 1, 0]]])  # fmt: skip
def test_matrix_without_scale_is_refused(matrix):
    """A matrix that flattens the plane, or is not finite, moves no picture."""
    with pytest.raises(GeometryError, match="flattens the plane or is not finite"):
        matrix_scale(np.array(matrix, dtype=np.float64))


def umeyama(source, target):
    """Similarity by the singular value decomposition of the covariance (Umeyama 1991, equations 40 to 42)."""
    source_mean, target_mean = source.mean(axis=0), target.mean(axis=0)
    covariance = (target - target_mean).T @ (source - source_mean) / len(source)
    u, d, vt = np.linalg.svd(covariance)
    sign = np.diag([1.0, np.sign(np.linalg.det(u) * np.linalg.det(vt))])
    rotation = u @ sign @ vt
    scale = np.trace(np.diag(d) @ sign) / ((source - source_mean) ** 2).sum(axis=1).mean()
    return np.column_stack([scale * rotation, target_mean - scale * rotation @ source_mean])


@SEEDS
def test_align_equals_umeyama(seed):
    """The closed form in complex numbers equals the one by singular values, on points that do not fit exactly."""
    rng = np.random.default_rng(seed)
    source, target = rng.normal(size=(9, 2)), rng.normal(size=(9, 2))
    np.testing.assert_allclose(align(source, target), umeyama(source, target), atol=1e-9)


@SEEDS
def test_align_finds_the_similarity(seed):
    """Points moved by a similarity are brought onto the original exactly."""
    rng = np.random.default_rng(seed)
    matrix, source = random_similarity(rng), rng.normal(size=(5, 2))
    np.testing.assert_allclose(align(source, transform(matrix, source)), matrix, atol=1e-9)


def test_align_does_not_mirror():
    """A mirrored face is fitted by a rotation, never by a reflection."""
    source = np.random.default_rng(0).normal(size=(9, 2))
    matrix = align(source, source * [-1, 1])
    assert np.linalg.det(matrix[:, :2]) >= 0


def test_align_of_one_place_is_refused():
    """Points that all coincide fix no similarity."""
    with pytest.raises(GeometryError, match="align: all source points coincide; a similarity needs two different"):
        align(np.ones((4, 2)), np.random.default_rng(0).normal(size=(4, 2)))


@pytest.mark.parametrize("mirrored", [False, True])
def test_a_similarity_brings_its_centre_to_its_place(mirrored: bool) -> None:
    """Turned by 90° the point right of the centre lands above it; mirrored, the one left of it does."""
    matrix = similarity_matrix(np.array([10.0, 20.0]), np.array([3.0, 4.0]), 2.0, 90.0, mirrored)
    beside = -1.0 if mirrored else 1.0
    moved = transform(matrix, np.array([[10.0, 20.0], [10.0 + beside, 20.0], [10.0, 21.0]]))
    np.testing.assert_allclose(moved, [[3, 4], [3, 2], [5, 4]], atol=1e-12)


def test_rotations_turn_as_the_viewer_sees():
    """Yaw moves the nose right, pitch moves it up, roll moves the right side up."""
    np.testing.assert_allclose(rotation_matrix(90, 0, 0) @ [0, 0, 1], [1, 0, 0], atol=1e-12)
    np.testing.assert_allclose(rotation_matrix(0, 90, 0) @ [0, 0, 1], [0, -1, 0], atol=1e-12)
    np.testing.assert_allclose(rotation_matrix(0, 0, 90) @ [1, 0, 0], [0, -1, 0], atol=1e-12)


def test_rotations_nod_first_and_tilt_last():
    """The product of the three alone, in this order, and a rotation."""
    whole = rotation_matrix(30, -20, 10)
    parts = rotation_matrix(0, 0, 10) @ rotation_matrix(30, 0, 0) @ rotation_matrix(0, -20, 0)
    np.testing.assert_allclose(whole, parts, atol=1e-12)
    np.testing.assert_allclose(whole @ whole.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(whole) == pytest.approx(1)


@given(st.floats(-89, 89), st.floats(-179, 179), st.floats(-179, 179))
def test_angles_of_a_rotation_come_back(yaw, pitch, roll):
    """Angles are recovered from their rotation up to the gimbal lock."""
    assert rotation_angles(rotation_matrix(yaw, pitch, roll)) == pytest.approx((yaw, pitch, roll), abs=1e-6)


@pytest.mark.parametrize("yaw", [-90.0, 90.0])
def test_angles_at_a_right_angle_give_the_same_rotation(yaw):
    """At a yaw of ±90° the common rotation of pitch and roll is pitch."""
    expected = rotation_matrix(yaw, 20, 15)
    angles = rotation_angles(expected)
    assert (angles[0], angles[2]) == (pytest.approx(yaw), 0)
    np.testing.assert_allclose(rotation_matrix(*angles), expected, atol=1e-9)


def test_tight_box_is_that_of_the_labelled_points():
    """Missing points are passed over, whatever coordinate is NaN; without any point there is no box."""
    points = np.array([[[1.0, 5.0], [np.nan, np.nan], [4.0, 2.0]], [[np.nan] * 2] * 3])
    assert tight_box(points)[0].tolist() == [1, 2, 4, 5]
    assert np.isnan(tight_box(points)[1]).all()
    assert labelled(points).tolist() == [[True, False, True], [False] * 3]
    assert labelled(np.array([[np.nan, 3.0], [np.inf, 3.0]])).tolist() == [False, True]


@pytest.mark.parametrize(
    ("box", "text"),
    [
        ([0, 0, 1e9, 1e9], r"its longer side is 1e\+09 px in a picture of 640×480; needs 1 to 6400"),
        ([0.1, 0.1, 0.4, 0.5], r"its longer side is 0\.4 px .* \(is it in shares of the picture\?\)"),
        ([10, 10, 10 + 1e-9, 10 + 1e-9], "its longer side is 1e-09 px"),
        ([700, 10, 800, 100], "lies outside the picture of 640×480 pixels"),
        ([10, -100, 80, -1], "lies outside the picture"),
        ([1e300, 1e300, 1.1e300, 1.1e300], "longer side"),
        ([0, 0, np.nan, 10], "needs four finite numbers"),
        ([0, 0, np.inf, 10], "needs four finite numbers"),
        ([50, 50, 10, 10], "x1 must exceed x0"),
        ([0, 0, 10], "needs four finite numbers"),
    ],
)
def test_box_that_no_face_in_the_picture_has_is_refused(box, text):
    """Too large, too small, outside, reversed, not finite or no box; the message names the fault."""
    with pytest.raises(GeometryError, match=text):
        require_boxes_near([[10, 10, 90, 90], box] if len(box) == 4 else [box], 640, 480)


@pytest.mark.parametrize("boxes", [[[0, 0, 1], [0, 0, 1, 1]], [["a", 0, 1, 1]], [[{}] * 4], 5, [[[0, 0, 9, 9]]]])
def test_boxes_of_another_form_are_refused(boxes):
    """Ragged lists, words, numbers alone and nested lists."""
    with pytest.raises(GeometryError, match="boxes"):
        require_boxes_near(boxes, 640, 480)


def test_boxes_may_reach_over_the_edges():
    """Faces at the border are labelled where they would be; the whole picture is a box, too."""
    boxes = [[-300, -200, 20, 30], [0, 0, 639, 479], [-1000, -1000, 2000, 2000], [639, 479, 700, 500]]
    assert require_boxes_near(boxes, 640, 480).tolist() == boxes
    assert require_boxes_near([], 640, 480).shape == (0, 4)


def test_tight_box_of_one_face_and_of_stacks():
    """The last axes are points and coordinates, whatever comes before."""
    face = np.array([[3, 1], [2, 8], [5, 4]], dtype=np.float32)
    assert tight_box(face).tolist() == [2, 1, 5, 8]
    assert tight_box(np.tile(face, (2, 3, 1, 1))).shape == (2, 3, 4)


def test_side_and_centre_of_a_box():
    """The longer side of a wide and of a tall box."""
    assert [longer_side(np.array(box)) for box in ([1.0, 2, 7, 5], [1.0, 2, 3, 9])] == [6, 7]
    assert box_centre(np.array([1.0, 2, 7, 5])).tolist() == [4, 3.5]


def test_overlaps_by_hand():
    """The same box, half of it, a corner, touching edges, apart in both directions."""
    first = np.array([[0.0, 0, 4, 2]])
    second = np.array([[0.0, 0, 4, 2], [0, 0, 2, 2], [3, 1, 5, 3], [4, 0, 6, 2], [10, 10, 12, 12], [0, 5, 4, 6]])
    np.testing.assert_allclose(overlaps(first, second), [[1, 0.5, 1 / 11, 0, 0, 0]])
    np.testing.assert_allclose(overlaps(second, first), overlaps(first, second).T)


@pytest.mark.filterwarnings("error")
def test_empty_boxes_overlap_by_nothing():
    """Not even each other or themselves, so that all stay; nor do they divide by zero."""
    boxes = np.array([[1.0, 1, 1, 1], [1, 1, 1, 1], [0, 0, 2, 2]])
    np.testing.assert_array_equal(overlaps(boxes, boxes), np.diag([0.0, 0, 1]))
    assert suppress(boxes, np.array([0.5, 0.5, 0.9]), 0.4).tolist() == [2, 0, 1]
    assert suppress(boxes[:0], np.zeros(0), 0.4).tolist() == []


def test_a_box_suppressed_by_a_higher_score_suppresses_none():
    """Of three in a row, each overlapping the next by a half, the last stays when the middle one is gone."""
    boxes = np.array([[0.0, 0, 3, 1], [1, 0, 4, 1], [2, 0, 5, 1]])
    assert suppress(boxes, np.array([0.9, 0.8, 0.7]), 0.4).tolist() == [0, 2]
    assert suppress(boxes, np.array([0.8, 0.9, 0.7]), 0.4).tolist() == [1]


def test_boxes_are_ordered_by_area_then_from_the_left_then_from_the_top():
    """A long thin box is smaller than a square one of a shorter side."""
    boxes = np.array([[5.0, 9, 7, 11], [0, 0, 9, 0.1], [5, 1, 7, 3], [1, 5, 3, 7], [0, 0, 3, 3]])
    assert order_by_area(boxes).tolist() == [4, 3, 2, 0, 1]
    np.testing.assert_array_equal(largest_first(boxes), boxes[[4, 3, 2, 0, 1]])


def test_coordinates_leave_in_float64():
    """Integers and float32 points are computed in float64."""
    points = np.array([[1 / 3, 1 / 7]], dtype=np.float32)
    assert require_box([1, 2, 30, 40]).dtype == np.float64
    for found, exact in (
        (to_normalized(points, 7), (points.astype(np.float64) + 0.5) / 7),
        (from_normalized(points, 7), points.astype(np.float64) * 7 - 0.5),
    ):
        assert found.dtype == np.float64
        np.testing.assert_allclose(found, exact, rtol=1e-6)
    np.testing.assert_array_equal(from_normalized(points, 7), points.astype(np.float64) * 7 - 0.5)


def test_a_mirrored_similarity_mirrors_before_it_turns():
    """It equals a rotation after a mirror about the centre."""
    centre, place = np.array([10.0, 20.0]), np.array([3.0, 4.0])
    mirror = np.array([[-1.0, 0, 20], [0, 1, 0]])
    for angle in (0.0, 30.0, -100.0):
        plain = similarity_matrix(centre, place, 2.0, angle)
        np.testing.assert_allclose(
            similarity_matrix(centre, place, 2.0, angle, mirrored=True), compose(plain, mirror), atol=1e-12
        )
    np.testing.assert_allclose(similarity_matrix(centre, place, 2.0), [[2, 0, -17], [0, 2, -36]])


@pytest.mark.parametrize("zoom", [0.001, 0.5, 1.0])
def test_matrix_scale_of_a_reduction(zoom):
    """Scale factors below 1 are measured, too."""
    assert matrix_scale(similarity_matrix(np.zeros(2), np.ones(2), zoom, 20.0)) == pytest.approx(zoom)


@pytest.mark.parametrize(
    "box",
    [
        [10, 10, 11, 11], [0, 0, 6400, 5], [-9, 9, -0.5, 20], [9, -9, 20, -0.5], [-9, 9, 0, 20], [9, -9, 20, 0],
        [639.5, 9, 700, 20], [9, 479.5, 20, 500],
    ],
)  # fmt: skip
def test_boxes_at_the_bounds_are_taken(box):
    """One pixel, ten pictures, and those that touch the outer edge of a border pixel, in a picture of 640×480."""
    assert require_boxes_near([box], 640, 480).tolist() == [box]


@pytest.mark.parametrize(
    "box",
    [
        [10, 10, 10.99, 10.99], [0, 0, 6400.1, 5], [-9, 9, -0.6, 20], [9, -9, 20, -0.6], [639.6, 9, 700, 20],
        [9, 479.6, 20, 500],
    ],
)  # fmt: skip
def test_boxes_just_beyond_the_bounds_are_refused(box):
    """A box that is 0.1 px outside the limits raises an error."""
    with pytest.raises(GeometryError):
        require_boxes_near([box], 640, 480)


@pytest.mark.parametrize("sign", [-1, 1])
def test_a_rotation_that_rounding_has_pushed_beyond_a_right_angle_has_angles(sign):
    """A sine of 1 + 1e-15, by rounding, is treated as 1."""
    rotation = np.array([[0.0, 0, sign], [0, 1, 0], [-sign * (1 + 1e-15), 0, 0]])
    yaw, pitch, roll = rotation_angles(rotation)
    assert (yaw, roll) == (90 * sign, 0)
    assert pitch == pytest.approx(0)


@pytest.mark.parametrize("roll", [0.0, 30.0, -75.0, 180.0, 400.0])
def test_the_crop_of_a_rolled_face_is_that_of_the_upright_one(roll):
    """Box and roll of a turned face give the crop points of the face before it was turned."""
    points = np.random.default_rng(1).uniform(20, 90, (9, 2))
    turn = similarity_matrix(np.array([30.0, 50.0]), np.array([70.0, 10.0]), 1.0, roll)
    rolled = transform(turn, points)
    upright = transform(crop_matrix(tight_box(points), 64, 1.25), points)
    np.testing.assert_allclose(transform(crop_matrix(upright_box(rolled, roll), 64, 1.25, -roll), rolled), upright)


def test_the_box_of_a_face_without_roll_is_its_tight_box():
    """To the last bit, so that nothing changes for upright faces."""
    points = np.random.default_rng(2).uniform(-9, 300, (68, 2))
    assert upright_box(points, 0.0).tobytes() == tight_box(points).tobytes()


@given(st.floats(-1e4, 1e4))
def test_a_wrapped_angle_is_the_same_direction(angle):
    """From −180 to below 180, with the same sine and cosine."""
    wrapped = wrap_degrees(angle)
    assert -180 <= wrapped < 180
    assert math.isclose(math.cos(math.radians(wrapped - angle)), 1.0, abs_tol=1e-9)


def test_angles_are_one_a_box_or_unknown():
    """None is unknown for every box, NaN for one."""
    boxes = np.zeros((2, 4))
    assert np.isnan(require_angles(None, boxes)).all()
    np.testing.assert_array_equal(require_angles([30, np.nan], boxes), [30.0, np.nan])


@pytest.mark.parametrize("angles", [[1.0], 30.0, [[1.0, 2.0]], [1.0, np.inf], [[1.0], [1.0, 2.0]], ["up", "down"]])
def test_other_angles_are_refused(angles):
    """Too few, one for all, too deep, infinite, ragged, words."""
    with pytest.raises(GeometryError, match=r"angles.*needs \((2|F),\) degrees, one a\s+box"):
        require_angles(angles, np.zeros((2, 4)))
