"""Loss of accuracy by export or quantization, against the original on the same faces."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from lightmark.data.missing import with_normaliser
from lightmark.data.read import read_samples
from lightmark.data.sample import Sample, normalisers_of
from lightmark.evaluate.compare import PairedSummary, summarise_pair
from lightmark.evaluate.predict import open_model, predict, to_schema
from lightmark.evaluate.report.text import Table, align_columns
from lightmark.evaluate.run import choose_faces
from lightmark.metrics import Array, nme
from lightmark.runtime.exported_model import CropModel
from lightmark.schema import Schema


def measure_degradation(
    original: str | Path,
    others: Sequence[str | Path],
    data: str | Path,
    subset: str | None = None,
    schema: Schema | None = None,
    seed: int = 0,
) -> dict[str, PairedSummary]:
    """Compare the NME of each of `others` with that of `original`, by name: a is the original's, b the other's.

    The faces are those of `subset` at `data` (None: the test faces, if the data have any), in crops around their
    labels. Raises the errors of the readers and the models.
    """
    faces, _ = choose_faces(read_samples(data, schema=schema), subset, data)
    reference = open_model(original)
    faces = with_normaliser(to_schema(faces, reference.spec.schema))
    before = face_errors(reference, faces)
    return {str(other): summarise_pair(before, face_errors(open_model(other), faces), seed) for other in others}


def face_errors(model: CropModel, faces: Sequence[Sample]) -> Array:
    """NME (F,) of `model` on `faces` labelled in its schema."""
    target = np.stack([face.points for face in faces])
    return nme(predict(model, faces), target, normalisers_of(faces))


def render_degradation(summaries: Mapping[str, PairedSummary]) -> str:
    """Table of the loss of each model, for a terminal."""
    columns = ("file", "faces", "NME before %", "after %", "difference, points of %", "relative")
    rows = []
    for name, summary in summaries.items():
        change = summary.difference
        interval = f"{100 * change.value:+.3f} [{100 * change.low:+.3f}, {100 * change.high:+.3f}]"
        figures = (str(summary.faces), f"{100 * summary.a:.3f}", f"{100 * summary.b:.3f}", interval)
        rows.append((name, *figures, f"{100 * change.value / summary.a:+.2f} %"))
    return f"{align_columns(Table('', columns, tuple(rows)))}\nin brackets, the paired bootstrap's 95 % interval"
