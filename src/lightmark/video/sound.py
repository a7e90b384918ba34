"""Sound: audio tracks of a video file, copied packet by packet into another file (remuxed)."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from lightmark.video.film import open_container


class Sound:
    """Copies the audio tracks of the file `source` into the PyAV container `output` without decoding.

    `left_out` holds the codecs of tracks that the format of `output` does not support. Raises `VideoError` if `source`
    cannot be opened.
    """

    def __init__(self, source: str, output: Any) -> None:
        self._container, self._output = open_container(source), output
        fitting = {track: fits(track, output.format.name) for track in self._container.streams.audio}
        self._tracks = {track: output.add_stream_from_template(track) for track, fit in fitting.items() if fit}
        self.left_out = tuple(track.codec_context.name for track, fit in fitting.items() if not fit)
        self._packets = self._demuxed()
        self._next = next(self._packets, None)

    def copy_until(self, seconds: float, start: float) -> None:
        """Copy the packets up to `seconds` of `source`; `output` begins at `start` of `source`."""
        while self._next is not None and float(self._next.pts * self._next.time_base) < seconds:
            packet, self._next = self._next, next(self._packets, None)
            shift = round(start / packet.time_base)
            packet.pts, packet.dts = packet.pts - shift, packet.dts - shift
            if packet.pts >= 0:  # a negative time stamp would delay the pictures in some formats
                packet.stream = self._tracks[packet.stream]
                self._output.mux(packet)

    def copy_rest(self, start: float) -> None:
        """Copy all remaining packets."""
        self.copy_until(math.inf, start)

    def close(self) -> None:
        """Close `source`."""
        self._container.close()

    def _demuxed(self) -> Iterator[Any]:
        from av.error import FFmpegError

        if not self._tracks:
            return
        try:
            for packet in self._container.demux(*self._tracks):
                if packet.size and packet.pts is not None and packet.dts is not None:
                    yield packet
        except FFmpegError:  # truncated or damaged from here on
            return


def fits(track: Any, container_format: str) -> bool:
    """Whether an FFmpeg container format supports the audio stream `track`, by a trial: FFmpeg's list is too long."""
    import av
    from av.error import FFmpegError

    trial = av.open(io.BytesIO(), "w", format=container_format)
    try:
        trial.add_stream_from_template(track)
        trial.start_encoding()
    except (FFmpegError, ValueError):
        return False
    else:
        return True
    finally:
        with suppress(FFmpegError, ValueError):  # closing writes the trailer of a file whose header failed
            trial.close()
