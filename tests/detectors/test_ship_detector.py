"""The shipped detector's thresholds are counted as `Landmarker` decides."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import numpy as np
import pytest


@pytest.fixture
def script(open_script: Callable[[str], ModuleType]) -> ModuleType:
    """benchmarks/ship_detector.py."""
    return open_script("ship_detector")


def test_variants_are_the_picture_and_its_halves_turned_by_quarters(script: ModuleType) -> None:
    """Twelve, cut across the longer side."""
    picture = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)
    variants = list(script.variants_of(picture))
    assert [variant.shape[:2] for variant in variants] == [(4, 6), (6, 4)] * 2 + [(4, 3), (3, 4)] * 4
    np.testing.assert_array_equal(variants[4], picture[:, :3])
    np.testing.assert_array_equal(variants[9], np.rot90(picture[:, 3:]))


@pytest.mark.parametrize(
    ("pairs", "expected"),
    [
        ([(0.8, 0.2)], 1),  # a detection that the student does not deny
        ([(0.8, 0.05)], 0),
        ([(0.4, 0.96)], 1),  # a proposal that it confirms
        ([(0.4, 0.94)], 0),
        ([(0.8, 0.2), (0.6, 0.98)], 1),  # beside a detection a proposal needs more
        ([(0.8, 0.2), (0.6, 0.995)], 2),
        ([(0.8, 0.05), (0.5, 0.995)], 0),  # and is not looked at below its score there
        ([], 0),
    ],
)
def test_false_faces_are_those_that_would_be_accepted(
    pairs: list[tuple[float, float]], expected: int, script: ModuleType
) -> None:
    """With a threshold of 0.7, by score and confidence."""
    assert script.false_faces([np.array(pairs).reshape(-1, 2)], 0.7) == expected
