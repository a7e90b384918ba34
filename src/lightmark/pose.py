"""Head pose (yaw, pitch, roll) from landmarks, without camera calibration."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lightmark.errors import GeometryError
from lightmark.geometry import Array, Floats, rotation_angles
from lightmark.mean_head import RIGID, head_points, head_scale
from lightmark.schema import IBUG68, WFLW98, Schema, require_points

# Standard deviation of labels from the mean head along each axis, in eye distances: 0.034 in the plane, over the
# faces that the mean head was fitted to (benchmarks/fit_head_shape.py).
SPREAD = 0.024
# Prior on the head's width: standard deviation, as a share. Without it a narrow face is taken for a rotated one, and
# the error of yaw below 30° is four times as large (benchmarks/results/pose.json).
WIDTH_SPREAD = 0.06
STEPS = 30  # Gauss-Newton iterations: usually about five, most for profiles unlike the mean head
SMALL_STEP = 1e-6  # radians, and shares of scale and width
LONGEST_TURN = 0.5  # radians per step: the linearisation is not valid for larger rotations
PERSPECTIVE_STEPS, PERSPECTIVE_CHANGE = 20, 1e-4  # of POSIT: most, and the depth's share at which it ends
VERTICAL_FIELD = 63.0  # degrees: what MediaPipe's face geometry takes for an unknown camera

Axes: TypeAlias = Literal["opencv", "opengl"]


@dataclass(frozen=True)
class Pose:
    """Head rotation in degrees, from the viewer's side.

    `yaw` > 0 turns the nose to the right of the picture (the subject's left), `pitch` > 0 raises it, `roll` > 0 tilts
    the head counter-clockwise in the picture. The rotations apply in the order pitch, yaw, roll
    (`lightmark.geometry.rotation_matrix`, with axes x to the right, y down, z towards the viewer), so rotating the
    picture changes only roll, and mirroring it negates yaw and roll. Yaw is in [−90, 90]; at its ends pitch and roll
    are degenerate (gimbal lock), and only yaw is reliable. 300W-LP and AFLW2000 have the opposite sign of yaw and roll,
    and apply roll first.
    """

    yaw: float
    pitch: float
    roll: float


def head_pose(points: Floats, schema: Schema) -> Pose | None:
    """Pose of the head with landmarks `points` (N, 2) of `schema`; None unless it is the 68 or WFLW's 98 points.

    The brows, nose and eyes of a mean head are fitted to the points in scaled orthographic projection by least squares
    (Gauss-Newton), with a free width under the prior `WIDTH_SPREAD`. Zero is a face that looks straight ahead (see
    `lightmark.mean_head`). Perspective is not modelled: it makes near heads seem more rotated than they are. Raises
    `SchemaError` for points of another shape, `GeometryError` if they are not finite or collinear.
    """
    if not knows_pose(schema):
        return None
    return Pose(*rotation_angles(fit_rotation(_rigid_points(points, schema, "head_pose"), head_points())))


def assumed_camera(width: int, height: int) -> Array:
    """Camera matrix (3, 3) for pictures of an unknown camera: 63° from top to bottom, as MediaPipe assumes.

    Pass your camera's own, as cv2.calibrateCamera returns it, where you know it: a focal length that is wrong by a
    share makes `head_transform`'s distance wrong by that share.
    """
    focal = height / 2 / math.tan(math.radians(VERTICAL_FIELD / 2))
    return np.array([[focal, 0, (width - 1) / 2], [0, focal, (height - 1) / 2], [0, 0, 1]])


def head_transform(points: Floats, schema: Schema, camera: ArrayLike, axes: Axes = "opencv") -> Array | None:
    """Rigid transform (4, 4) from head to camera coordinates, for a pinhole `camera` (3, 3) without distortion.

    The head's origin lies between the outer eye corners and its unit is their distance, so translation is in units of
    the head. `opencv`: x to the picture's right, y down, z away from the camera, into the head. `opengl`: x to the
    right, y up, z towards the camera, out of the face. A face that looks into the camera has no rotation in either.
    The width that differs from the mean head's is left out. None unless `points` (N, 2) are the 68 or WFLW's 98.

    `head_pose` with perspective: POSIT (DeMenthon and Davis 1995) fits in scaled orthographic projection the points
    moved to where it would show them, and repeats. Raises as `head_pose`, and `GeometryError` for another camera.
    """
    if not knows_pose(schema):
        return None
    if axes not in get_args(Axes):
        raise GeometryError(f"axes {axes!r}: needs one of {', '.join(get_args(Axes))}")
    rays, solid = _rays(_rigid_points(points, schema, "head_transform"), camera), head_points()
    flat, fit = rays, _fit(rays, solid)
    nearer: Array = np.zeros(len(solid))  # by which each point is nearer than the origin, as a share of its distance
    for _ in range(PERSPECTIVE_STEPS):
        rotation = fit.rotation
        placed = solid @ rotation.T
        scale = head_scale(flat, rotation)
        previous, nearer = nearer, scale * placed[:, 2]
        if np.abs(nearer - previous).max() < PERSPECTIVE_CHANGE:
            break
        flat = rays * (1 - nearer)[:, None]
        fit, _ = _gauss_newton_step(fit, flat, solid)  # one is enough, as the points still move
    centre = flat.mean(axis=0) / scale - placed[:, :2].mean(axis=0)
    flip = np.array([1.0, 1.0, -1.0])  # the mean head's z points to the viewer
    transform = np.eye(4)
    transform[:3, :3], transform[:3, 3] = rotation * np.outer(flip, flip), [*centre, 1 / scale]
    return transform if axes == "opencv" else np.asarray(transform * np.outer(OPENGL, OPENGL))


OPENGL = np.array([1.0, -1.0, -1.0, 1.0])  # signs of OpenCV's axes


def _rays(points: Array, camera: ArrayLike) -> Array:
    """Points (N, 2) at distance 1 from a camera that looks along z."""
    matrix = np.asarray(camera, dtype=np.float64)
    if matrix.shape != (3, 3) or not np.isfinite(matrix).all() or not (matrix[0, 0] > 0 and matrix[1, 1] > 0):
        raise GeometryError(f"camera of shape {matrix.shape}: needs a (3, 3) matrix with positive focal lengths")
    return np.asarray(np.linalg.solve(matrix, np.column_stack([points, np.ones(len(points))]).T)[:2].T)


def _rigid_points(points: Floats, schema: Schema, where: str) -> Array:
    require_points(points, schema, where)
    if schema.size != IBUG68.size:
        from lightmark.schemes import ibug68_from_wflw98  # `detect` needs no other schemes

        points = ibug68_from_wflw98(points)
    return np.asarray(points, dtype=np.float64)[list(RIGID)]


def knows_pose(schema: Schema) -> bool:
    """Whether `head_pose` supports `schema`."""
    return any((schema.name, schema.mirror) == (known.name, known.mirror) for known in (IBUG68, WFLW98))


class _Fit(NamedTuple):
    """Rotation (3, 3), scale, and logarithm of the width's factor that fit a head to points."""

    rotation: Array
    scale: float
    width: float


def fit_rotation(points: Array, solid: Array) -> Array:
    """Rotation (3, 3) that fits `solid` (N, 3) to `points` (N, 2) by least squares; see `head_pose`."""
    return _fit(points, solid).rotation


def _fit(points: Array, solid: Array) -> _Fit:
    fit = _affine_start(points - points.mean(axis=0), solid - solid.mean(axis=0))
    for _ in range(STEPS):
        fit, change = _gauss_newton_step(fit, points, solid)
        if change < SMALL_STEP:
            break
    return fit


def _gauss_newton_step(fit: _Fit, points: Array, solid: Array) -> tuple[_Fit, float]:
    """Next fit, and the largest change: radians, or share of scale or width."""
    points, solid = points - points.mean(axis=0), solid - solid.mean(axis=0)
    rotation, scale, width = fit
    widened = solid * [np.exp(width), 1, 1]
    placed = scale * widened @ rotation.T
    columns = _columns(placed, scale * widened[:, :1] * rotation[:2, 0]) / (scale * SPREAD)
    left = (points - placed[:, :2]).ravel() / (scale * SPREAD)
    prior = np.array([0, 0, 0, 0, 1 / WIDTH_SPREAD])
    step = np.linalg.lstsq(np.vstack([columns, prior]), np.append(left, -width / WIDTH_SPREAD), rcond=None)[0]
    step *= min(1.0, LONGEST_TURN / max(float(np.linalg.norm(step[:3])), LONGEST_TURN))
    scale *= float(np.exp(np.clip(step[3], -1, 1)))
    return _Fit(_rotation_about(step[:3]) @ rotation, scale, width + float(step[4])), float(np.abs(step).max())


def _affine_start(points: Array, solid: Array) -> _Fit:
    """Initial fit: nearest to the least-squares affine map; both point sets are centred."""
    if not np.isfinite(points).all():
        raise GeometryError("head_pose: points are not all finite; a pose needs every one of the face's points")
    rows, sizes, columns = np.linalg.svd(np.linalg.lstsq(solid, points, rcond=None)[0].T, full_matrices=False)
    if not sizes[1] > 1e-9 * sizes[0]:
        raise GeometryError("head_pose: the points lie on one line or all in one place; a face spans a plane")
    upper = rows @ columns
    return _Fit(np.vstack([upper, np.cross(upper[0], upper[1])]), float(sizes.mean()), 0.0)


def _columns(placed: Array, widening: Array) -> Array:
    """Jacobian (2N, 5) of the projected points: rotation about three axes, logarithms of scale and of width."""
    x, y, z = placed.T
    zero = np.zeros_like(x)
    across = np.stack([zero, z, -y, x, widening[:, 0]], axis=1)
    down = np.stack([-z, zero, x, y, widening[:, 1]], axis=1)
    return np.stack([across, down], axis=1).reshape(-1, 5)


def _rotation_about(vector: Array) -> Array:
    """Rotation (3, 3) about the axis `vector` by its length in radians (Rodrigues' formula)."""
    angle = float(np.linalg.norm(vector))
    x, y, z = vector
    cross: NDArray[np.float64] = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    # np.sinc(t) is sin(πt) / (πt): finite where the angle is zero.
    return np.asarray(np.eye(3) + np.sinc(angle / np.pi) * cross + np.sinc(angle / 2 / np.pi) ** 2 / 2 * cross @ cross)
