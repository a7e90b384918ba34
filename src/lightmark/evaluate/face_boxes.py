"""Face boxes of samples that are labelled with points of one's own, and the template that gives a box from points.

Detectors give the tight box of a face's 68 points, and every crop is cut around that. The 68 and WFLW's 98 labels span
it themselves. For other points the shipped detector and student find it, on the very pictures that a model is trained
and judged on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from lightmark.data.sample import Sample, load_image
from lightmark.errors import DataError, GeometryError
from lightmark.evaluate.box_map import BoxMap, fit_box_map
from lightmark.evaluate.report.rows import one_schema
from lightmark.geometry import Array, box_centre, labelled, longer_side, tight_box
from lightmark.landmarker import Landmarker
from lightmark.shape import mean_labelled
from lightmark.spec import ModelSpec, Places, box_around, spans_face

MODEL = "fast"  # gives 68 points in 6 ms a face, as good as any here
INSIDE = 0.8  # share of a face's labelled points that its box, widened, must hold
WIDENED = 0.25  # of the box's size on each side: ears, hair line and neck lie beside the 68 points
ENOUGH = 0.5  # share of faces that must be seen; a set of fewer is not what the detector knows
Fitted = tuple[Places, BoxMap | None]  # template and box map


def with_face_boxes(samples: Sequence[Sample], spec: ModelSpec | None = None) -> list[Sample]:
    """`samples` with the box that crops are cut around: that of the shipped student's 68 points on each face.

    The 68 and 98 points keep their tight box. Faces that the student does not see have the box that follows from their
    points by the template of `spec`, or where there is none by the one that the other faces give; where it sees less
    than half, and where `spec` has points of its own and no template, all have the tight box of their points. Raises
    `DataError` for a face that is not seen and whose points do not say how large it is, `SchemaError` for faces of
    different points.
    """
    if not samples or spans_face(samples[0].schema):
        return list(samples)
    one_schema(samples)
    if spec is not None and spec.template is None:
        return [_with_tight_box(sample) for sample in samples]
    boxes = find_face_boxes(samples)
    fitted = fit_template(samples, boxes) if spec is None or spec.template is None else (spec.template, spec.box_map)
    if fitted is None:
        return [_with_tight_box(sample) for sample in samples]
    return [
        replace(sample, box=_box_from_points(sample, *fitted) if box is None else box)
        for sample, box in zip(samples, boxes, strict=True)
    ]


def _with_tight_box(sample: Sample) -> Sample:
    if sample.schema.size == 1:
        raise DataError(
            f"{sample.name}: one point does not say how large a face is, and {MODEL} sees too few of these faces to "
            "tell; give pictures in which `lightmark detect` finds most of the faces"
        )
    return replace(sample, box=tight_box(sample.points))


def template_of(samples: Sequence[Sample]) -> Fitted | None:
    """Template and box map of samples that have their face boxes; None where boxes are those of the points."""
    if spans_face(samples[0].schema) or all(np.array_equal(face.box, tight_box(face.points)) for face in samples):
        return None
    return fit_template(samples, [sample.box for sample in samples])


def find_face_boxes(samples: Sequence[Sample]) -> list[Array | None]:
    """Tight box (4,) of the 68 points that the shipped student sees on each face, None where it sees none there."""
    landmarker = Landmarker(MODEL, threads=1)
    seen: dict[object, list[Array]] = {}
    boxes = []
    for sample in samples:
        # Several faces of one picture are asked for once.
        key = (sample.path, sample.member) if sample.image is None else id(sample.image)
        if key not in seen:
            seen[key] = [tight_box(face.points) for face in landmarker.detect(load_image(sample))]
        boxes.append(_own_box(sample, seen[key]))
    return boxes


def _own_box(sample: Sample, boxes: Sequence[Array]) -> Array | None:
    """The one of `boxes` that holds the sample's points, the tightest of several."""
    points = sample.points[labelled(sample.points)]
    holding = [box for box in boxes if len(points) and _share_inside(points, box) >= INSIDE]
    return min(holding, key=lambda box: float((box[2:] - box[:2]).prod()), default=None)


def _share_inside(points: Array, box: Array) -> float:
    margin = WIDENED * (box[2:] - box[:2])
    return float(((points >= box[:2] - margin) & (points <= box[2:] + margin)).all(axis=1).mean())


def fit_template(samples: Sequence[Sample], boxes: Sequence[Array | None]) -> Fitted | None:
    """Places (N, 2) of the points in the face's box, in shares of its longer side from its centre, and the box map.

    Means over the faces whose box is known, scaled and moved so that the boxes which they give are right in the median;
    the map is `fit_box_map`'s. None where less than half of the boxes are known. Raises `DataError` for a point that is
    labelled in none of them.
    """
    known = [(sample.points, box) for sample, box in zip(samples, boxes, strict=True) if box is not None]
    if len(known) < max(1, ENOUGH * len(samples)):
        return None
    shapes = np.stack([(points - box_centre(box)) / longer_side(box) for points, box in known])
    template = _unbiased(mean_labelled(shapes, samples[0].schema.name, "faces"), known).round(5)
    return tuple((float(x), float(y)) for x, y in template), fit_box_map(template, known)


def _unbiased(template: Array, known: Sequence[tuple[Array, Array]]) -> Array:
    """The template whose boxes have the right size, and then the right place, in the median."""
    made = [(box_around(template, points, box), box) for points, box in known]
    template = template / np.median([longer_side(box) / longer_side(given) for given, box in made])
    made = [(box_around(template, points, box), box) for points, box in known]
    shifts = [(box_centre(box) - box_centre(given)) / longer_side(box) for given, box in made]
    return np.asarray(template - np.median(shifts, axis=0))


def _box_from_points(sample: Sample, template: Places, box_map: BoxMap | None) -> Array:
    try:
        return box_around(np.asarray(template), sample.points, box_map=None if box_map is None else np.asarray(box_map))
    except GeometryError as error:
        raise DataError(
            f"{sample.name}: {MODEL} sees no face here, and its labels do not say how large it is ({error}); leave the "
            "picture out"
        ) from error
