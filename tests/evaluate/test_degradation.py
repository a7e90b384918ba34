"""Tests of the loss of accuracy against the original, paired by face, with an interval."""

from __future__ import annotations

import numpy as np
import pytest

from lightmark.data.synthetic import synthetic_samples
from lightmark.evaluate import degradation
from lightmark.evaluate.degradation import measure_degradation, render_degradation
from lightmark.geometry import to_normalized, transform
from lightmark.schema import IBUG68
from lightmark.spec import ModelSpec, spec_crop_matrix

FACES = synthetic_samples(6, seed=0)


class OffBy:
    """A model that gives the mean of all crops' true points, off by `pixels` to the right in the crop."""

    spec = ModelSpec(IBUG68, 64)

    def __init__(self, pixels: float) -> None:
        crops = [transform(spec_crop_matrix(self.spec, face.box), face.points) for face in FACES]
        self._points = to_normalized(np.mean(crops, axis=0) + np.array([pixels, 0]), 64)

    def __call__(self, crops: np.ndarray) -> np.ndarray:
        """The same points (B, 68, 2) whatever the crops."""
        return np.repeat(self._points[None], len(crops), axis=0)


@pytest.fixture
def models(monkeypatch: pytest.MonkeyPatch) -> None:
    """Models called by how far they are off, and the painted faces as data."""
    monkeypatch.setattr(degradation, "open_model", lambda name: OffBy(float(name)))
    monkeypatch.setattr(degradation, "read_samples", lambda *_, **__: FACES)


def test_a_worse_model_has_a_positive_difference(models) -> None:
    """Points moved by thirty pixels cost, the same points nothing."""
    found = measure_degradation("0", ["0", "30"], "data")
    assert found["0"].difference.value == 0
    assert found["0"].faces == 6
    assert found["30"].b > found["30"].a
    assert found["30"].difference.low > 0


def test_the_table_has_the_relative_change(models) -> None:
    """In per cent of what the error was before."""
    found = measure_degradation("0", ["10"], "data")
    (line,) = [line for line in render_degradation(found).splitlines() if line.startswith("10 ")]
    assert f"{100 * (found['10'].b / found['10'].a - 1):+.2f} %" in line
