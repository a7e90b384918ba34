"""Conversion of pictures with more than 8 bits per channel to 8 bits."""

from __future__ import annotations

from typing import IO, Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import ImageFile

# Bit depths of cameras, scanners and microscopes; files store all of the deeper ones in 16 bits.
DEPTHS = (8, 10, 12, 14, 16)
HIGH_BYTE_USED = 64  # a high byte of at least 64 means that all 16 bits are used: 2**14 >> 8


def used_bits(levels: NDArray[Any]) -> int:
    """Smallest of `DEPTHS` that can hold every value of `levels` (0 to 65535).

    >>> used_bits(np.array([0, 4095])), used_bits(np.array([0, 4096]))
    (12, 14)
    """
    most = int(levels.max(initial=0))
    return next(bits for bits in DEPTHS if most < 1 << bits)


def to_8_bits(levels: NDArray[Any]) -> NDArray[np.uint8]:
    """Convert `levels` (0 to 65535) to uint8: the upper 8 of the bits in use (`used_bits`).

    A 16-bit file does not state the bit depth of its camera; the high byte of a 12-bit picture would be black.
    """
    return np.asarray(levels >> (used_bits(levels) - 8), dtype=np.uint8)


def is_deep_colour(picture: ImageFile.ImageFile) -> bool:
    """Whether an opened file has 16-bit colour, which Pillow would truncate to the high byte."""
    return any(";16" in str(tile[3]) for tile in picture.tile) and not picture.mode.startswith("I")


def read_deep_colour(stream: IO[bytes]) -> NDArray[np.uint8]:
    """Read 16-bit colour of a PNG or TIFF as RGB (H, W, 3) with OpenCV, EXIF rotation not applied.

    Raises `ValueError` if OpenCV cannot.
    """
    stream.seek(0)
    levels: NDArray[Any] | None = cv2.imdecode(np.frombuffer(stream.read(), np.uint8), cv2.IMREAD_UNCHANGED)
    if levels is None or levels.dtype != np.uint16 or levels.ndim != 3 or levels.shape[2] not in (3, 4):
        raise ValueError("uses less than 14 of its 16 bits, and its colours cannot be read so; save it with 8 bits")
    return to_8_bits(levels[..., 2::-1])
