"""Film: frames of a video file or stream, decoded with PyAV (FFmpeg), upright as players show them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from lightmark.errors import VideoError
from lightmark.extras import require_extra
from lightmark.image import Picture
from lightmark.source import MAX_PIXELS
from lightmark.video.display import square_pixels, upright
from lightmark.video.signature import SIGNATURE_BYTES, is_picture_brand, video_format

STREAM_TIMEOUT = 30.0  # seconds without data after which a stream counts as ended, as in OpenCV


class Film:
    """Frames of the video file at path `source` or, with `live`, of the stream at that URL; can be read once.

    `fps` is the mean frame rate in the header, 0 if missing; `total` the frame count in the header of a file, or None;
    `sound` the path of the file if it has sound; `discontinuous` whether its clock may be reset within the file. Only
    the source itself is opened, never what a playlist refers to. Raises `VideoError` with the cause for a source that
    is missing, unreadable, not a video, or larger than `MAX_PIXELS`; `MissingExtraError` without PyAV.
    """

    def __init__(self, source: str, live: bool = False) -> None:
        if not live:
            require_video_file(Path(source))
        self._name, self._live = source, live
        self._container = open_container(source, live)
        try:
            self._stream = picture_stream(self._container, source)
        except VideoError:
            self._container.close()
            raise
        rate = self._stream.average_rate or self._stream.guessed_rate
        self.fps = float(rate) if rate else 0.0
        self.total: int | None = None if live else self._stream.frames or None
        self.sound: str | None = source if self._container.streams.audio and not live else None
        self.discontinuous = has_discontinuities(self._container)

    def pictures(self) -> Iterator[tuple[float | None, Picture]]:
        """Time stamp in seconds, or None, and RGB picture (H, W, 3) of each frame.

        A truncated file ends where it was truncated; damaged frames within are skipped. Every picture has the size of
        the first. Raises `VideoError` if reading fails for a reason outside the file, or if damage leaves not a single
        frame.
        """
        size: tuple[int, int] | None = None
        for frame in self._frames():
            image = displayed(frame, self._stream.sample_aspect_ratio)
            size = size or (image.shape[1], image.shape[0])
            if (image.shape[1], image.shape[0]) != size:  # some recorders change the size; FFmpeg scales back, too
                image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
            # Not PyAV's frame.time, which has no time base for the frames of the final flush of the decoder.
            yield None if frame.pts is None else float(frame.pts * self._stream.time_base), image

    def _frames(self) -> Iterator[Any]:
        from av.error import FFmpegError

        decoded, fault = 0, None
        for packet in self._packets():
            try:
                frames = self._stream.decode(packet)
            except FFmpegError as error:  # a damaged packet: the next may be intact
                fault = error
                continue
            decoded += len(frames)
            yield from frames
        if fault is not None and decoded == 0:
            raise VideoError(f"{self._name}: not a single frame can be decoded: {fault.strerror}")

    def _packets(self) -> Iterator[Any]:
        """Packets up to the end or the truncation of the file, then None, which flushes the decoder."""
        from av.error import EOFError, FFmpegError, InvalidDataError

        try:
            for packet in self._container.demux(self._stream):
                if packet.size:
                    yield packet
        except (EOFError, InvalidDataError):
            pass
        except FFmpegError as error:
            if not self._live:
                raise VideoError(f"{self._name}: reading broke off: {error.strerror}") from error
        yield None

    def close(self) -> None:
        """Close the file or stream."""
        self._container.close()


def displayed(frame: Any, aspect: Any) -> Picture:
    """RGB picture of a PyAV `frame` with pixel aspect ratio `aspect`, upright and in square pixels."""
    from av.sidedata.sidedata import Type

    side = frame.side_data.get(Type.DISPLAYMATRIX)
    matrix: NDArray[np.int32] | None = None if side is None else np.frombuffer(side, np.int32)
    return upright(square_pixels(frame.to_ndarray(format="rgb24"), aspect), matrix)


def require_video_file(path: Path) -> None:
    """Raise `VideoError` with the cause if the file at `path` is no video, without decoding it."""
    try:
        if path.is_dir():
            raise VideoError(f"{path}: is a folder; name one video file in it")
        if path.exists() and not path.is_file():  # a pipe: its first bytes can be read only once
            return
        with path.open("rb") as file:
            start = file.read(SIGNATURE_BYTES)
    except FileNotFoundError as error:
        raise VideoError(f"{path}: no such file; a camera is named by its number (0 the first), a stream by URL") from (
            error
        )
    except (OSError, ValueError) as error:  # no permission; a null byte or too long a name
        raise VideoError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from error
    if not start:
        raise VideoError(f"{path}: is empty (0 bytes)")
    if is_picture_brand(start):
        raise picture_error(str(path))


def picture_error(name: str) -> VideoError:
    """Error for a still picture where a video is needed."""
    return VideoError(f"{name}: is a picture, not a video; `lightmark detect` finds the faces of pictures")


def open_container(source: str, live: bool = False) -> Any:
    """Open a file or stream as a PyAV container; raises `VideoError` if it is no video."""
    require_extra(["av"], "video", "reading a video")
    import av

    # "file:" because FFmpeg takes a name with a colon for a protocol; the whitelist keeps playlists off the network.
    location = source if live else f"file:{source}"
    options = {"rtsp_transport": "tcp"} if live else {"protocol_whitelist": "file"}
    options["max_pixels"] = str(MAX_PIXELS)  # also bounds the frames that FFmpeg decodes while it probes the streams
    try:
        container = av.open(location, options=options, timeout=STREAM_TIMEOUT if live else None)
    except av.error.FFmpegError as error:
        raise VideoError(f"{source}: {why_not_opened(source, live)} ({error.strerror})") from error
    if is_picture_format(container.format.name):
        container.close()
        raise picture_error(source)
    return container


def why_not_opened(source: str, live: bool) -> str:
    """Likely cause for a source that FFmpeg cannot open, as the end of an error message."""
    if live:
        return "the stream cannot be opened; is the address right, and is it being sent?"
    with Path(source).open("rb") as file:
        kind = video_format(file.read(SIGNATURE_BYTES))
    if kind is None:
        return "no video that FFmpeg can read"
    return f"begins as {kind}, but is cut or damaged: its index or its pictures are missing"


def is_picture_format(name: str) -> bool:
    """Whether the FFmpeg demuxer `name` reads still pictures."""
    return name == "image2" or name.endswith("_pipe")


def picture_stream(container: Any, name: str) -> Any:
    """Main video stream of a container, cover pictures excluded; raises `VideoError` if there is none."""
    from av.stream import Disposition

    streams = [one for one in container.streams.video if not one.disposition & Disposition.attached_pic]
    if not streams:
        kinds = ", ".join(sorted({stream.type for stream in container.streams})) or "none"
        raise VideoError(f"{name}: holds no video (streams: {kinds})")
    stream = max(streams, key=lambda one: bool(one.disposition & Disposition.default))
    if stream.codec_context is None:
        raise VideoError(f"{name}: holds video in a codec that this FFmpeg cannot decode")
    if stream.width * stream.height > MAX_PIXELS:
        pixels = stream.width * stream.height
        raise VideoError(
            f"{name}: {stream.width}×{stream.height} are {pixels:,} pixels a frame, more than the limit of "
            f"{MAX_PIXELS:,}; is the header damaged?"
        )
    stream.thread_type = "AUTO"
    stream.codec_context.options = {"max_pixels": str(MAX_PIXELS)}  # packets may have other sizes than the header
    return stream


def has_discontinuities(container: Any) -> bool:
    """Whether the clock of this format may be reset within a file, as in MPEG streams."""
    from av.format import Flags

    return bool(container.format.flags & Flags.ts_discont.value)
