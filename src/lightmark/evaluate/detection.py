"""Match detections to labelled boxes: true positives, false positives, ignored."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lightmark.geometry import Array, overlaps

FOUND_IOU = 0.5
HIT, FALSE, NEITHER = 1, 0, -1
Verdicts = NDArray[np.int64]


def match_boxes(found: Array, boxes: Array, counts: NDArray[np.bool_], least: float = FOUND_IOU) -> Verdicts:
    """HIT, FALSE or NEITHER (M,) for each of `found` (M, 4), surest first, given the labelled `boxes` (F, 4).

    A detection is a hit if its IoU with a box that no higher-scored detection has matched is at least `least`; a second
    detection of the box is a false positive. One on an ignored box (`counts` (F,) false) is neither.
    """
    verdicts = np.full(len(found), FALSE)
    if len(boxes) == 0 or len(found) == 0:
        return verdicts
    shares, taken = overlaps(found, boxes), np.zeros(len(boxes), bool)
    for index, row in enumerate(shares):
        free = np.where(taken, 0.0, row)
        best = int(free.argmax())
        if free[best] >= least:
            verdicts[index] = HIT if counts[best] else NEITHER
            taken[best] = counts[best]
    return verdicts
