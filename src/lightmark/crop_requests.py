"""Requests for crops of faces, from boxes and from a detector's proposals."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from numpy.typing import ArrayLike

from lightmark.detectors.open import Proposals
from lightmark.geometry import Array, require_angles, require_boxes_near
from lightmark.image import Picture

BATCH = 32  # crops per call, 19 MB of float32 at 224 px: bounds the memory for pictures of crowds
HELD_PIXELS = 16_000_000  # of the pictures whose crops wait for a batch, 48 MB: they may have to be cut once more


@dataclass(frozen=True, eq=False)
class CropRequest:
    """A crop to predict: the face in `box` of `image`, picture number `picture`, with `roll` degrees taken out.

    A `guessed` roll is corrected from the predicted points, after trying all four directions where they are unsure.
    """

    picture: int
    image: Picture
    box: Array
    roll: float
    guessed: bool


def requests_for(
    image: Picture, boxes: ArrayLike | Sequence[ArrayLike], angles: ArrayLike | None, number: int = 0
) -> Iterator[CropRequest]:
    """A request for each of `boxes`, whose `angles`, where known, are final."""
    rows = require_boxes_near(boxes, image.shape[1], image.shape[0])
    for box, roll in zip(rows, require_angles(angles, rows), strict=True):
        known = not math.isnan(roll)
        yield CropRequest(number, image, box, float(roll) if known else 0.0, guessed=not known)


def requests_of(image: Picture, proposals: Proposals, number: int = 0) -> Iterator[CropRequest]:
    """A request for each of `proposals`, whose angles are where to look first."""
    for request in requests_for(image, proposals.boxes, proposals.angles, number):
        yield replace(request, guessed=True)


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
