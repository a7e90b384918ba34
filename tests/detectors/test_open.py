"""Detectors are named, or are any function from a picture to boxes."""

from __future__ import annotations

import numpy as np
import pytest

from lightmark.detectors.open import FixedBoxes, open_detector
from lightmark.errors import ConfigError, GeometryError

GREY = np.full((100, 120, 3), 128, np.uint8)


def test_fixed_boxes_are_returned_in_order() -> None:
    """Whatever the picture, and as an array of their own."""
    detector = FixedBoxes([[1, 2, 3, 4], [10, 10, 50, 60]])
    detector(GREY)[:] = 0
    np.testing.assert_array_equal(detector(GREY), [[1, 2, 3, 4], [10, 10, 50, 60]])


def test_no_fixed_boxes_are_no_faces() -> None:
    """An empty list is the shape (0, 4)."""
    assert FixedBoxes([])(GREY).shape == (0, 4)


def test_a_fixed_box_that_is_none_is_refused() -> None:
    """Width and height instead of the far corner, the usual slip."""
    with pytest.raises(GeometryError, match="x1 must exceed x0"):
        FixedBoxes([[50, 60, 20, 20]])


@pytest.mark.parametrize("name", ["auto", "face", "cascade"])
def test_named_detectors_take_a_picture(name: str) -> None:
    """Plain grey holds no face for any of them."""
    assert open_detector(name)(GREY).shape == (0, 4)


def test_an_unknown_detector_names_the_known_ones() -> None:
    """A typing slip is answered with the list."""
    with pytest.raises(ConfigError, match="no detector called 'casacde'; known: auto, face, face:PATH, cascade"):
        open_detector("casacde")
