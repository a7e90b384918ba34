"""Parity: how far an exported file's points are from those of the network that it came from."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from lightmark.geometry import Array, from_unit
from lightmark.runtime.crop_model import CropModel

CROPS = 16


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


def measure_parity(exported: CropModel, original: CropModel, rng: np.random.Generator) -> Parity:
    """Distances between both models' points on the same random crops, in a batch of one and a batch of many."""
    crops = random_crops(original.spec.size, CROPS, rng)
    wanted = original.outputs(crops)
    runs = [exported.outputs(crops), *(exported.outputs(crop[None]) for crop in crops)]
    size = original.spec.size

    def compared(name: str) -> tuple[Array, Array]:
        values = np.concatenate([getattr(run, name) for run in runs])
        return values.astype(np.float64), np.concatenate([getattr(wanted, name)] * 2)

    got, want = compared("unit_points")
    distances = np.linalg.norm(from_unit(got, size) - from_unit(want, size), axis=-1)
    parity = Parity(float(distances.max()), float(distances.mean()), len(crops))
    if not original.spec.confidence:
        return parity
    errors, presence = (float(np.abs(np.subtract(*compared(name))).max()) for name in ("errors", "presence"))
    return replace(parity, errors=errors * size, presence=presence)


def random_crops(size: int, count: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Crops (count, size, size, 3) of smooth noise from coarse to fine, and one black and one white among them."""
    crops = np.zeros((count, size, size, 3), np.uint8)
    for index in range(2, count):
        cells = int(rng.integers(2, size))
        noise = rng.integers(0, 256, (cells, cells, 3), dtype=np.uint8)
        crops[index] = cv2.resize(noise, (size, size), interpolation=cv2.INTER_LINEAR)
    crops[1:2] = 255
    return crops
