"""Portable maps: text and bytes, any largest value, comments; what is missing or beyond is refused."""

import io

import numpy as np
import pytest
from PIL import Image as PilImage

from lightmark.errors import ImageError
from lightmark.source import to_picture


@pytest.mark.parametrize(
    ("content", "grey"),
    [
        (b"P1\n3 2\n0 1 0\n1 1 0\n", [[255, 0, 255], [0, 0, 255]]),
        (b"P1 # a comment\n3 2\n010110", [[255, 0, 255], [0, 0, 255]]),
        (b"P2\n3 1\n15\n0 7 15", [[0, 119, 255]]),
        (b"P2\n3 1\n255\n0 # zero\n127\r\n255\n", [[0, 127, 255]]),
        (b"P2\n3 1\n4095\n0 2048 4095\n9 9 9", [[0, 128, 255]]),
        (b"P5\n3 1\n254\n\x00\x7f\xfe", [[0, 128, 255]]),
        (b"P5\n3 1\n4095\n\x00\x00\x08\x00\x0f\xff", [[0, 128, 255]]),
    ],
)
def test_grey_is_scaled_to_its_largest_value(content, grey):
    """By hand: 255 for the largest, nearest whole level between."""
    assert to_picture(content).tolist() == [[[level] * 3 for level in row] for row in grey]


@pytest.mark.parametrize("content", [b"P3\n2 1\n255\n1 2 3 4 5 6", b"P6\n2 1\n510\n\0\2\0\4\0\6\0\x08\0\x0a\0\x0c"])
def test_colours_keep_their_order(content):
    """Red, green, blue, pixel by pixel."""
    assert to_picture(content).tolist() == [[[1, 2, 3], [4, 5, 6]]]


@pytest.mark.parametrize("largest", [1, 100, 254, 1023])
def test_pillows_slow_readers_agree(largest):
    """The same picture by the readers that are replaced."""
    values = np.random.default_rng(largest).integers(0, largest + 1, (7, 5, 3))
    content = f"P3\n5 7\n{largest}\n".encode() + b" ".join(b"%d" % value for value in values.ravel())
    slow = np.asarray(PilImage.open(io.BytesIO(content)).convert("RGB"))
    np.testing.assert_array_equal(to_picture(content), slow)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"P2\n3 1\n255\n0 1", "has 2 values, 3×1 pixels need 3"),
        (b"P3\n1 1\n255\n0 1 x 2", "has 2 values, 1×1 pixels need 3"),
        (b"P5\n3 1\n254\n\x00\x01", "has 2 values"),
        (b"P5\n1 1\n4095\n\x00", "has 0 values"),
        (b"P1\n3 1\n0 1", "has 2 values"),
        (b"P1\n3 1\n0 2 1", "has more than 0 and 1"),
        (b"P2\n3 1\n15\n0 1 16", "has values that are not from 0 to 15"),
        (b"P5\n1 1\n100\n\xff", "has values that are not from 0 to 100"),
        (b"P2\n1 1\n255\n" + b"#\n" * 1001 + b"1", "has more than 1,000 comments"),
        (b"P2\n1 1\n255\n" + b"9" * 50, "has values that are not from 0 to 255"),
    ],
)
def test_values_that_do_not_fit_are_an_error(content, reason):
    """Fewer than pixels, no numbers, beyond the largest, buried in comments."""
    with pytest.raises(ImageError, match=f"cannot be read as a picture: {reason}"):
        to_picture(content)
