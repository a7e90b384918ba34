"""Keypoints of face detectors: from the 68 points, and the tight 68-point box and the roll from keypoints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Literal

import numpy as np

from lightmark.geometry import Array, Floats, align, matrix_scale, roll_of_features, transform
from lightmark.schema import IBUG68, require_points

Keypoint = Literal["right_eye", "left_eye", "nose_tip", "mouth", "right_mouth", "left_mouth"]
# In the detectors' output order; right and left are the person's own.
YUNET: Final[tuple[Keypoint, ...]] = ("right_eye", "left_eye", "nose_tip", "right_mouth", "left_mouth")
FACE: Final = YUNET  # of Lightmark's own detector
MEDIAPIPE: Final[tuple[Keypoint, ...]] = ("right_eye", "left_eye", "nose_tip", "mouth")
# Numbers of the 68 points whose mean a keypoint is.
MEMBERS: Final[Mapping[Keypoint, tuple[int, ...]]] = {
    "right_eye": (36, 37, 38, 39, 40, 41),
    "left_eye": (42, 43, 44, 45, 46, 47),
    "nose_tip": (30,),
    "mouth": (48, 54),
    "right_mouth": (48,),
    "left_mouth": (54,),
}
# Mean keypoint positions relative to the centre of the tight box, whose longer side is 1, and the box's mean width and
# height, over 300W's training faces rotated to zero roll: benchmarks/fit_keypoint_box.py writes
# benchmarks/results/keypoint-box.json.
PLACES: Final[Mapping[Keypoint, tuple[float, float]]] = {
    "right_eye": (-0.2133, -0.3052),
    "left_eye": (0.2118, -0.3052),
    "nose_tip": (0.0004, -0.0670),
    "mouth": (-0.0021, 0.1479),
    "right_mouth": (-0.1883, 0.1482),
    "left_mouth": (0.1842, 0.1476),
}
EXTENT: Final = (0.9830, 0.9488)


def keypoints_of(points: Floats, names: Sequence[Keypoint] = FACE) -> Array:
    """Keypoints (..., K, 2), called `names`, of the 68 points (..., 68, 2)."""
    require_points(points, IBUG68, "keypoints_of")
    return np.stack([points[..., list(MEMBERS[name]), :].mean(axis=-2) for name in names], axis=-2)


def roll_of_keypoints(points: Floats) -> Array:
    """Roll (...) in degrees, in [−180, 180], of faces from their keypoints `points` (..., 5, 2) in the order `FACE`.

    Positive for a head tilted counter-clockwise in the picture, as `Pose.roll`: a picture turned by the negative of it
    (`similarity_matrix`) shows the face upright. See `roll_of_features`.
    """
    right_eye, left_eye, _, right_mouth, left_mouth = np.moveaxis(np.asarray(points, dtype=np.float64), -2, 0)
    return roll_of_features(right_eye, left_eye, right_mouth, left_mouth)


def box_of_keypoints(points: Array, names: Sequence[Keypoint]) -> Array:
    """Tight 68-point box (4,) of a face from its keypoints `points` (K, 2), called `names`.

    The mean face is aligned to the keypoints by a least-squares similarity; the box has the size that it would have for
    an upright face. Raises `GeometryError` if all keypoints coincide.
    """
    matrix = align(np.array([PLACES[name] for name in names]), points)
    centre, half = transform(matrix, np.zeros((1, 2)))[0], np.array(EXTENT) * matrix_scale(matrix) / 2
    return np.concatenate([centre - half, centre + half])
