"""Pictures of more than 8 bits a channel: scaled to 8 by the range of values that they use."""

from __future__ import annotations

from typing import IO, Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import ImageFile

# What cameras, scanners and microscopes measure in; all of them are stored in 16.
DEPTHS = (8, 10, 12, 14, 16)
HIGH_BYTE_USED = 64  # levels of the high byte from here on need all 16 bits


def used_bits(levels: NDArray[Any]) -> int:
    """The least of `DEPTHS` that holds every value of `levels`, which are from 0 to 65535.

    >>> used_bits(np.array([0, 4095])), used_bits(np.array([0, 4096]))
    (12, 14)
    """
    most = int(levels.max(initial=0))
    return next(bits for bits in DEPTHS if most < 1 << bits)


def to_8_bits(levels: NDArray[Any]) -> NDArray[np.uint8]:
    """`levels` from 0 to 65535 as uint8: the high 8 of the bits that they use.

    A file of 16 bits does not say how many of them its camera filled; by its high byte a picture of 12 bits is black.
    """
    return np.asarray(levels >> (used_bits(levels) - 8), dtype=np.uint8)


def is_deep_colour(picture: ImageFile.ImageFile) -> bool:
    """Whether an opened file holds 16 bits a channel of colour, of which Pillow keeps the high byte alone."""
    return any(";16" in str(tile[3]) for tile in picture.tile) and not picture.mode.startswith("I")


def read_deep_colour(stream: IO[bytes]) -> NDArray[np.uint8]:
    """RGB (H, W, 3) of 16-bit colour in a PNG or TIFF, not turned, by OpenCV; raises `ValueError` where it cannot."""
    stream.seek(0)
    levels: NDArray[Any] | None = cv2.imdecode(np.frombuffer(stream.read(), np.uint8), cv2.IMREAD_UNCHANGED)
    if levels is None or levels.dtype != np.uint16 or levels.ndim != 3 or levels.shape[2] not in (3, 4):
        raise ValueError("uses less than 14 of its 16 bits, and its colours cannot be read so; save it with 8 bits")
    return to_8_bits(levels[..., 2::-1])
