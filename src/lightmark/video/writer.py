"""VideoWriter: frames with variable time stamps, and copied sound, written atomically."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from typing import Any

from lightmark.errors import VideoError, WriteError
from lightmark.extras import require_extra
from lightmark.files import replacing
from lightmark.image import Picture, require_image
from lightmark.video.film import open_container
from lightmark.video.sound import Sound

SUFFIXES = (".mp4", ".m4v", ".mov", ".mkv")  # containers with a time stamp per frame, which AVI lacks
# MPEG-4 part 2 divides a second into at most 65,535 ticks. 60,000 represent the frame rates 24, 25, 30, 50, 60 and
# 30000/1001 exactly, any other time to 8 µs.
TICKS = 60_000
CODEC = "mpeg4"  # in every build of FFmpeg, takes odd sizes, and unlike x264 and x265 is not under the GPL
QUALITY = 3 * 118  # quantiser 3 of 2 (best) to 31, in FFmpeg's unit of lambda
LONGEST_WAIT = 10.0  # seconds before the first frame that are preserved; a later start is a clock not set to 0


class VideoWriter:
    """Writes a video to `path`, whose suffix selects the container; the first frame sets the size.

    Each frame has its own time stamp; none is dropped. Times are unchanged if the first is within `LONGEST_WAIT` of 0,
    else the video begins at 0. The audio of the file `sound` is copied; `sound_left_out` holds the codecs of tracks
    that the container does not support. `name` is the path in error messages.
    """

    def __init__(self, path: Path, name: str, sound: str | None = None) -> None:
        require_extra(["av"], "video", "writing a video")
        import av

        self._path, self._name = path, name
        with self._write_errors():
            self._container = av.open(str(path), "w")
        self._stream: Any = None
        self._size, self._tick, self._start, self.frames = (0, 0), -1, 0.0, 0
        self._source = sound
        self._sound: Sound | None = None
        self.sound_left_out: tuple[str, ...] = ()

    def write(self, image: Picture, seconds: float) -> None:
        """Write the frame `image`, RGB (H, W, 3), at `seconds`, which must be later than the previous frame.

        Raises `VideoError` for another size than the first frame's, `WriteError` if the file cannot be written.
        """
        import av

        height, width = require_image(image).shape[:2]
        if self._stream is None:
            self._begin((width, height), seconds)
        if (width, height) != self._size:
            size = "×".join(map(str, self._size))
            raise VideoError(f"{self._name}: a frame of {width}×{height} in a video of {size}; use one size")
        self._tick = max(round((seconds - self._start) * TICKS), self._tick + 1)
        frame = av.VideoFrame.from_ndarray(image, format="rgb24")
        frame.pts, frame.time_base = self._tick, Fraction(1, TICKS)
        with self._write_errors():
            self._container.mux(self._stream.encode(frame))
            if self._sound is not None:
                self._sound.copy_until(seconds, self._start)
        self.frames += 1

    def write_rest_of_sound(self) -> None:
        """Copy the sound after the last frame, for a video that was read to its end."""
        if self._sound is not None and self.frames:
            with self._write_errors():
                self._sound.copy_rest(self._start)

    def close(self) -> None:
        """Write the end of the file; raises `WriteError` if that fails, `VideoError` without any frame."""
        try:
            if self._stream is None:
                raise VideoError(f"{self._name}: cannot be written: there is no frame to write")
            with self._write_errors():
                self._container.mux(self._stream.encode())
                self._container.close()
        except (VideoError, WriteError):
            self.abandon()
            raise
        self._close_sound()

    def abandon(self) -> None:
        """Close the file after an error, incomplete as it is."""
        with suppress(Exception):  # the original error is more useful than one from closing a broken file
            self._container.close()
        self._close_sound()

    def _close_sound(self) -> None:
        if self._sound is not None:
            self._sound.close()

    def _begin(self, size: tuple[int, int], seconds: float) -> None:
        self._size = size
        self._start = 0.0 if 0 <= seconds <= LONGEST_WAIT else seconds
        stream = self._container.add_stream(CODEC)
        stream.width, stream.height = size
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = Fraction(1, TICKS)
        stream.codec_context.options = {"flags": "+qscale", "global_quality": str(QUALITY)}
        try:
            stream.codec_context.open()
        except Exception as error:  # FFmpeg raises several types for impossible sizes
            raise VideoError(
                f"{self._name}: {size[0]}×{size[1]} frames cannot be written; MPEG-4 allows up to 8191×8191"
            ) from error
        self._stream = stream
        if self._source is not None:
            self._sound = Sound(self._source, self._container)
            self.sound_left_out = self._sound.left_out

    @contextmanager
    def _write_errors(self) -> Iterator[None]:
        """Context manager that turns FFmpeg's errors into `WriteError` with the user's path."""
        from av.error import FFmpegError

        try:
            yield
        except FFmpegError as error:
            raise WriteError(f"{self._name}: cannot be written: {error.strerror}; is there room left?") from error


@contextmanager
def writing_video(path: str | Path, sound: str | None = None) -> Iterator[VideoWriter]:
    """Context manager that yields a `VideoWriter`; the file appears at `path` only if no error occurred.

    The file is read back before it is renamed to `path`. Raises `VideoError` for an unsupported suffix or without any
    frame, `WriteError` if the file cannot be written in full.
    """
    target = require_video_name(path)
    with replacing(target) as temporary:
        writer = VideoWriter(temporary, str(target), sound)
        try:
            yield writer
        except BaseException:
            writer.abandon()
            raise
        writer.close()
        require_complete(temporary, writer.frames, str(target))


def require_complete(path: Path, frames: int, name: str) -> None:
    """Read the video at `path` back; raises `WriteError` unless it opens and has `frames` frames."""
    descriptor = os.open(path, os.O_RDWR)
    try:
        os.fsync(descriptor)  # network file systems report a full disk only now
    finally:
        os.close(descriptor)
    try:
        with open_container(str(path)) as container:
            found = sum(1 for packet in container.demux(video=0) if packet.size)
    except (VideoError, ValueError) as error:
        raise WriteError(f"{name}: the written video cannot be read back; is the disk full?") from error
    if found != frames:
        raise WriteError(f"{name}: of {frames} frames only {found} can be read back; is the disk full?")


def require_video_name(path: str | Path) -> Path:
    """`path` if its suffix is a supported video format; else raises `VideoError` listing the formats."""
    suffix = Path(path).suffix.lower()
    if suffix not in SUFFIXES:
        known = ", ".join(SUFFIXES) + ("; AVI has no time stamp per frame" if suffix == ".avi" else "")
        raise VideoError(f"{path}: video is written as {known}; give a name that ends in one of them")
    return Path(path)
