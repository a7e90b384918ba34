"""CascadeDetector: the faces of a picture by OpenCV's Haar cascade, as tight 68-point boxes."""

from __future__ import annotations

import math
import threading
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from lightmark.errors import ConfigError, MissingExtraError
from lightmark.geometry import Array, invert, largest_first, map_box, transform
from lightmark.image import Picture, reduce_by_area, require_image

CASCADE = "haarcascade_frontalface_alt2.xml"
NEIGHBOURS = 4
# From the cascade's square to the tight box, for `map_box`: medians that benchmarks/fit_cascade_box.py --every 4 found.
OFFSETS = (0.083, 0.231, -0.068, 0.073)
MIN_SIZE = 0.05
LONGEST = 640
STEP = 1.1  # between the sizes looked for, OpenCV's own


class CascadeDetector:
    """Finds upright, roughly frontal faces, as tight 68-point boxes.

    `min_size` is the smallest face sought, as a share of the picture's shorter side (the cascade sees none below 20
    px). A face needs more than `neighbours` overlapping finds: fewer let through more faces, and more that are none.
    A picture longer than `longest` pixels is first reduced by the least whole factor that brings it there, so that no
    picture takes longer than one of `longest`×`longest`. Threads may share a detector, which serves them one after
    another. Raises `ConfigError` for other numbers, `MissingExtraError` where OpenCV comes without its cascades.
    """

    def __init__(self, min_size: float = MIN_SIZE, neighbours: int = NEIGHBOURS, longest: int = LONGEST) -> None:
        if not 0 < min_size <= 1:
            raise ConfigError(f"min_size {min_size}: needs a share of the picture's shorter side, above 0, at most 1")
        if neighbours < 1 or longest < 1:
            raise ConfigError(f"neighbours {neighbours}, longest {longest}: each needs to be at least 1")
        self._min_size, self._neighbours, self._longest = min_size, neighbours, longest
        self._classifier = open_cascade(CASCADE)
        self._turn = threading.Lock()  # OpenCV's classifier keeps the picture it works on in itself

    def __reduce__(self) -> tuple[type[CascadeDetector], tuple[float, int, int]]:
        """What makes it anew in another process, where OpenCV's classifier cannot go."""
        return type(self), (self._min_size, self._neighbours, self._longest)

    def __call__(self, image: NDArray[np.uint8]) -> Array:
        """Boxes (F, 4) x0, y0, x1, y1 in pixels of `image`, RGB uint8 (H, W, 3), the largest first.

        They may reach over the picture's edges. Raises `ImageError` for an image of another form.
        """
        grey, matrix = reduced_grey(image, self._longest)
        with self._turn:
            rectangles = find_rectangles(self._classifier, grey, self._min_size, self._neighbours)
        squares = rectangle_edges(rectangles, matrix)
        boxes = np.array([map_box(square, OFFSETS) for square in squares]).reshape(-1, 4)
        return largest_first(boxes)  # OpenCV's threads find them in any order


def open_cascade(name: str) -> cv2.CascadeClassifier:
    """The cascade that OpenCV ships as `name`; raises `MissingExtraError` where it is not there."""
    path = Path(cv2.__file__).parent / "data" / name
    if not path.is_file():
        raise MissingExtraError(
            f"{path}: OpenCV {cv2.__version__} came without this cascade, as from 5.0 on; "
            'pip install "opencv-python-headless>=4.10,<5"'
        )
    return cv2.CascadeClassifier(str(path))


def reduced_grey(image: NDArray[np.uint8], longest: int) -> tuple[NDArray[np.uint8], Array]:
    """Grey copy of `image` of at most `longest` pixels a side, and the matrix image → copy."""
    picture: Picture = require_image(image)
    height, width = picture.shape[:2]
    reduced, matrix = reduce_by_area(picture, math.ceil(max(height, width) / longest), (0, 0, width, height))
    return np.asarray(cv2.cvtColor(reduced, cv2.COLOR_RGB2GRAY), dtype=np.uint8), matrix


def find_rectangles(
    classifier: cv2.CascadeClassifier, grey: NDArray[np.uint8], min_size: float, neighbours: int
) -> NDArray[np.int64]:
    """What the cascade finds, (F, 4) as x, y, width, height in whole pixels; ungrouped where `neighbours` is 0."""
    smallest = max(1, round(min_size * min(grey.shape)))
    found = classifier.detectMultiScale(grey, STEP, neighbours, minSize=(smallest, smallest))
    return np.asarray(found, dtype=np.int64).reshape(-1, 4)


def rectangle_edges(rectangles: NDArray[np.int64], matrix: Array) -> Array:
    """Outer edges (F, 4) in the image, as x0, y0, x1, y1, of `rectangles` found in the copy that `matrix` leads to."""
    start = rectangles[:, :2] - 0.5  # pixel i covers [i − 0.5, i + 0.5]
    corners = np.stack([start, start + rectangles[:, 2:]], axis=1)
    return transform(invert(matrix), corners).reshape(-1, 4)
