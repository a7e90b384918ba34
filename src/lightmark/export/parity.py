"""Parity: how far an exported file's points are from those of the model that it came from, and how far is too far."""

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
TOLERANCE_PX = 0.01  # fp32 arithmetic in another order moves points by about 1e-4 px
ROUGH = 0.02  # of the crop's side, on average; int8 students that lost 5 % of their accuracy were off by 0.006


@dataclass(frozen=True)
class Parity:
    """Largest and mean distance of a point, in crop pixels, over `crops` crops run one by one and together.

    `errors` is the largest difference of an expected error, in crop pixels too, and `presence` that of a probability;
    both are 0 for a model without confidence.
    """

    largest: float
    mean: float
    crops: int
    errors: float = 0.0
    presence: float = 0.0


def measure_parity(exported: CropModel, original: CropModel, crops: NDArray[np.uint8]) -> Parity:
    """Distances between both models' points on the same `crops` (B, S, S, 3), in batches of one and in one of all."""
    wanted = original.outputs(crops)
    runs = [exported.outputs(crops), *(exported.outputs(crop[None]) for crop in crops)]
    size = original.spec.size

    def compared(name: str) -> tuple[Array, Array]:
        values = np.concatenate([getattr(run, name) for run in runs])
        return values.astype(np.float64), np.concatenate([getattr(wanted, name)] * 2)

    got, want = compared("normalized_points")
    distances = np.linalg.norm(from_normalized(got, size) - from_normalized(want, size), axis=-1)
    parity = Parity(float(distances.max()), float(distances.mean()), len(crops))
    if not original.spec.confidence:
        return parity
    errors, presence = (float(np.abs(np.subtract(*compared(name))).max()) for name in ("errors", "presence"))
    return replace(parity, errors=errors * size, presence=presence)


def require_same(parity: Parity, original: str, out: str | Path, tolerance: float = TOLERANCE_PX) -> None:
    """Raise `ExportError` where points or expected errors differ from those of `original`, so called, by more.

    `tolerance` is in crop pixels; the presence must not differ by as much either.
    """
    if not all(found <= tolerance for found in (parity.largest, parity.errors, parity.presence)):
        raise ExportError(
            f"{out}: the exported points differ from {original}'s by up to {parity.largest:.4f} px (expected errors "
            f"{parity.errors:.4f} px, presence {parity.presence:.4f}), {tolerance} "
            "allowed, so no file was left; another release of torch or onnxscript may write it right"
        )


def require_like(parity: Parity, size: int, out: str | Path) -> None:
    """Raise `ExportError` where the points of a file of lower precision are no longer those of its original.

    `size` is the crop's side in pixels. What the file loses is for `--evaluate` to say; this finds broken ones.
    """
    if not parity.mean <= ROUGH * size:
        raise ExportError(
            f"{out}: the exported points are off by {parity.mean:.2f} px of {size} on average, at most "
            f"{ROUGH * size:.2f} make sense, so no file was left; calibrate it on faces like those that it is to see"
        )


def random_crops(size: int, count: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Crops (count, size, size, 3) of smooth noise from coarse to fine, and one black and one white among them."""
    crops = np.zeros((count, size, size, 3), np.uint8)
    for index in range(2, count):
        cells = int(rng.integers(2, size))
        noise = rng.integers(0, 256, (cells, cells, 3), dtype=np.uint8)
        crops[index] = cv2.resize(noise, (size, size), interpolation=cv2.INTER_LINEAR)
    crops[1:2] = 255
    return crops
