"""Recall and roll error of face detectors over the circle, on faces and pictures that their training kept apart.

    python benchmarks/detector_roll.py --data 300w --face-free face-free/train --detector face \\
        --detector face:runs/roll.onnx --out roll.json

Each validation face is pasted as in benchmarks/detector_recall.py, turned in steps of 15°. It is found where a box
overlaps its upright box (`lightmark.geometry.upright_box`) by an IoU of at least 0.5; roll errors are those of found
faces. No test picture is looked at, so detectors may be chosen by it.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from detector_recall import FOUND_IOU, paste
from lightmark.cli.auxiliary_training import pictures_of
from lightmark.cli.training import training_samples
from lightmark.data.sample import Sample
from lightmark.detectors.face_detector import FaceDetector
from lightmark.detectors.keypoint_box import keypoints_of, roll_of_keypoints
from lightmark.files import replacing
from lightmark.geometry import overlaps, upright_box
from lightmark.outputs import require_free
from lightmark.provenance import git_commit, versions
from lightmark.source import to_picture
from lightmark.train.config import DetectorRecipe
from lightmark.train.detector.mosaic import Sources
from lightmark.train.detector.train import split_backgrounds
from lightmark.train.faces import split_by_share

STEP = 15  # degrees
NEAR = 35.0  # degrees of roll that a student copes with


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, action="append", required=True)
    parser.add_argument("--face-free", type=Path, required=True, help="those that the detectors were trained with")
    parser.add_argument("--detector", action="append", required=True, help="face, or face:PATH")
    parser.add_argument("--every", type=int, default=1, help="take each so many faces")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--force", action="store_true", help="write over what is there")
    options = parser.parse_args()
    require_free([options.out], force=options.force)
    recipe = DetectorRecipe()
    _, unseen = split_backgrounds(pictures_of([options.face_free]), recipe.validation)
    faces = split_by_share(training_samples(options.data), recipe.validation, recipe.seed).validation
    samples, backgrounds = faces[:: options.every], Sources([], unseen)
    rows = {}
    for name in options.detector:
        detector = FaceDetector(name.partition(":")[2] or name)
        rows[name] = {
            "threshold": detector.threshold,
            "false_boxes": sum(len(detector(to_picture(path))) for path in unseen),
            "by_roll": {angle: of_angle(detector, samples, backgrounds, angle) for angle in range(0, 360, STEP)},
        }
        print(name, json.dumps(rows[name]), flush=True)
    result = {
        "command": ["python", *sys.argv],
        "commit": git_commit(),
        "versions": versions(),
        "faces": len(samples),
        "face_free": len(unseen),
        "detectors": rows,
    }
    with replacing(options.out) as path:
        path.write_text(json.dumps(result, indent=1), encoding="utf-8")


def of_angle(
    detector: FaceDetector, samples: Sequence[Sample], backgrounds: Sources, angle: float
) -> dict[str, Any]:
    """Recall over `samples` turned by `angle` degrees, median and share within `NEAR` of the roll errors."""
    hits, ious, errors = 0, [], []
    for number, sample in enumerate(samples):
        image, points = paste(sample, backgrounds, np.random.default_rng(number), angle)
        roll = float(roll_of_keypoints(keypoints_of(points)))
        found = detector.detections(image)
        shared = overlaps(found.boxes, upright_box(points, roll)[None])[:, 0]
        if not len(shared) or shared.max() < FOUND_IOU:
            continue
        hits += 1
        ious.append(float(shared.max()))
        errors.append(abs((float(found.rolls[shared.argmax()]) - roll + 180) % 360 - 180))
    row: dict[str, Any] = {"recall": hits / len(samples), "median_iou": float(np.median(ious)) if ious else None}
    if errors:
        row |= {"median_error": float(np.median(errors)), "near": float(np.mean(np.array(errors) <= NEAR))}
    return row


if __name__ == "__main__":
    main()
