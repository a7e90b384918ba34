"""Detection of sideways and upside-down faces in copies of the picture rotated by 90°, 180° and 270°."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from lightmark.detectors.open import Proposals
from lightmark.geometry import Array, box_centre, wrap_degrees
from lightmark.image import Picture

TURNS = (1, 3, 2)  # counter-clockwise: heads lie on their side more often than upside down


def find_turned(detect: Callable[[Picture], Proposals], image: Picture) -> Proposals:
    """Detections of the rotated copy of `image` that has the most, in coordinates of `image`; else its proposals.

    The mask is of the detections. The angles are the copy's rotation, from which the faces' own roll differs by up to
    45° and more.
    """
    by_turn = {quarters: detect(np.ascontiguousarray(np.rot90(image, quarters))) for quarters in TURNS}
    # The most, not the first with any: an upside-down face may be detected in more than one copy.
    quarters = max(by_turn, key=lambda turn: (int(by_turn[turn].certain.sum()), len(by_turn[turn].boxes)))
    boxes, certain, _ = by_turn[quarters]
    if certain.any():
        boxes, certain = boxes[certain], certain[certain]
    placed = np.array([turned_back(box, image.shape, quarters) for box in boxes]).reshape(-1, 4)
    return Proposals(placed, certain, np.full(len(boxes), wrap_degrees(-90.0 * quarters)))


def turned_back(box: Array, shape: tuple[int, ...], quarters: int) -> Array:
    """Box (4,) of a picture (H, W) rotated by `np.rot90(picture, quarters)`, placed at its centre in the original.

    Its sides keep their lengths: they lie along the axes of the face, not of the picture.
    """
    x, y = box_centre(box)
    height, width = shape[:2]
    centre = {1: (width - 1 - y, x), 2: (width - 1 - x, height - 1 - y), 3: (y, height - 1 - x)}[quarters]
    half = (box[2:] - box[:2]) / 2
    return np.concatenate([centre - half, centre + half])
