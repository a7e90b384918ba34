"""Measures of a face: openness of eyes and mouth, from landmarks and head pose.

Left and right are the person's own. The errors in the docstrings are those of benchmarks/results/measures.json.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

import numpy as np

from lightmark.errors import SchemaError
from lightmark.geometry import Array, Floats, rotation_matrix
from lightmark.mean_head import RIGID, head_scale
from lightmark.schema import IBUG68, WFLW98, Schema, require_points
from lightmark.schemes import ibug68_from_wflw98

if TYPE_CHECKING:
    from lightmark.pose import Pose

Value = TypeVar("Value")

# Upper and lower points of the 68: the lids of the person's left and right eye, the inner lips.
LEFT_LIDS, RIGHT_LIDS, LIPS = ([43, 44], [46, 47]), ([37, 38], [40, 41]), ([61, 62, 63], [65, 66, 67])
# Move of the lower part away from the viewer as it goes down by 1: open lids follow the eyeball (the mean head's), the
# jaw swings back (fitted to 300W-LP's AFW faces, 0.260, and to 300W's training faces, 0.255).
LIDS_SLOPE, JAW_SLOPE = 0.13, 0.26
# Openings that count as wide, in distances of the outer eye corners: 99th percentiles of 300W's training labels, for
# the mouth among those that are open by 0.1.
WIDE_EYE, WIDE_MOUTH = 0.14, 0.45
# Chosen on 300W's training faces: by the points of `fast`, 87 % of the eyes labelled closed and 3 % of the open ones
# are below. Predicted lids of a closed eye do not quite meet.
CLOSED_EYE = 0.4
LEAST_VIEW = 0.1  # least squared foreshortening that openings are corrected for: a head raised by some 70°


class Sides(NamedTuple, Generic[Value]):
    """A value for each eye; left and right are the person's own."""

    left: Value
    right: Value


def eye_openness(points: Floats, schema: Schema, pose: Pose) -> Sides[float]:
    """Openness of both eyes, from 0 (closed) to 1 (wide open), corrected for head pose; a relaxed eye has about 0.65.

    The distance between the lids along the head's own vertical axis, over `WIDE_EYE` of the head's size: the component
    of the mean lid gap (points 37, 38 to 40, 41 of the 68) along that axis as projected at this pose, clipped to
    [0, 1]. The plain eye aspect ratio (Soukupová and Čech 2016) divides by the eye's width in the picture instead,
    which yaw shortens. By the points of `fast` on 300W's test faces: 0.09 off the labels', r = 0.78 (two labellings of
    the same faces: 0.70); from exact points up to 0.05 off within 30° of yaw and pitch. `points` (N, 2) are IBUG68 or
    WFLW98; raises `SchemaError` for others.
    """
    points = _points68(points, schema, "eye_openness")
    left, right = (_opening(points, pose, *lids, LIDS_SLOPE, WIDE_EYE) for lids in (LEFT_LIDS, RIGHT_LIDS))
    return Sides(left, right)


def eyes_closed(openness: Sides[float]) -> Sides[bool]:
    """Whether each eye is closed: its openness is below `CLOSED_EYE`.

    A threshold for strangers; in a film, a person's own open eyes are the better measure. By the points of `fast` on
    300W's test faces it finds 66 % of the closed eyes and 1 % of the open ones, by those of `standard` 69 and 1 %.
    """
    return Sides(openness.left < CLOSED_EYE, openness.right < CLOSED_EYE)


def mouth_openness(points: Floats, schema: Schema, pose: Pose) -> float:
    """Openness of the mouth, from 0 (lips closed) to 1 (wide open, as in a yawn), corrected for head pose.

    The mean distance of the inner lips (points 61–63 to 65–67 of the 68) along the head's own vertical axis, over
    `WIDE_MOUTH` of the head's size, clipped to [0, 1]. By the points of `fast` on 300W's test faces: 0.04 off the
    labels', r = 0.96; from exact points up to 0.05 off within 30° of yaw and pitch. `points` (N, 2) are IBUG68 or
    WFLW98; raises `SchemaError` for others.
    """
    return _opening(_points68(points, schema, "mouth_openness"), pose, *LIPS, JAW_SLOPE, WIDE_MOUTH)


def _points68(points: Floats, schema: Schema, where: str) -> Array:
    require_points(points, schema, where)
    if schema.size == WFLW98.size:
        return ibug68_from_wflw98(points)
    if schema.size != IBUG68.size:
        raise SchemaError(f"{where}: got points of {schema.name}; needs {IBUG68.name} or {WFLW98.name}")
    return np.asarray(points, dtype=np.float64)


def _opening(points: Array, pose: Pose, upper: list[int], lower: list[int], slope: float, wide: float) -> float:
    """Distance from `upper` to `lower` points along the head's vertical axis, as a share of `wide`, in [0, 1]."""
    rotation = rotation_matrix(pose.yaw, pose.pitch, pose.roll)
    down = rotation[:2, 1] - slope * rotation[:2, 2]  # the axis z points to the viewer
    gap = points[lower].mean(axis=0) - points[upper].mean(axis=0)
    opening = gap @ down / max(down @ down, LEAST_VIEW) / head_scale(points[list(RIGID)], rotation)
    return float(np.clip(opening / wide, 0.0, 1.0))
