"""Detector: the face-detection interface, and the detectors that have a name."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lightmark.errors import ConfigError
from lightmark.geometry import Array, require_box
from lightmark.image import Picture


class Detector(Protocol):
    """Face detector: RGB uint8 picture (H, W, 3) → tight 68-point boxes (F, 4) in pixels, largest first."""

    def __call__(self, image: Picture) -> Array:
        """Boxes (F, 4) x0, y0, x1, y1; shape (0, 4) without faces."""


class Proposals(NamedTuple):
    """Output of a detector: boxes (F, 4), largest first, a mask (F,) of the detections, and the faces' roll if known.

    `angles` (F,) are degrees, signed as `lightmark.pose.Pose.roll`, NaN where unknown. A box with an angle lies along
    the face's own axes: it is the upright box, turned about its centre.
    """

    boxes: Array
    certain: NDArray[np.bool_]
    angles: Array | None = None


@runtime_checkable
class Proposer(Protocol):
    """Detector that also returns low-score proposals, for a model with a confidence head to accept or reject."""

    def propose(self, image: Picture) -> tuple[Array, NDArray[np.bool_]] | Proposals:
        """Fields of `Proposals`; a detector without key points leaves the angles out."""


@runtime_checkable
class Reproposer(Proposer, Protocol):
    """Proposer that searches a picture again after a landmark model has denied all of its detections."""

    def propose_without(self, image: Picture, denied: Array) -> Proposals:
        """Proposals as if nothing had been detected in the boxes `denied` (D, 4), nor anything at their places."""


class FixedBoxes:
    """Detector that returns the same `boxes` (F, 4) for every picture, from labels or another detector.

    Raises `GeometryError` for an empty or non-finite box.
    """

    def __init__(self, boxes: ArrayLike) -> None:
        rows = np.asarray(boxes, dtype=np.float64).reshape(-1, 4)
        self._boxes = np.array([require_box(box) for box in rows]).reshape(-1, 4)

    def __call__(self, image: Picture) -> Array:
        """The boxes (F, 4), in their order."""
        return self._boxes.copy()


def open_detector(name: str, threads: int | None = None, min_face: float | None = None) -> Detector:
    """Open a face detector by name, on `threads` CPU threads (None: all cores) where it has that option.

    `min_face` is the smallest face to detect, an option of Lightmark's own network (`FaceDetector`).

    "face" is Lightmark's own network, "face:PATH" an exported detector of your own training, "cascade" OpenCV's Haar
    cascade, "yunet:PATH" YuNet from OpenCV's model zoo, "mediapipe" MediaPipe's BlazeFace, and "auto" the best one in
    the package, "face". Raises `ConfigError` for an unknown name and for `min_face` with another detector, and the
    errors of the detector itself.
    """
    kind, _, path = name.partition(":")
    # Imported here, not above: each detector loads libraries that the others do not need.
    if name in ("auto", "face") or (kind == "face" and path):
        from lightmark.detectors.face_detector import FaceDetector

        return FaceDetector(Path(path) if path else "face", threads=threads, min_face=min_face)
    if min_face is not None:
        raise ConfigError(f"min_face {min_face}: is an option of the detector 'face', {name!r} has none")
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
