"""Picture type, and the warp that cuts crops, the same in training and at run time."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from lightmark.errors import ImageError
from lightmark.geometry import Array, compose, invert, matrix_scale

Picture = NDArray[np.uint8]
SAME_PLACE = 1e-6  # pixels: what rounding may add to a place
OPENCV_LONGEST = 32766  # pixels a side: warpAffine stores coordinates in 16 bits


def require_image(image: NDArray[np.generic], name: str = "image") -> Picture:
    """`image` itself if it is RGB uint8 (H, W, 3) with at least one pixel, else `ImageError`."""
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise ImageError(f"{name}: got {image.dtype} {image.shape}, needs RGB uint8 (H, W, 3) with at least one pixel")
    return image  # type: ignore[return-value]  # dtype checked above, which mypy cannot see


def warp(
    image: Picture, matrix: Array, size: int | tuple[int, int], border: int = cv2.BORDER_CONSTANT
) -> Picture:
    """Cut a crop out of `image` by `matrix` (2, 3), image → crop: bilinear, zeros outside.

    `size` is the side of a square crop, or its width and height. If the crop shrinks the picture by 2 or more, the
    picture is first area-averaged by the power of two that leaves less than 2: bilinear sampling alone would skip
    pixels and alias. Raises `GeometryError` for a singular matrix.
    """
    extent = (size, size) if isinstance(size, int) else size
    image, matrix = reduce_for(image, matrix, extent)
    if border == cv2.BORDER_CONSTANT and (matrix == np.rint(matrix)).all() and (matrix[:, :2] == np.eye(2)).all():
        return _moved(image, int(matrix[0, 2]), int(matrix[1, 2]), extent)
    if border == cv2.BORDER_CONSTANT and (scaled := _scaled_size(image, matrix, extent)) is not None:
        smaller = np.asarray(cv2.resize(image, scaled, interpolation=cv2.INTER_LINEAR), dtype=np.uint8)
        return smaller if scaled == extent else _moved(smaller, 0, 0, extent)
    return np.asarray(
        cv2.warpAffine(image, matrix, extent, flags=cv2.INTER_LINEAR, borderMode=border), dtype=np.uint8
    )


def _scaled_size(image: Picture, matrix: Array, size: tuple[int, int]) -> tuple[int, int] | None:
    """Width and height of the whole `image` in a crop that only makes it smaller, from the corner on; None for others.

    OpenCV's resize gives what its warp does there, but for rounding, in two thirds of the time: no pixel of the crop
    lies between the picture and what is outside of it.
    """
    (a, b, x), (c, d, y) = matrix.tolist()
    width, height = a * image.shape[1], d * image.shape[0]
    columns, rows = round(width), round(height)
    off = max(abs(width - columns), abs(height - rows), abs(x - (a - 1) / 2), abs(y - (d - 1) / 2))
    fits = 0 < columns <= size[0] and 0 < rows <= size[1]
    return (columns, rows) if b == c == 0 and max(a, d) <= 1 and off < SAME_PLACE and fits else None


def _moved(image: Picture, right: int, down: int, size: tuple[int, int]) -> Picture:
    """What `warp` gives for a move by whole pixels, in half the time: a detector's input is often an exact half."""
    moved = np.zeros((size[1], size[0], 3), np.uint8)
    source = image[max(0, -down) : max(0, size[1] - down), max(0, -right) : max(0, size[0] - right)]
    top, left = max(0, down), max(0, right)
    moved[top : top + source.shape[0], left : left + source.shape[1]] = source
    return moved


def reduce_for(image: Picture, matrix: Array, size: tuple[int, int]) -> tuple[Picture, Array]:
    """Picture that `warp` samples for a crop of width, height `size`, and its matrix (2, 3) to the crop.

    It is `image` itself, or its visible part area-averaged if the crop shrinks by 2 or more.
    """
    shrink = 1 / matrix_scale(matrix)
    if shrink < 2 and max(image.shape) <= OPENCV_LONGEST:
        return image, matrix
    # A power of two, since OpenCV halves ten times as fast as it averages blocks of 3×3 or 5×5.
    factor = 1 << (max(1, int(shrink)).bit_length() - 1)
    reduced, reduction = reduce_by_area(image, factor, region_of(matrix, size))
    return reduced, compose(matrix, invert(reduction))


def compress_jpeg(image: Picture, quality: int) -> Picture:
    """Compress and decompress `image` (H, W, 3) as JPEG of `quality` 1 to 100, with chroma subsampling."""
    # OpenCV's codecs use BGR, and JPEG does not treat the channels alike, so the order matters.
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    _, encoded = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
    decoded = np.asarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR), dtype=np.uint8)
    return np.asarray(cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB), dtype=np.uint8)


def region_of(matrix: Array, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Image region (x0, y0, x1, y1) in whole pixels, ends excluded, covered by a crop of width, height `size`."""
    (a, b, x), (c, d, y) = invert(matrix).tolist()  # numbers, not arrays: this is a tenth of a small crop's time
    corners = [(u, v) for u in (-0.5, size[0] - 0.5) for v in (-0.5, size[1] - 0.5)]
    columns, rows = [a * u + b * v + x for u, v in corners], [c * u + d * v + y for u, v in corners]
    return math.floor(min(columns)), math.floor(min(rows)), math.ceil(max(columns)) + 1, math.ceil(max(rows)) + 1


def reduce_by_area(image: Picture, factor: int, region: tuple[int, int, int, int]) -> tuple[Picture, Array]:
    """Mean of each `factor`×`factor` block of the part of `image` in `region`, and the matrix image → reduced.

    Blocks start at the picture's corner, so that they are the same for every region. If `factor` does not divide a
    side, the last block is padded with the border pixel.
    """
    height, width = image.shape[:2]
    x0, y0, x1, y1 = (
        min(max(value // factor * factor, 0), limit)
        for value, limit in zip(
            (region[0], region[1], region[2] + factor, region[3] + factor), (width, height) * 2, strict=True
        )
    )
    if x1 <= x0 or y1 <= y0:
        return np.zeros((1, 1, 3), np.uint8), np.array([[1 / factor, 0, -1e6], [0, 1 / factor, -1e6]])
    part = image[y0:y1, x0:x1]
    columns, rows = math.ceil((x1 - x0) / factor), math.ceil((y1 - y0) / factor)
    pad_right, pad_bottom = columns * factor - (x1 - x0), rows * factor - (y1 - y0)
    if pad_right or pad_bottom:
        part = np.asarray(cv2.copyMakeBorder(part, 0, pad_bottom, 0, pad_right, cv2.BORDER_REPLICATE), dtype=np.uint8)
    reduced, left = part, factor
    while left % 2 == 0:  # four quick steps for 16, which differ by one grey level from a slow one
        reduced = np.asarray(cv2.resize(reduced, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA), dtype=np.uint8)
        left //= 2
    if left > 1:
        reduced = np.asarray(cv2.resize(reduced, (columns, rows), interpolation=cv2.INTER_AREA), dtype=np.uint8)
    shift = (1 / factor - 1) / 2
    matrix = np.array([[1 / factor, 0, shift - x0 / factor], [0, 1 / factor, shift - y0 / factor]])
    return reduced, matrix
