"""How much of the error on 300W is a convention of its labels, which a model trained on mirrored crops cannot learn.

    python benchmarks/label_convention.py --data 300w --model fast --model standard --out label-convention.json

300W's labels lie to the right of what a model trained on mirrored crops predicts, in all its folders. Per point, the
mean offset of the labels on the training faces, along the face's own axes and in its distance of the outer eye corners
(both from the predicted points), is added to the predictions of the test faces. No shipped model adds it: users gain
nothing by the convention of one set's labels.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lightmark.cli.training import training_samples
from lightmark.data.read import read_samples
from lightmark.data.sample import Sample
from lightmark.evaluate.predict import open_model, predict
from lightmark.files import replacing
from lightmark.geometry import Array
from lightmark.metrics import interocular, nme, paired_bootstrap
from lightmark.outputs import require_free
from lightmark.provenance import git_commit, versions
from lightmark.runtime.shipped import shipped_hashes
from lightmark.schema import IBUG68

SUBSETS = ("common", "challenging", "full")
INNER = slice(17, 68)
EYES = (36, 45)  # outer corners, of IBUG68


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", action="append", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--force", action="store_true", help="write over what is there")
    options = parser.parse_args()
    require_free([options.out], force=options.force)
    known = training_samples([options.data])
    test = [sample for sample in read_samples(options.data) if "full" in sample.subsets]
    result: dict[str, Any] = {
        "command": ["python", *sys.argv],
        "commit": git_commit(),
        "versions": versions(),
        "models": shipped_hashes(*options.model),
        "training_faces": len(known),
        "what": "NME in %, inter-ocular, without and with the mean offset of the training labels; paired 95 % interval",
    }
    for name in options.model:
        model = open_model(name)
        offsets = label_offsets_of(predict(model, known), points_of(known))
        points = predict(model, test)
        result[name] = {
            "mean_offset": (100 * offsets.mean(axis=0)).round(3).tolist(),
            **{subset: compared(points, moved(points, offsets), test, subset) for subset in SUBSETS},
        }
        print(name, json.dumps(result[name], indent=1))
    with replacing(options.out) as path:
        path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def points_of(samples: Sequence[Sample]) -> Array:
    """Labels (F, 68, 2)."""
    return np.stack([sample.points for sample in samples])


def axes_of(points: Array) -> Array:
    """Axes (F, 2, 2) of the faces with the `points` (F, 68, 2): to the right and down, of the eyes' distance each."""
    right = points[:, EYES[1]] - points[:, EYES[0]]
    return np.stack([right, np.stack([-right[:, 1], right[:, 0]], axis=1)], axis=1)


def label_offsets_of(points: Array, labels: Array) -> Array:
    """Mean (68, 2) of labels − `points` (F, 68, 2) along the faces' axes, in their eyes' distance."""
    axes = axes_of(points)
    square = (axes[:, 0] ** 2).sum(axis=1)[:, None, None]
    return np.asarray(np.mean(np.einsum("fnd,fad->fna", labels - points, axes) / square, axis=0))


def moved(points: Array, offsets: Array) -> Array:
    """`points` (F, 68, 2) with the `offsets` (68, 2) of `label_offsets_of` added."""
    return np.asarray(points + np.einsum("na,fad->fnd", offsets, axes_of(points)))


def compared(before: Array, after: Array, samples: Sequence[Sample], subset: str) -> dict[str, Any]:
    """NME of both, of all and of the inner 51 points, and the paired interval of the difference, in %."""
    inside = [index for index, sample in enumerate(samples) if subset in sample.subsets]
    labels = points_of(samples)[inside]
    normaliser = interocular(labels, IBUG68)
    rows = {}
    for name, part in (("all", slice(None)), ("inner", INNER)):
        errors = [100 * nme(points[inside][:, part], labels[:, part], normaliser) for points in (before, after)]
        difference = paired_bootstrap(errors[0], errors[1])
        rows[name] = {
            "without": round(float(errors[0].mean()), 3),
            "with": round(float(errors[1].mean()), 3),
            "difference": [round(value, 3) for value in (difference.value, difference.low, difference.high)],
        }
    return {"faces": len(inside), **rows}


if __name__ == "__main__":
    main()
