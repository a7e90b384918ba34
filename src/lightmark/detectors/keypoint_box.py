"""Tight 68-point box from the 4 or 5 keypoints of other detectors, whose own boxes follow other rules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Literal

import numpy as np

from lightmark.geometry import Array, align, matrix_scale, transform

Keypoint = Literal["right_eye", "left_eye", "nose_tip", "mouth", "right_mouth", "left_mouth"]
# In the detectors' output order; right and left are the person's own.
YUNET: Final[tuple[Keypoint, ...]] = ("right_eye", "left_eye", "nose_tip", "right_mouth", "left_mouth")
MEDIAPIPE: Final[tuple[Keypoint, ...]] = ("right_eye", "left_eye", "nose_tip", "mouth")
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


def box_of_keypoints(points: Array, names: Sequence[Keypoint]) -> Array:
    """Tight 68-point box (4,) of a face from its keypoints `points` (K, 2), called `names`.

    The mean face is aligned to the keypoints by a least-squares similarity; the box has the size that it would have for
    an upright face. Raises `GeometryError` if all keypoints coincide.
    """
    matrix = align(np.array([PLACES[name] for name in names]), points)
    centre, half = transform(matrix, np.zeros((1, 2)))[0], np.array(EXTENT) * matrix_scale(matrix) / 2
    return np.concatenate([centre - half, centre + half])
