"""Boxes, 2×3 affine matrices, least-squares alignment and rotations, and the conventions for coordinates.

Points are (..., N, 2), x then y, pixel centres at integers: pixel i covers [i − 0.5, i + 0.5]. A box is
(x0, y0, x1, y1), the smallest and largest coordinate of the points in it. A matrix maps image points to crop points.
A point without a label is NaN in both coordinates. Transforms keep it NaN, and a sum that does not mask it becomes NaN,
so that a missing label cannot be mistaken for a place.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lightmark.errors import GeometryError

Array = NDArray[np.float64]
Floats = NDArray[np.floating[Any]]


# Pixels from the corner of the first pixel, where labelling tools and shares of a picture count from, to its centre.
CORNER = 0.5


def labelled(points: Floats) -> NDArray[np.bool_]:
    """Mask (..., N) of the labelled points among (..., N, 2): those without a NaN."""
    return np.asarray(~np.isnan(points).any(axis=-1))


def finite(points: Floats) -> NDArray[np.bool_]:
    """Mask (..., N) of the points among (..., N, 2) that can be drawn: without NaN and infinity."""
    return np.asarray(np.isfinite(points).all(axis=-1))


def tight_box(points: Floats) -> Array:
    """Smallest box (..., 4) around the labelled ones of points (..., N, 2); NaN where none is labelled."""
    # fmin and fmax ignore NaN; unlike np.nanmin they do not warn where all points are NaN.
    low, high = np.fmin.reduce(points, axis=-2), np.fmax.reduce(points, axis=-2)
    return np.concatenate([low, high], axis=-1).astype(np.float64)


def upright_box(points: Floats, roll: float) -> Array:
    """Box (4,) of a rolled face: size of its upright tight box, about that box's centre in the picture.

    `roll` degrees (positive: tilted counter-clockwise in the picture) are taken out of `points` (N, 2), and the tight
    box there gives width, height and centre; the centre is turned back, the box's sides stay parallel to the picture's.
    So a crop about this box, turned by −roll, is the crop about the tight box of the upright face. With a roll of 0 it
    is `tight_box`.
    """
    if not roll:
        return tight_box(points)
    origin = np.zeros(2)
    box = tight_box(transform(similarity_matrix(origin, origin, 1.0, -roll), points))
    centre = transform(similarity_matrix(origin, origin, 1.0, roll), box_centre(box)[None])[0]
    half = (box[2:] - box[:2]) / 2
    return np.concatenate([centre - half, centre + half])


def wrap_degrees(angle: float) -> float:
    """`angle` in degrees as the same direction in [−180, 180).

    >>> wrap_degrees(190.0), wrap_degrees(-180.0)
    (-170.0, -180.0)
    """
    return (angle + 180.0) % 360.0 - 180.0


def roll_of_features(right_eye: Array, left_eye: Array, right_mouth: Array, left_mouth: Array) -> Array:
    """Roll (...) in degrees, in [−180, 180], of faces with these eye centres and mouth corners (..., 2).

    Right and left are the person's own; signed as `lightmark.pose.Pose`. It is the mean direction of the lines from eye
    to eye and from the eyes to the mouth, each weighted by its length: the first is short in a profile, the second in a
    raised face. 0 where neither has a length.
    """
    across, down = left_eye - right_eye, (right_mouth + left_mouth - right_eye - left_eye) / 2
    return np.asarray(np.degrees(np.arctan2(down[..., 0] - across[..., 1], across[..., 0] + down[..., 1])))


def longer_side(box: Array) -> float:
    """Longer side of a box (4,): the size of a face in crops and in errors."""
    return float((box[2:] - box[:2]).max())


def box_centre(box: Array) -> Array:
    """Centre (2,) of a box (4,)."""
    return np.asarray((box[:2] + box[2:]) / 2)


def require_box(box: ArrayLike) -> Array:
    """`box` as a float array (4,); raises `GeometryError` if it is empty, reversed or not finite."""
    array = np.asarray(box, dtype=np.float64)
    if array.shape != (4,) or not np.isfinite(array).all():
        raise GeometryError(f"box {np.array2string(array)}: needs four finite numbers x0, y0, x1, y1")
    if array[2] <= array[0] or array[3] <= array[1]:
        raise GeometryError(f"box {np.array2string(array)}: x1 must exceed x0 and y1 exceed y0; got width "
                            f"{array[2] - array[0]:g} and height {array[3] - array[1]:g} (is it x, y, width, height?)")
    return array


# In multiples of the picture's longer side. Above 10 the whole picture would be a few pixels of the crop.
LARGEST_BOX = 10
SMALLEST_BOX = 1.0  # pixels of the longer side: landmarks of a smaller face lie in the same pixel


def require_boxes_near(boxes: ArrayLike | Sequence[ArrayLike], width: int, height: int) -> Array:
    """`boxes` as a float array (F, 4), checked to be plausible faces in a picture of `width`×`height` pixels.

    Boxes may cross the picture's edges. Raises `GeometryError` for another shape, and for a box that is empty, not
    finite, entirely outside the picture, smaller than `SMALLEST_BOX` or larger than `LARGEST_BOX`.
    """
    try:
        rows = np.array(boxes, dtype=np.float64)
    except (ValueError, TypeError) as error:
        raise GeometryError(f"boxes: {error}; needs (F, 4) numbers x0, y0, x1, y1") from error
    if rows.size == 0:
        return np.empty((0, 4))
    if rows.ndim != 2:
        raise GeometryError(f"boxes of shape {rows.shape}: needs (F, 4), also for a single face: [box]")
    for row, far in zip(rows, outside(rows, width, height), strict=True):
        side = longer_side(require_box(row))
        if not SMALLEST_BOX <= side <= LARGEST_BOX * max(width, height):
            raise GeometryError(
                f"box {np.array2string(row)}: its longer side is {side:g} px in a picture of {width}×{height}; needs 1 "
                f"to {LARGEST_BOX * max(width, height)} (is it in shares of the picture?)"
            )
        if far:
            raise GeometryError(f"box {np.array2string(row)}: lies outside the picture of {width}×{height} pixels")
    return rows


def outside(boxes: Array, width: int, height: int) -> NDArray[np.bool_]:
    """Mask (F,) of the `boxes` (F, 4) that lie entirely outside a picture of `width`×`height` pixels."""
    beyond = (boxes[:, 2:] < -CORNER) | (boxes[:, :2] > (width - CORNER, height - CORNER))
    return np.asarray(beyond.any(axis=1))


def require_angles(angles: ArrayLike | None, boxes: Array) -> Array:
    """Roll (F,) in degrees of the faces in `boxes` (F, 4): NaN where unknown, everywhere without `angles`.

    Raises `GeometryError` unless there is one number a box, NaN or finite.
    """
    if angles is None:
        return np.full(len(boxes), np.nan)
    try:
        rows = np.array(angles, dtype=np.float64)
    except (ValueError, TypeError) as error:
        raise GeometryError(f"angles: {error}; needs (F,) degrees, one a box") from error
    if rows.shape != (len(boxes),) or np.isinf(rows).any():
        raise GeometryError(
            f"angles {np.array2string(rows, threshold=8)} of shape {rows.shape}: needs ({len(boxes)},) degrees, one a "
            "box, NaN where unknown"
        )
    return rows


def map_box(box: Array, offsets: ArrayLike) -> Array:
    """`box` (4,) with each side moved by `offsets` (4,), relative to the box's width (x) and height (y)."""
    width, height = box[2] - box[0], box[3] - box[1]
    return np.asarray(box + np.asarray(offsets, dtype=np.float64) * [width, height, width, height])


EMPTY = 1e-30  # square pixels: with less, two boxes are empty and overlap by nothing


def overlaps(first: Floats, second: Floats) -> Floats:
    """Intersection over union, IoU (A, B), of boxes `first` (A, 4) and `second` (B, 4), in their precision."""
    x0, y0, x1, y1 = first.T[:, :, None]  # by columns: products of pairs along an axis take twice as long
    left, top, right, bottom = second.T
    # In place: (400, 400) take half the time.
    shared = np.minimum(x1, right)
    shared -= np.maximum(x0, left)
    height = np.minimum(y1, bottom)
    height -= np.maximum(y0, top)
    shared = np.maximum(shared, 0, out=shared)
    shared *= np.maximum(height, 0, out=height)
    union = (x1 - x0) * (y1 - y0) + (right - left) * (bottom - top)
    union -= shared
    union = np.maximum(union, EMPTY, out=union)
    return np.asarray(np.divide(shared, union, out=shared))


def suppress(boxes: Array, scores: NDArray[np.floating[Any]], overlap: float) -> NDArray[np.intp]:
    """Non-maximum suppression: indices of the `boxes` (F, 4) that stay, highest of the `scores` (F,) first.

    Of two that overlap (IoU) by more than `overlap`, the one with the higher score stays, the first where they tie.
    """
    return clusters(boxes, scores, overlap)[0]


def clusters(
    boxes: Array, scores: NDArray[np.floating[Any]], overlap: float
) -> tuple[NDArray[np.intp], NDArray[np.float32], NDArray[np.bool_]]:
    """Indices (K,) of the boxes that `suppress` keeps, highest score first, and what each of them had to choose from.

    The overlaps (K, F) are those of the kept boxes with all of `boxes`. The mask (K, F) marks those that no kept box
    before had suppressed, the kept box itself included.
    """
    # All at once, in single precision: a call for each face, of which each has tens of boxes, takes longer.
    sides = boxes.astype(np.float32)
    shares = overlaps(sides, sides)
    apart = shares <= overlap
    left = np.ones(len(boxes), bool)
    chosen, masks = [], []
    for index in np.argsort(-scores, kind="stable").tolist():
        if left[index]:
            chosen.append(index)
            masks.append(left)
            left = left & apart[index]
            left[index] = False  # an empty box overlaps nothing, not even itself
    kept = np.array(chosen, dtype=np.intp)
    return kept, shares[kept], np.array(masks, dtype=bool).reshape(len(kept), len(boxes))


def largest_first(boxes: Array) -> Array:
    """`boxes` (F, 4) sorted by area, largest first; ties from left to right, then from top to bottom."""
    return np.asarray(boxes[order_by_area(boxes)])


def order_by_area(boxes: Array) -> NDArray[np.intp]:
    """Indices (F,) that sort `boxes` (F, 4) as `largest_first` does."""
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    return np.lexsort((boxes[:, 1], boxes[:, 0], -areas))


def crop_matrix(box: ArrayLike, size: int, scale: float, angle: float = 0.0) -> Array:
    """Matrix (2, 3) from image pixels to the `size`×`size` crop around `box`.

    The crop is a square around the centre of the box; its side is `scale` times the box's longer side. A positive
    `angle`, in degrees, rotates the content of the crop counter-clockwise as displayed. The square's edges are the
    outer edges of the crop's border pixels: crop = (image − centre) · size / side + (size − 1) / 2.
    """
    x0, y0, x1, y1 = require_box(box)
    zoom = size / (scale * max(x1 - x0, y1 - y0))
    middle = (size - 1) / 2
    return similarity_matrix(np.array([(x0 + x1) / 2, (y0 + y1) / 2]), np.array([middle, middle]), zoom, angle)


def similarity_matrix(centre: Array, place: Array, zoom: float, angle: float = 0.0, mirrored: bool = False) -> Array:
    """Matrix (2, 3) that moves `centre` (2,) to `place` (2,), with scale `zoom` and rotation by `angle` degrees.

    A positive angle rotates counter-clockwise as displayed (y points down); `mirrored` swaps left and right first.
    """
    cos, sin = zoom * math.cos(math.radians(angle)), zoom * math.sin(math.radians(angle))
    a, c = (-cos, sin) if mirrored else (cos, -sin)
    (x, y), (to_x, to_y) = centre.tolist(), place.tolist()
    return np.array([[a, sin, to_x - a * x - sin * y], [c, cos, to_y - c * x - cos * y]], dtype=np.float64)


def mirror_matrix(width: int) -> Array:
    """Matrix (2, 3) of the mirror image, x → (width − 1) − x: `width` pixels have centres 0 to width − 1."""
    return np.array([[-1.0, 0.0, width - 1.0], [0.0, 1.0, 0.0]])


def compose(outer: Array, inner: Array) -> Array:
    """Matrix (2, 3) that applies `inner` first, then `outer`."""
    both = np.asarray(outer[:, :2] @ inner)
    both[:, 2] += outer[:, 2]
    return both


def invert(matrix: Array) -> Array:
    """Inverse (2, 3) of a matrix (2, 3); raises `GeometryError` if it is singular."""
    # In plain numbers: numpy's functions take ten times as long for six of them, three times a face.
    (a, b, x), (c, d, y) = matrix.tolist()
    determinant: float = a * d - b * c
    if determinant == 0:
        raise GeometryError(f"matrix {matrix.tolist()} has no inverse: it flattens the plane")
    rows = [[d, -b, b * y - d * x], [-c, a, c * x - a * y]]
    return np.array(rows, dtype=np.float64) / determinant


def transform(matrix: Array, points: Floats) -> Array:
    """Points (..., N, 2) transformed by a matrix (2, 3)."""
    return np.asarray(points @ matrix[:, :2].T + matrix[:, 2], dtype=np.float64)


def matrix_scale(matrix: Array) -> float:
    """Scale factor of lengths under a similarity matrix (2, 3): the square root of its determinant.

    Raises `GeometryError` for a matrix that is singular or not finite.
    """
    (a, b, _), (c, d, _) = matrix.tolist()
    scale = math.sqrt(abs(a * d - b * c))
    if not 0 < scale < math.inf:
        raise GeometryError(f"matrix {matrix.tolist()} flattens the plane or is not finite")
    return scale


def to_normalized(crop_points: Floats, size: int) -> Array:
    """normalized_points of `crop_points`: (crop + 0.5) / size, so that the edges of the crop are 0 and 1.

    They do not depend on the crop's size in pixels, so that a network can be trained at several sizes.
    """
    return np.asarray((crop_points + 0.5) / size, dtype=np.float64)


def from_normalized(normalized_points: Floats, size: int) -> Array:
    """Crop pixels of `normalized_points`: the inverse of `to_normalized`."""
    return np.asarray(np.asarray(normalized_points, dtype=np.float64) * size - 0.5)


def align(source: Floats, target: Floats) -> Array:
    """Least-squares similarity (2, 3) without reflection from points `source` (N, 2) to `target` (N, 2).

    Closed form of Umeyama (1991) in two dimensions: with points as complex numbers, scale and rotation are one factor.
    Raises `GeometryError` if all source points coincide.
    """
    source_mean, target_mean = source.mean(axis=0), target.mean(axis=0)
    a = (source - source_mean) @ np.array([1, 1j])
    b = (target - target_mean) @ np.array([1, 1j])
    energy = float(np.vdot(a, a).real)
    if energy == 0:
        raise GeometryError("align: all source points coincide; a similarity needs two different points")
    factor = np.vdot(a, b) / energy
    rotation = np.array([[factor.real, -factor.imag], [factor.imag, factor.real]])
    return np.column_stack([rotation, target_mean - rotation @ source_mean])


def rotation_matrix(yaw: float, pitch: float, roll: float) -> Array:
    """Rotation (3, 3) of a head by angles in degrees: `pitch` first, then `yaw`, then `roll`.

    R = Rz(roll) · Ry(yaw) · Rx(pitch), with x to the right of the picture, y down and z towards the viewer. Positive
    yaw and pitch rotate a face that looks at the viewer to the right and up; positive roll tilts it counter-clockwise.
    """
    (cos_x, sin_x), (cos_y, sin_y), (cos_z, sin_z) = (
        (math.cos(math.radians(angle)), math.sin(math.radians(angle))) for angle in (pitch, yaw, roll)
    )
    about_x = np.array([[1, 0, 0], [0, cos_x, -sin_x], [0, sin_x, cos_x]])
    about_y = np.array([[cos_y, 0, sin_y], [0, 1, 0], [-sin_y, 0, cos_y]])
    about_z = np.array([[cos_z, sin_z, 0], [-sin_z, cos_z, 0], [0, 0, 1]])  # y is down: counter-clockwise as displayed
    return np.asarray(about_z @ about_y @ about_x)


def rotation_angles(rotation: Array) -> tuple[float, float, float]:
    """Yaw, pitch and roll in degrees of a rotation (3, 3): the inverse of `rotation_matrix`.

    Yaw is in [−90, 90], pitch and roll in (−180, 180]. At yaw ±90 pitch and roll rotate about the same axis (gimbal
    lock); roll is then 0.

    >>> [round(angle, 6) for angle in rotation_angles(rotation_matrix(30, -20, 10))]
    [30.0, -20.0, 10.0]
    """
    yaw = math.asin(min(1.0, max(-1.0, -float(rotation[2, 0]))))  # rounding may exceed 1
    if abs(rotation[2, 0]) > 1 - 1e-12:
        pitch, roll = math.atan2(-rotation[1, 2], rotation[1, 1]), 0.0
    else:
        pitch, roll = math.atan2(rotation[2, 1], rotation[2, 2]), math.atan2(-rotation[1, 0], rotation[0, 0])
    return math.degrees(yaw), math.degrees(pitch), math.degrees(roll)
