"""Add a trained face detector to the package: choose its threshold, export it, register its sha256.

    python benchmarks/ship_detector.py runs/face-detector/model.safetensors --name face --face-free runs/face-free-train

The thresholds are in steps of 0.01, by those of the --face-free pictures (the ones that it was trained with) that were
kept from its training; no test picture is looked at. A find counts 0.05 above the lowest score at which none is
made up, since a hundred pictures can hardly tell one false find in a hundred from none. It is possibly a face, for a
landmark model to judge, from the lowest score at which such looks are at most one a picture.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from lightmark.cli.auxiliary_training import pictures_of
from lightmark.detectors.face_detector import FaceDetector
from lightmark.export.detector import export_detector, load_face_detector
from lightmark.files import replacing, sha256_of
from lightmark.geometry import Array
from lightmark.outputs import require_free
from lightmark.runtime.shipped import DETECTORS, FOLDER
from lightmark.source import to_picture
from lightmark.train.detector.train import split_backgrounds

LICENCE = "research use only, as its training pictures (300W, 300W-LP, YouTube Faces, portraits)."
SUMMARY = "Faces at any roll, from 1/19 of the picture's longer side; tight 68-point boxes and five keypoints."


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--name", required=True)
    parser.add_argument("--face-free", type=Path, required=True)
    parser.add_argument("--force", action="store_true", help="write over what is there")
    options = parser.parse_args()
    require_free([FOLDER / f"{options.name}.onnx"], [options.checkpoint], options.force)
    _, trained = load_face_detector(options.checkpoint)
    recipe = trained["recipe"]
    assert isinstance(recipe, dict)
    _, unseen = split_backgrounds(pictures_of([options.face_free]), recipe["validation"])
    file = FOLDER / f"{options.name}.onnx"
    export_detector(options.checkpoint, file, 0.5)
    detector = FaceDetector(file)
    scores = np.concatenate([detector.detections(to_picture(path), threshold=0.05).scores for path in unseen])
    threshold, possible = lowest(scores, 0) + 0.05, lowest(scores, len(unseen))
    print(f"{len(unseen)} pictures: highest scores {np.sort(scores)[-8:].round(3)}; {threshold:.2f}, {possible:.2f}")
    difference = export_detector(options.checkpoint, file, round(threshold, 2), possible)
    register(options.name, file)
    print(f"{file}: {file.stat().st_size / 1e6:.2f} MB, boxes at most {difference:.5f} px from torch")


def lowest(scores: Array, most: float) -> float:
    """The lowest threshold, in steps of 0.01, that no more than `most` of `scores` reach."""
    return float(next(step for step in np.arange(5, 100) / 100 if (scores >= step).sum() <= most))


def register(name: str, file: Path) -> None:
    """Enter the file into the package's list."""
    entries = json.loads((FOLDER / DETECTORS).read_text(encoding="utf-8"))
    entries[name] = {"file": file.name, "sha256": sha256_of(file), "licence": LICENCE, "summary": SUMMARY}
    with replacing(FOLDER / DETECTORS) as path:
        path.write_text(json.dumps(entries, indent=1, sort_keys=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
