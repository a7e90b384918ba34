"""Frame clocks: seconds of each frame, strictly rising, from a file's time stamps or from this machine's clock."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeAlias

LONGEST_GAP = 10.0  # seconds that FFmpeg, too, takes for a clock set anew in formats whose clock may be
SHORTEST_GAP = 0.001  # seconds after a frame whose time stamp comes again: Matroska's tick, so that writing keeps both

# Seconds of a frame from the time stamp that came with it, None where none did.
FrameClock: TypeAlias = Callable[[float | None], float]


def file_clock(step: float, discontinuous: bool) -> FrameClock:
    """Clock of a file: its own time stamps wherever they rise.

    A frame without one comes `step` seconds after the last. One that does not rise comes a millisecond after the last,
    since the next are right again. In `discontinuous` formats, whose clock may be set anew (MPEG streams), a jump of
    more than `LONGEST_GAP` either way is such a setting: the frame comes `step` after the last, those behind it move
    with it.
    """
    last, shift = -math.inf, 0.0

    def seconds(stamp: float | None) -> float:
        nonlocal last, shift
        if stamp is None or not math.isfinite(stamp):
            last = last + step if math.isfinite(last) else 0.0
            return last
        told = stamp + shift
        if discontinuous and math.isfinite(last) and abs(told - last) > LONGEST_GAP:
            shift += last + step - told
            told = stamp + shift
        last = told if told > last else last + SHORTEST_GAP
        return last

    return seconds


def live_clock(now: Callable[[], float]) -> FrameClock:
    """Clock of a camera or stream: seconds of `now` since its first frame, rising however coarse `now` is."""
    start = last = -math.inf

    def seconds(_stamp: float | None) -> float:
        nonlocal start, last
        time = now()
        start = start if math.isfinite(start) else time
        last = max(time - start, math.nextafter(last, math.inf))
        return last

    return seconds
