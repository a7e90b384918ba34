"""Frames are turned, mirrored and stretched as players do it."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest

from lightmark.image import Picture
from lightmark.video.display import square_pixels, upright

ONE = 65_536  # of the matrix's 16.16 fixed point


def matrix_of(a: float, b: float, c: float, d: float) -> np.ndarray:
    """Display matrix (9,) that sends x, y to a·x + c·y, b·x + d·y."""
    values = [a * ONE, b * ONE, 0, c * ONE, d * ONE, 0, 0, 0, 1 << 30]
    return np.array([round(value) for value in values], np.int32)


def rotation(degrees: float, mirror: int = 1) -> np.ndarray:
    """Matrix of a turn clockwise, of the picture mirrored left to right before where `mirror` is −1."""
    angle = math.radians(degrees)
    return matrix_of(
        mirror * math.cos(angle), mirror * math.sin(angle), -math.sin(angle), math.cos(angle)
    )


def numbered() -> Picture:
    """A picture of 3 rows and 4 columns whose pixels all differ."""
    return np.arange(36, dtype=np.uint8).reshape(3, 4, 3)


@pytest.mark.parametrize("mirror", [1, -1])
@pytest.mark.parametrize("quarter", range(4))
def test_the_eight_orientations_move_each_pixel_where_the_matrix_sends_it(quarter: int, mirror: int) -> None:
    """Pixel by pixel against the definition of the matrix, nothing lost."""
    image, matrix = numbered(), rotation(90 * quarter, mirror)
    a, b, c, d = (round(matrix[index] / ONE) for index in (0, 1, 3, 4))
    places = {(a * x + c * y, b * x + d * y): image[y, x] for y in range(3) for x in range(4)}
    left, top = min(x for x, _ in places), min(y for _, y in places)
    shown = upright(image, matrix)
    assert shown.shape == ((3, 4, 3) if quarter % 2 == 0 else (4, 3, 3))
    assert shown.flags.c_contiguous
    for (x, y), pixel in places.items():
        np.testing.assert_array_equal(shown[y - top, x - left], pixel)


def test_a_quarter_turn_clockwise_brings_the_left_edge_to_the_top() -> None:
    """As phones held upright write it: [0, 1, −1, 0]."""
    image = numbered()
    np.testing.assert_array_equal(upright(image, matrix_of(0, 1, -1, 0))[0], image[::-1, 0])


@pytest.mark.parametrize("matrix", [None, matrix_of(0, 0, 0, 0), matrix_of(1, 0, 0, 1), matrix_of(1, 0, 0, 0)])
def test_no_matrix_and_broken_ones_change_nothing(matrix: np.ndarray | None) -> None:
    """A matrix that would show nothing is a broken header."""
    np.testing.assert_array_equal(upright(numbered(), matrix), numbered())


def test_scales_do_not_count() -> None:
    """A matrix that doubles the picture and mirrors it mirrors it."""
    np.testing.assert_array_equal(upright(numbered(), matrix_of(-2, 0, 0, 3)), numbered()[:, ::-1])


def test_nearly_a_right_angle_is_one() -> None:
    """Half a degree off loses no corner."""
    np.testing.assert_array_equal(upright(numbered(), rotation(90.5)), upright(numbered(), rotation(90)))


@pytest.mark.parametrize("mirror", [1, -1])
def test_any_other_angle_turns_about_the_centre_in_the_same_size(mirror: int) -> None:
    """A spot right of the centre comes to lie below it at 60°, or, mirrored before, above."""
    image = np.zeros((101, 101, 3), np.uint8)
    image[48:53, 78:83] = 255  # 30 px right of the centre
    shown = upright(image, rotation(60, mirror))
    rows, columns = np.nonzero(shown[:, :, 0] > 128)
    centre = np.array([columns.mean(), rows.mean()]) - 50
    assert shown.shape == image.shape
    np.testing.assert_allclose(centre, mirror * np.array([15.0, 30 * math.sin(math.radians(60))]), atol=0.6)


@pytest.mark.parametrize(("aspect", "shape"), [
    (None, (30, 40)), (Fraction(1), (30, 40)), (Fraction(3, 2), (30, 60)), (Fraction(1, 2), (60, 40)),
    (Fraction(1, 65_535), (30, 40)), (Fraction(400), (30, 40)), (Fraction(0), (30, 40)),
])  # fmt: skip
def test_pixels_become_square_by_enlarging_one_side(aspect: Fraction | None, shape: tuple[int, int]) -> None:
    """Nothing is made smaller; aspects that no film has are a broken header."""
    image = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    assert square_pixels(image, aspect).shape[:2] == shape


def test_stretching_keeps_within_the_limit_of_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    """A header cannot make a large picture a huge one."""
    monkeypatch.setattr("lightmark.video.display.MAX_PIXELS", 2_000)
    assert square_pixels(np.zeros((30, 40, 3), np.uint8), Fraction(2)).shape == (30, 40, 3)
    assert square_pixels(np.zeros((30, 40, 3), np.uint8), Fraction(3, 2)).shape == (30, 60, 3)
