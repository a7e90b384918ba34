"""Events of a face in a video: blinks, closed eyes, open mouths and nods, from signals over time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from lightmark.face import MEASURES
from lightmark.geometry import Array
from lightmark.measures import eye_openness, mouth_openness
from lightmark.video.tracker import TrackedFace

EventKind = Literal["blink", "eyes_closed", "mouth_open", "nod"]

# A blink takes 0.1 to 0.4 s (Stern, Walrath, Goldstein 1984); eyes closed for longer are asleep, or shut on purpose.
SHORTEST_BLINK, LONGEST_BLINK = 0.05, 0.5  # seconds
SLOWEST_RATE = 14.0  # frames a second below which a blink may fall between two frames; 15 fps cameras are a little off
# Closure is the share by which both eyes are less open than their baseline. Predicted lids of closed eyes do not quite
# meet: in the 84 blinks of twelve rendered films (benchmarks/blinks.py, seed 900) it rose to 0.25 or more, and between
# them to 0.16 at most. Longer closures have more frames to reach a depth in, and narrowed eyes are not closed.
BLINK_CLOSURE, BLINK_EDGE, LONG_CLOSURE = 0.2, 0.12, 0.3
NOISES = 5.5  # standard deviations of the noise that a blink closes by at least, on faces that are small or dark
# Quantile of openness within so many seconds: the open eye also while much is closed; blinks are found against the last
# and next moments, which light, gaze and pose change slowly.
BASELINE_SHARE, BASELINE_WINDOW, BLINK_WINDOW = 0.75, 20.0, 3.0
MOUTH_OPEN, MOUTH_EDGE, SHORTEST_OPENING = 0.3, 0.2, 0.15  # openness, seconds
NOD, NOD_EDGE = 4.0, 2.0  # degrees that the head drops below its pitch of the last and next moments
# Seconds. In a blink the points about the eyes move, which lowers the pitch for up to 0.25 s.
SHORTEST_NOD, LONGEST_NOD, NOD_WINDOW = 0.25, 1.0, 3.0
JOINED = 0.04  # seconds below the edge that split no event: noise on the way back
GAP = 0.3  # seconds without the face, over which no event lasts


@dataclass(frozen=True, eq=False)
class Signals:
    """Signals of one face over time, each (T,): openness from 0 to 1, angles in degrees, NaN where unknown.

    Left and right are the person's own. `seconds` increase.
    """

    seconds: Array
    eye_openness_left: Array
    eye_openness_right: Array
    mouth_openness: Array
    yaw: Array
    pitch: Array
    roll: Array

    @property
    def eyes(self) -> Array:
        """Mean openness (T,) of both eyes: a wink is no blink."""
        return (self.eye_openness_left + self.eye_openness_right) / 2


@dataclass(frozen=True)
class Event:
    """Event of the face `id` from `start` to `end` in seconds.

    `depth` of blinks and closed eyes is the share by which the eyes were less open than the person's baseline, of an
    open mouth its largest openness, of a nod the degrees by which the head dropped.
    """

    id: int
    kind: EventKind
    start: float
    end: float
    depth: float


def signal_values(tracked: TrackedFace) -> tuple[float, ...]:
    """Values of `MEASURES` in one frame; NaN without a pose.

    Openness is that of the model's own points: smoothing, which is for points at rest, would flatten a blink.
    """
    face, pose = tracked.face, tracked.face.pose
    if pose is None:
        return (float("nan"),) * len(MEASURES)
    eyes = eye_openness(tracked.raw_points, face.schema, pose)
    return (*eyes, mouth_openness(tracked.raw_points, face.schema, pose), pose.yaw, pose.pitch, pose.roll)


def signals_of(rows: Sequence[Sequence[float]]) -> Signals:
    """Signals from rows of seconds and the values of `MEASURES`, one a frame."""
    return Signals(*np.array(rows, dtype=np.float64).reshape(-1, 1 + len(MEASURES)).T)


def find_events(signals: Signals, number: int = 0) -> list[Event]:
    """Events of one face, whose id is `number`, by their start.

    Blinks are listed only from `SLOWEST_RATE` frames a second on, see `is_too_slow`; the others at any rate.
    """
    seconds = signals.seconds
    found: list[tuple[EventKind, float, float, float]] = []
    closed = closure(signals, BLINK_WINDOW)
    if not is_too_slow(seconds):
        for start, end, depth in excursions(seconds, closed, max(BLINK_CLOSURE, NOISES * noise_of(closed)), BLINK_EDGE):
            if SHORTEST_BLINK <= end - start < LONGEST_BLINK:
                found.append(("blink", start, end, depth))
    for start, end, depth in excursions(seconds, closure(signals), LONG_CLOSURE, BLINK_CLOSURE):
        if end - start >= LONGEST_BLINK:
            found.append(("eyes_closed", start, end, depth))
    for start, end, depth in excursions(seconds, signals.mouth_openness, MOUTH_OPEN, MOUTH_EDGE):
        if end - start >= SHORTEST_OPENING:
            found.append(("mouth_open", start, end, depth))
    drop = rolling_quantile(seconds, signals.pitch, 0.5, NOD_WINDOW) - signals.pitch
    for start, end, depth in excursions(seconds, drop, NOD, NOD_EDGE):
        if SHORTEST_NOD <= end - start <= LONGEST_NOD:
            found.append(("nod", start, end, depth))
    return [Event(number, *one) for one in sorted(found, key=lambda one: one[1])]


def frame_rate(seconds: Array) -> float:
    """Frames a second: the inverse of the median step; 0 for fewer than two."""
    return 0.0 if len(seconds) < 2 else float(1 / np.median(np.diff(seconds)))


def is_too_slow(seconds: Array) -> bool:
    """Whether frames at `seconds` (T,) are too far apart to see every blink."""
    return frame_rate(seconds) < SLOWEST_RATE


def closure(signals: Signals, window: float = BASELINE_WINDOW) -> Array:
    """Share (T,) by which both eyes are less open than within `window` seconds; 0 open, 1 closed."""
    seconds, eyes = signals.seconds, signals.eyes
    open_eyes = rolling_quantile(seconds, eyes, BASELINE_SHARE, BASELINE_WINDOW)
    baseline = rolling_quantile(seconds, eyes, BASELINE_SHARE, window)
    return np.asarray((baseline - eyes) / np.maximum(open_eyes, 1e-6))


def noise_of(values: Array) -> float:
    """Standard deviation of the noise of `values` (T,): from the median step, which no event of a few frames moves."""
    steps = np.abs(np.diff(values[np.isfinite(values)]))
    return float(np.median(steps)) / 0.9539 if len(steps) else 0.0  # the median of |a − b| of two normal values


def rolling_quantile(seconds: Array, values: Array, share: float, window: float) -> Array:
    """Quantile (T,) of `values` (T,) within `window` seconds about each moment; NaN values are left out.

    It is computed at every sixteenth of a window, and in between by linear interpolation.
    """
    known = np.isfinite(values)
    if not known.any():
        return np.full(len(values), np.nan)
    times, kept = seconds[known], values[known]
    knots = np.arange(times[0], times[-1] + window / 16, window / 16)
    # At the ends the window is not cut but moved, where the film is long enough.
    middles = np.clip(knots, times[0] + window / 2, max(times[-1] - window / 2, times[0] + window / 2))
    first, last = np.searchsorted(times, middles - window / 2), np.searchsorted(times, middles + window / 2, "right")
    levels = [float(np.quantile(kept[a:b], share)) if b > a else np.nan for a, b in zip(first, last, strict=True)]
    usable = np.isfinite(levels)
    return np.asarray(np.interp(seconds, knots[usable], np.array(levels)[usable]))


def excursions(seconds: Array, values: Array, enter: float, edge: float) -> list[tuple[float, float, float]]:
    """Start, end and largest value of each stretch of `values` (T,) above `edge` that rises above `enter`.

    Start and end are where the line between two samples crosses `edge`, or the stretch's own first and last sample
    next to a gap, to a NaN and to the ends. Stretches less than `JOINED` seconds apart are one.
    """
    above = np.nan_to_num(values, nan=-np.inf) > edge
    breaks = np.flatnonzero(np.diff(seconds) > GAP) + 1
    found: list[tuple[float, float, float]] = []
    for piece in np.split(np.arange(len(values)), np.union1d(np.flatnonzero(np.diff(above)) + 1, breaks).astype(int)):
        if len(piece) == 0 or not above[piece[0]]:
            continue
        start = _crossing(seconds, values, piece[0], piece[0] - 1, edge)
        end = _crossing(seconds, values, piece[-1], piece[-1] + 1, edge)
        largest = float(values[piece].max())
        if found and start - found[-1][1] < JOINED:
            start, largest = found[-1][0], max(found.pop()[2], largest)
        found.append((start, end, largest))
    return [one for one in found if one[2] >= enter]


def _crossing(seconds: Array, values: Array, inner: int, outer: int, edge: float) -> float:
    """Time at which the line from sample `inner`, above `edge`, to its neighbour `outer` crosses it."""
    known = 0 <= outer < len(values) and np.isfinite(values[outer]) and abs(seconds[outer] - seconds[inner]) <= GAP
    if not known:
        return float(seconds[inner])
    share = (values[inner] - edge) / (values[inner] - values[outer])
    return float(seconds[inner] + share * (seconds[outer] - seconds[inner]))
