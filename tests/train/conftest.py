"""Tiny faces that a tiny network can learn: five coloured blobs on noise."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from lightmark.data.sample import Sample
from lightmark.geometry import tight_box
from lightmark.nets.network import Architecture
from lightmark.schema import Schema
from lightmark.train.config import Distillation, Recipe

FIVE = Schema("five", mirror=(1, 0, 2, 4, 3), normaliser=(0, 1))
SHAPE = np.array([[16.0, 18.0], [32.0, 18.0], [24.0, 26.0], [18.0, 34.0], [30.0, 34.0]])
COLOURS = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 0], [0, 255, 255]])


def blob_faces(count: int, seed: int = 0) -> list[Sample]:
    """`count` pictures of 48×48 with a blob of its own colour at each of five jittered points."""
    rng = np.random.default_rng(seed)
    faces = []
    for index in range(count):
        points = SHAPE + rng.normal(0, 2.5, SHAPE.shape)
        image = rng.integers(0, 60, (48, 48, 3)).astype(np.uint8)
        ys, xs = np.mgrid[:48, :48]
        for (x, y), colour in zip(points, COLOURS, strict=True):
            image[(xs - x) ** 2 + (ys - y) ** 2 < 9] = colour
        faces.append(Sample(Path(f"blobs/{index}.png"), points, tight_box(points), FIVE, f"blob{index}", image=image))
    return faces


@pytest.fixture(scope="session", name="blob_faces")
def blob_faces_fixture() -> Callable[[int], list[Sample]]:
    """The function that draws them, for tests that need another number."""
    return blob_faces


@pytest.fixture(scope="session")
def faces() -> list[Sample]:
    """Forty-eight blob faces."""
    return blob_faces(48)


@pytest.fixture
def recipe() -> Recipe:
    """Eight steps of a small network at 32 px, with dropout so that the random streams matter."""
    return Recipe(
        name="tiny",
        architecture=Architecture("mobilenetv2", "spatial", width=0.25, dropout=0.2),
        size=32,
        objective="l1",
        steps=8,
        batch=4,
        warmup=2,
        ema=0.9,
        validation=0.2,
        validate_every=3,
        log_every=2,
    )


@pytest.fixture
def distillation(recipe: Recipe) -> Distillation:
    """Four tiny stages."""
    from dataclasses import replace

    student = replace(recipe, name="tiny-student", objective="kd-figure", copies=2)
    return Distillation(
        name="tiny",
        tough=replace(recipe, name="tiny-tough"),
        tolerant=replace(recipe, name="tiny-tolerant", soft_variance=0.5),
        student=student,
        plain=replace(student, name="tiny-plain", objective="l1"),
        tolerant_starts_from_tough=True,
    )
