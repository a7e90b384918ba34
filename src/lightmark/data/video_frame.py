"""A frame of a video as the picture of a face, for labels of videos such as 300-VW's."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from lightmark.data.pictures import VIDEO_SUFFIXES
from lightmark.errors import ImageError
from lightmark.image import Picture

_opened = threading.local()  # the video that this thread read last, and the number of its next frame


@dataclass(frozen=True)
class VideoFrame:
    """Frame `number`, counted from 0, of the video `file`."""

    file: Path
    number: int

    @property
    def path(self) -> Path:
        """Path of a picture that stands for the frame in names and reports."""
        return self.file / f"{self.number:06}.png"


def videos_among(files: Iterable[Path]) -> list[Path]:
    """Sorted videos among `files`, by their suffixes."""
    return sorted(file for file in files if file.suffix.lower() in VIDEO_SUFFIXES)


def read_frame(frame: VideoFrame) -> Picture:
    """RGB uint8 (H, W, 3) of a frame; fast only for frames in ascending order, since videos cannot be indexed exactly.

    Raises `ImageError` naming the video for one that cannot be opened or has fewer frames.
    """
    if getattr(_opened, "file", None) != frame.file or _opened.next > frame.number:
        _opened.file, _opened.video, _opened.next = frame.file, cv2.VideoCapture(str(frame.file)), 0
    while _opened.next < frame.number and _opened.video.grab():
        _opened.next += 1
    read, image = _opened.video.read()
    if not read:
        last, _opened.file = _opened.next, None
        raise ImageError(
            f"{frame.file}: no frame {frame.number}, counted from 0; the last that can be read is {last - 1}: is this "
            "the video of the labels?"
        )
    _opened.next += 1
    return np.ascontiguousarray(image[..., ::-1])
