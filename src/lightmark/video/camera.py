"""Cameras of this machine, by OpenCV."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np

from lightmark.errors import VideoError
from lightmark.image import Picture


class Camera:
    """The pictures of the camera of that number, or of the device at that path, until none comes any more.

    Raises `VideoError` for one that cannot be opened.
    """

    total: int | None = None
    sound: str | None = None
    discontinuous = False

    def __init__(self, device: int | str) -> None:
        self._capture = open_capture(device)
        self.fps = float(self._capture.get(cv2.CAP_PROP_FPS))

    def pictures(self) -> Iterator[tuple[float | None, Picture]]:
        """Pictures, RGB, without time stamps: drivers' are not to be relied upon."""
        while True:
            try:
                there, frame = self._capture.read()
            except cv2.error:  # some drivers raise where others say that nothing came
                return
            if not there or frame is None:
                return
            yield None, np.asarray(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB), dtype=np.uint8)

    def close(self) -> None:
        """Let the camera go."""
        self._capture.release()


def open_capture(device: int | str) -> cv2.VideoCapture:
    """OpenCV's reader of a camera; raises `VideoError` where it opens nothing."""
    capture = cv2.VideoCapture(device)
    if capture.isOpened():
        return capture
    capture.release()
    raise VideoError(f"camera {device}: cannot be opened; is it plugged in, free and allowed? 0 is the first")
