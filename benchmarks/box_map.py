"""Accuracy of face boxes computed from custom points, by the template and by the box map, against the detector's.

    python benchmarks/box_map.py --data FOLDER --out benchmarks/results/box-map.json

FOLDER holds 300w and scut86. The truth is the tight box of the 68 points that `fast` sees, around which students of own
points are trained. Five points (eye centres, nose tip, mouth corners) of 300W's labels: fitted on LFPW's training
faces, measured on HELEN's and AFW's. scut86: fitted on its training faces, measured on its test faces. Nothing is
chosen by the faces measured.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from lightmark.data.read import read_samples
from lightmark.data.sample import Sample
from lightmark.evaluate.face_boxes import find_face_boxes, fit_template
from lightmark.files import replacing, sha256_of
from lightmark.geometry import Array, box_centre, longer_side
from lightmark.outputs import require_free
from lightmark.provenance import git_commit, versions
from lightmark.runtime.shipped import model_path
from lightmark.schema import Schema
from lightmark.spec import box_around

FIVE = Schema("five", mirror=(1, 0, 2, 4, 3), normaliser=(0, 1))
SETS = {
    "five": (("300w/lfpw/trainset",), ("300w/helen/trainset", "300w/afw")),
    "scut86": (("scut86/train",), ("scut86/test",)),
}
PERCENTILES = (50, 90, 99)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--force", action="store_true", help="write over what is there")
    options = parser.parse_args()
    require_free([options.out], force=options.force)
    result = {
        "command": ["python", *sys.argv],
        "commit": git_commit(),
        "versions": versions(),
        "fast": sha256_of(model_path("fast")),
        "how": "distance of centres, and logarithm of the sides' ratio, in % of the true box's longer side: "
        f"percentiles {PERCENTILES}",
        "points": {name: measure(options.data, name, *folders) for name, folders in SETS.items()},
    }
    with replacing(options.out) as path:
        path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result["points"], indent=1))


def measure(data: Path, name: str, training: Sequence[str], judged: Sequence[str]) -> dict[str, Any]:
    """Errors of the boxes of one kind of points."""
    known = seen_faces(data, name, training)
    fitted = fit_template([face for face, _ in known], [box for _, box in known])
    assert fitted is not None  # all boxes are known
    template, weights = fitted
    faces = seen_faces(data, name, judged)
    maps = {"template": None, "box_map": None if weights is None else np.asarray(weights)}
    return {
        "fitted_on": {"folders": training, "faces": len(known)},
        "measured_on": {"folders": judged, "faces": len(faces)},
        "errors": {law: errors(np.asarray(template), box_map, faces) for law, box_map in maps.items()},
    }


def seen_faces(data: Path, name: str, folders: Sequence[str]) -> list[tuple[Sample, Array]]:
    """Faces with their own points that `fast` sees, and its boxes."""
    faces = [sample for folder in folders for sample in read_samples(data / folder)]
    if name == "five":
        faces = [replace(face, points=five_of(face.points), schema=FIVE) for face in faces]
    return [(face, box) for face, box in zip(faces, find_face_boxes(faces), strict=True) if box is not None]


def five_of(points: Array) -> Array:
    """Eye centres, nose tip and mouth corners (5, 2) of 68 points."""
    return np.stack([points[36:42].mean(axis=0), points[42:48].mean(axis=0), points[30], points[48], points[54]])


def errors(template: Array, box_map: Array | None, faces: Sequence[tuple[Sample, Array]]) -> dict[str, list[float]]:
    """Percentiles of the errors in place and in size."""
    made = [box_around(template, face.points, box_map=box_map) for face, _ in faces]
    true = [box for _, box in faces]
    place = [np.linalg.norm(box_centre(a) - box_centre(b)) / longer_side(b) for a, b in zip(made, true, strict=True)]
    size = [abs(np.log(longer_side(a) / longer_side(b))) for a, b in zip(made, true, strict=True)]
    return {
        name: [round(100 * float(value), 1) for value in np.percentile(values, PERCENTILES)]
        for name, values in {"place": place, "size": size}.items()
    }


if __name__ == "__main__":
    main()
