"""Match detections to labelled boxes: true positives, false positives, ignored."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lightmark.geometry import Array, overlaps

MATCH_IOU = 0.5
TRUE_POSITIVE, FALSE_POSITIVE, IGNORED = 1, 0, -1


def match_boxes(
    detections: Array, boxes: Array, counts: NDArray[np.bool_], min_iou: float = MATCH_IOU
) -> NDArray[np.int64]:
    """TRUE_POSITIVE, FALSE_POSITIVE or IGNORED (M,) for each of `detections` (M, 4), sorted by score, highest first.

    A detection is a true positive if its IoU with one of the labelled `boxes` (F, 4) that no detection of a higher
    score has matched is at least `min_iou`; a second detection of a box is a false positive. Detections of a box with
    `counts` (F,) false are ignored.
    """
    matches = np.full(len(detections), FALSE_POSITIVE)
    if len(boxes) == 0 or len(detections) == 0:
        return matches
    ious, matched = overlaps(detections, boxes), np.zeros(len(boxes), bool)
    for index, row in enumerate(ious):
        free = np.where(matched, 0.0, row)
        best = int(free.argmax())
        if free[best] >= min_iou:
            matches[index] = TRUE_POSITIVE if counts[best] else IGNORED
            matched[best] = counts[best]
    return matches
