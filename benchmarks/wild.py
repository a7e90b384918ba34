"""Measure landmarks and detection on faces unlike the training pictures, one part a run: roll over the full circle.

    python benchmarks/wild.py --part roll --data 300w --model standard --model fast

- roll: each face turned in the picture plane about its own centre, in steps of 15°, with a grey border where its
  picture ends; the landmarks in the labels' box (upright, tight around the turned points) and from `detect`. A face
  counts as found where the NME, inter-ocular, is below 20 %; among several finds the nearest by IoU counts. `crops` is
  how many crops a face took, `ms` the time of the call.

`--split validation` (the default) takes the photographs of 300W's training set that the shipped students did not learn
from, for choosing thresholds; `--split test --every 8` the test faces of common, to be looked at once. Writes
benchmarks/results/wild-roll.json.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from lightmark.data.read import read_samples
from lightmark.data.sample import Sample, load_image
from lightmark.data.split import split_by_photo
from lightmark.face import Face
from lightmark.files import replacing
from lightmark.geometry import Array, box_centre, overlaps, similarity_matrix, tight_box, transform
from lightmark.image import Picture
from lightmark.landmarker import Landmarker
from lightmark.metrics import interocular, nme
from lightmark.outputs import require_free
from lightmark.provenance import git_commit, versions
from lightmark.runtime.shipped import shipped_hashes
from lightmark.schema import IBUG68

STEP = 15  # degrees
FOUND_NME = 0.2
BORDER = (128, 128, 128)
VALIDATION, SEED = 0.06, 0  # of the shipped students' recipes
PARTS = ("roll",)
RESULTS = Path(__file__).parent / "results"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=PARTS, required=True)
    parser.add_argument("--data", type=Path, required=True, help="300W")
    parser.add_argument("--model", action="append", required=True)
    parser.add_argument("--detector", default="auto")
    parser.add_argument("--split", choices=("validation", "test"), default="validation")
    parser.add_argument("--every", type=int, default=1, help="take every so many faces")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--force", action="store_true", help="write over what is there")
    options = parser.parse_args()
    out = options.out or RESULTS / f"wild-{options.part}.json"
    require_free([out], force=options.force)
    faces = split_faces(read_samples(options.data), options.split)[:: options.every]
    result: dict[str, Any] = {
        "command": "python " + " ".join(sys.argv),
        "commit": git_commit(),
        "versions": versions(),
        "models": shipped_hashes(*options.model, "face"),
        "detector": options.detector,
        "faces": len(faces),
        "split": options.split,
        "roll": {name: measure(Landmarker(name, options.detector, threads=1), faces) for name in options.model},
    }
    with replacing(out) as partial:
        partial.write_text(json.dumps(result, indent=1) + "\n")
    for name, ways in result["roll"].items():
        print(table(name, ways))


def split_faces(samples: Sequence[Sample], split: str) -> list[Sample]:
    """Test faces of common, or the validation faces of the shipped students' training."""
    if split == "test":
        return [sample for sample in samples if "common" in sample.subsets]
    return split_by_photo([sample for sample in samples if "train" in sample.subsets], VALIDATION, SEED)[1]


def measure(landmarker: Landmarker, faces: Sequence[Sample]) -> dict[str, list[dict[str, float]]]:
    """Rows by roll, of faces in the labels' boxes and of detected ones."""
    ways: dict[str, Callable[[Picture, Array], list[Face]]] = {
        "boxes": lambda picture, box: landmarker.landmarks(picture, [box]),
        "detect": lambda picture, box: landmarker.detect(picture),
    }
    crops = counted_crops(landmarker)
    rows: dict[str, list[dict[str, float]]] = {name: [] for name in ways}
    for roll in range(0, 360, STEP):
        turned = [turned_face(sample, roll) for sample in faces]
        for name, find in ways.items():
            crops.clear()
            started = time.perf_counter()
            errors = np.array([error(find(picture, tight_box(points)), points) for picture, points in turned])
            spent = time.perf_counter() - started
            found = errors < FOUND_NME
            rows[name].append({
                "roll": roll,
                "found": round(float(found.mean()), 4),
                "nme_of_found": round(float(errors[found].mean()), 5) if found.any() else math.nan,
                "crops": round(sum(crops) / len(turned), 3),
                "ms": round(1000 * spent / len(turned), 2),
            })
    return rows


def turned_face(sample: Sample, roll: float) -> tuple[Picture, Array]:
    """The sample's picture turned by `roll` degrees about its face, grey beyond its border, and the points (N, 2)."""
    picture = load_image(sample)
    side = math.ceil(math.hypot(*picture.shape[:2])) + 2  # holds the picture at any roll, but for the face's offset
    matrix = similarity_matrix(box_centre(tight_box(sample.points)), np.full(2, (side - 1) / 2), 1.0, roll)
    turned = cv2.warpAffine(
        picture, matrix, (side, side), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=BORDER
    )
    return np.asarray(turned, dtype=np.uint8), transform(matrix, sample.points)


def error(faces: Sequence[Face], truth: Array) -> float:
    """NME of the one of `faces` whose points' box overlaps that of `truth` (68, 2) most; infinite without any."""
    if not faces:
        return math.inf
    boxes = np.stack([tight_box(face.points) for face in faces])
    nearest = faces[int(overlaps(boxes, tight_box(truth)[None])[:, 0].argmax())]
    return float(nme(nearest.points[None], truth[None], interocular(truth[None], IBUG68))[0])


def counted_crops(landmarker: Landmarker) -> list[int]:
    """List to which every call of the landmark model appends its number of crops."""
    counts: list[int] = []
    outputs = landmarker._model.outputs

    def counting(crops: Picture) -> Any:
        counts.append(len(crops))
        return outputs(crops)

    landmarker._model.outputs = counting  # type: ignore[method-assign]  # no option of the class, only of this script
    return counts


def table(name: str, ways: dict[str, list[dict[str, float]]]) -> str:
    """Rows as text."""
    lines = [f"{name:>10}  " + "".join(f"{way + ': found, NME, crops, ms':>34}" for way in ways)]
    for rows in zip(*ways.values(), strict=True):
        cells = [
            f"{100 * row['found']:8.1f} %{100 * row['nme_of_found']:8.2f} %{row['crops']:7.2f}{row['ms']:7.1f}"
            for row in rows
        ]
        lines.append(f"{rows[0]['roll']:9.0f}°  " + "".join(f"{cell:>34}" for cell in cells))
    return "\n".join(lines)


if __name__ == "__main__":
    main()
