"""Faces that lie on their side or upside down: the detector looks at the picture turned by quarters of a circle."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from lightmark.detectors.open import Proposals
from lightmark.geometry import Array, box_centre, wrap_degrees
from lightmark.image import Picture

TURNS = (1, 3, 2)  # counter-clockwise: heads lie on their side more often than upside down


def find_turned(look: Callable[[Picture], Proposals], image: Picture) -> Proposals:
    """What `look` sees in the turned picture with the most detections, in coordinates of `image`; nothing without one.

    All are proposals: more looks at a picture see more that is no face, so the landmark model has to confirm them. The
    angles are that of the turn, from which the faces' own differ by up to 45° and more.
    """
    looks = {quarters: look(np.ascontiguousarray(np.rot90(image, quarters))) for quarters in TURNS}
    quarters = max(looks, key=lambda turn: int(looks[turn].certain.sum()))  # upside down, a face may be one, too
    seen = looks[quarters]
    boxes = np.array([turned_back(box, image.shape, quarters) for box in seen.boxes[seen.certain]]).reshape(-1, 4)
    return Proposals(boxes, np.zeros(len(boxes), bool), np.full(len(boxes), wrap_degrees(-90.0 * quarters)))


def turned_back(box: Array, shape: tuple[int, ...], quarters: int) -> Array:
    """A box (4,) of a picture (H, W) turned by `np.rot90(picture, quarters)`, about its centre in the picture itself.

    Its sides keep their lengths: they lie along the axes of the face, not of the picture.
    """
    x, y = box_centre(box)
    height, width = shape[:2]
    centre = {1: (width - 1 - y, x), 2: (width - 1 - x, height - 1 - y), 3: (y, height - 1 - x)}[quarters]
    half = (box[2:] - box[:2]) / 2
    return np.concatenate([centre - half, centre + half])
