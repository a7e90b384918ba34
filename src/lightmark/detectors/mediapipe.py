"""MediaPipeDetector: face detection with MediaPipe's BlazeFace, as tight 68-point boxes."""

from __future__ import annotations

import importlib
import threading
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightmark.detectors.keypoint_box import MEDIAPIPE, box_of_keypoints
from lightmark.errors import MissingExtraError
from lightmark.geometry import Array, largest_first
from lightmark.image import require_image

FULL_RANGE = 1  # MediaPipe's model for faces up to 5 m away; 0 is that for 2 m
SCORE = 0.5  # MediaPipe's default


class MediaPipeDetector:
    """Detects faces with MediaPipe; a detection needs a score of at least `score`.

    Threads may share a detector; their calls run one after another. Raises `MissingExtraError` where mediapipe is not
    installed; its wheels carry the model.
    """

    def __init__(self, score: float = SCORE) -> None:
        try:
            solutions: Any = importlib.import_module("mediapipe.python.solutions.face_detection")
        except ImportError as error:
            raise MissingExtraError(f'MediaPipe: {error}; pip install "lightmark[mediapipe]"') from error
        self._network = solutions.FaceDetection(model_selection=FULL_RANGE, min_detection_confidence=score)
        self._lock, self._score = threading.Lock(), score

    def __reduce__(self) -> tuple[type[MediaPipeDetector], tuple[float]]:
        """Pickle the options only: MediaPipe's network cannot be pickled."""
        return type(self), (self._score,)

    def __call__(self, image: NDArray[np.uint8]) -> Array:
        """Boxes (F, 4) x0, y0, x1, y1 in pixels of `image`, RGB uint8 (H, W, 3), the largest first.

        Raises `ImageError` for an image of another type or shape.
        """
        picture = require_image(image)
        height, width = picture.shape[:2]
        with self._lock:
            detections = self._network.process(np.ascontiguousarray(picture)).detections or []
        # Relative keypoints: 0 and 1 are the picture's outer edges, half a pixel outside the pixel centres.
        faces = [[[p.x, p.y] for p in face.location_data.relative_keypoints[: len(MEDIAPIPE)]] for face in detections]
        points = np.array(faces, dtype=np.float64).reshape(-1, len(MEDIAPIPE), 2) * (width, height) - 0.5
        return largest_first(np.array([box_of_keypoints(face, MEDIAPIPE) for face in points]).reshape(-1, 4))
