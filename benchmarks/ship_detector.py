"""Add a trained face detector to the package: choose its threshold, export it, register its sha256.

    python benchmarks/ship_detector.py runs/face-detector/model.safetensors --name face --face-free runs/face-free-train

The thresholds are in steps of 0.01, by those of the --face-free pictures (the ones that it was trained with) that were
kept from its training; no test picture is looked at. Something is possibly a face, for a landmark model to judge, from
the lowest score at which such looks are at most one a picture. A detection counts from the lowest score at which the
shipped student, which may deny it, leaves at most 0.7 false faces in a hundred of these pictures, their halves, and all
of them turned by quarters: a hundred pictures alone can hardly tell one false face from none.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from lightmark.cli.auxiliary_training import pictures_of
from lightmark.detectors.face_detector import BESIDE, FaceDetector
from lightmark.detectors.open import Proposals
from lightmark.export.detector import export_detector, load_face_detector
from lightmark.files import replacing, sha256_of
from lightmark.geometry import Array
from lightmark.image import Picture
from lightmark.landmarker import CONFIRMED, DENIED, SURE, Landmarker
from lightmark.outputs import require_free
from lightmark.runtime.shipped import DETECTORS, FOLDER
from lightmark.source import to_picture
from lightmark.train.detector.train import split_backgrounds

STEPS = [round(step / 100, 2) for step in range(5, 100)]
FALSE_SHARE = 0.007  # false faces a variant of a picture without faces
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
    export_detector(options.checkpoint, file, 0.7)
    detector = FaceDetector(file)
    pictures = [to_picture(path) for path in unseen]
    scores = np.concatenate([detector.detections(picture, threshold=0.05).scores for picture in pictures])
    possible = next(step for step in STEPS if (scores >= step).sum() <= len(pictures))
    judge = Judge(detector, possible).judge
    judged = [judge(variant) for picture in pictures for variant in variants_of(picture)]
    threshold = next(step for step in STEPS if false_faces(judged, step) <= FALSE_SHARE * len(judged))
    print(f"{len(pictures)} pictures, {len(judged)} variants: {false_faces(judged, threshold)} false faces")
    print(f"threshold {threshold:.2f}, proposals from {possible:.2f}")
    difference = export_detector(options.checkpoint, file, threshold, possible)
    register(options.name, file)
    print(f"{file}: {file.stat().st_size / 1e6:.2f} MB, boxes at most {difference:.5f} px from torch")


def variants_of(picture: Picture) -> Iterator[Picture]:
    """The picture and its halves along the longer side, each turned by 0, 90, 180 and 270 degrees."""
    axis = int(picture.shape[1] >= picture.shape[0])
    for part in (picture, *np.array_split(picture, 2, axis=axis)):
        yield from (np.ascontiguousarray(np.rot90(part, turns)) for turns in range(4))


class Judge:
    """Scores of all that a detector proposes, with the shipped student's confidences."""

    def __init__(self, detector: FaceDetector, possible: float) -> None:
        self.detector, self.possible = detector, possible
        self.found = detector.detections(np.zeros((32, 32, 3), np.uint8), possible)
        self.landmarker = Landmarker(detector=self, min_confidence=0.0, threads=1)

    def __call__(self, image: Picture) -> Array:
        """Boxes of the detector, which this stands for; the landmarker calls `propose`."""
        return self.detector(image)

    def propose(self, _image: Picture) -> Proposals:
        """All of them as detections, so that the landmarker judges and keeps each."""
        return Proposals(self.found.boxes, np.ones(len(self.found.boxes), bool), self.found.rolls)

    def judge(self, picture: Picture) -> Array:
        """Score and confidence of each proposal in a picture, (F, 2)."""
        self.found = self.detector.detections(picture, self.possible)
        confidences = [face.confidence for face in self.landmarker.detect(picture)]
        return np.array([self.found.scores, confidences]).T


def false_faces(judged: Sequence[Array], threshold: float) -> int:
    """Faces that `Landmarker` would accept with this threshold of the detector."""
    count = 0
    for scores, confidences in (pairs.T for pairs in judged):
        certain = scores >= threshold
        needed = np.where(certain, DENIED, SURE if certain.any() else CONFIRMED)
        considered = certain | (scores >= BESIDE) | (not certain.any())
        count += int((considered & (confidences >= needed)).sum())
    return count


def register(name: str, file: Path) -> None:
    """Enter the file into the package's list."""
    entries = json.loads((FOLDER / DETECTORS).read_text(encoding="utf-8"))
    entries[name] = {"file": file.name, "sha256": sha256_of(file), "licence": LICENCE, "summary": SUMMARY}
    with replacing(FOLDER / DETECTORS) as path:
        path.write_text(json.dumps(entries, indent=1, sort_keys=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
