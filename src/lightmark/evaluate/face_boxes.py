"""Face boxes of samples labelled with custom points, and the template that gives a box from such points.

Detectors return the tight box of a face's 68 points, around which every crop is cut. Labels of the 68 points and of
WFLW's 98 span that box themselves. For other points, the shipped detector and student find it in the pictures with
which a model is trained and evaluated.
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

MODEL = "fast"  # its boxes are as accurate as those of larger models
INSIDE = 0.8  # share of a face's labelled points that must be in its widened box
WIDENED = 0.25  # margin on each side relative to the box's size: ears, hairline and neck are outside the 68 points
ENOUGH = 0.5  # share of faces that must be detected; otherwise the pictures are not suitable for the detector
Fitted = tuple[Places, BoxMap | None]  # template and box map


def with_face_boxes(samples: Sequence[Sample], spec: ModelSpec | None = None) -> list[Sample]:
    """`samples` with the box for their crops: the tight box of the shipped student's 68 points on each face.

    Samples of the 68 and 98 points keep their tight box. A face that is not detected gets the box that its points give
    with the template of `spec`, or without one the template fitted on the other faces. If less than half of the faces
    are detected, or `spec` has custom points and no template, all get the tight box of their points. Raises `DataError`
    for an undetected face whose points do not determine its size, `SchemaError` for faces of different schemas.
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
            f"{sample.name}: one point does not determine the size of a face, and {MODEL} detects too few of these "
            "faces to estimate it; give pictures in which `lightmark detect` finds most of the faces"
        )
    return replace(sample, box=tight_box(sample.points))


def template_of(samples: Sequence[Sample]) -> Fitted | None:
    """Template and box map of samples with face boxes; None if all boxes are the tight boxes of the points."""
    if spans_face(samples[0].schema) or all(np.array_equal(face.box, tight_box(face.points)) for face in samples):
        return None
    return fit_template(samples, [sample.box for sample in samples])


def find_face_boxes(samples: Sequence[Sample]) -> list[Array | None]:
    """Tight box (4,) of the shipped student's 68 points on each face, None for a face that is not detected."""
    landmarker = Landmarker(MODEL, threads=1)
    detections: dict[object, list[Array]] = {}
    boxes = []
    for sample in samples:
        # Each picture is processed once, even with several faces.
        key = (sample.path, sample.member) if sample.image is None else id(sample.image)
        if key not in detections:
            detections[key] = [tight_box(face.points) for face in landmarker.detect(load_image(sample))]
        boxes.append(_own_box(sample, detections[key]))
    return boxes


def _own_box(sample: Sample, boxes: Sequence[Array]) -> Array | None:
    """Smallest of the `boxes` that contain the sample's points, None if none does."""
    points = sample.points[labelled(sample.points)]
    candidates = [box for box in boxes if len(points) and _share_inside(points, box) >= INSIDE]
    return min(candidates, key=lambda box: float((box[2:] - box[:2]).prod()), default=None)


def _share_inside(points: Array, box: Array) -> float:
    margin = WIDENED * (box[2:] - box[:2])
    return float(((points >= box[:2] - margin) & (points <= box[2:] + margin)).all(axis=1).mean())


def fit_template(samples: Sequence[Sample], boxes: Sequence[Array | None]) -> Fitted | None:
    """Template (N, 2), the mean positions of the points in the face's box, and the box map of `fit_box_map`.

    Positions are relative to the box's centre and longer side, averaged over the faces with a known box, then scaled
    and shifted so that the template's boxes are unbiased in the median. None if less than half of the boxes are known.
    Raises `DataError` for a point that is labelled in none of them.
    """
    known = [(sample.points, box) for sample, box in zip(samples, boxes, strict=True) if box is not None]
    if len(known) < max(1, ENOUGH * len(samples)):
        return None
    shapes = np.stack([(points - box_centre(box)) / longer_side(box) for points, box in known])
    template = _unbiased(mean_labelled(shapes, samples[0].schema.name, "faces"), known).round(5)
    return tuple((float(x), float(y)) for x, y in template), fit_box_map(template, known)


def _unbiased(template: Array, known: Sequence[tuple[Array, Array]]) -> Array:
    """Template whose boxes have the right size and then the right centre, in the median."""
    pairs = [(box_around(template, points, box), box) for points, box in known]
    template = template / np.median([longer_side(box) / longer_side(fitted) for fitted, box in pairs])
    pairs = [(box_around(template, points, box), box) for points, box in known]
    shifts = [(box_centre(box) - box_centre(fitted)) / longer_side(box) for fitted, box in pairs]
    return np.asarray(template - np.median(shifts, axis=0))


def _box_from_points(sample: Sample, template: Places, box_map: BoxMap | None) -> Array:
    try:
        return box_around(np.asarray(template), sample.points, box_map=None if box_map is None else np.asarray(box_map))
    except GeometryError as error:
        raise DataError(
            f"{sample.name}: {MODEL} detects no face here, and its labels do not determine its size ({error}); leave "
            "the picture out"
        ) from error
