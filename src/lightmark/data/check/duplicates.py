"""Whether two faces are the same picture: resized, compressed, toned or labelled anew, but one photograph."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TypeAlias

import cv2
import numpy as np

from lightmark.geometry import Array, crop_matrix, longer_side, tight_box
from lightmark.image import Picture, warp
from lightmark.schema import Schema

Pair: TypeAlias = tuple[int, int, float]

CROP = 64
# Fine correlation from which two crops count as one picture, measured on 300W, HELEN and SCUT-FBP5500: different
# photographs reached 0.82 aligned by the eyes, and 0.90 aligned by the box (studio portraits); of copies with labels
# made anew by others 85 % pass, of copies reduced to 40 % at JPEG quality 60 with their labels 2 % off, 95 %.
ALIKE_BY_EYES, ALIKE_BY_BOX = 0.85, 0.92
# Only pairs this alike at 16×16 are compared finely: 98 % of copies are, under 1 % of other pairs in the wild.
_COARSE, _COARSE_SIZE = 0.7, 16
# Faces smaller than this hold too little to tell pictures apart.
_SMALLEST = 16
# The fine comparison tries shifts of up to this many crop pixels either way: labels made anew differ by as much.
_SHIFT = 6
_ROWS = 2048  # of the matrix of coarse correlations, at a time


def aligned_by_eyes(schema: Schema) -> bool:
    """Whether crops of this schema are aligned by the eye corners, which other schemas have too, or by the box."""
    return schema.normaliser_name == "inter-ocular"


def comparison_crop(image: Picture, points: Array, schema: Schema) -> Picture | None:
    """Grey crop (64, 64) in which copies of a photograph look alike; None where labels are small or too few."""
    matrix, side = _by_eyes(points, schema) if aligned_by_eyes(schema) else _by_box(points)
    if matrix is None or side < _SMALLEST:
        return None
    return np.asarray(cv2.cvtColor(warp(image, matrix, CROP), cv2.COLOR_RGB2GRAY), dtype=np.uint8)


def _by_eyes(points: Array, schema: Schema) -> tuple[Array | None, float]:
    """Crop upright around the middle between the eye corners, twice their distance wide; its side in image pixels."""
    left, right = points[list(schema.normaliser)]
    (x, y), (dx, dy) = (left + right) / 2, right - left
    reach = math.hypot(dx, dy)
    if not reach > 0:  # or a corner is missing
        return None, 0.0
    box = (x - reach, y - reach, x + reach, y + reach)
    return crop_matrix(box, CROP, 1.0, math.degrees(math.atan2(dy, dx))), 2 * reach


def _by_box(points: Array) -> tuple[Array | None, float]:
    box = tight_box(points)
    if not (box[2:] > box[:2]).all():  # of a single point, say
        return None, 0.0
    return crop_matrix(box, CROP, 1.0), longer_side(box)


def alike_pairs(first: Sequence[Picture], second: Sequence[Picture], threshold: float) -> list[Pair]:
    """Indices and fine correlation of every pair of crops, one of each side, that correlates at least `threshold`."""
    pairs = ((i, j, fine_correlation(first[i], second[j])) for i, j in _coarse_pairs(first, second))
    return [pair for pair in pairs if pair[2] >= threshold]


def fine_correlation(first: Picture, second: Picture) -> float:
    """Largest correlation of two crops' detail (about 1 to 4 pixels wide) over small shifts."""
    middle = _detail(second, 1, 4)[_SHIFT:-_SHIFT, _SHIFT:-_SHIFT]
    return float(cv2.matchTemplate(_detail(first, 1, 4), middle, cv2.TM_CCOEFF_NORMED).max())


def _coarse_pairs(first: Sequence[Picture], second: Sequence[Picture]) -> Iterator[tuple[int, int]]:
    if not first or not second:
        return
    columns = _coarse_vectors(second).T
    for start in range(0, len(first), _ROWS):
        rows, matches = np.nonzero(_coarse_vectors(first[start : start + _ROWS]) @ columns >= _COARSE)
        for i, j in zip(rows.tolist(), matches.tolist(), strict=True):
            yield start + i, j


def _coarse_vectors(crops: Sequence[Picture]) -> Array:
    """Unit vectors (F, 256) of the crops' coarse structure; zero for a crop without any."""
    size = (_COARSE_SIZE, _COARSE_SIZE)
    small = [cv2.resize(_detail(crop, 2, 7), size, interpolation=cv2.INTER_AREA).ravel() for crop in crops]
    vectors = np.stack(small).astype(np.float64)
    vectors -= vectors.mean(axis=1, keepdims=True)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    # A grey level of contrast a pixel, below which a crop is flat and its correlation noise.
    return np.where(lengths > _COARSE_SIZE, vectors / np.maximum(lengths, 1e-9), 0.0)


def _detail(crop: Picture, finest: float, coarsest: float) -> Array:
    """Difference of two Gaussian blurs, which leaves out light and tone; float32."""
    picture = crop.astype(np.float32)
    return np.asarray(cv2.GaussianBlur(picture, (0, 0), finest) - cv2.GaussianBlur(picture, (0, 0), coarsest))
