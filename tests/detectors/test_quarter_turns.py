"""Faces found in turned pictures, in coordinates of the picture itself."""

from __future__ import annotations

import numpy as np
import pytest

from lightmark.detectors.face_detector import TURNS, find_turned, turned_back
from lightmark.detectors.open import Proposals
from lightmark.geometry import Array, box_centre
from lightmark.image import Picture

HEIGHT, WIDTH = 40, 70
SPOT = (52, 11)  # x, y
NOTHING = Proposals(np.empty((0, 4)), np.zeros(0, bool))


def picture_with_spot() -> Picture:
    """Black but for one white pixel."""
    picture = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    picture[SPOT[1], SPOT[0]] = 255
    return picture


def box_of_spot(picture: Picture) -> Array:
    """Box about the white pixel, 6 pixels wide and 10 high."""
    (y,), (x,) = np.nonzero(picture[..., 0])
    return np.array([x - 3.0, y - 5.0, x + 3.0, y + 5.0])


@pytest.mark.parametrize("quarters", TURNS)
def test_a_box_is_turned_back_about_its_centre(quarters: int) -> None:
    """The centre lies where it was, and the sides keep their lengths."""
    picture = picture_with_spot()
    box = turned_back(box_of_spot(np.rot90(picture, quarters)), picture.shape, quarters)
    np.testing.assert_allclose(box_centre(box), SPOT)
    np.testing.assert_allclose(box[2:] - box[:2], [6, 10])


@pytest.mark.parametrize(("quarters", "roll"), [(1, -90.0), (3, 90.0), (2, -180.0)])
def test_the_first_turn_with_a_detection_is_taken(quarters: int, roll: float) -> None:
    """Its detections get the roll of that copy; its own proposals are dropped."""
    picture = picture_with_spot()
    seen = np.rot90(picture, quarters)

    def look(turned: Picture) -> Proposals:
        if turned.shape != seen.shape or not np.array_equal(turned, seen):
            return Proposals(np.array([[0.0, 0, 9, 9]]), np.array([False]))
        return Proposals(np.stack([box_of_spot(turned), [0.0, 0, 9, 9]]), np.array([True, False]))

    found = find_turned(look, picture)
    np.testing.assert_allclose(box_centre(found.boxes[0]), SPOT)
    assert (len(found.boxes), found.certain.tolist()) == (1, [True])
    assert found.angles is not None
    assert found.angles.tolist() == [roll]


def test_nothing_is_nothing() -> None:
    """No detection in any of the three copies gives no proposals."""
    turns = []
    found = find_turned(lambda picture: turns.append(picture.shape) or NOTHING, picture_with_spot())
    assert found.boxes.shape == (0, 4)
    assert len(turns) == len(TURNS)


def find_with_two_in(quarters: int, certain: bool) -> Proposals:
    """Of a picture with two boxes in the copy rotated by so many quarters, and one in each other."""
    picture = picture_with_spot()
    best = np.rot90(picture, quarters)

    def look(turned: Picture) -> Proposals:
        count = 2 if turned.shape == best.shape and np.array_equal(turned, best) else 1
        return Proposals(np.array([[0.0, 0, 9, 9], [20, 20, 29, 29]])[:count], np.full(count, certain))

    return find_turned(look, picture)


def test_without_a_detection_the_most_proposals_are_taken() -> None:
    """A face between two quarters may be no more than proposed in any copy."""
    found = find_with_two_in(quarters=2, certain=False)
    assert found.certain.tolist() == [False, False]
    assert found.angles is not None
    assert found.angles.tolist() == [-180.0, -180.0]


def test_the_turn_with_the_most_detections_is_taken() -> None:
    """In another, an upside-down face or what is none may be detected, too."""
    found = find_with_two_in(quarters=3, certain=True)
    assert len(found.boxes) == 2
    assert found.angles is not None
    assert found.angles.tolist() == [90.0, 90.0]
