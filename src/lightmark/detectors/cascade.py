"""CascadeDetector: face detection with OpenCV's Haar cascade, as tight 68-point boxes."""

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
# From the cascade's square to the tight box, for `map_box`: medians by benchmarks/fit_cascade_box.py --every 4.
OFFSETS = (0.083, 0.231, -0.068, 0.073)
MIN_SIZE = 0.05  # share of the picture's shorter side
INPUT_SIZE = 640  # pixels: bounds the time per picture; the cascade's own window is 20 px, 3 % of it
STEP = 1.1  # scale factor between the levels of the image pyramid, OpenCV's default


class CascadeDetector:
    """Detects upright, roughly frontal faces with a Haar cascade, as tight 68-point boxes.

    `min_size` is the minimum face size as a share of the picture's shorter side (the cascade detects no face below 20
    px). A face needs more than `neighbours` overlapping raw detections: a lower number gives a higher recall and more
    false positives. A picture whose longer side exceeds `input_size` pixels is first reduced by the smallest whole
    factor that brings it below, which bounds the time per picture. Threads may share a detector; their calls run one
    after another. Raises `ConfigError` for numbers out of range, `MissingExtraError` if OpenCV ships no cascades.
    """

    def __init__(self, min_size: float = MIN_SIZE, neighbours: int = NEIGHBOURS, input_size: int = INPUT_SIZE) -> None:
        if not 0 < min_size <= 1:
            raise ConfigError(f"min_size {min_size}: needs a share of the picture's shorter side, above 0, at most 1")
        if neighbours < 1 or input_size < 1:
            raise ConfigError(f"neighbours {neighbours}, input_size {input_size}: each needs to be at least 1")
        self._min_size, self._neighbours, self._input_size = min_size, neighbours, input_size
        self._classifier = open_cascade(CASCADE)
        self._lock = threading.Lock()  # OpenCV's classifier stores the current picture in itself: not thread-safe

    def __reduce__(self) -> tuple[type[CascadeDetector], tuple[float, int, int]]:
        """Pickle the options only: OpenCV's classifier cannot be pickled."""
        return type(self), (self._min_size, self._neighbours, self._input_size)

    def __call__(self, image: NDArray[np.uint8]) -> Array:
        """Boxes (F, 4) x0, y0, x1, y1 in pixels of `image`, RGB uint8 (H, W, 3), the largest first.

        Boxes may extend beyond the picture. Raises `ImageError` for an image of another type or shape.
        """
        grey, matrix = reduced_grey(image, self._input_size)
        with self._lock:
            rectangles = detect_rectangles(self._classifier, grey, self._min_size, self._neighbours)
        squares = rectangle_edges(rectangles, matrix)
        boxes = np.array([map_box(square, OFFSETS) for square in squares]).reshape(-1, 4)
        return largest_first(boxes)  # OpenCV's threads return them in any order


def open_cascade(name: str) -> cv2.CascadeClassifier:
    """Load the cascade file `name` shipped with OpenCV; raises `MissingExtraError` if it is missing."""
    path = Path(cv2.__file__).parent / "data" / name
    if not path.is_file():
        raise MissingExtraError(
            f"{path}: OpenCV {cv2.__version__} came without this cascade, as from 5.0 on; "
            'pip install "opencv-python-headless>=4.10,<5"'
        )
    return cv2.CascadeClassifier(str(path))


def reduced_grey(image: NDArray[np.uint8], input_size: int) -> tuple[NDArray[np.uint8], Array]:
    """Greyscale copy of `image` of at most `input_size` pixels a side, and the matrix (2, 3) image → copy."""
    picture: Picture = require_image(image)
    height, width = picture.shape[:2]
    reduced, matrix = reduce_by_area(picture, math.ceil(max(height, width) / input_size), (0, 0, width, height))
    return np.asarray(cv2.cvtColor(reduced, cv2.COLOR_RGB2GRAY), dtype=np.uint8), matrix


def detect_rectangles(
    classifier: cv2.CascadeClassifier, grey: NDArray[np.uint8], min_size: float, neighbours: int
) -> NDArray[np.int64]:
    """Raw cascade detections (F, 4): x, y, width, height in whole pixels; not grouped if `neighbours` is 0."""
    smallest = max(1, round(min_size * min(grey.shape)))
    rectangles = classifier.detectMultiScale(grey, STEP, neighbours, minSize=(smallest, smallest))
    return np.asarray(rectangles, dtype=np.int64).reshape(-1, 4)


def rectangle_edges(rectangles: NDArray[np.int64], matrix: Array) -> Array:
    """Boxes (F, 4) x0, y0, x1, y1 in image pixels of `rectangles` in the reduced copy; `matrix` is image → copy."""
    start = rectangles[:, :2] - 0.5  # pixel i covers [i − 0.5, i + 0.5]
    corners = np.stack([start, start + rectangles[:, 2:]], axis=1)
    return transform(invert(matrix), corners).reshape(-1, 4)
