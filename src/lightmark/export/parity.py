"""Parity: how far an exported file's points are from those of the network that it came from."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from lightmark.geometry import from_unit
from lightmark.runtime.crop_model import CropModel

CROPS = 16


@dataclass(frozen=True)
class Parity:
    """Largest and mean distance of a point, in crop pixels, over `crops` crops run one by one and together."""

    largest: float
    mean: float
    crops: int


def measure_parity(exported: CropModel, original: CropModel, rng: np.random.Generator) -> Parity:
    """Distances between both models' points on the same random crops, in a batch of one and a batch of many."""
    crops = random_crops(original.spec.size, CROPS, rng)
    wanted = from_unit(original(crops), original.spec.size)
    together = from_unit(exported(crops), original.spec.size)
    one_by_one = np.concatenate([from_unit(exported(crop[None]), original.spec.size) for crop in crops])
    distances = np.linalg.norm(np.stack([together, one_by_one]) - wanted, axis=-1)
    return Parity(float(distances.max()), float(distances.mean()), len(crops))


def random_crops(size: int, count: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Crops (count, size, size, 3) of smooth noise from coarse to fine, and one black and one white among them."""
    crops = np.zeros((count, size, size, 3), np.uint8)
    for index in range(2, count):
        cells = int(rng.integers(2, size))
        noise = rng.integers(0, 256, (cells, cells, 3), dtype=np.uint8)
        crops[index] = cv2.resize(noise, (size, size), interpolation=cv2.INTER_LINEAR)
    crops[1:2] = 255
    return crops
