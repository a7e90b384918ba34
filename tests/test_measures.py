"""Measures of a face: openings are found whatever the pose, size and place, on the person's own side."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from lightmark.data.synthetic.head import Expression, Identity, make_head
from lightmark.data.synthetic.view import Pose as ViewPose
from lightmark.data.synthetic.view import view_head
from lightmark.errors import SchemaError
from lightmark.face import Face
from lightmark.geometry import tight_box
from lightmark.measures import CLOSED_EYE, eye_openness, mouth_openness
from lightmark.pose import Pose
from lightmark.schema import COFW29, IBUG68, WFLW98, Schema, plain_schema

EYE_DISTANCE = 1.22  # between the outer corners of the procedural head, in its units
FAR = 1000.0  # distance of a camera that leaves no perspective


def face_of(
    expression: Expression, yaw: float = 0.0, pitch: float = 0.0, roll: float = 0.0, scale: float = 90.0
) -> Face:
    """Face of the procedural mean head with this expression, seen from afar."""
    view = view_head(make_head(Identity(), expression), ViewPose(yaw, pitch, roll, (300.0, 200.0), scale, FAR))
    return Face(view.points, tight_box(view.points), IBUG68)


def eyes(face: Face) -> tuple[float, float]:
    """Openness of the left and the right eye."""
    assert face.eye_openness is not None
    return face.eye_openness.left, face.eye_openness.right


def test_openness_is_the_lid_gap_over_the_wide_eyes() -> None:
    """A head whose lids are apart by half of what counts as wide has eyes half open, whatever its size."""
    gap = 0.13 * (1 - 0.98 * 0.3)  # head units: the procedural lids, 30 % closed
    for scale in (20.0, 200.0):
        found = eyes(face_of(Expression(eyes_closed=(0.3, 0.3)), scale=scale))
        assert found == pytest.approx((gap / EYE_DISTANCE / 0.14,) * 2, abs=0.03)


def test_openness_does_not_change_with_the_pose() -> None:
    """By at most a tenth within 30 degrees of yaw and pitch, for open and closed eyes and mouths, in any roll."""
    for drop, closed in ((0.7, 0.0), (0.0, 1.0), (0.0, 0.5)):
        expression = Expression(jaw_drop=drop, eyes_closed=(closed, closed))
        front = face_of(expression)
        assert front.mouth_openness is not None
        for yaw, pitch, roll in product((-30, 0, 30), (-30, 0, 30), (0, 120)):
            turned = face_of(expression, yaw, pitch, roll)
            assert eyes(turned) == pytest.approx(eyes(front), abs=0.1)
            assert turned.mouth_openness == pytest.approx(front.mouth_openness, abs=0.1)


def test_sides_are_the_persons_own() -> None:
    """The eye that is right in the picture is the left one."""
    face = face_of(Expression(eyes_closed=(0.0, 1.0)))  # of the synthetic head: left and right in the picture
    left, right = eyes(face)
    assert left < 0.1 < CLOSED_EYE < right
    assert face.eyes_closed == (True, False)
    assert face.eyes_closed.left


def test_mouth_grows_with_the_jaw() -> None:
    """From 0 for closed lips to 1 for a yawn."""
    found = [face_of(Expression(jaw_drop=drop)).mouth_openness for drop in (0.0, 0.3, 0.6, 1.0)]
    assert found == sorted(found)
    assert found[0] == pytest.approx(0.0, abs=0.05)
    assert found[-1] == 1.0


def test_wflw_points_are_measured_as_their_68() -> None:
    """The same openness from 98 points; those that the 68 lack play no part."""
    points68 = face_of(Expression(jaw_drop=0.4, eyes_closed=(0.2, 0.6))).points
    points98 = np.zeros((98, 2))
    points98[33:38], points98[42:47], points98[51:60] = points68[17:22], points68[22:27], points68[27:36]
    for first98, first68 in ((60, 36), (68, 42)):
        a, b, c, d, e, f = points68[first68 : first68 + 6]
        # Points whose thirds are the six: the conversion interpolates along each lid.
        points98[first98 : first98 + 8] = [a, b, b, 1.5 * c - 0.5 * b, d, e, e, 1.5 * f - 0.5 * e]
    points98[76:96] = points68[48:68]
    first = Face(points68, tight_box(points68), IBUG68)
    second = Face(points98, tight_box(points98), WFLW98)
    assert eyes(second) == pytest.approx(eyes(first))
    assert second.mouth_openness == pytest.approx(first.mouth_openness)


@pytest.mark.parametrize("schema", [COFW29, plain_schema(5)])
def test_other_schemas_have_no_measures(schema: Schema) -> None:
    """None from a face; an error that names the schema from the functions."""
    points = np.arange(2.0 * schema.size).reshape(-1, 2)
    face = Face(points, tight_box(points), schema)
    assert (face.eye_openness, face.eyes_closed, face.mouth_openness) == (None, None, None)
    for measure in (eye_openness, mouth_openness):
        with pytest.raises(SchemaError, match=f"{schema.name}; needs ibug68 or wflw98"):
            measure(points, schema, Pose(0, 0, 0))


def test_an_invisible_opening_is_not_amplified() -> None:
    """Where the head's vertical axis points at the camera, lids a pixel apart are no wide eye."""
    face = face_of(Expression(eyes_closed=(1.0, 1.0)), pitch=-75.0)
    points = face.points + np.where(np.isin(np.arange(68), (43, 44)), -1.0, 0.0)[:, None] * [0.0, 1.0]
    assert eye_openness(points, IBUG68, Pose(0.0, -82.0, 0.0)).left < 0.5
    profile = face_of(Expression(jaw_drop=0.5), yaw=90.0)
    assert 0.5 < eye_openness(profile.points, IBUG68, Pose(90.0, 0.0, 0.0)).left < 1.0
