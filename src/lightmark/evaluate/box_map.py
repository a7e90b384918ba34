"""Ridge regression of a face's box from the shape of its points, beside the template's box.

A head that is turned or nods moves its points against each other: the moves say where the box lies more exactly than
the similarity that lays the template on them. Places are in the template's frame, so the map turns with the face.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lightmark.geometry import Array, box_centre, invert, longer_side, matrix_scale, transform
from lightmark.spec import MOST_MOVE, Places, face_frame

BoxMap = tuple[Places, Places, Places]
# In squared shares of the box's side, summed over the faces; the best is chosen by leave-one-out errors.
RIDGES = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
LEAST_GAIN = 0.1  # share of the template's error by which a map must be better on faces it was not fitted on


def fit_box_map(template: Array, faces: Sequence[tuple[Array, Array]]) -> BoxMap | None:
    """Map (3, N, 2) from moves to boxes, for `box_around`, fitted on faces' points (N, 2) and boxes (4,).

    None where no map is nearer to the boxes of faces left out than the template alone, by `LEAST_GAIN`. Faces whose box
    the template misses by more than `MOST_MOVE`, as it does where another face was found, are not used.
    """
    measured = [move for points, box in faces if (move := _measure(template, points, box)) is not None]
    if not measured:
        return None
    moves, shifts = (np.stack(parts) for parts in zip(*measured, strict=True))
    flat = moves.reshape(len(moves), -1)
    errors = [_left_out_error(flat, shifts, ridge) for ridge in RIDGES]
    best = int(np.argmin(errors))
    if errors[best] > (1 - LEAST_GAIN) * _mean_length(shifts):
        return None
    weights = np.linalg.solve(*_normal_equations(flat, shifts, RIDGES[best])).T.reshape(3, -1, 2).round(5)
    x, y, growth = (tuple((float(a), float(b)) for a, b in part) for part in weights)
    return x, y, growth


def _measure(template: Array, points: Array, box: Array) -> tuple[Array, Array] | None:
    """Moves (N, 2) of a face's points, and of its box (3,) from the template's: centre, logarithm of the side."""
    frame = face_frame(template, points)
    if frame is None:
        return None
    matrix, moves = frame
    centre = transform(invert(matrix), box_centre(box))
    shift = np.array([*centre, math.log(longer_side(box) / matrix_scale(matrix))])
    return (moves, shift) if (np.abs(shift) <= MOST_MOVE).all() else None


def _normal_equations(moves: Array, shifts: Array, ridge: float) -> tuple[Array, Array]:
    return moves.T @ moves + ridge * np.eye(moves.shape[1]), moves.T @ shifts


def _left_out_error(moves: Array, shifts: Array, ridge: float) -> float:
    """Mean error of each face's shift, predicted by the map fitted on the others: residuals over 1 − leverage."""
    gram, cross = _normal_equations(moves, shifts, ridge)
    leverage: NDArray[np.float64] = np.einsum("fi,if->f", moves, np.linalg.solve(gram, moves.T))
    return _mean_length((shifts - moves @ np.linalg.solve(gram, cross)) / (1 - leverage)[:, None])


def _mean_length(shifts: Array) -> float:
    return float(np.linalg.norm(shifts, axis=1).mean())
