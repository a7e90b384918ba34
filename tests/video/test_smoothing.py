"""The One-Euro filter: what the paper says, in face sizes, at any frame rate, with doubt."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from lightmark.errors import ConfigError, GeometryError, VideoError
from lightmark.geometry import Array
from lightmark.video.smoothing import OneEuro, Smoothing

SQUARE = np.array([[0.0, 0.0], [100.0, 0.0], [100.0, 100.0], [0.0, 100.0]])
PLAIN = Smoothing(min_cutoff=2.0, beta=0.0)


def smooth(path: Array, times: Array, smoothing: Smoothing, expected_error: Array | None = None) -> Array:
    """Smoothed path (T, N, 2)."""
    smoother = OneEuro(smoothing)
    doubts = [None] * len(path) if expected_error is None else expected_error
    return np.stack([smoother(*step) for step in zip(path, times, doubts, strict=True)])


def reference(path: Array, times: Array, smoothing: Smoothing, expected_error: Array) -> Array:
    """The paper's algorithm a point and a number at a time; speeds and doubts in sizes of the face."""
    out = np.array(path, dtype=float)
    for point in range(path.shape[1]):
        x, y = (float(value) for value in path[0, point])
        vx = vy = 0.0
        for i in range(1, len(path)):
            size = max(max(path[i, :, axis]) - min(path[i, :, axis]) for axis in (0, 1))
            elapsed = times[i] - times[i - 1]
            a = 1 / (1 + (1 / (2 * math.pi * smoothing.d_cutoff)) / elapsed)
            vx = a * ((path[i, point, 0] - x) / elapsed / size) + (1 - a) * vx
            vy = a * ((path[i, point, 1] - y) / elapsed / size) + (1 - a) * vy
            cutoff = smoothing.min_cutoff + smoothing.beta * math.hypot(vx, vy)
            cutoff *= min(max(smoothing.typical_doubt / (expected_error[i, point] / size), 0.5), 2.0)
            a = 1 / (1 + (1 / (2 * math.pi * cutoff)) / elapsed)
            x, y = a * path[i, point, 0] + (1 - a) * x, a * path[i, point, 1] + (1 - a) * y
            out[i, point] = x, y
    return out


def walk(seed: int, frames: int = 40) -> tuple[Array, Array, Array]:
    """A jittering, growing, moving face: path, uneven times, expected_error."""
    rng = np.random.default_rng(seed)
    times = np.cumsum(rng.uniform(0.005, 0.1, frames))
    path = SQUARE * (1 + times[:, None, None]) + 80 * times[:, None, None] + rng.normal(0, 1, (frames, 4, 2))
    return path, times, rng.uniform(0.2, 10.0, (frames, 4))


@pytest.mark.parametrize("seed", range(3))
def test_it_is_the_papers_filter(seed: int) -> None:
    """Every number equals that of a loop over points and frames, at uneven times and with doubt."""
    path, times, expected_error = walk(seed)
    smoothing = Smoothing(1.3, 7.0, 1.7, 0.03)
    np.testing.assert_allclose(
        smooth(path, times, smoothing, expected_error), reference(path, times, smoothing, expected_error), rtol=1e-9
    )


def test_the_first_points_are_taken_as_they_are() -> None:
    """And so are the first ones after a reset, however far away or long ago the last ones were."""
    smoother = OneEuro()
    np.testing.assert_array_equal(smoother(SQUARE, 5.0), SQUARE)
    smoother(SQUARE + 3, 5.1)
    smoother.reset()
    np.testing.assert_array_equal(smoother(SQUARE + 500, 1.0), SQUARE + 500)


def test_what_it_gives_is_the_callers_own() -> None:
    """Writing into a result or into the points does not change what comes next."""
    smoother, untouched = OneEuro(), OneEuro()
    points = SQUARE.copy()
    smoother(points, 0.0)[:] = 7
    points[:] = 9
    untouched(SQUARE, 0.0)
    np.testing.assert_array_equal(smoother(SQUARE + 1, 0.1), untouched(SQUARE + 1, 0.1))


def test_a_face_near_is_smoothed_as_one_far_away() -> None:
    """The same film at three times the size, elsewhere in the picture, gives the same points, enlarged and moved."""
    path, times, expected_error = walk(1)
    far = smooth(path, times, Smoothing(), expected_error)
    near = smooth(path * 3 + 70, times, Smoothing(), expected_error * 3)
    np.testing.assert_allclose(near, far * 3 + 70, rtol=1e-9)


def test_a_turned_face_is_smoothed_as_an_upright_one() -> None:
    """Speed has no axis: a quarter turn of the film is a quarter turn of the result."""
    path, times, expected_error = walk(2)
    turned = np.stack([-path[..., 1], path[..., 0]], axis=-1)
    result, known = smooth(turned, times, Smoothing(), expected_error), smooth(path, times, Smoothing(), expected_error)
    np.testing.assert_allclose(result, np.stack([-known[..., 1], known[..., 0]], axis=-1), rtol=1e-9)


@pytest.mark.parametrize("fps", [15.0, 30.0, 60.0, 240.0])
def test_a_moving_point_lags_by_its_time_constant(fps: float) -> None:
    """At constant speed, without beta, by 1 / (2π cutoff) seconds whatever the frame rate."""
    times = np.arange(int(3 * fps)) / fps
    path = SQUARE + 50 * times[:, None, None]
    behind = (path - smooth(path, times, PLAIN))[-1] / 50
    np.testing.assert_allclose(behind, 1 / (2 * math.pi * 2.0), rtol=1e-3)


def test_a_missing_frame_changes_little() -> None:
    """A film that drops frames now and then ends where the whole one does, to a tenth of what it lags."""
    times = np.arange(120) / 60
    path = SQUARE + 20 * np.sin(3 * times)[:, None, None]
    kept = np.sort([*np.random.default_rng(0).permutation(119)[:90], 119])
    whole, cut = smooth(path, times, PLAIN)[-1], smooth(path[kept], times[kept], PLAIN)[-1]
    assert np.abs(whole - cut).max() < 0.1 * np.abs(whole - path[-1]).max()


def test_beta_lets_fast_points_through() -> None:
    """The default lags less the faster the point is; a quarter as much at ten times the speed."""
    times = np.arange(90) / 30
    lags = []
    for speed in (10.0, 100.0):
        path = SQUARE + speed * times[:, None, None]
        lags.append(np.mean(path - smooth(path, times, Smoothing()), axis=(1, 2))[-1] / speed)
    assert lags[1] < 0.25 * lags[0]


def test_a_doubtful_point_moves_less() -> None:
    """Of a step that all points make, the sure ones have made most after one frame; doubt counts up to twofold."""
    expected_error = np.array([0.5, 2.0, 4.0, 40.0])  # of a size of 100, typical is 2
    smoother = OneEuro(PLAIN)
    smoother(SQUARE, 0.0, expected_error)
    moved = (smoother(SQUARE + 1, 1 / 30, expected_error) - SQUARE)[:, 0]
    assert moved[0] > moved[1] > moved[2]
    assert moved[2] == pytest.approx(moved[3])
    without = OneEuro(PLAIN)
    without(SQUARE, 0.0)
    assert (without(SQUARE + 1, 1 / 30) - SQUARE)[0, 0] == pytest.approx(moved[1])


def test_the_default_halves_white_noise() -> None:
    """Noise as large as the shipped model's at rest, 0.2 % of the face, is less than half of it after."""
    rng = np.random.default_rng(0)
    path, times = SQUARE + rng.normal(0, 0.14, (600, 4, 2)), np.arange(600) / 30
    assert smooth(path, times, Smoothing())[15:].std(axis=0).mean() < 0.5 * path[15:].std(axis=0).mean()


def test_the_default_is_what_was_measured() -> None:
    """benchmarks/jitter.py met its bar on test faces with these very parameters."""
    result = Path(__file__).parents[2] / "benchmarks" / "results" / "jitter.json"
    measured = json.loads(result.read_text(encoding="utf-8"))
    assert measured["smoothing"] == asdict(Smoothing())
    assert (measured["split"], measured["bar"]["met"]) == ("test", True)


@pytest.mark.parametrize("seconds", [1.0, 0.5, float("nan"), float("inf")])
def test_time_only_goes_on(seconds: float) -> None:
    """The same moment again, an earlier one and what is none are refused, and change nothing."""
    smoother, known = OneEuro(), OneEuro()
    for one in (smoother, known):
        one(SQUARE, 1.0)
    with pytest.raises(VideoError, match=r"after some at 1\.0 s: each must be later"):
        smoother(SQUARE + 5, seconds)
    np.testing.assert_array_equal(smoother(SQUARE + 5, 1.1), known(SQUARE + 5, 1.1))


@pytest.mark.parametrize("points", [np.full((4, 2), 3.0), np.where(SQUARE == 100, np.nan, SQUARE)])
def test_points_that_are_none_are_refused(points: Array) -> None:
    """All in one place, or not finite."""
    with pytest.raises(GeometryError, match="not all in one place"):
        OneEuro()(points, 0.0)


@pytest.mark.parametrize(
    "options", [{"min_cutoff": 0.0}, {"d_cutoff": -1.0}, {"beta": -0.1}, {"typical_doubt": float("nan")}]
)
def test_parameters_out_of_range_are_refused(options: dict[str, float]) -> None:
    """The error names the parameter and its value."""
    ((name, value),) = options.items()
    with pytest.raises(ConfigError, match=f"{name} {value}: needs a number"):
        Smoothing(**options)
