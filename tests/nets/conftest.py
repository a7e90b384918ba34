"""Fixtures of the network tests: one small network and the spec that belongs to it."""

import numpy as np
import pytest

from lightmark.nets.network import Architecture, LandmarkNet, build_network
from lightmark.schema import COFW29
from lightmark.spec import ModelSpec

SMALL = Architecture("mobilenetv2", "spatial", width=0.35)


@pytest.fixture
def small_architecture() -> Architecture:
    """The smallest MobileNetV2, with the spatial head."""
    return SMALL


@pytest.fixture
def small_spec() -> ModelSpec:
    """29 points in crops of 64 pixels, with every field of a spec."""
    return ModelSpec(
        COFW29,
        64,
        crop_scale=1.3,
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
        provenance={"recipe": "größe", "seed": 3},
    )


@pytest.fixture
def small_network() -> LandmarkNet:
    """An untrained small network of 29 points, in evaluation mode."""
    mean = np.random.default_rng(0).uniform(0.2, 0.8, (29, 2))
    return build_network(SMALL, mean, seed=0).eval()
