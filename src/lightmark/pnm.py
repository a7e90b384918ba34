"""PNM reader (PBM, PGM, PPM) in numpy: Pillow's parses each value in Python."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import ImageFile

from lightmark.bit_depth import used_bits
from lightmark.image import Picture

COMMENT = re.compile(rb"#[^\r\n]*")
MAX_COMMENTS = 1000  # after the header: writers put one comment, into the header
PART = 2**20  # values scaled at once: limits the memory of their 8-byte indices
DIGITS = (ord("0"), ord("1"))


def read_pnm(picture: ImageFile.ImageFile) -> Picture:
    """RGB (H, W, 3) of an opened P1, P2, P3, P5 or P6, scaled so that its maximum value becomes 255.

    Raises `ValueError` if values are missing, no numbers, or above that maximum.
    """
    codec, _, offset, arguments = picture.tile[0]
    assert picture.fp is not None
    picture.fp.seek(offset)
    bands = 3 if picture.mode == "RGB" else 1
    count = picture.width * picture.height * bands
    values: NDArray[Any]
    if picture.mode == "1":
        values, largest = _bits(picture.fp.read(), count), 1
    else:
        assert isinstance(arguments, tuple)
        largest = arguments[1]
        if codec == "ppm_plain":
            values = _numbers(picture.fp.read(), count)
        else:
            kind = np.dtype(">u2" if largest > 255 else "u1")
            data = picture.fp.read(count * kind.itemsize)
            values = np.frombuffer(data[: len(data) // kind.itemsize * kind.itemsize], kind)
    if len(values) < count:
        raise ValueError(f"has {len(values):,} values, {picture.width}×{picture.height} pixels need {count:,}")
    if values.min() < 0 or values.max() > largest:
        raise ValueError(f"has values that are not from 0 to {largest}")
    if largest == 65535:  # the maximum of two bytes does not state the bit depth in use; the values do
        largest = (1 << used_bits(values)) - 1
    scaled = _scaled(values, largest).reshape(picture.height, picture.width, bands)
    return np.ascontiguousarray(np.broadcast_to(scaled, (picture.height, picture.width, 3)))


def _bits(text: bytes, count: int) -> NDArray[np.uint8]:
    """Bits of a plain bitmap, whose digits need no spaces between; inverted, since 1 is black."""
    digits = np.frombuffer(b"".join(_uncommented(text).split())[:count], np.uint8)
    if not np.isin(digits, DIGITS).all():
        raise ValueError("has more than 0 and 1 for its bits")
    return DIGITS[1] - digits


def _numbers(text: bytes, count: int) -> NDArray[np.int64]:
    """First `count` numbers of a plain map, or fewer if other text follows earlier."""
    match = re.match(rb"[\s0-9]*", _uncommented(text))
    assert match is not None
    return np.fromstring(match[0].decode("ascii"), dtype=np.int64, sep=" ")[:count]


def _scaled(values: NDArray[Any], largest: int) -> NDArray[np.uint8]:
    """Scale `values` from 0…`largest` to 0…255, rounded, `PART` values at a time."""
    levels = np.rint(np.arange(largest + 1) * 255 / largest).astype(np.uint8)
    scaled = np.empty(len(values), np.uint8)
    for start in range(0, len(values), PART):
        scaled[start : start + PART] = levels[values[start : start + PART]]
    return scaled


def _uncommented(text: bytes) -> bytes:
    if text.count(b"#") > MAX_COMMENTS:
        raise ValueError(f"has more than {MAX_COMMENTS:,} comments")
    return COMMENT.sub(b" ", text)
