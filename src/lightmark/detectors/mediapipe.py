"""MediaPipeDetector: the faces of a picture by MediaPipe's BlazeFace, as tight 68-point boxes."""

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
SCORE = 0.5  # MediaPipe's own choice


class MediaPipeDetector:
    """Finds faces by MediaPipe; a find counts from `score` on.

    Threads may share a detector, which serves them one after another. Raises `MissingExtraError` where mediapipe is not
    installed; its wheels carry the model.
    """

    def __init__(self, score: float = SCORE) -> None:
        try:
            solutions: Any = importlib.import_module("mediapipe.python.solutions.face_detection")
        except ImportError as error:
            raise MissingExtraError(f'MediaPipe: {error}; pip install "lightmark[mediapipe]"') from error
        self._network = solutions.FaceDetection(model_selection=FULL_RANGE, min_detection_confidence=score)
        self._turn, self._score = threading.Lock(), score

    def __reduce__(self) -> tuple[type[MediaPipeDetector], tuple[float]]:
        """What makes it anew in another process, where MediaPipe's network cannot go."""
        return type(self), (self._score,)

    def __call__(self, image: NDArray[np.uint8]) -> Array:
        """Boxes (F, 4) x0, y0, x1, y1 in pixels of `image`, RGB uint8 (H, W, 3), the largest first.

        Raises `ImageError` for an image of another form.
        """
        picture = require_image(image)
        height, width = picture.shape[:2]
        with self._turn:
            found = self._network.process(np.ascontiguousarray(picture)).detections or []
        # Its points are shares of the picture, from edge to edge.
        faces = [[[p.x, p.y] for p in face.location_data.relative_keypoints[: len(MEDIAPIPE)]] for face in found]
        points = np.array(faces, dtype=np.float64).reshape(-1, len(MEDIAPIPE), 2) * (width, height) - 0.5
        return largest_first(np.array([box_of_keypoints(face, MEDIAPIPE) for face in points]).reshape(-1, 4))
