"""Parity: differences of the outputs of an exported file from its original's, and their tolerances."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from lightmark.errors import ExportError
from lightmark.geometry import Array, from_normalized
from lightmark.runtime.exported_model import CropModel

CROPS = 16
TOLERANCE_PX = 0.01  # for float32; another order of its operations moves points by about 1e-4 px
# Mean distance, relative to the crop's side, for lower precisions; 0.006 in int8 students that lost 5 % of accuracy.
REDUCED_PRECISION_TOLERANCE = 0.02


@dataclass(frozen=True)
class Parity:
    """Largest and mean distance of a point in crop pixels, over `crops` crops run one by one and as one batch.

    `expected_error` is the largest difference of an expected error in crop pixels, `confidence` that of a confidence
    (0 to 1); both are 0 for a model without confidence.
    """

    largest: float
    mean: float
    crops: int
    expected_error: float = 0.0
    confidence: float = 0.0


def measure_parity(exported: CropModel, original: CropModel, crops: NDArray[np.uint8]) -> Parity:
    """Parity of two models on `crops` (B, S, S, 3), in batches of one and in one batch of all."""
    expected = original.outputs(crops)
    runs = [exported.outputs(crops), *(exported.outputs(crop[None]) for crop in crops)]
    size = original.spec.size

    def compared(name: str) -> tuple[Array, Array]:
        values = np.concatenate([getattr(run, name) for run in runs])
        return values.astype(np.float64), np.concatenate([getattr(expected, name)] * 2)

    points, expected_points = compared("normalized_points")
    distances = np.linalg.norm(from_normalized(points, size) - from_normalized(expected_points, size), axis=-1)
    parity = Parity(float(distances.max()), float(distances.mean()), len(crops))
    if not original.spec.confidence:
        return parity
    names = ("expected_error", "confidence")
    error, confidence = (float(np.abs(np.subtract(*compared(name))).max()) for name in names)
    return replace(parity, expected_error=error * size, confidence=confidence)


def require_same(parity: Parity, original: str, out: str | Path, tolerance: float = TOLERANCE_PX) -> None:
    """Raise `ExportError` if the outputs differ from those of the model called `original` by more than `tolerance`.

    `tolerance` is in crop pixels for points and expected errors, and the same number for the confidence.
    """
    # NaN must fail too, so the comparison is not turned around.
    if not all(difference <= tolerance for difference in (parity.largest, parity.expected_error, parity.confidence)):
        raise ExportError(
            f"{out}: the exported points differ from {original}'s by up to {parity.largest:.4f} px (expected errors "
            f"{parity.expected_error:.4f} px, confidence {parity.confidence:.4f}), {tolerance} "
            "allowed, so no file was left; another release of torch or onnxscript may write it right"
        )


def require_close(parity: Parity, size: int, out: str | Path) -> None:
    """Raise `ExportError` if the points of a file of lower precision are far from its original's.

    `size` is the crop's side in pixels. This detects broken files; the loss of accuracy is measured by `--evaluate`.
    """
    limit = REDUCED_PRECISION_TOLERANCE * size
    if not parity.mean <= limit:
        raise ExportError(
            f"{out}: the exported points are off by {parity.mean:.2f} px of {size} on average, at most "
            f"{limit:.2f} make sense, so no file was left; calibrate it on faces like those that it is for"
        )


def random_crops(size: int, count: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Crops (count, size, size, 3) of smooth noise, from coarse to fine; the first is black, the second white."""
    crops = np.zeros((count, size, size, 3), np.uint8)
    for index in range(2, count):
        cells = int(rng.integers(2, size))
        noise = rng.integers(0, 256, (cells, cells, 3), dtype=np.uint8)
        crops[index] = cv2.resize(noise, (size, size), interpolation=cv2.INTER_LINEAR)
    crops[1:2] = 255
    return crops
