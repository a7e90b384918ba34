"""Negative crops (misplaced, background, hard negatives) for the confidence head."""

from __future__ import annotations

import numpy as np

from lightmark.geometry import Array, crop_matrix, from_normalized, invert, map_box, overlaps, tight_box, transform
from lightmark.image import Picture
from lightmark.spec import ModelSpec, spec_crop_matrix

# Largest IoU of a negative crop with the square of the face's own crop.
MISPLACED_OVERLAP = 0.4


def misplaced_matrix(box: Array, shape: tuple[int, int], spec: ModelSpec, rng: np.random.Generator) -> Array:
    """Matrix (2, 3) of a misplaced crop of the face in `box` (4,): too narrow, too wide or beside it.

    Squares are sampled with their centre anywhere in the picture (H, W) = `shape` or, half of the time, near the face,
    and a side of 0.25 to 3 times that of the face's own crop, until the IoU with that is at most `MISPLACED_OVERLAP`.
    """
    own = _square(spec_crop_matrix(spec, box), spec.size)
    side = own[2] - own[0]
    while True:
        half = side * np.exp(rng.uniform(np.log(0.25), np.log(3.0))) / 2
        if rng.random() < 0.5:
            centre = (own[:2] + own[2:]) / 2 + rng.uniform(-1, 1, 2) * side
        else:
            centre = rng.uniform(0, 1, 2) * (shape[1], shape[0])
        square = np.concatenate([centre - half, centre + half])
        if overlaps(square[None], own[None])[0, 0] <= MISPLACED_OVERLAP:
            return crop_matrix(square, spec.size, 1.0, float(rng.uniform(-25, 25)))


def hard_negative_matrix(box: Array, spec: ModelSpec, rng: np.random.Generator) -> Array:
    """Matrix (2, 3) of a hard negative: the crop of a detector's false positive `box` (4,).

    Each side is moved by up to 6 % of the box's size, and the crop is rotated by up to 25°.
    """
    moved = map_box(box, rng.uniform(-0.06, 0.06, 4))
    return crop_matrix(moved, spec.size, spec.crop_scale, float(rng.uniform(-25, 25)))


def background_matrix(picture: Picture, spec: ModelSpec, rng: np.random.Generator) -> Array:
    """Matrix (2, 3) of a random square crop of a `picture` (H, W, 3) without faces."""
    side = min(picture.shape[:2]) * rng.uniform(0.1, 1.0)
    centre = rng.uniform(0, 1, 2) * (picture.shape[1], picture.shape[0])
    return crop_matrix(np.concatenate([centre - side / 2, centre + side / 2]), spec.size, 1.0)


def _square(matrix: Array, size: int) -> Array:
    corners = from_normalized(np.array([[0.0, 0.0], [1.0, 1.0]]), size)
    return tight_box(transform(invert(matrix), corners))
