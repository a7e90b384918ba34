"""Sound of a film, copied packet by packet into another file beside new pictures."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from lightmark.video.film import open_container


class Sound:
    """The sound tracks of the file `source`, for the PyAV container `output`, as they are: nothing is decoded.

    `left_out` names the codecs of tracks that the format of `output` cannot hold. Raises `VideoError` where `source`
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
        """Copy what sounds until `seconds` of `source`; `start` there is where `output` begins."""
        while self._next is not None and float(self._next.pts * self._next.time_base) < seconds:
            packet, self._next = self._next, next(self._packets, None)
            shift = round(start / packet.time_base)
            packet.pts, packet.dts = packet.pts - shift, packet.dts - shift
            if packet.pts >= 0:  # what sounds before the first picture would move the pictures in some formats
                packet.stream = self._tracks[packet.stream]
                self._output.mux(packet)

    def copy_rest(self, start: float) -> None:
        """Copy all that is left."""
        self.copy_until(math.inf, start)

    def close(self) -> None:
        """Let `source` go."""
        self._container.close()

    def _demuxed(self) -> Iterator[Any]:
        from av.error import FFmpegError

        if not self._tracks:
            return
        try:
            for packet in self._container.demux(*self._tracks):
                if packet.size and packet.pts is not None and packet.dts is not None:
                    yield packet
        except FFmpegError:  # cut or damaged from here on, as the pictures may be
            return


def fits(track: Any, form: str) -> bool:
    """Whether FFmpeg's format `form` can hold the audio stream `track`, by trying: its list names too many."""
    import av
    from av.error import FFmpegError

    trial = av.open(io.BytesIO(), "w", format=form)
    try:
        trial.add_stream_from_template(track)
        trial.start_encoding()
    except (FFmpegError, ValueError):
        return False
    else:
        return True
    finally:
        with suppress(FFmpegError, ValueError):  # closing writes the end of a header that was refused
            trial.close()
