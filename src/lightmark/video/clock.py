"""Frame clocks: seconds of each frame, strictly increasing, from a file's time stamps or from this machine's clock."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeAlias

LONGEST_GAP = 10.0  # seconds: a longer jump is a clock reset, in formats that allow one; FFmpeg's threshold
SHORTEST_GAP = 0.001  # seconds added to a repeated time stamp: one tick of Matroska, so both frames can be written

# Time stamp of a frame, or None → its time in seconds.
FrameClock: TypeAlias = Callable[[float | None], float]


def file_clock(step: float, discontinuous: bool) -> FrameClock:
    """Clock of a file: its own time stamps, made strictly increasing.

    A frame without a time stamp is `step` seconds after the previous one. A time stamp that does not increase becomes
    the previous one plus `SHORTEST_GAP`, since the next ones are usually right again. In `discontinuous` formats, whose
    clock may be reset (MPEG streams), a jump of more than `LONGEST_GAP` either way is a reset: that frame is `step`
    after the previous one, and all later time stamps are shifted by the same amount.
    """
    last, shift = -math.inf, 0.0

    def seconds(stamp: float | None) -> float:
        nonlocal last, shift
        if stamp is None or not math.isfinite(stamp):
            last = last + step if math.isfinite(last) else 0.0
            return last
        shifted = stamp + shift
        if discontinuous and math.isfinite(last) and abs(shifted - last) > LONGEST_GAP:
            shift += last + step - shifted
            shifted = stamp + shift
        last = shifted if shifted > last else last + SHORTEST_GAP
        return last

    return seconds


def live_clock(now: Callable[[], float]) -> FrameClock:
    """Clock of a camera or stream: seconds of `now` since its first frame, strictly increasing if `now` is coarse."""
    start = last = -math.inf

    def seconds(_stamp: float | None) -> float:
        nonlocal start, last
        time = now()
        start = start if math.isfinite(start) else time
        last = max(time - start, math.nextafter(last, math.inf))
        return last

    return seconds
