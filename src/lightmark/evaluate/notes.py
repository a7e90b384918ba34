"""Notes of a report: how the crops were cut, what was measured how, and which labels are missing."""

from __future__ import annotations

from collections.abc import Sequence

from lightmark.data.missing import with_normaliser
from lightmark.data.sample import Sample
from lightmark.geometry import labelled
from lightmark.spec import ModelSpec

LABEL_BOX_NOTE = "Each crop was cut around the tight box of the labels; a detector's boxes are worse."
DETECTED_BOX_NOTE = (
    "Each crop was cut around the face that the shipped detector and student found; where they found none, around the "
    "box that the labels give by the model's template."
)
ROBUSTNESS_NOTE = (
    "Faces are only reduced, never enlarged: one that is smaller than a level is left out of it, so compare a level "
    "with the same faces untouched. JPEG and noise act on faces reduced to 128 px."
)
CONFIDENCE_NOTE = (
    "The likelihood gain is over one constant a point, its mean error on these same faces, which no model could know "
    "beforehand: that favours the constant. Negative crops are cut from the same pictures, four each: squares of 0.25 "
    "to 3 times the face's own crop, near it or anywhere, that overlap it by an IoU of at most 0.4."
)
MISSING_NOTE = "{} of {} points are not labelled, in {} faces: a face's error is the mean over its labelled points."
LEFT_OUT_NOTE = "{} faces are left out, since point {} or {}, whose distance divides errors, is not labelled: {}."
NAMED = 3  # most faces that a note names
CONVERTED_NOTE = (
    "The labels are WFLW's 98 points turned into 68. Jaw and brows are not defined quite alike in the two sets: "
    "read the inner points."
)


def box_note(spec: ModelSpec) -> str:
    """Note on the boxes that `with_face_boxes` gives to the faces of a model."""
    return LABEL_BOX_NOTE if spec.template is None else DETECTED_BOX_NOTE


def missing_notes(samples: Sequence[Sample]) -> tuple[str, ...]:
    """Notes on missing labels: how many, and the faces of `samples` that `with_normaliser` leaves out."""
    complete = with_normaliser(samples)
    names = {sample.name for sample in complete}
    left_out = [sample.name for sample in samples if sample.name not in names]
    notes = []
    if left_out:
        some = ", ".join(left_out[:NAMED]) + (" and others" if len(left_out) > NAMED else "")
        notes.append(LEFT_OUT_NOTE.format(len(left_out), *samples[0].schema.normaliser, some))
    missing = [int((~labelled(sample.points)).sum()) for sample in complete]
    if any(missing):
        points = len(complete) * complete[0].schema.size
        notes.append(MISSING_NOTE.format(sum(missing), points, sum(map(bool, missing))))
    return tuple(notes)
