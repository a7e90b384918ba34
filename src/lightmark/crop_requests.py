"""Requests for crops of faces: from boxes, from a detector's proposals and from another look around a detection."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from lightmark.detectors.open import Proposals, TurnedProposer
from lightmark.geometry import Array, box_centre, longer_side, require_angles, require_boxes_near
from lightmark.image import Picture

BATCH = 32  # crops per call, 19 MB of float32 at 224 px: bounds the memory for pictures of crowds
HELD_PIXELS = 16_000_000  # of the pictures whose crops wait for a batch, 48 MB: they may have to be cut once more
SURROUNDINGS = 3.0  # sides of a detection's box: a face fills a third of what the detector then gets


@dataclass(frozen=True, eq=False)
class CropRequest:
    """A crop to predict: the face in `box` of `image`, picture number `picture`, with `roll` degrees taken out.

    A `guessed` roll is corrected from the predicted points, after trying all four directions if `any_direction`. A box
    is `detected` if it is a detection, neither a proposal nor a caller's.
    """

    picture: int
    image: Picture
    box: Array
    roll: float
    guessed: bool
    any_direction: bool
    detected: bool = False


def requests_for(
    image: Picture, boxes: ArrayLike | Sequence[ArrayLike], angles: ArrayLike | None, number: int = 0
) -> Iterator[CropRequest]:
    """A request for each of `boxes`, whose `angles`, where known, are final."""
    rows = require_boxes_near(boxes, image.shape[1], image.shape[0])
    for box, roll in zip(rows, require_angles(angles, rows), strict=True):
        known = not math.isnan(roll)
        yield CropRequest(number, image, box, float(roll) if known else 0.0, guessed=not known, any_direction=True)


def requests_of(image: Picture, proposals: Proposals, number: int = 0) -> Iterator[CropRequest]:
    """A request for each of `proposals`, whose angles are where to look first.

    Beside a detection, what is only proposed is hardly ever a face: it is not searched for in all directions, which
    took a picture of one upright face almost a crop more on average.
    """
    alone = not proposals.certain.any()
    requests = requests_for(image, proposals.boxes, proposals.angles, number)
    for request, certain in zip(requests, proposals.certain, strict=True):
        yield replace(request, guessed=True, any_direction=bool(certain) or alone, detected=bool(certain))


def requests_around(request: CropRequest, detector: TurnedProposer) -> list[CropRequest]:
    """A request for each box that `detector` proposes in rotated copies of the surroundings of the request's box.

    Only boxes that cover its centre: the surroundings may show other faces.
    """
    (x, y), half = box_centre(request.box), SURROUNDINGS * longer_side(request.box) / 2
    left, top = max(0, round(x - half)), max(0, round(y - half))
    found = detector.propose_turned(request.image[top : round(y + half), left : round(x + half)])
    boxes = found.boxes + np.array([left, top, left, top])
    covers = ((boxes[:, :2] <= (x, y)) & (boxes[:, 2:] >= (x, y))).all(axis=1)
    angles = None if found.angles is None else found.angles[covers]
    again = requests_for(request.image, boxes[covers], angles, request.picture)
    return [replace(one, guessed=True, any_direction=False) for one in again]


def batches_of(requests: Iterable[CropRequest]) -> Iterator[list[CropRequest]]:
    """`requests` in lists of at most `BATCH`, fewer where their pictures have more than `HELD_PIXELS` together."""
    batch: list[CropRequest] = []
    held = 0
    for request in requests:
        if not batch or batch[-1].picture != request.picture:
            held += request.image.shape[0] * request.image.shape[1]
        batch.append(request)
        crowded = held > HELD_PIXELS and batch[0].picture != request.picture
        if crowded or len(batch) == BATCH:
            yield batch
            batch, held = [], 0
    if batch:
        yield batch
