"""Frames have their file's own times; a camera's those of the clock; both strictly rising."""

from __future__ import annotations

import numpy as np

from lightmark.video.clock import file_clock, live_clock


def test_a_files_own_times_are_kept() -> None:
    """Wherever they begin and however uneven they are, with gaps of minutes as in time-lapse."""
    clock = file_clock(0.05, discontinuous=False)
    stamps = [-0.04, 0.02, 0.3, 0.31, 700.0, 86_400.5]
    assert [clock(stamp) for stamp in stamps] == stamps


def test_frames_without_times_come_one_after_the_other() -> None:
    """From 0 on by the rate, or on from the last frame that had one; no number is none."""
    clock = file_clock(0.05, discontinuous=False)
    np.testing.assert_allclose([clock(None) for _ in range(3)], [0.0, 0.05, 0.1])
    np.testing.assert_allclose([clock(2.0), clock(None), clock(float("nan")), clock(2.2)], [2.0, 2.05, 2.1, 2.2])


def test_a_time_that_comes_again_is_moved_by_a_millisecond() -> None:
    """The next frame that is later has its own time again."""
    clock = file_clock(0.05, discontinuous=False)
    np.testing.assert_allclose(
        [clock(stamp) for stamp in (1.0, 1.0, 0.9, 1.05, 1.1)], [1.0, 1.001, 1.002, 1.05, 1.1]
    )


def test_a_clock_set_anew_goes_on_where_it_was() -> None:
    """MPEG streams' clocks jump either way; frames behind a jump keep their distances, a small step back is none."""
    clock = file_clock(0.04, discontinuous=True)
    stamps = (100.0, 100.04, 5.0, 5.1, 9_000.0, 9_000.3, 9_000.2)
    np.testing.assert_allclose(
        [clock(stamp) for stamp in stamps], [100.0, 100.04, 100.08, 100.18, 100.22, 100.52, 100.521]
    )


def test_a_gap_of_ten_seconds_is_no_jump() -> None:
    """As in FFmpeg."""
    clock = file_clock(0.04, discontinuous=True)
    assert [clock(stamp) for stamp in (1.0, 11.0, 20.9)] == [1.0, 11.0, 20.9]


def test_a_camera_has_the_times_of_the_clock() -> None:
    """Counted from its first frame, whatever the driver stamps."""
    ticks = iter([100.0, 100.03, 100.09])
    clock = live_clock(lambda: next(ticks))
    np.testing.assert_allclose([clock(stamp) for stamp in (None, 7.0, None)], [0.0, 0.03, 0.09])


def test_a_coarse_clock_still_rises() -> None:
    """Frames within one tick get times that differ, as the tracker needs."""
    clock = live_clock(lambda: 5.0)
    first, second, third = (clock(None) for _ in range(3))
    assert first == 0.0
    assert first < second < third < 1e-6
