"""Video files, streams and cameras: frames in with their times, frames out into a file that is whole."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from lightmark.errors import VideoError
from lightmark.files import replacing
from lightmark.image import Picture, require_image

USUAL_FPS = 30.0  # where a source does not say, as most cameras do
FASTEST_FPS = 1000.0  # above, a container gave its clock's ticks instead: MPEG's runs at 90,000 a second
LONGEST_GAP = 10.0  # seconds from one frame to the next; a timestamp further on is broken
CODECS = {".mp4": "mp4v", ".m4v": "mp4v", ".mov": "mp4v", ".avi": "MJPG"}  # what every OpenCV wheel can encode

Source: TypeAlias = "str | Path | int"


@dataclass(frozen=True, eq=False)
class Frame:
    """Frame number `index`, from 0, shown at `seconds`: `image` is RGB uint8 (H, W, 3)."""

    index: int
    seconds: float
    image: Picture


class VideoReader:
    """The frames of a video file, a camera (its number) or a stream (its URL), one after another, once.

    `live` is true for cameras and streams: their times are those of `clock`, counted from the first frame, and they
    end when no frame comes any more. Files give their own times, which need not be evenly spaced; a file that is cut
    ends where it was cut. `total` is how many frames a file claims to have, None where it does not say. Frames are
    turned as the file's metadata says. Raises `VideoError` for a source that cannot be opened.
    """

    def __init__(self, source: Source, clock: Callable[[], float] = time.monotonic) -> None:
        self.name, self._capture = str(source), open_capture(source)
        self.live = is_live(source)
        self.fps = sane_fps(self._capture.get(cv2.CAP_PROP_FPS))
        count = self._capture.get(cv2.CAP_PROP_FRAME_COUNT)
        self.total = int(count) if not self.live and 0 < count < math.inf else None
        self._clock = clock

    def __iter__(self) -> Iterator[Frame]:
        """The frames; raises `VideoError` where there is not a single one."""
        times = clock_times(self._clock) if self.live else file_times(self._capture, self.fps)
        index = -1
        for index, image in enumerate(images(self._capture)):
            yield Frame(index, next(times), image)
        if index < 0:
            raise VideoError(f"{self.name}: gives not a single frame; no video, cut at its start, or a camera in use?")

    def close(self) -> None:
        """Let the file or camera go."""
        self._capture.release()

    def __enter__(self) -> VideoReader:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()


def parse_source(text: str) -> Source:
    """What a user's word means: a file if there is one of that name, else a camera's number, a URL or a path.

    >>> parse_source("0")
    0
    """
    return int(text) if text.isdecimal() and not Path(text).exists() else text


def is_live(source: Source) -> bool:
    """Whether `source` is a camera or a stream: its frames come when they come."""
    return isinstance(source, int) or (isinstance(source, str) and "://" in source)


def open_capture(source: Source) -> cv2.VideoCapture:
    """OpenCV's reader of `source`; raises `VideoError` where it opens nothing."""
    if not is_live(source) and not Path(str(source)).is_file():
        raise VideoError(f"{source}: no such video file; a camera is said by its number (0 the first), a stream by URL")
    capture = cv2.VideoCapture(source if isinstance(source, int) else str(source))
    if capture.isOpened():
        return capture
    capture.release()
    if isinstance(source, int):
        raise VideoError(f"camera {source}: cannot be opened; is it plugged in, free and allowed? 0 is the first")
    raise VideoError(f"{source}: cannot be opened as a video; cut before its index was written, or no video?")


def sane_fps(fps: float) -> float:
    """`fps` itself, or 30 where it is no rate of a video."""
    return fps if 0 < fps <= FASTEST_FPS else USUAL_FPS


def images(capture: cv2.VideoCapture) -> Iterator[Picture]:
    """Pictures, RGB, until none comes: at the end, at a cut, when the camera is gone."""
    while True:
        try:
            there, frame = capture.read()
        except cv2.error:  # some drivers raise where others say that nothing came
            return
        if not there or frame is None:
            return
        yield np.asarray(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB), dtype=np.uint8)


def file_times(capture: cv2.VideoCapture, fps: float) -> Iterator[float]:
    """Seconds of the frame just read, strictly rising: the file's own where they can be believed, else 1 / fps on."""
    last = -math.inf
    while True:
        said = capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
        if not math.isfinite(last):
            last = said if 0 <= said < math.inf else 0.0
        elif last < said <= last + LONGEST_GAP:
            last = said
        else:
            last += 1 / fps
        yield last


def clock_times(clock: Callable[[], float]) -> Iterator[float]:
    """Seconds since the first call of the generator, strictly rising however coarse the clock."""
    start, last = clock(), 0.0
    yield last
    while True:
        last = max(clock() - start, math.nextafter(last, math.inf))
        yield last


class VideoWriter:
    """Writes frames at `fps` to `path`, whose suffix picks the codec; the first frame sets the size.

    Frames may come at any times: each is shown from its `seconds` to the next one's, so that the film lasts as long as
    what it shows; of frames closer than 1 / fps the later is left out.
    """

    def __init__(self, path: Path, fps: float) -> None:
        self._path, self.fps = path, fps
        self._writer: cv2.VideoWriter | None = None
        self._start, self._written = 0.0, 0
        self._last: NDArray[np.uint8] | None = None

    def write(self, image: Picture, seconds: float) -> None:
        """Show `image`, RGB (H, W, 3), from `seconds` on; raises `VideoError` where OpenCV cannot encode."""
        frame = np.asarray(cv2.cvtColor(require_image(image), cv2.COLOR_RGB2BGR), dtype=np.uint8)
        if self._writer is None or self._last is None:
            self._writer, self._start = self._open(frame), seconds
            self._last = frame
        slot = round((seconds - self._start) * self.fps)
        while self._written < slot:
            self._writer.write(self._last)
            self._written += 1
        if self._written == slot:
            self._writer.write(frame)
            self._written += 1
        self._last = frame

    def _open(self, frame: NDArray[np.uint8]) -> cv2.VideoWriter:
        height, width = frame.shape[:2]
        codec = cv2.VideoWriter.fourcc(*CODECS[self._path.suffix.lower()])
        writer = cv2.VideoWriter(str(self._path), codec, self.fps, (width, height))
        if not writer.isOpened():
            raise VideoError(f"OpenCV cannot write {width}×{height} video as {self._path.suffix}; try a name in .avi")
        return writer

    def close(self) -> None:
        """Write what the file's end needs."""
        if self._writer is not None:
            self._writer.release()


@contextmanager
def writing_video(path: str | Path, fps: float) -> Iterator[VideoWriter]:
    """A writer whose file is at `path` when the block is left, and not there if it is left by an error.

    Raises `VideoError` for a suffix without a codec, and where nothing was written.
    """
    target = require_video_name(path)
    try:
        with replacing(target) as temporary:
            writer = VideoWriter(temporary, fps)
            try:
                yield writer
            finally:
                writer.close()
    except OSError as error:
        raise VideoError(f"{target}: cannot be written: {error}") from error


def require_video_name(path: str | Path) -> Path:
    """`path` where its suffix names a format that is written here; raises `VideoError` listing them."""
    if Path(path).suffix.lower() not in CODECS:
        raise VideoError(f"{path}: video is written as {', '.join(CODECS)}; give a name that ends in one of them")
    return Path(path)
