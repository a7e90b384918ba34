"""Detector: whatever finds the faces of a picture; and the ones that users can name."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lightmark.errors import ConfigError
from lightmark.geometry import Array, require_box
from lightmark.image import Picture


class Detector(Protocol):
    """Takes a picture, RGB uint8 (H, W, 3); gives tight 68-point boxes (F, 4) in its pixels, the largest first."""

    def __call__(self, image: Picture) -> Array:
        """Boxes (F, 4) x0, y0, x1, y1; no faces are (0, 4)."""


@runtime_checkable
class Proposer(Protocol):
    """A detector that can also tell of what it is not sure of, for a model that knows faces to judge."""

    def propose(self, image: Picture) -> tuple[Array, NDArray[np.bool_]]:
        """Boxes (F, 4) as a `Detector` gives them and more, the largest first, and which ones it is sure of (F,)."""


class FixedBoxes:
    """The same `boxes` (F, 4) whatever the picture shows: for a camera that does not move, or boxes from elsewhere.

    Raises `GeometryError` for a box that is none.
    """

    def __init__(self, boxes: ArrayLike) -> None:
        rows = np.asarray(boxes, dtype=np.float64).reshape(-1, 4)
        self._boxes = np.array([require_box(box) for box in rows]).reshape(-1, 4)

    def __call__(self, image: Picture) -> Array:
        """The boxes (F, 4), in the order given."""
        return self._boxes.copy()


def open_detector(name: str, threads: int | None = None) -> Detector:
    """The detector called `name`, on `threads` processor threads where it can be told (None: all cores).

    "face" is Lightmark's own network, "face:PATH" one of your own training, exported; "cascade" OpenCV's,
    "yunet:PATH" that of OpenCV's model zoo, "mediapipe" MediaPipe's; "auto" the best one in the package, "face". Raises
    `ConfigError` for another name, and what the detector itself raises.
    """
    kind, _, path = name.partition(":")
    # The imports stand here, not above: each detector loads libraries that the others do without.
    if name in ("auto", "face") or (kind == "face" and path):
        from lightmark.detectors.face_detector import FaceDetector

        return FaceDetector(Path(path) if path else "face", threads=threads)
    if name == "cascade":
        from lightmark.detectors.cascade import CascadeDetector

        return CascadeDetector()
    if kind == "yunet" and path:
        from lightmark.detectors.yunet import YuNetDetector

        return YuNetDetector(path)
    if name == "mediapipe":
        from lightmark.detectors.mediapipe import MediaPipeDetector

        return MediaPipeDetector()
    raise ConfigError(f"no detector called {name!r}; known: auto, face, face:PATH, cascade, yunet:PATH, mediapipe")
