"""Display of video frames: rotation, mirroring and pixel aspect ratio from the header, as players apply them."""

from __future__ import annotations

import math
from fractions import Fraction

import cv2
import numpy as np
from numpy.typing import NDArray

from lightmark.image import Picture
from lightmark.source import MAX_PIXELS

EXACT = math.sin(math.radians(1))  # rotations within 1° of a right angle count as one, as in FFmpeg
WIDEST_PIXEL = 10  # a larger pixel aspect ratio, or inverse, is a broken header; anamorphic film has 2


def upright(image: Picture, matrix: NDArray[np.int32] | None) -> Picture:
    """Rotate and mirror `image` (H, W, 3) by the display matrix (9,) of FFmpeg or MP4; None changes nothing.

    The matrix maps x, y to a·x + c·y, b·x + d·y, where a, b, c, d are its elements 0, 1, 3, 4; scales are ignored.
    Right angles permute the pixels; any other angle keeps the size and cuts off the corners, as in FFmpeg.
    """
    if matrix is None:
        return image
    a, b, c, d = (float(matrix[index]) for index in (0, 1, 3, 4))
    along, across = math.hypot(a, b), math.hypot(c, d)
    if 0.0 in (along, across):  # a broken header, which players ignore
        return image
    a, b, c, d = a / along, b / along, c / across, d / across
    if max(abs(b), abs(c)) < EXACT:
        return mirrored(image, a < 0, d < 0)
    if max(abs(a), abs(d)) < EXACT:
        return mirrored(image.transpose(1, 0, 2), c < 0, b < 0)
    return rotated(image, np.array([[a, c], [b, d]]))


def mirrored(image: Picture, left_right: bool, upside_down: bool) -> Picture:
    """Contiguous copy of `image` with columns (`left_right`) and rows (`upside_down`) reversed."""
    return np.ascontiguousarray(image[:: -1 if upside_down else 1, :: -1 if left_right else 1])


def rotated(image: Picture, rotation: NDArray[np.float64]) -> Picture:
    """`image` under the matrix `rotation` (2, 2) about its centre, same size, black outside."""
    height, width = image.shape[:2]
    centre = np.array([(width - 1) / 2, (height - 1) / 2])
    matrix = np.column_stack([rotation, centre - rotation @ centre])
    return np.asarray(cv2.warpAffine(image, matrix, (width, height), flags=cv2.INTER_LINEAR), dtype=np.uint8)


def square_pixels(image: Picture, aspect: Fraction | None) -> Picture:
    """Enlarge one side of `image` (H, W, 3), whose pixel aspect ratio is `aspect`, to square pixels.

    None or an implausible ratio (`WIDEST_PIXEL`) changes nothing.
    """
    if aspect is None or aspect == 1 or not Fraction(1, WIDEST_PIXEL) <= aspect <= WIDEST_PIXEL:
        return image
    height, width = image.shape[:2]
    size = (max(1, round(width * aspect)), height) if aspect > 1 else (width, max(1, round(height / aspect)))
    if size[0] * size[1] > MAX_PIXELS:
        return image
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_LINEAR), dtype=np.uint8)
