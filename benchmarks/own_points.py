"""Students of own points all the way: trained, exported, then judged in the labels' boxes, by `detect` and in a video.

    python benchmarks/own_points.py --data FOLDER --out benchmarks/results/own-points.json

FOLDER holds 300w and scut86. Five points (eye centres, nose tip, mouth corners) of 300W's labels: trained on LFPW's
training faces, measured on HELEN's. scut86, with the mirror pairs of its mean shape: trained on its training faces,
measured on its test faces. The student is
small and trained for minutes (`demo64-plain`, more steps): the question is not how good it is, but whether `detect` and
`track` cut the crops that it was trained on. Their errors on the same faces are then those in the labels' boxes. A face
is missed where no answer has its points within half of the normaliser's distance of the labels on average.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import track as with_progress

from box_map import FIVE, SETS, five_of
from lightmark.data.read import read_samples
from lightmark.data.sample import Sample, load_image, normalisers_of
from lightmark.evaluate.face_boxes import find_face_boxes, with_face_boxes
from lightmark.evaluate.predict import open_model, predict
from lightmark.export.exporter import export_formats
from lightmark.face import Face
from lightmark.files import replacing, sha256_of
from lightmark.geometry import Array
from lightmark.landmarker import Landmarker
from lightmark.metrics import nme
from lightmark.outputs import require_free
from lightmark.provenance import git_commit, versions
from lightmark.runtime.shipped import model_path
from lightmark.schema import FACE_BOX, Schema
from lightmark.train.config import Recipe
from lightmark.train.faces import split_samples
from lightmark.train.loop import train
from lightmark.train.recipes import get_recipe
from lightmark.video.tracker import Tracker

MISSED = 0.5  # NME from which a face's best answer is another face, or none
AVERAGES: Mapping[str, Callable[[Array], Any]] = {"mean": np.mean, "median": np.median}
FRAMES = 5  # of the video: the first is detected, in the others the box follows from the points


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=700)
    parser.add_argument("--faces", type=int, default=150, help="faces to measure on, at most")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--force", action="store_true", help="write over what is there")
    options = parser.parse_args()
    require_free([options.out], force=options.force)
    recipe = replace(get_recipe("demo64-plain", options.seed), steps=options.steps, ema=0.99)
    points = {}
    for name, (training, judged) in SETS.items():
        known = read_faces(options.data, training)
        faces = read_faces(options.data, judged[:1])[: options.faces]
        if name == "five":
            known, faces = ([five_points(face) for face in some] for some in (known, faces))
        else:
            schema = symmetric_schema(known)
            known, faces = ([replace(face, schema=schema) for face in some] for some in (known, faces))
        points[name] = {"trained_on": [*training], "measured_on": [*judged[:1]], **measure(known, faces, recipe)}
    result = {
        "command": ["python", *sys.argv],
        "commit": git_commit(),
        "versions": versions(),
        "fast": sha256_of(model_path("fast")),
        "recipe": recipe.name,
        "steps": recipe.steps,
        "seed": recipe.seed,
        "how": "NME by the normaliser of the labels, %, mean and median over the faces that all three ways answer",
        "points": points,
    }
    with replacing(options.out) as path:
        path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(points, indent=1))


def read_faces(data: Path, folders: Sequence[str]) -> list[Sample]:
    """Labelled faces of all `folders`."""
    return [sample for folder in folders for sample in read_samples(data / folder)]


def five_points(face: Sample) -> Sample:
    """`face`, labelled with 68 points, with five."""
    return replace(face, points=five_of(face.points), schema=FIVE)


def symmetric_schema(faces: Sequence[Sample]) -> Schema:
    """Schema whose mirror pairs are those of the mean shape; its errors are divided by the box's longer side."""
    shapes = np.stack([face.points - face.points.mean(axis=0) for face in faces])
    mean = (shapes / np.linalg.norm(shapes, axis=(1, 2), keepdims=True)).mean(axis=0)
    distances = np.linalg.norm(mean[:, None] * [-1, 1] - mean[None], axis=2)
    mirror = tuple(int(index) for index in distances.argmin(axis=1))
    return Schema(f"symmetric{len(mirror)}", mirror, (), normaliser_name=FACE_BOX)


def measure(known: Sequence[Sample], faces: Sequence[Sample], recipe: Recipe) -> dict[str, Any]:
    """Errors of a student trained on `known` and exported, on `faces`, in each of the three ways."""
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = train(recipe, split_samples(with_face_boxes(known), recipe), Path(folder) / "run")
        exported = Path(folder) / "student.onnx"
        export_formats(checkpoint, {"onnx": exported})
        spec = open_model(exported).spec
        boxes = find_face_boxes(faces)
        boxed = [replace(face, box=box) for face, box in zip(faces, boxes, strict=True) if box is not None]
        landmarker = Landmarker(exported)
        ways: dict[str, Callable[[Sample], Sequence[Face]]] = {
            "detect": lambda face: landmarker.detect(load_image(face)),
            "track": lambda face: last_faces(landmarker, face),
        }
        points = predict(open_model(exported), boxed)
        errors = {"in the labels' boxes": nme(points, labels(boxed), normalisers_of(boxed))}
        for way, answer in ways.items():
            errors[way] = np.array([best_error(answer(face), face) for face in with_progress(boxed, way)])
    found = np.all([values < MISSED for values in errors.values()], axis=0)
    return {
        "faces": len(boxed),
        "without_box": len(faces) - len(boxed),
        "box_map": spec.box_map is not None,
        "missed": {way: int((values >= MISSED).sum()) for way, values in errors.items()},
        "compared": int(found.sum()),
        "nme": {
            way: {name: round(100 * float(average(values[found])), 2) for name, average in AVERAGES.items()}
            for way, values in errors.items()
        },
    }


def labels(faces: Sequence[Sample]) -> Array:
    """Labels (F, N, 2)."""
    return np.stack([face.points for face in faces])


def last_faces(landmarker: Landmarker, face: Sample) -> list[Face]:
    """Faces in the last of some equal frames, without smoothing."""
    tracker = Tracker(landmarker, smoothing=None)
    image = load_image(face)
    for number in range(FRAMES):
        tracked = tracker.update(image, number / 25)
    return [one.face for one in tracked]


def best_error(found: Sequence[Face], face: Sample) -> float:
    """Smallest NME of the faces found; infinite without one."""
    if not found:
        return float("inf")
    points = np.stack([one.points for one in found])
    same = [face] * len(found)
    return float(nme(points, labels(same), normalisers_of(same)).min())


if __name__ == "__main__":
    main()
