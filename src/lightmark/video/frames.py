"""VideoReader: frames with time stamps from video files, streams and cameras."""

from __future__ import annotations

import stat
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn, TypeAlias

from lightmark.errors import VideoError
from lightmark.image import Picture
from lightmark.video.camera import Camera
from lightmark.video.clock import file_clock, live_clock
from lightmark.video.film import Film

USUAL_FPS = 30.0  # for sources without a frame rate, such as most cameras
FASTEST_FPS = 1000.0  # a higher rate is the container's clock instead: MPEG's has 90,000 ticks per second

Source: TypeAlias = "str | Path | int"


@dataclass(frozen=True, eq=False)
class Frame:
    """Frame `index`, counted from 0, at time `seconds`; `image` is RGB uint8 (H, W, 3)."""

    index: int
    seconds: float
    image: Picture


class VideoReader:
    """Iterator over the frames of a video file, camera (number) or stream (URL); can be read once.

    Times of files are their presentation time stamps (as shown by ffprobe), which need not start at 0 or be evenly
    spaced; a truncated file ends early. Frames are as a player shows them: rotated and mirrored by the header, in
    square pixels. `live` is true for cameras and streams: their times are those of `clock` since the first frame, and
    they end when no more frames arrive. `total` is the frame count in a file's header, or None; `sound` the file with
    the sound of these frames, or None. Files and streams need PyAV (extra `video`). Raises `VideoError` for a source
    that cannot be opened.

    A reader holds an open file or camera, so it can be neither pickled nor copied: open one in each process.
    """

    def __init__(self, source: Source, clock: Callable[[], float] = time.monotonic) -> None:
        self.name, self.live = str(source), is_live(source)
        self._source = open_source(source)
        self.fps, self.total, self.sound = sane_fps(self._source.fps), self._source.total, self._source.sound
        self._seconds = live_clock(clock) if self.live else file_clock(1 / self.fps, self._source.discontinuous)

    def __iter__(self) -> Iterator[Frame]:
        """The frames; raises `VideoError` if there is not a single one."""
        index = -1
        for index, (stamp, image) in enumerate(self._source.pictures()):
            yield Frame(index, self._seconds(stamp), image)
        if index < 0:
            raise VideoError(f"{self.name}: gives not a single frame; cut at its start, or a camera in use?")

    def close(self) -> None:
        """Close the file or camera."""
        self._source.close()

    def __enter__(self) -> VideoReader:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def __reduce__(self) -> NoReturn:
        raise VideoError(
            f"{self.name}: an open video can be neither pickled nor copied; open a VideoReader in each process instead"
        )


def parse_source(text: str) -> Source:
    """Video source of a command-line word: an existing file, else a camera number, a URL or a path.

    >>> parse_source("0")
    0
    """
    return int(text) if text.isdecimal() and not Path(text).exists() else text


def open_source(source: Source) -> Camera | Film:
    """Open the camera, stream or file `source`; raises `VideoError` if that fails."""
    if is_camera(source):
        return Camera(source if isinstance(source, int) else str(source))
    return Film(str(source), is_live(source))


def is_live(source: Source) -> bool:
    """Whether `source` is a camera or a stream, whose frames arrive in real time."""
    return is_camera(source) or (isinstance(source, str) and "://" in source)


def is_camera(source: Source) -> bool:
    """Whether `source` is a camera: a number, or a device such as /dev/video0."""
    if isinstance(source, int):
        return True
    try:
        return stat.S_ISCHR(Path(source).stat().st_mode)
    except (OSError, ValueError):  # no file; a null byte in the name
        return False


def sane_fps(fps: float) -> float:
    """`fps` itself, or `USUAL_FPS` if it is no plausible frame rate."""
    return fps if 0 < fps <= FASTEST_FPS else USUAL_FPS
