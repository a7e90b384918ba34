"""Finds are hits once, false where nothing is, and neither where a face does not count."""

from __future__ import annotations

import numpy as np

from lightmark.evaluate.detection import FALSE, HIT, NEITHER, match_boxes

FACE, OTHER = [0.0, 0, 10, 10], [100.0, 100, 120, 120]
ALL = np.array([True, True])


def test_a_face_found_twice_is_one_hit() -> None:
    """The surer find takes it, though the later fits better."""
    found = np.array([[0.0, 0, 9, 10], FACE, [50, 50, 60, 60]])
    assert match_boxes(found, np.array([FACE, OTHER]), ALL).tolist() == [HIT, FALSE, FALSE]


def test_overlap_decides() -> None:
    """Half of the union is enough, less is not."""
    found = np.array([[0.0, 0, 10, 5], [100.0, 100, 120, 109]])
    assert match_boxes(found, np.array([FACE, OTHER]), ALL).tolist() == [HIT, FALSE]


def test_a_face_that_does_not_count_is_neither() -> None:
    """All detections of an ignored face are neither hits nor false positives."""
    found = np.array([FACE, FACE, OTHER])
    verdicts = match_boxes(found, np.array([FACE, OTHER]), np.array([False, True]))
    assert verdicts.tolist() == [NEITHER, NEITHER, HIT]


def test_nothing_found_and_nothing_there() -> None:
    """Without detections or without labelled boxes the result is empty or all false."""
    assert match_boxes(np.empty((0, 4)), np.array([FACE]), ALL[:1]).tolist() == []
    assert match_boxes(np.array([FACE]), np.empty((0, 4)), ALL[:0]).tolist() == [FALSE]
