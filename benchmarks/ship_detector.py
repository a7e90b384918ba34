"""Add a trained face detector to the package: choose its threshold, export it, register its sha256.

    python benchmarks/ship_detector.py runs/face-detector/model.safetensors --name face --face-free runs/face-free-train

The thresholds are in steps of 0.01, by those of the --face-free pictures (the ones that it was trained with) that were
kept from its training; no test picture is looked at. Something is possibly a face, and looked at again, from the lowest
score at which the searches find at most 0.9 of it a picture. A detection counts from the lowest score at which the
shipped student, which may deny it, leaves at most 0.3 false faces in a hundred of these pictures, their halves, and all
of them turned by quarters: a hundred pictures alone can hardly tell one false face from none.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from lightmark.cli.auxiliary_training import pictures_of
from lightmark.detectors.face_detector import FaceDetector
from lightmark.errors import ConfigError
from lightmark.export.detector import export_detector, load_face_detector
from lightmark.files import replacing, sha256_of
from lightmark.image import Picture
from lightmark.landmarker import Landmarker
from lightmark.outputs import require_free
from lightmark.runtime.shipped import DETECTORS, FOLDER
from lightmark.source import to_picture
from lightmark.train.detector.train import split_backgrounds

STEPS = [round(step / 100, 2) for step in range(5, 100)]
LOWEST = 0.7  # threshold: below it more detections are denied, which take four crops each (1.3 instead of 1.2 a face)
# Second looks a picture without faces, each in a third of a crop's time. With 1.5 (finds from 0.35) 1 % more faces in
# WFLW pictures are found, and 7 instead of 3 false faces in 1212 variants.
LOOKS = 0.9
FALSE_SHARE = 0.003  # false faces a variant of a picture without faces
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
    scores = np.concatenate([detector.candidates(picture, 0.05).scores for picture in pictures])
    possible = next(step for step in STEPS if (scores >= step).sum() <= LOOKS * len(pictures))
    export_detector(options.checkpoint, file, 0.7, possible)
    variants = [variant for picture in pictures for variant in variants_of(picture)]
    threshold, count = lowest_threshold(file, variants, int(FALSE_SHARE * len(variants)))
    print(f"{len(pictures)} pictures, {len(variants)} variants: {count} false faces")
    print(f"threshold {threshold:.2f}, proposals from {possible:.2f}")
    difference = export_detector(options.checkpoint, file, threshold, possible)
    register(options.name, file)
    print(f"{file}: {file.stat().st_size / 1e6:.2f} MB, boxes at most {difference:.5f} px from torch")


def variants_of(picture: Picture) -> Iterator[Picture]:
    """The picture and its halves along the longer side, each turned by 0, 90, 180 and 270 degrees."""
    axis = int(picture.shape[1] >= picture.shape[0])
    for part in (picture, *np.array_split(picture, 2, axis=axis)):
        yield from (np.ascontiguousarray(np.rot90(part, turns)) for turns in range(4))


def lowest_threshold(file: Path, pictures: Sequence[Picture], most: int) -> tuple[float, int]:
    """Lowest threshold with which at most `most` faces are found in pictures without any, and how many are."""
    for threshold in (step for step in STEPS if step >= LOWEST):
        landmarker = Landmarker(detector=FaceDetector(file, threshold=threshold, threads=1), threads=1)
        counts = counts_of_faces(landmarker, pictures, most)
        print(f"threshold {threshold:.2f}: {sum(counts)} false faces in {len(counts)} variants", flush=True)
        if sum(counts) <= most:
            return threshold, sum(counts)
        # Those with faces are the first of the next round, which is over sooner.
        first = {index for index, count in enumerate(counts) if count}
        pictures = [*(pictures[index] for index in first), *(p for i, p in enumerate(pictures) if i not in first)]
    raise ConfigError(f"{file}: finds more than {most} faces in {len(pictures)} pictures without any at each threshold")


def counts_of_faces(landmarker: Landmarker, pictures: Sequence[Picture], most: int) -> list[int]:
    """Faces found in each picture, up to the one with which there are more than `most`."""
    counts: list[int] = []
    for picture in pictures:
        counts.append(len(landmarker.detect(picture)))
        if sum(counts) > most:
            break
    return counts


def register(name: str, file: Path) -> None:
    """Enter the file into the package's list."""
    entries = json.loads((FOLDER / DETECTORS).read_text(encoding="utf-8"))
    entries[name] = {"file": file.name, "sha256": sha256_of(file), "licence": LICENCE, "summary": SUMMARY}
    with replacing(FOLDER / DETECTORS) as path:
        path.write_text(json.dumps(entries, indent=1, sort_keys=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
