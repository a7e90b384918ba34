"""Video writer: frames at any times, and a film's sound, into a file that is whole or not there."""

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

SUFFIXES = (".mp4", ".m4v", ".mov", ".mkv")  # containers that give each frame its own time; AVI has one rate for all
# MPEG-4 part 2 counts seconds in at most 65,535 parts. 60,000 hold the frames of 24, 25, 30, 50, 60 and 30000/1001 a
# second exactly, any other to 8 µs.
TICKS = 60_000
CODEC = "mpeg4"  # in every build of FFmpeg, takes odd sizes, and unlike x264 and x265 is not under the GPL
QUALITY = 3 * 118  # quantiser 3 of 2 (best) to 31, in FFmpeg's unit of lambda
LONGEST_WAIT = 10.0  # seconds before a first frame that are kept; a clock that begins later was not set to 0


class VideoWriter:
    """Writes a film to `path`, whose suffix picks the container; the first frame sets the size.

    Each frame is shown from its own time on, and none is left out. Times are kept as they are where the first is within
    `LONGEST_WAIT` of 0, else the film begins at 0. The sound of the file `sound` comes with them; `sound_left_out`
    names the codecs of tracks that the container cannot hold. `name` is what errors call the film.
    """

    def __init__(self, path: Path, name: str, sound: str | None = None) -> None:
        require_extra(["av"], "video", "writing a video")
        import av

        self._path, self._name = path, name
        with self._faults():
            self._container = av.open(str(path), "w")
        self._stream: Any = None
        self._size, self._tick, self._start, self.frames = (0, 0), -1, 0.0, 0
        self._source = sound
        self._sound: Sound | None = None
        self.sound_left_out: tuple[str, ...] = ()

    def write(self, image: Picture, seconds: float) -> None:
        """Show `image`, RGB (H, W, 3), from `seconds` on, later than the frame before.

        Raises `VideoError` for another size than the first frame's, `WriteError` where the film cannot be written.
        """
        import av

        height, width = require_image(image).shape[:2]
        if self._stream is None:
            self._begin((width, height), seconds)
        if (width, height) != self._size:
            wanted = "×".join(map(str, self._size))
            raise VideoError(f"{self._name}: a frame of {width}×{height} in a film of {wanted}; all need one size")
        self._tick = max(round((seconds - self._start) * TICKS), self._tick + 1)
        frame = av.VideoFrame.from_ndarray(image, format="rgb24")
        frame.pts, frame.time_base = self._tick, Fraction(1, TICKS)
        with self._faults():
            self._container.mux(self._stream.encode(frame))
            if self._sound is not None:
                self._sound.copy_until(seconds, self._start)
        self.frames += 1

    def write_rest_of_sound(self) -> None:
        """Copy the sound behind the last frame, where the film has come to its own end."""
        if self._sound is not None and self.frames:
            with self._faults():
                self._sound.copy_rest(self._start)

    def close(self) -> None:
        """Write the end of the file; raises `WriteError` where that fails, `VideoError` where there was no frame."""
        try:
            if self._stream is None:
                raise VideoError(f"{self._name}: cannot be written: there is no frame to write")
            with self._faults():
                self._container.mux(self._stream.encode())
                self._container.close()
        except (VideoError, WriteError):
            self.abandon()
            raise
        self._close_sound()

    def abandon(self) -> None:
        """Let the file go, however it is."""
        with suppress(Exception):  # the error that led here says more than what closing a broken file raises
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
        except Exception as error:  # FFmpeg's answers to impossible sizes are of several kinds
            raise VideoError(
                f"{self._name}: {size[0]}×{size[1]} frames cannot be written; MPEG-4 holds up to 8191×8191"
            ) from error
        self._stream = stream
        if self._source is not None:
            self._sound = Sound(self._source, self._container)
            self.sound_left_out = self._sound.left_out

    @contextmanager
    def _faults(self) -> Iterator[None]:
        """FFmpeg's errors as `WriteError` that calls the film by its own name."""
        from av.error import FFmpegError

        try:
            yield
        except FFmpegError as error:
            raise WriteError(f"{self._name}: cannot be written: {error.strerror}; is there room left?") from error


@contextmanager
def writing_video(path: str | Path, sound: str | None = None) -> Iterator[VideoWriter]:
    """A writer whose film is at `path` when the block is left, and not there if it is left by an error.

    What was written is read back before it gets its name. Raises `VideoError` for a suffix of another format and where
    there was no frame, `WriteError` where the film cannot be written in full.
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
        require_whole(temporary, writer.frames, str(target))


def require_whole(path: Path, frames: int, name: str) -> None:
    """Raise `WriteError` where the film at `path`, called `name`, does not open or holds other than `frames` frames."""
    descriptor = os.open(path, os.O_RDWR)
    try:
        os.fsync(descriptor)  # network file systems tell of a full disk only now
    finally:
        os.close(descriptor)
    try:
        with open_container(str(path)) as container:
            found = sum(1 for packet in container.demux(video=0) if packet.size)
    except (VideoError, ValueError) as error:
        raise WriteError(f"{name}: what was written cannot be read back; is the disk full?") from error
    if found != frames:
        raise WriteError(f"{name}: of {frames} frames only {found} can be read back; is the disk full?")


def require_video_name(path: str | Path) -> Path:
    """`path` where its suffix names a format that is written here; raises `VideoError` listing them."""
    suffix = Path(path).suffix.lower()
    if suffix not in SUFFIXES:
        known = ", ".join(SUFFIXES) + ("; AVI cannot give frames their own times" if suffix == ".avi" else "")
        raise VideoError(f"{path}: video is written as {known}; give a name that ends in one of them")
    return Path(path)
