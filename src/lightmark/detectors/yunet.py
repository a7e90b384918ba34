"""YuNetDetector: face detection with the user's YuNet file (Wu et al. 2023), as tight 68-point boxes."""

from __future__ import annotations

import math
import threading
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from lightmark.detectors.keypoint_box import YUNET, box_of_keypoints
from lightmark.errors import CheckpointError
from lightmark.geometry import Array, invert, largest_first, transform
from lightmark.image import reduce_by_area, require_image
from lightmark.runtime.onnx_file import read_onnx

INPUT_SIZE = 640  # pixels: YuNet is trained on faces of 10 to 300 pixels
SCORE, NMS_IOU, MAX_DETECTIONS = 0.7, 0.3, 5000  # OpenCV's defaults, except for the score, which is 0.9 there


class YuNetDetector:
    """Detects faces with the YuNet file at `path`, face_detection_yunet_2023mar.onnx of OpenCV's model zoo.

    A detection needs a score of at least `score`. A picture whose longer side exceeds `input_size` pixels is first
    reduced by the smallest whole factor that brings it below. Threads may share a detector; their calls run one after
    another. Raises `CheckpointError` for a file that `read_onnx` refuses or OpenCV does not open as YuNet.
    """

    def __init__(self, path: str | Path, score: float = SCORE, input_size: int = INPUT_SIZE) -> None:
        if not Path(path).is_file():
            raise CheckpointError(f"{path}: no such file; YuNet's is in OpenCV's model zoo, face_detection_yunet")
        read_onnx(Path(path))
        try:
            self._network = cv2.FaceDetectorYN.create(str(path), "", (320, 320), score, NMS_IOU, MAX_DETECTIONS)
        except cv2.error as error:
            raise CheckpointError(f"{path}: OpenCV {cv2.__version__} does not open it as YuNet: {error}") from error
        self._input_size = input_size
        self._lock = threading.Lock()  # the network stores the current input size in itself: not thread-safe
        self._made_of = Path(path).absolute(), score, input_size

    def __reduce__(self) -> tuple[type[YuNetDetector], tuple[Path, float, int]]:
        """Pickle the options only: OpenCV's network cannot be pickled."""
        return type(self), self._made_of

    def __call__(self, image: NDArray[np.uint8]) -> Array:
        """Boxes (F, 4) x0, y0, x1, y1 in pixels of `image`, RGB uint8 (H, W, 3), the largest first.

        Raises `ImageError` for an image of another type or shape.
        """
        picture = require_image(image)
        height, width = picture.shape[:2]
        factor = math.ceil(max(height, width) / self._input_size)
        reduced, matrix = reduce_by_area(picture, factor, (0, 0, width, height))
        with self._lock:
            self._network.setInputSize((reduced.shape[1], reduced.shape[0]))
            answer: Any = self._network.detect(cv2.cvtColor(reduced, cv2.COLOR_RGB2BGR))
        detections = answer[1]
        if detections is None:  # OpenCV's result for no faces
            return np.empty((0, 4))
        # A row holds x, y, width, height, five points from x, y = 4, 5 on, and the score.
        points = transform(invert(matrix), detections[:, 4:14].astype(np.float64).reshape(-1, 5, 2))
        return largest_first(np.stack([box_of_keypoints(face, YUNET) for face in points]))
