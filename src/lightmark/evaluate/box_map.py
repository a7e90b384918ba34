"""Ridge regression of a face's box from the shape of its points, as a correction of the template's box.

Yaw, pitch and expression move the points relative to the template. These residuals determine the box more accurately
than the similarity from the template alone. Coordinates are in the template's frame, so the map rotates with the face.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lightmark.geometry import Array, box_centre, invert, longer_side, matrix_scale, transform
from lightmark.spec import MOST_MOVE, Places, face_frame

BoxMap = tuple[Places, Places, Places]
# Ridge parameters, in squared sides of the box summed over the faces; the best is chosen by leave-one-out errors.
RIDGES = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
LEAST_GAIN = 0.1  # relative improvement over the template, on held-out faces, from which a map is used


def fit_box_map(template: Array, faces: Sequence[tuple[Array, Array]]) -> BoxMap | None:
    """Fit the map (3, N, 2) from residuals to box corrections for `box_around`, on points (N, 2) and boxes (4,).

    None unless the leave-one-out error is below the template's by `LEAST_GAIN`. Faces whose box differs from the
    template's by more than `MOST_MOVE`, as that of another face would, are not used.
    """
    regression = [row for points, box in faces if (row := _measure(template, points, box)) is not None]
    if not regression:
        return None
    residuals, shifts = (np.stack(parts) for parts in zip(*regression, strict=True))
    flat = residuals.reshape(len(residuals), -1)
    errors = [_leave_one_out_error(flat, shifts, ridge) for ridge in RIDGES]
    best = int(np.argmin(errors))
    if errors[best] > (1 - LEAST_GAIN) * _mean_length(shifts):
        return None
    weights = np.linalg.solve(*_normal_equations(flat, shifts, RIDGES[best])).T.reshape(3, -1, 2).round(5)
    x, y, growth = (tuple((float(a), float(b)) for a, b in part) for part in weights)
    return x, y, growth


def _measure(template: Array, points: Array, box: Array) -> tuple[Array, Array] | None:
    """Residuals (N, 2) of a face's points, and the shift (3,) of its box from the template's: centre, log of the side.
    """
    frame = face_frame(template, points)
    if frame is None:
        return None
    matrix, residuals = frame
    centre = transform(invert(matrix), box_centre(box))
    shift = np.array([*centre, math.log(longer_side(box) / matrix_scale(matrix))])
    return (residuals, shift) if (np.abs(shift) <= MOST_MOVE).all() else None


def _normal_equations(residuals: Array, shifts: Array, ridge: float) -> tuple[Array, Array]:
    return residuals.T @ residuals + ridge * np.eye(residuals.shape[1]), residuals.T @ shifts


def _leave_one_out_error(residuals: Array, shifts: Array, ridge: float) -> float:
    """Mean leave-one-out error of the shifts (F, 3), in closed form: errors of the full fit over 1 − leverage."""
    gram, cross = _normal_equations(residuals, shifts, ridge)
    leverage: NDArray[np.float64] = np.einsum("fi,if->f", residuals, np.linalg.solve(gram, residuals.T))
    return _mean_length((shifts - residuals @ np.linalg.solve(gram, cross)) / (1 - leverage)[:, None])


def _mean_length(shifts: Array) -> float:
    return float(np.linalg.norm(shifts, axis=1).mean())
