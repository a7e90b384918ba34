"""Display of video frames: the turns, mirrors and pixel aspects in a file's header, applied as players apply them."""

from __future__ import annotations

import math
from fractions import Fraction

import cv2
import numpy as np
from numpy.typing import NDArray

from lightmark.image import Picture
from lightmark.source import MAX_PIXELS

EXACT = math.sin(math.radians(1))  # a matrix within 1° of a right angle is taken for one, as by FFmpeg
WIDEST_PIXEL = 10  # times as wide as high, or as high as wide; beyond, a header is broken: anamorphic film has 2.4


def upright(image: Picture, matrix: NDArray[np.int32] | None) -> Picture:
    """`image` (H, W, 3) turned and mirrored by a display matrix (9,) of FFmpeg or MP4; None leaves it as it is.

    The matrix sends x, y to a·x + c·y, b·x + d·y, where a, b, c, d are its elements 0, 1, 3, 4. Scales do not count. At
    a right angle the picture has its own pixels, at any other it keeps its size and loses its corners, as by FFmpeg.
    """
    if matrix is None:
        return image
    a, b, c, d = (float(matrix[index]) for index in (0, 1, 3, 4))
    along, across = math.hypot(a, b), math.hypot(c, d)
    if 0.0 in (along, across):  # a broken header shows nothing; players ignore it
        return image
    a, b, c, d = a / along, b / along, c / across, d / across
    if max(abs(b), abs(c)) < EXACT:
        return mirrored(image, a < 0, d < 0)
    if max(abs(a), abs(d)) < EXACT:
        return mirrored(image.transpose(1, 0, 2), c < 0, b < 0)
    return turned(image, np.array([[a, c], [b, d]]))


def mirrored(image: Picture, left_right: bool, upside_down: bool) -> Picture:
    """Contiguous `image` with its columns and rows reversed where they are to be."""
    return np.ascontiguousarray(image[:: -1 if upside_down else 1, :: -1 if left_right else 1])


def turned(image: Picture, turn: NDArray[np.float64]) -> Picture:
    """`image` under `turn` (2, 2) about its centre, in its own size, black outside."""
    height, width = image.shape[:2]
    centre = np.array([(width - 1) / 2, (height - 1) / 2])
    matrix = np.column_stack([turn, centre - turn @ centre])
    return np.asarray(cv2.warpAffine(image, matrix, (width, height), flags=cv2.INTER_LINEAR), dtype=np.uint8)


def square_pixels(image: Picture, aspect: Fraction | None) -> Picture:
    """`image` (H, W, 3) whose pixels are `aspect` times as wide as high, enlarged on one side so that they are square.

    None or an aspect that no film has leaves it as it is.
    """
    if aspect is None or aspect == 1 or not Fraction(1, WIDEST_PIXEL) <= aspect <= WIDEST_PIXEL:
        return image
    height, width = image.shape[:2]
    size = (max(1, round(width * aspect)), height) if aspect > 1 else (width, max(1, round(height / aspect)))
    if size[0] * size[1] > MAX_PIXELS:
        return image
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_LINEAR), dtype=np.uint8)
