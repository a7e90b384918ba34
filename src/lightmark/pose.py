"""Pose: how a head is turned, from its landmarks alone, without a camera's calibration."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lightmark.errors import GeometryError
from lightmark.geometry import Array, Floats, rotation_angles
from lightmark.mean_head import RIGID, head_points
from lightmark.schema import IBUG68, WFLW98, Schema, ibug68_from_wflw98, require_points

# How far labels lie from the mean head along each axis, in eye distances: 0.034 in the plane over the faces that it was
# made from (benchmarks/fit_head_shape.py).
SPREAD = 0.024
# A narrow face is not a turned one: its width may differ by this share (standard deviation) before turning it is the
# likelier explanation. Without, yaw below 30° is off four times as much where angles are known (results/pose.json).
WIDTH_SPREAD = 0.06
STEPS = 30  # about five are taken; profiles far from the mean head need most
SMALL_STEP = 1e-6  # radians, and shares of scale and width
LONGEST_TURN = 0.5  # radians in one step: the linear model holds no further


@dataclass(frozen=True)
class Pose:
    """How the head is turned, in degrees, as the viewer sees it.

    `yaw` > 0 turns the nose to the right of the picture (towards the subject's own left), `pitch` > 0 lifts it, `roll`
    > 0 tilts the head counter-clockwise in the picture. The head is nodded first, then turned, then tilted
    (`lightmark.geometry.rotation_matrix`, with axes x to the right, y down, z towards the viewer), so roll is what
    turning the picture changes, and a mirrored picture negates yaw and roll. Yaw lies in [−90, 90]; at its ends nodding
    and tilting are one motion, and only yaw is to be relied on. 300W-LP and AFLW2000 count yaw and roll the other way
    and tilt first.
    """

    yaw: float
    pitch: float
    roll: float


def head_pose(points: Floats, schema: Schema) -> Pose | None:
    """Pose of the head with landmarks `points` (N, 2) of `schema`; None for a schema but the 68 and WFLW's 98 points.

    A mean head's brows, nose and eyes are laid over the points in scaled orthographic projection by least squares
    (Gauss-Newton), its width being free within `WIDTH_SPREAD`. Zero is a face that looks straight ahead (see
    `lightmark.mean_head`). No perspective is modelled: it makes near heads seem more turned than they are. Raises
    `SchemaError` for points of another shape, `GeometryError` where they are not finite or lie on one line.
    """
    if not knows_pose(schema):
        return None
    require_points(points, schema, "head_pose")
    seen = points if schema.size == IBUG68.size else ibug68_from_wflw98(points)
    return Pose(*rotation_angles(fit_rotation(np.asarray(seen, dtype=np.float64)[list(RIGID)], head_points())))


def knows_pose(schema: Schema) -> bool:
    """Whether `head_pose` can tell the pose from points of `schema`."""
    return any((schema.name, schema.mirror) == (known.name, known.mirror) for known in (IBUG68, WFLW98))


def fit_rotation(points: Array, solid: Array) -> Array:
    """Rotation (3, 3) that lays `solid` (N, 3) over `points` (N, 2) with the least error; see `head_pose`."""
    points, solid = points - points.mean(axis=0), solid - solid.mean(axis=0)
    rotation, scale = _affine_start(points, solid)
    width = 0.0  # logarithm of the factor
    for _ in range(STEPS):
        widened = solid * [np.exp(width), 1, 1]
        placed = scale * widened @ rotation.T
        columns = _columns(placed, scale * widened[:, :1] * rotation[:2, 0]) / (scale * SPREAD)
        left = (points - placed[:, :2]).ravel() / (scale * SPREAD)
        prior = np.array([0, 0, 0, 0, 1 / WIDTH_SPREAD])
        step = np.linalg.lstsq(np.vstack([columns, prior]), np.append(left, -width / WIDTH_SPREAD), rcond=None)[0]
        step *= min(1.0, LONGEST_TURN / max(float(np.linalg.norm(step[:3])), LONGEST_TURN))
        rotation = _turn(step[:3]) @ rotation
        scale *= float(np.exp(np.clip(step[3], -1, 1)))
        width += float(step[4])
        if np.abs(step).max() < SMALL_STEP:
            break
    return rotation


def _affine_start(points: Array, solid: Array) -> tuple[Array, float]:
    """Rotation and scale nearest to the affine map that fits best; both sets of points are centred."""
    if not np.isfinite(points).all():
        raise GeometryError("head_pose: points are not all finite; a pose needs every one of the face's points")
    rows, sizes, columns = np.linalg.svd(np.linalg.lstsq(solid, points, rcond=None)[0].T, full_matrices=False)
    if not sizes[1] > 1e-9 * sizes[0]:
        raise GeometryError("head_pose: the points lie on one line or all in one place; a face spans a plane")
    upper = rows @ columns
    return np.vstack([upper, np.cross(upper[0], upper[1])]), float(sizes.mean())


def _columns(placed: Array, widening: Array) -> Array:
    """Derivatives (2N, 5) of the projected points: three turns about the axes, logarithms of scale and of width."""
    x, y, z = placed.T
    zero = np.zeros_like(x)
    across = np.stack([zero, z, -y, x, widening[:, 0]], axis=1)
    down = np.stack([-z, zero, x, y, widening[:, 1]], axis=1)
    return np.stack([across, down], axis=1).reshape(-1, 5)


def _turn(vector: Array) -> Array:
    """Rotation (3, 3) about `vector` by its length in radians (Rodrigues)."""
    angle = float(np.linalg.norm(vector))
    x, y, z = vector
    cross: NDArray[np.float64] = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    # np.sinc(t) is sin(πt) / (πt): finite where the angle is zero.
    return np.asarray(np.eye(3) + np.sinc(angle / np.pi) * cross + np.sinc(angle / 2 / np.pi) ** 2 / 2 * cross @ cross)
