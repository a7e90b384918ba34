"""3D head model: mean face, identities and expressions.

Head coordinates: x to the right of the picture, y down, z towards the viewer; the origin lies between the eyes and half
the width of the face is 1. Proportions are those of adult faces: eyes halfway down the head, outer eye corners 0.6 from
the middle line.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from lightmark.geometry import Array
from lightmark.schema import IBUG68

Solid = tuple[float, float, float]

# The 68 points of a frontal, neutral face: the half left in the picture and the middle line; the rest is mirrored.
HALF: Mapping[int, Solid] = {
    0: (-1.00, 0.00, -0.78), 1: (-0.99, 0.27, -0.74), 2: (-0.96, 0.53, -0.68), 3: (-0.90, 0.79, -0.58),
    4: (-0.80, 1.03, -0.45), 5: (-0.64, 1.24, -0.30), 6: (-0.45, 1.41, -0.16), 7: (-0.23, 1.53, -0.06),
    8: (0.00, 1.57, -0.02),
    17: (-0.81, -0.20, -0.12), 18: (-0.68, -0.30, 0.04), 19: (-0.51, -0.34, 0.14), 20: (-0.33, -0.32, 0.21),
    21: (-0.17, -0.25, 0.25),
    27: (0.00, -0.02, 0.25), 28: (0.00, 0.15, 0.36), 29: (0.00, 0.32, 0.46), 30: (0.00, 0.49, 0.57),
    31: (-0.20, 0.61, 0.29), 32: (-0.10, 0.655, 0.37), 33: (0.00, 0.68, 0.41),
    36: (-0.61, 0.00, -0.06), 37: (-0.50, -0.075, 0.06), 38: (-0.37, -0.075, 0.09), 39: (-0.25, 0.02, 0.08),
    40: (-0.37, 0.055, 0.08), 41: (-0.50, 0.055, 0.05),
    48: (-0.38, 0.95, 0.15), 49: (-0.25, 0.89, 0.26), 50: (-0.09, 0.855, 0.34), 51: (0.00, 0.875, 0.355),
    57: (0.00, 1.12, 0.31), 58: (-0.10, 1.11, 0.30), 59: (-0.24, 1.055, 0.24),
    60: (-0.33, 0.952, 0.16), 61: (-0.10, 0.955, 0.30), 62: (0.00, 0.96, 0.31), 66: (0.00, 0.975, 0.30),
    67: (-0.10, 0.972, 0.29),
}
HALF_HAIRLINE: tuple[Solid, ...] = (
    (0.98, -0.30, -0.74), (0.86, -0.65, -0.36), (0.52, -0.92, -0.06), (0.00, -1.00, 0.04),
)

JAW = list(IBUG68.groups["jaw"])
BROWS = list(IBUG68.groups["brows"])
NOSE = list(IBUG68.groups["nose"])
EYES = (list(range(36, 42)), list(range(42, 48)))  # left and right in the picture
MOUTH = list(IBUG68.groups["mouth"])
LOWER_LIP = [55, 56, 57, 58, 59, 65, 66, 67]
CORNERS = {48: 1.0, 60: 1.0, 54: 1.0, 64: 1.0, 49: 0.5, 53: 0.5, 55: 0.5, 59: 0.5}  # share in the corners' movement


def _trait(mean: float, low: float, high: float) -> float:
    """Field of `Identity` with its value in the mean face and the limits of random ones."""
    trait: float = field(default=mean, metadata={"limits": (low, high)})
    return trait


@dataclass(frozen=True)
class Identity:
    """Differences of a person from the mean face: factors (1 is the mean) and shifts (0 is the mean, head units)."""

    width: float = _trait(1.0, 0.88, 1.12)
    length: float = _trait(1.0, 0.88, 1.1)
    jaw_width: float = _trait(1.0, 0.84, 1.1)
    chin: float = _trait(1.0, 0.8, 1.2)
    hairline: float = _trait(0.0, -0.12, 0.15)
    eye_gap: float = _trait(0.0, -0.05, 0.035)
    eye_width: float = _trait(1.0, 0.82, 1.12)
    eye_height: float = _trait(1.0, 0.8, 1.6)
    eye_tilt: float = _trait(0.0, -0.15, 0.2)
    brow_height: float = _trait(0.0, -0.04, 0.1)
    brow_arch: float = _trait(1.0, 0.3, 1.7)
    brow_tilt: float = _trait(0.0, -0.2, 0.2)
    nose_length: float = _trait(1.0, 0.84, 1.15)
    nose_width: float = _trait(1.0, 0.8, 1.4)
    nose_depth: float = _trait(1.0, 0.75, 1.2)
    mouth_width: float = _trait(1.0, 0.8, 1.2)
    mouth_height: float = _trait(0.0, -0.04, 0.08)
    upper_lip: float = _trait(1.0, 0.6, 1.5)
    lower_lip: float = _trait(1.0, 0.6, 1.5)


@dataclass(frozen=True)
class Expression:
    """Facial expression: 0 is neutral, 1 the extreme; pairs are the sides left and right in the picture."""

    jaw_drop: float = 0.0
    smile: float = 0.0
    pucker: float = 0.0
    mouth_shift: float = 0.0
    eyes_closed: tuple[float, float] = (0.0, 0.0)
    brows_raised: tuple[float, float] = (0.0, 0.0)
    frown: float = 0.0


@dataclass(frozen=True, eq=False)
class Head:
    """`points` (68, 3) in IBUG68 order and `hairline` (7, 3) from the right temple over the forehead to the left."""

    points: Array
    hairline: Array


def mean_points() -> Array:
    """The mean face's points (68, 3)."""
    points = np.zeros((68, 3))
    for index, solid in HALF.items():
        points[IBUG68.mirror[index]] = solid * np.array([-1, 1, 1])
        points[index] = solid
    return points


def mean_hairline() -> Array:
    """The mean face's hairline (7, 3)."""
    right = np.array(HALF_HAIRLINE)
    return np.concatenate([right, right[-2::-1] * [-1, 1, 1]])


def make_head(identity: Identity, expression: Expression) -> Head:
    """The head of one person with one expression."""
    points, hairline = mean_points(), mean_hairline()
    _shape_brows(points, identity)
    _shape_eyes(points, identity)
    _shape_nose(points, identity)
    _shape_mouth(points, identity)
    _shape_outline(points, identity)
    _move_mouth(points, expression)
    _move_eyes(points, expression)
    _move_brows(points, expression)
    hairline[:, 1] -= identity.hairline * (hairline[:, 1] < -0.5)
    size = np.array([identity.width, identity.length, 1.0])
    return Head(points * size, hairline * size)


def _shape_brows(points: Array, identity: Identity) -> None:
    for side, brow in ((-1, BROWS[:5]), (1, BROWS[5:])):
        base = (points[brow[0], 1] + points[brow[-1], 1]) / 2
        points[brow, 1] = base + identity.brow_arch * (points[brow, 1] - base)
        points[brow, 1] += identity.brow_tilt * (np.abs(points[brow, 0]) - 0.5) - identity.brow_height
        points[brow, 0] += side * identity.eye_gap


def _shape_eyes(points: Array, identity: Identity) -> None:
    for side, eye in zip((-1, 1), EYES, strict=True):
        centre = points[eye].mean(axis=0)
        x, y = ((points[eye] - centre) * [identity.eye_width, identity.eye_height, 1.0])[:, :2].T
        points[eye, 0] = centre[0] + x + side * identity.eye_gap
        points[eye, 1] = centre[1] + y - side * identity.eye_tilt * x


def _shape_nose(points: Array, identity: Identity) -> None:
    root = points[27].copy()
    points[NOSE] = root + (points[NOSE] - root) * [identity.nose_width, identity.nose_length, identity.nose_depth]


def _shape_mouth(points: Array, identity: Identity) -> None:
    line = points[62, 1]
    above, below = points[MOUTH, 1] < line, points[MOUTH, 1] > points[66, 1]
    thickness = np.where(above, identity.upper_lip, np.where(below, identity.lower_lip, 1.0))
    points[MOUTH, 1] = line + (points[MOUTH, 1] - line) * thickness + identity.mouth_height
    points[MOUTH, 0] *= identity.mouth_width
    points[[48, 60, 54, 64], 1] = line + identity.mouth_height - 0.008


def _shape_outline(points: Array, identity: Identity) -> None:
    # `jaw_width` acts most halfway between ear and chin, and not at all at either.
    share = np.sin(np.linspace(0, np.pi, 17)) * (np.abs(np.linspace(-1, 1, 17)) > 0.1)
    points[JAW, 0] *= 1 + (identity.jaw_width - 1) * share
    below = np.clip(points[JAW, 1] - 0.9, 0, None)
    points[JAW, 1] += (identity.chin - 1) * below * 1.5


def _move_mouth(points: Array, expression: Expression) -> None:
    drop = 0.55 * expression.jaw_drop
    points[JAW, 1] += 0.75 * drop * np.clip((points[JAW, 1] - 0.45) / 1.1, 0, 1) ** 1.5
    points[LOWER_LIP, 1] += drop
    points[LOWER_LIP, 2] -= 0.15 * drop
    points[[50, 51, 52, 61, 62, 63], 1] -= 0.08 * drop
    for index, share in CORNERS.items():
        side = np.sign(points[index, 0])
        points[index] += expression.smile * share * np.array([0.10 * side, -0.10, -0.06])
        points[index, 1] += (0.4 if share == 1 else -0.1) * drop if index not in LOWER_LIP else -0.2 * drop
    points[MOUTH, 0] *= 1 - 0.4 * expression.pucker
    points[MOUTH, 2] += 0.08 * expression.pucker
    points[MOUTH, 0] += 0.08 * expression.mouth_shift


def _move_eyes(points: Array, expression: Expression) -> None:
    for eye, closed in zip(EYES, expression.eyes_closed, strict=True):
        upper, lower = [eye[1], eye[2]], [eye[5], eye[4]]
        gap = points[lower] - points[upper]
        points[upper] += gap * 0.94 * closed
        points[lower] -= gap * 0.04 * closed


def _move_brows(points: Array, expression: Expression) -> None:
    for brow, raised in zip((BROWS[:5], BROWS[5:]), expression.brows_raised, strict=True):
        points[brow, 1] -= 0.15 * raised
    inner = {20: 0.5, 21: 1.0, 22: 1.0, 23: 0.5}
    for index, share in inner.items():
        points[index] += expression.frown * share * np.array([-0.04 * np.sign(points[index, 0]), 0.09, 0.0])
