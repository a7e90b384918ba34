"""Tests that training normalises crops as everything else does."""

import numpy as np
import pytest
import torch

from lightmark.schema import IBUG68
from lightmark.spec import ModelSpec, normalise_crops
from lightmark.train.step import planes_of


@pytest.mark.parametrize(
    "options",
    [{}, {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}, {"std": (0.5, 1.0, 2.0)}],
    ids=["plain", "ImageNet", "std alone"],
)
def test_training_and_run_time_planes_agree(options):
    """The torch version gives the planes of the runtime."""
    spec = ModelSpec(IBUG68, 16, **options)
    crops = np.random.default_rng(0).integers(0, 256, (3, 16, 16, 3), dtype=np.uint8)
    planes = planes_of(torch.from_numpy(crops.transpose(0, 3, 1, 2).copy()), spec, spec.size)
    np.testing.assert_allclose(planes.numpy(), normalise_crops(crops, spec), atol=1e-6)


def test_reduced_planes_are_block_means():
    """Halved for progressive resolution, flat blocks keep their value and their place."""
    flat = np.random.default_rng(0).integers(0, 256, (4, 4), dtype=np.uint8)
    crops = torch.from_numpy(np.kron(flat, np.ones((8, 8), np.uint8)))[None, None].repeat(1, 3, 1, 1)
    planes = planes_of(crops, ModelSpec(IBUG68, 32), size=16)
    assert planes.shape == (1, 3, 16, 16)
    np.testing.assert_allclose(planes[0, 0, 1::4, 1::4].numpy(), flat / 255, atol=0.08)
    np.testing.assert_allclose(planes.mean(), flat.mean() / 255, atol=1e-3)


@pytest.mark.parametrize("size", [48, 32, 24])
def test_reduced_planes_do_not_alias(size):
    """Stripes one pixel wide become their mean, whatever the factor: without a low-pass they would become a moiré."""
    stripes = torch.zeros(1, 3, 96, 96, dtype=torch.uint8)
    stripes[..., ::2] = 255
    planes = planes_of(stripes, ModelSpec(IBUG68, 96), size)
    inside = planes[..., 2:-2].numpy()
    assert np.abs(inside - 0.5).max() < 0.06  # a third of a pixel is left at a factor of 3


def test_planes_lie_as_the_kernels_do(monkeypatch):
    """Channels last in memory, on the crops' device; of full size they are not resized."""
    monkeypatch.setattr(torch.nn.functional, "interpolate", None)
    for device in ("cpu", "meta"):
        crops = torch.zeros(2, 3, 16, 16, dtype=torch.uint8, device=device)
        planes = planes_of(crops, ModelSpec(IBUG68, 16), size=16)
        assert planes.device.type == device
        assert planes.is_contiguous(memory_format=torch.channels_last)
