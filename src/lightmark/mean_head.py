"""Mean 3D head: brows, nose and eyes, the rigid landmarks for head pose."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from lightmark.geometry import Array
from lightmark.schema import IBUG68

Solid = tuple[float, float, float]

# Mouth and jaw are excluded: they move with the expression, and jaw points are labelled along the visible outline, so
# on a turned head they are not the same places.
RIGID = tuple(range(17, 48))

# Axes as in a picture: x to its right, y down, z towards the viewer; the unit is the distance of the outer eye corners,
# the origin their middle. The half left in the picture and the middle line; the rest is mirrored. Fitted by
# benchmarks/fit_head_shape.py to 300W-LP's rotated AFW faces and 300W's training faces; looks straight ahead as the
# median of 300W's frontal training faces does.
HALF: Mapping[int, Solid] = {
    17: (-0.6633, -0.1569, -0.0797), 18: (-0.5624, -0.2394, 0.0494), 19: (-0.4242, -0.2660, 0.1414),
    20: (-0.2833, -0.2504, 0.2020), 21: (-0.1501, -0.2066, 0.2352), 27: (0.0000, -0.0149, 0.2643),
    28: (0.0000, 0.1233, 0.3604), 29: (0.0000, 0.2578, 0.4615), 30: (0.0000, 0.3896, 0.4993),
    31: (-0.1615, 0.4876, 0.2562), 32: (-0.0852, 0.5105, 0.3034), 33: (0.0000, 0.5327, 0.3270),
    36: (-0.5000, 0.0000, 0.0000), 37: (-0.4144, -0.0481, 0.0795), 38: (-0.3071, -0.0471, 0.0862),
    39: (-0.2154, 0.0148, 0.0646), 40: (-0.3126, 0.0364, 0.0839), 41: (-0.4192, 0.0362, 0.0604),
}


def head_points() -> Array:
    """The points (31, 3) of `RIGID`."""
    points = dict(HALF)
    points |= {IBUG68.mirror[index]: (-x, y, z) for index, (x, y, z) in HALF.items()}
    return np.array([points[index] for index in RIGID])


def head_scale(points: Array, rotation: Array) -> float:
    """Size of a head in the unit of its `points` (31, 2) of `RIGID`: the distance of the outer eye corners, unturned.

    The scale by which the mean head, turned by `rotation` (3, 3), comes closest to the points (least squares).
    """
    projected = head_points() @ rotation[:2].T
    projected -= projected.mean(axis=0)
    return float(np.vdot(projected, points) / np.vdot(projected, projected))
