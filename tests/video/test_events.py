"""Events are found in noisy signals at 15 to 60 frames a second, by a person's own baseline, and none elsewhere."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from lightmark.geometry import Array
from lightmark.video.events import (
    Event,
    Signals,
    closure,
    excursions,
    find_events,
    frame_rate,
    is_too_slow,
    rolling_quantile,
    signals_of,
)

NOISE = 0.04  # of openness, as that of `fast` on films with a camera's noise


def times_of(fps: float, length: float = 30.0) -> Array:
    """Times of frames, a little uneven, as cameras give them."""
    steps = np.random.default_rng(1).normal(1 / fps, 0.1 / fps, round(length * fps))
    return np.cumsum(steps)


def signals(
    seconds: Array, eyes: Array | float = 0.6, mouth: Array | float = 0.05, pitch: Array | float = 0.0
) -> Signals:
    """Signals with noise: of both eyes, the mouth and the pitch; the other angles are noise alone."""
    rng = np.random.default_rng(0)
    ones = np.ones_like(seconds)
    left, right, lips = (ones * level + rng.normal(0, NOISE, len(seconds)) for level in (eyes, eyes, mouth))
    yaw, nick, roll = (ones * angle + rng.normal(0, 0.7, len(seconds)) for angle in (0.0, pitch, 0.0))
    return Signals(seconds, left.clip(0, 1), right.clip(0, 1), lips.clip(0, 1), yaw, nick, roll)


def dips(seconds: Array, starts: Sequence[float], length: float) -> Array:
    """Smooth bumps (T,) of height 1, `length` seconds long, with an exposure of one frame."""
    phase = np.clip((seconds[:, None] - np.asarray(starts)) / length, 0, 1)
    return np.asarray((np.sin(np.pi * phase) ** 2).sum(axis=1))


def of_kind(events: Sequence[Event], kind: str) -> list[Event]:
    return [event for event in events if event.kind == kind]


STARTS = [2.0, 4.5, 5.2, 9.0, 13.3, 17.7, 18.4, 25.0]


@pytest.mark.parametrize("fps", [15, 24, 30, 60])
@pytest.mark.parametrize("level", [0.35, 0.6, 0.9])
def test_blinks_are_found_at_their_times_whatever_the_openness(fps: float, level: float) -> None:
    """All of 0.25 s, no other, each within 0.1 s, for narrow and for wide eyes: the baseline is the person's own."""
    seconds = times_of(fps)
    events = find_events(signals(seconds, level * (1 - 0.75 * dips(seconds, STARTS, 0.25))), 7)
    assert {event.kind for event in events} == {"blink"}
    assert [event.id for event in events] == [7] * len(STARTS)
    np.testing.assert_allclose([(event.start + event.end) / 2 for event in events], np.add(STARTS, 0.125), atol=0.1)
    assert all(0.3 < event.depth <= 1 for event in events)


@pytest.mark.parametrize("fps", [15, 30, 60])
def test_open_eyes_with_noise_hold_no_event(fps: float) -> None:
    """Ten minutes of noise, a slow change of light and a wide glance give nothing."""
    seconds = times_of(fps, 600.0)
    drift = 0.6 + 0.12 * np.sin(seconds / 20)
    assert find_events(signals(seconds, drift, 0.1, 4 * np.sin(seconds / 3))) == []


def test_blinks_of_narrowed_eyes_are_found_against_the_eyes_of_that_moment() -> None:
    """Who looks down for ten seconds blinks on; eyes narrowed by a seventh are not closed."""
    seconds = times_of(30)
    narrowed = np.interp(seconds, [8, 9, 19, 20], [1, 0.85, 0.85, 1])
    eyes = 0.6 * narrowed * (1 - 0.35 * dips(seconds, STARTS, 0.25))
    steady = Signals(seconds, eyes, eyes, *np.zeros((4, len(seconds))))
    assert [event.kind for event in find_events(steady)] == ["blink"] * len(STARTS)


def test_noise_on_the_way_back_splits_no_blink() -> None:
    """Two stretches a frame apart at 60 a second are one, two further apart are two."""
    seconds = np.arange(12) / 60
    values = np.array([0, 0.5, 0.3, 0.1, 0.25, 0, 0, 0, 0, 0.4, 0.4, 0])
    first, second = excursions(seconds, values, 0.2, 0.12)
    assert (first[0], first[1], first[2]) == pytest.approx((0.24 / 60, 4.52 / 60, 0.5))
    assert second[2] == 0.4


def test_a_blink_that_lowers_the_pitch_is_no_nod() -> None:
    """Points about the eyes move with the lids, and so does the pose for a moment."""
    seconds = times_of(30)
    blinks = dips(seconds, STARTS, 0.28)
    events = find_events(signals(seconds, 0.6 * (1 - 0.6 * blinks), pitch=-10 * blinks))
    assert {event.kind for event in events} == {"blink"}


def test_one_wrong_frame_is_no_blink() -> None:
    """A single frame at 60 a second is shorter than any lid moves."""
    seconds = times_of(60)
    eyes = np.full(len(seconds), 0.6)
    eyes[500] = 0.1
    assert find_events(signals(seconds, eyes)) == []


def test_eyes_closed_for_longer_are_no_blink() -> None:
    """Half a second and more, at any frame rate, also at the end of the film."""
    for fps in (5, 30):
        seconds = times_of(fps)
        shut = ((seconds > 10) & (seconds < 12)) | (seconds > 28)
        events = find_events(signals(seconds, np.where(shut, 0.1, 0.6)))
        assert [event.kind for event in events] == ["eyes_closed", "eyes_closed"]
        assert events[0].end - events[0].start == pytest.approx(2, abs=1.5 / fps)
        assert events[1].end == seconds[-1]


def test_too_few_frames_give_no_blinks_and_a_warning() -> None:
    """Below 14 a second a blink may fall between two frames; at 15 none does."""
    slow, quick = times_of(10), times_of(15)
    assert (is_too_slow(slow), is_too_slow(quick)) == (True, False)
    assert frame_rate(slow) == pytest.approx(10, abs=0.3)
    assert frame_rate(slow[:1]) == 0
    assert find_events(signals(slow, 0.6 * (1 - 0.75 * dips(slow, STARTS, 0.3)))) == []


@pytest.mark.parametrize("fps", [10, 15, 30, 60])
def test_open_mouths_are_found(fps: float) -> None:
    """Each opening of half a second, with its largest openness; a murmur is none."""
    seconds = times_of(fps)
    mouth = 0.05 + 0.7 * dips(seconds, [3.0, 12.0], 0.8) + 0.12 * dips(seconds, [20.0], 0.5)
    events = find_events(signals(seconds, mouth=mouth))
    assert [event.kind for event in events] == ["mouth_open", "mouth_open"]
    assert [event.depth for event in events] == pytest.approx([0.75, 0.75], abs=0.12)
    np.testing.assert_allclose([(event.start + event.end) / 2 for event in events], [3.4, 12.4], atol=0.15)


@pytest.mark.parametrize("fps", [15, 30, 60])
def test_nods_are_drops_of_the_head_that_come_back(fps: float) -> None:
    """Two nods in a row are two; a head that is raised, lowered for 1.3 s, or lowered for good gives none."""
    seconds = times_of(fps)
    lowered = np.interp(seconds, [20, 20.4], [0, -15])
    lowered -= 10 * ((seconds > 27) & (seconds < 28.3))
    pitch = lowered - 10 * dips(seconds, [5.0, 5.7, 12.0], 0.5) + 10 * dips(seconds, [16.0], 0.5)
    events = find_events(signals(seconds, pitch=pitch))
    assert [event.kind for event in events] == ["nod"] * 3
    np.testing.assert_allclose([(event.start + event.end) / 2 for event in events], [5.25, 5.95, 12.25], atol=0.1)
    assert all(6 < event.depth < 14 for event in events)


def test_no_event_lasts_over_a_gap() -> None:
    """Eyes closed before and after the face was away are two events, each within its part."""
    seconds = times_of(30)
    eyes = np.where((seconds > 8) & (seconds < 14), 0.1, 0.6)
    kept = (seconds < 10) | (seconds > 12)
    events = find_events(signals(seconds[kept], eyes[kept]))
    assert [event.kind for event in events] == ["eyes_closed", "eyes_closed"]
    assert events[0].end < 10
    assert events[1].start > 12


def test_unknown_values_are_left_out() -> None:
    """Frames without a pose split an event and spoil no baseline; a face without any gives nothing."""
    seconds = times_of(30)
    eyes = 0.6 * (1 - 0.75 * dips(seconds, STARTS, 0.25))
    eyes[(seconds > 20) & (seconds < 24)] = np.nan
    assert len(of_kind(find_events(signals(seconds, eyes)), "blink")) == len(STARTS)
    assert find_events(signals(seconds, np.nan, np.nan, np.nan)) == []


@pytest.mark.parametrize("count", [0, 1, 2])
def test_films_of_a_few_frames_hold_no_event(count: int) -> None:
    """Nothing fails for a face of no, one or two frames."""
    assert find_events(signals_of([(0.1 * index, *[0.5] * 6) for index in range(count)])) == []


def test_rows_become_signals() -> None:
    """Columns are those of `SIGNALS`, after the seconds."""
    one = signals_of([(1, 0.1, 0.2, 0.3, 4, 5, 6), (2, 0.1, 0.4, 0.3, 4, 5, 6)])
    np.testing.assert_allclose([one.seconds[1], one.mouth_openness[0], one.yaw[0], one.roll[1]], [2, 0.3, 4, 6])
    np.testing.assert_allclose(one.eyes, [0.15, 0.25])


def test_closure_is_relative_to_the_open_eye() -> None:
    """0 at the baseline, 1 for a closed eye, whatever the person's openness."""
    seconds = times_of(30)
    for level in (0.3, 0.9):
        eyes = np.where((seconds > 5) & (seconds < 5.3), 0.0, level)
        shares = closure(Signals(seconds, eyes, eyes, eyes, eyes, eyes, eyes))
        assert shares.max() == pytest.approx(1)
        assert np.median(shares) == pytest.approx(0)


def test_a_rolling_quantile_follows_its_window() -> None:
    """Half of a step's way it is the step's, and it is that of all where the film is shorter than the window."""
    seconds = np.arange(0, 100, 0.1)
    values = (seconds > 50).astype(float)
    rolled = rolling_quantile(seconds, values, 0.5, 10.0)
    assert (rolled[[0, 400, 600, 999]] == [0, 0, 1, 1]).all()
    short = np.arange(10.0)
    np.testing.assert_allclose(rolling_quantile(short, short, 0.5, 1000.0), np.median(short))


def test_excursions_begin_and_end_where_the_edge_is_crossed() -> None:
    """Between two samples by the line through them; at the ends of the film with its frames."""
    seconds, values = np.arange(8) / 10, np.array([0.5, 0.0, 0.4, 0.0, 0.0, 0.1, 0.15, 0.9])
    found = excursions(seconds, values, 0.3, 0.2)
    np.testing.assert_allclose(found, [(0.0, 0.06, 0.5), (0.15, 0.25, 0.4), (0.6 + 0.1 / 15, 0.7, 0.9)], atol=1e-9)
