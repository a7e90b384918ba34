"""CropModel: interface of landmark models, exported files and torch networks alike."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from lightmark.spec import ModelSpec, Outputs


class CropModel(Protocol):
    """Landmark model: uint8 RGB crops (B, S, S, 3), cut by `spec` → normalized_points (B, N, 2)."""

    @property
    def spec(self) -> ModelSpec:
        """Schema, crop rule and normalisation of the model."""

    def __call__(self, crops: NDArray[np.uint8]) -> NDArray[np.floating[Any]]:
        """normalized_points (B, N, 2) of crops (B, S, S, 3)."""

    def outputs(self, crops: NDArray[np.uint8]) -> Outputs:
        """All outputs of the model for crops (B, S, S, 3)."""
