"""Matching of detections to labelled boxes: true positives, false positives and ignored detections."""

from __future__ import annotations

import numpy as np

from lightmark.evaluate.detection import FALSE_POSITIVE, IGNORED, TRUE_POSITIVE, match_boxes

FACE, OTHER = [0.0, 0, 10, 10], [100.0, 100, 120, 120]
ALL = np.array([True, True])


def test_a_second_detection_of_a_face_is_a_false_positive() -> None:
    """The detection of the higher score matches, even if the other has a larger IoU."""
    detections = np.array([[0.0, 0, 9, 10], FACE, [50, 50, 60, 60]])
    matches = match_boxes(detections, np.array([FACE, OTHER]), ALL)
    assert matches.tolist() == [TRUE_POSITIVE, FALSE_POSITIVE, FALSE_POSITIVE]


def test_a_match_needs_half_of_the_union() -> None:
    """An IoU of 0.5 is a match, a lower one is not."""
    detections = np.array([[0.0, 0, 10, 5], [100.0, 100, 120, 109]])
    assert match_boxes(detections, np.array([FACE, OTHER]), ALL).tolist() == [TRUE_POSITIVE, FALSE_POSITIVE]


def test_detections_of_an_ignored_face_are_ignored() -> None:
    """All detections of an ignored face are neither true nor false positives."""
    detections = np.array([FACE, FACE, OTHER])
    matches = match_boxes(detections, np.array([FACE, OTHER]), np.array([False, True]))
    assert matches.tolist() == [IGNORED, IGNORED, TRUE_POSITIVE]


def test_without_detections_or_boxes_nothing_matches() -> None:
    """Without detections or without labelled boxes the result is empty or all false."""
    assert match_boxes(np.empty((0, 4)), np.array([FACE]), ALL[:1]).tolist() == []
    assert match_boxes(np.array([FACE]), np.empty((0, 4)), ALL[:0]).tolist() == [FALSE_POSITIVE]
