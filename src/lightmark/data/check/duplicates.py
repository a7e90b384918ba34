"""Near duplicates: faces from copies of one photograph that were resized, compressed, toned or labelled again."""

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
# Fine correlation from which two crops are near duplicates. On 300W, HELEN and SCUT-FBP5500 different photographs reach
# 0.82 aligned by the eyes, and 0.90 aligned by the box (studio portraits). 85 % of the copies that others labelled
# again exceed it, and 95 % of copies reduced to 40 % at JPEG quality 60 with labels that are 2 % off.
DUPLICATE_BY_EYES, DUPLICATE_BY_BOX = 0.85, 0.92
# Correlation at 16×16 from which pairs are compared finely: 98 % of copies, less than 1 % of other pairs in the wild.
_COARSE, _COARSE_SIZE = 0.7, 16
_SMALLEST = 16  # pixels; smaller faces have too little detail to distinguish pictures
_SHIFT = 6  # largest shift in crop pixels of the fine comparison, the difference of independent labels
_ROWS = 2048  # of the matrix of coarse correlations that are computed at a time, for the memory


def aligned_by_eyes(schema: Schema) -> bool:
    """Whether crops of this schema are aligned by the eye corners (comparable between schemas) or by the box."""
    return schema.normaliser_name == "inter-ocular"


def comparison_crop(image: Picture, points: Array, schema: Schema) -> Picture | None:
    """Aligned grey crop (64, 64) for the comparison; None if the face is too small or its labels are too few."""
    matrix, side = _by_eyes(points, schema) if aligned_by_eyes(schema) else _by_box(points)
    if matrix is None or side < _SMALLEST:
        return None
    return np.asarray(cv2.cvtColor(warp(image, matrix, CROP), cv2.COLOR_RGB2GRAY), dtype=np.uint8)


def _by_eyes(points: Array, schema: Schema) -> tuple[Array | None, float]:
    """Matrix (2, 3) of the upright crop around the centre of the eye corners, and its side: twice their distance."""
    left, right = points[list(schema.normaliser)]
    (x, y), (dx, dy) = (left + right) / 2, right - left
    reach = math.hypot(dx, dy)
    if not reach > 0:  # also false for NaN, a missing corner
        return None, 0.0
    box = (x - reach, y - reach, x + reach, y + reach)
    return crop_matrix(box, CROP, 1.0, math.degrees(math.atan2(dy, dx))), 2 * reach


def _by_box(points: Array) -> tuple[Array | None, float]:
    box = tight_box(points)
    if not (box[2:] > box[:2]).all():  # such as that of a single point
        return None, 0.0
    return crop_matrix(box, CROP, 1.0), longer_side(box)


def near_duplicates(first: Sequence[Picture], second: Sequence[Picture], threshold: float) -> list[Pair]:
    """Indices and fine correlation of all pairs of crops of `first` and `second` that correlate by `threshold` or more.

    A coarse comparison first discards most pairs, since the fine one is slow.
    """
    pairs = ((i, j, fine_correlation(first[i], second[j])) for i, j in _coarse_pairs(first, second))
    return [pair for pair in pairs if pair[2] >= threshold]


def fine_correlation(first: Picture, second: Picture) -> float:
    """Largest correlation of two crops over small shifts, after a band-pass of about 1 to 4 pixels."""
    middle = _detail(second, 1, 4)[_SHIFT:-_SHIFT, _SHIFT:-_SHIFT]
    return float(cv2.matchTemplate(_detail(first, 1, 4), middle, cv2.TM_CCOEFF_NORMED).max())


def _coarse_pairs(first: Sequence[Picture], second: Sequence[Picture]) -> Iterator[tuple[int, int]]:
    """Indices of the pairs whose coarse correlation is at least `_COARSE`."""
    if not first or not second:
        return
    columns = _coarse_vectors(second).T
    for start in range(0, len(first), _ROWS):
        rows, matches = np.nonzero(_coarse_vectors(first[start : start + _ROWS]) @ columns >= _COARSE)
        for i, j in zip(rows.tolist(), matches.tolist(), strict=True):
            yield start + i, j


def _coarse_vectors(crops: Sequence[Picture]) -> Array:
    """Unit vectors (F, 256) of the crops at low resolution, whose products are correlations; 0 for a flat crop."""
    size = (_COARSE_SIZE, _COARSE_SIZE)
    small = [cv2.resize(_detail(crop, 2, 7), size, interpolation=cv2.INTER_AREA).ravel() for crop in crops]
    vectors = np.stack(small).astype(np.float64)
    vectors -= vectors.mean(axis=1, keepdims=True)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    # Below a contrast of one grey level per pixel a crop is flat and its correlation is noise.
    return np.where(lengths > _COARSE_SIZE, vectors / np.maximum(lengths, 1e-9), 0.0)


def _detail(crop: Picture, finest: float, coarsest: float) -> Array:
    """Difference of Gaussians (float32), a band-pass that removes lighting and tone."""
    picture = crop.astype(np.float32)
    return np.asarray(cv2.GaussianBlur(picture, (0, 0), finest) - cv2.GaussianBlur(picture, (0, 0), coarsest))
