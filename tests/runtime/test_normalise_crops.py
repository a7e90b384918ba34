"""Normalisation of crops: written once, for training and run time alike."""

from __future__ import annotations

import numpy as np
import pytest

from lightmark.errors import SpecError
from lightmark.schema import plain_schema
from lightmark.spec import ModelSpec, normalise_crops

SPEC = ModelSpec(plain_schema(3), size=16, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))


def test_every_pixel_by_the_formula() -> None:
    """Plane c of crop b at (y, x) is (pixel / 255 − mean) / std, for all 256 values."""
    crops = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1).repeat(3, axis=3)
    planes = normalise_crops(crops, SPEC)
    for channel in range(3):
        for value in (0, 1, 127, 254, 255):
            expected = (value / 255 - SPEC.mean[channel]) / SPEC.std[channel]
            assert planes[0, channel, value // 16, value % 16] == pytest.approx(expected, abs=1e-6)


def test_planes_are_float32_and_contiguous() -> None:
    """What onnxruntime and torch take without a copy."""
    planes = normalise_crops(np.zeros((2, 16, 16, 3), np.uint8), SPEC)
    assert (planes.dtype, planes.shape, planes.flags.c_contiguous) == (np.float32, (2, 3, 16, 16), True)


@pytest.mark.parametrize(
    "crops",
    [
        np.zeros((2, 16, 16, 3), np.float32),
        np.zeros((2, 3, 16, 16), np.uint8),
        np.zeros((16, 16, 3), np.uint8),
        np.zeros((2, 16, 17, 3), np.uint8),
    ],
)
def test_other_forms_are_refused(crops: np.ndarray) -> None:
    """Floats, planes, a single crop and another size are all named."""
    with pytest.raises(SpecError, match=r"needs uint8 \(B, 16, 16, 3\)"):
        normalise_crops(crops, SPEC)
