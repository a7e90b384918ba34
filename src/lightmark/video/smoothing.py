"""One-Euro filter for landmarks: little jitter at rest, little lag in motion."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from lightmark.errors import ConfigError, GeometryError, VideoError
from lightmark.geometry import Array, Floats, tight_box

CUTOFF_RANGE = (0.5, 2.0)  # factors on the cutoff: expected errors are estimates, so they may only halve or double it


@dataclass(frozen=True)
class Smoothing:
    """Parameters of `OneEuro`; a size is the longer side of the tight box of the face's points.

    - `min_cutoff`, Hz: the low-pass filter's cutoff for a point at rest. A lower value jitters less and lags more: a
      slow point lags by 1 / (2π cutoff) seconds.
    - `beta`, Hz per size and second: how much the cutoff grows with speed. A higher value lags less and jitters more.
    - `d_cutoff`, Hz: cutoff of the low-pass filter over the speed itself. A higher value reacts sooner to a start of
      motion and jitters more.
    - `typical_doubt`, in sizes: the expected error of a point at which these cutoffs apply unchanged. A point with
      twice that error has half the cutoff, one with half the error twice the cutoff; `CUTOFF_RANGE` limits both.

    The defaults were chosen on training faces (lab notes); benchmarks/jitter.py measures them on test faces.
    `typical_doubt` is the median expected_error of `fast`. Raises `ConfigError` for numbers out of range.
    """

    min_cutoff: float = 1.0
    beta: float = 25.0
    d_cutoff: float = 2.0
    typical_doubt: float = 0.02

    def __post_init__(self) -> None:
        for name in ("min_cutoff", "d_cutoff", "typical_doubt"):
            if not 0 < getattr(self, name) < math.inf:
                raise ConfigError(f"{name} {getattr(self, name)}: needs a number above 0")
        if not 0 <= self.beta < math.inf:
            raise ConfigError(f"beta {self.beta}: needs a number of at least 0")


SMOOTHING = Smoothing()


class OneEuro:
    """The One-Euro filter (Casiez, Roussel, Vogel, CHI 2012) for the points of one face.

    Each point goes through a low-pass filter with the cutoff min_cutoff + beta · speed. Speeds are in face sizes per
    second, so that the parameters mean the same for near and far faces; frames may be unevenly spaced.

    For a random walk observed with white noise of standard deviation σ, the best low-pass filter (the steady-state
    Kalman filter) has a cutoff proportional to 1 / σ. A model's expected_error grows with its jitter, so the cutoff is
    multiplied by typical_doubt / expected_error, within `CUTOFF_RANGE`.
    """

    def __init__(self, smoothing: Smoothing = SMOOTHING) -> None:
        self._smoothing = smoothing
        self.reset()

    def reset(self) -> None:
        """Clear the state: the next points are returned unchanged."""
        self._seconds = -math.inf
        self._points: Array | None = None
        self._velocity: Array | None = None

    def __call__(
        self, points: Floats, seconds: float, expected_error: Floats | None = None, size: float | None = None
    ) -> Array:
        """Smoothed points (N, 2) of `points` (N, 2) at `seconds`, with their `expected_error` (N,) in the same pixels.

        `size` is the face's size in pixels; None computes it from the points.
        Raises `VideoError` where `seconds` is not after the last call's, `GeometryError` for points that are not finite
        or all in one place.
        """
        size = face_size(points) if size is None else size
        if not self._seconds < seconds < math.inf:
            raise VideoError(f"points at {seconds} s after some at {self._seconds} s: each must be later than the last")
        elapsed, self._seconds = seconds - self._seconds, seconds
        if self._points is None or self._velocity is None:
            self._points, self._velocity = np.array(points, dtype=np.float64), np.zeros_like(points, dtype=np.float64)
            return self._points.copy()
        # Speed relative to the smoothed points, as in the paper: lag counts as speed, so that the filter catches up.
        step = (points - self._points) / (elapsed * size)
        self._velocity = self._velocity + weight(self._smoothing.d_cutoff, elapsed) * (step - self._velocity)
        cutoff = self._smoothing.min_cutoff + self._smoothing.beta * np.linalg.norm(self._velocity, axis=1)
        if expected_error is not None:
            cutoff = cutoff * cutoff_factor(expected_error / size, self._smoothing.typical_doubt)
        self._points = self._points + weight(cutoff, elapsed)[:, None] * (points - self._points)
        return self._points.copy()


def face_size(points: Floats) -> float:
    """Longer side of the tight box of `points` (N, 2); raises `GeometryError` where it is 0 or not finite."""
    x0, y0, x1, y1 = tight_box(points)
    size = float(max(x1 - x0, y1 - y0))
    if not 0 < size < math.inf:
        raise GeometryError(f"points of a face {size} px large: needs finite points that are not all in one place")
    return size


def weight(cutoff: float | Array, elapsed: float) -> Array:
    """Weight of the new value in a first-order low-pass filter of `cutoff` Hz, `elapsed` seconds after the last."""
    return np.asarray(1 / (1 + 1 / (2 * math.pi * np.asarray(cutoff) * elapsed)))


def cutoff_factor(expected_error: Floats, typical: float) -> Array:
    """Factor (N,) on the cutoff of points with `expected_error` (N,): typical / error, within `CUTOFF_RANGE`."""
    lowest, highest = typical / CUTOFF_RANGE[1], typical / CUTOFF_RANGE[0]
    return np.asarray(typical / np.clip(expected_error, lowest, highest), dtype=np.float64)
