"""Camera: frames of a local camera, read with OpenCV."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np

from lightmark.errors import VideoError
from lightmark.image import Picture


class Camera:
    """Frames of the camera with number or device path `device`, until it delivers no more.

    Raises `VideoError` if it cannot be opened.
    """

    total: int | None = None
    sound: str | None = None
    discontinuous = False

    def __init__(self, device: int | str) -> None:
        self._capture = open_capture(device)
        self.fps = float(self._capture.get(cv2.CAP_PROP_FPS))

    def pictures(self) -> Iterator[tuple[float | None, Picture]]:
        """RGB frames with None for a time stamp: those of camera drivers are unreliable."""
        while True:
            try:
                success, frame = self._capture.read()
            except cv2.error:  # some drivers raise where others report failure
                return
            if not success or frame is None:
                return
            yield None, np.asarray(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB), dtype=np.uint8)

    def close(self) -> None:
        """Release the camera."""
        self._capture.release()


def open_capture(device: int | str) -> cv2.VideoCapture:
    """Open a camera with OpenCV; raises `VideoError` if that fails."""
    capture = cv2.VideoCapture(device)
    if capture.isOpened():
        return capture
    capture.release()
    raise VideoError(f"camera {device}: cannot be opened; is it plugged in, free and allowed? 0 is the first")
