"""Latency of each stage of `.detect` on one core, beside MediaPipe's face mesh, static and tracking, in one run.

    python -m venv .venv-mediapipe
    .venv-mediapipe/bin/pip install mediapipe==0.10.21 onnxruntime pillow click rich
    .venv-mediapipe/bin/pip install --no-deps -e .
    .venv-mediapipe/bin/python benchmarks/pipeline.py --data 300w --model fast

(MediaPipe wants NumPy below 2, hence the environment of its own; without it, its rows are left out.) The pictures are
640×480: eight with one 300W test face of 150 px each, in turn, since what the detector proposes beside a face, and with
it the number of crops, depends on the picture; and one with eight faces of 90 px. The process is pinned to one core,
since MediaPipe ignores settings of threads. Its tracking step, on the first picture, which it saw last time, looks for
no face; beside it stands `.landmarks` with the box given, which is what `lightmark track` does with such a frame.
Rounds of all stages follow each other, so that a change of the machine's speed meets all alike; for each picture the
median over its rounds, then the mean over pictures. Writes benchmarks/results/pipeline.json.
"""

from __future__ import annotations

import argparse
import importlib
import itertools
import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from lightmark.bench.machine import processor
from lightmark.data.read import read_samples
from lightmark.data.sample import Sample, load_image
from lightmark.detectors.open import open_detector
from lightmark.files import replacing
from lightmark.geometry import Array, similarity_matrix, tight_box
from lightmark.image import Picture, warp
from lightmark.landmarker import Landmarker
from lightmark.outputs import require_free
from lightmark.provenance import git_commit, versions
from lightmark.runtime.onnx_model import OnnxModel
from lightmark.runtime.shipped import model_path, shipped_hashes
from lightmark.spec import spec_crop_matrix

WIDTH, HEIGHT = 640, 480
SINGLE = 8  # pictures of one face
RESULT = Path(__file__).parent / "results" / "pipeline.json"
Stage = Callable[[], object]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="300W, whose test faces are shown")
    parser.add_argument("--model", action="append", required=True, help="shipped students")
    parser.add_argument("--detector", default="auto")
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--core", type=int, default=0)
    parser.add_argument("--out", type=Path, default=RESULT)
    parser.add_argument("--force", action="store_true", help="write over what is there")
    options = parser.parse_args()
    require_free([options.out], force=options.force)
    os.sched_setaffinity(0, {options.core})
    cv2.setNumThreads(1)
    faces = [sample for sample in read_samples(options.data) if "lfpw" in sample.subsets]
    pictures = {"one": [scene([face], 150) for face in faces[:SINGLE]], "eight": [scene(faces[8:16], 90)]}
    stages, checks = our_stages(options.model, options.detector, pictures)
    theirs = their_stages(pictures, checks)
    means = time_stages({**stages, **theirs}, options.rounds)
    ratios = {
        f"{model}, {count}": means[f"{model}: detect, {count}"] / means[f"mediapipe: static mesh, {count}"]
        for model in options.model
        for count in pictures
        if theirs
    }
    tracking = {
        model: means[f"{model}: landmarks, one"] / means["mediapipe: tracking step, one"]
        for model in options.model
        if theirs
    }
    result = {
        "command": ["python", *sys.argv],
        "commit": git_commit(),
        "versions": {**versions(), **({"mediapipe": metadata.version("mediapipe")} if theirs else {})},
        "models": shipped_hashes(*options.model, "face"),
        "cpu": processor(),
        "cores": 1,
        "rounds": options.rounds,
        "faces_found": checks,
        "mean_ms": means,
        "detect_over_mediapipe": ratios,
        "landmarks_over_mediapipe_tracking": tracking,
    }
    with replacing(options.out) as path:
        path.write_text(json.dumps(result, indent=1), encoding="utf-8")
    shown = ("faces_found", "mean_ms", "detect_over_mediapipe", "landmarks_over_mediapipe_tracking")
    print(json.dumps({key: result[key] for key in shown}, indent=1))


def scene(samples: list[Sample], side: float) -> Picture:
    """A grey 640×480 picture with the faces in even rows, their tight boxes `side` pixels on the longer side."""
    canvas = np.full((HEIGHT, WIDTH, 3), 110, np.uint8)
    columns = min(4, len(samples))
    rows = -(-len(samples) // columns)
    for index, sample in enumerate(samples):
        row, column = divmod(index, columns)
        place = np.array([(column + 0.5) * WIDTH / columns, (row + 0.5) * HEIGHT / rows])
        box = tight_box(sample.points)
        matrix = similarity_matrix((box[:2] + box[2:]) / 2, place, side / float((box[2:] - box[:2]).max()))
        picture = load_image(sample)
        inside = warp(np.full_like(picture, 255), matrix, (WIDTH, HEIGHT)) > 127
        cell = np.zeros_like(inside)
        left, top = column * WIDTH // columns, row * HEIGHT // rows
        cell[top : top + HEIGHT // rows, left : left + WIDTH // columns] = True
        canvas = np.where(inside & cell, warp(picture, matrix, (WIDTH, HEIGHT)), canvas)
    return canvas


def our_stages(
    models: list[str], detector_name: str, pictures: Mapping[str, list[Picture]]
) -> tuple[dict[str, Stage], dict[str, int]]:
    """What is timed of Lightmark, by name, and how many faces it finds."""
    detector, first = open_detector(detector_name, threads=1), pictures["one"][0]
    stages: dict[str, Stage] = {"detector": over(detector, pictures["one"])}
    checks: dict[str, int] = {}
    for name in models:
        landmarker = Landmarker(name, detector, threads=1)
        boxes = detector(first)
        for count, shown in pictures.items():
            checks[f"{name}: {count}"] = sum(len(landmarker.detect(picture)) for picture in shown)
            stages[f"{name}: detect, {count}"] = over(landmarker.detect, shown)
        stages |= crop_and_student(name, first, spec_crop_matrix(landmarker.spec, boxes[0]))
        stages[f"{name}: landmarks, one"] = lambda m=landmarker, b=boxes: m.landmarks(first, b)  # type: ignore[misc]  # bound now
    return stages, checks


def over(look: Callable[[Picture], object], pictures: list[Picture]) -> Stage:
    """`look` at the next of `pictures` each time."""
    shown = itertools.cycle(pictures)
    return lambda: look(next(shown))


def crop_and_student(name: str, image: Picture, matrix: Array) -> dict[str, Stage]:
    """The warp that cuts the crop, and the network alone."""
    model = OnnxModel(model_path(name), threads=1)
    size = model.spec.size
    crops = warp(image, matrix, size)[None]
    return {
        f"{name}: crop": lambda: warp(image, matrix, size),
        f"{name}: student": lambda: model.outputs(crops),
    }


def their_stages(pictures: Mapping[str, list[Picture]], checks: dict[str, int]) -> dict[str, Stage]:
    """MediaPipe's mesh on the same pictures, if it is installed; adds how many faces it finds to `checks`."""
    try:
        solutions = importlib.import_module("mediapipe").solutions
    except ImportError:
        print("mediapipe is not installed: its rows are left out", file=sys.stderr)
        return {}
    stages: dict[str, Stage] = {}
    for count, most in (("one", 1), ("eight", 8)):
        mesh: Any = solutions.face_mesh.FaceMesh(static_image_mode=True, max_num_faces=most)
        found = [mesh.process(picture).multi_face_landmarks or [] for picture in pictures[count]]
        checks[f"mediapipe: {count}"] = sum(map(len, found))
        stages[f"mediapipe: static mesh, {count}"] = over(mesh.process, pictures[count])
    tracker: Any = solutions.face_mesh.FaceMesh(static_image_mode=False, max_num_faces=1)
    stages["mediapipe: tracking step, one"] = lambda: tracker.process(pictures["one"][0])
    return stages


def time_stages(stages: Mapping[str, Stage], rounds: int, warm: int = 5) -> dict[str, float]:
    """Milliseconds of each stage: the mean over the pictures, which take turns, of the medians over their rounds."""
    taken: dict[str, list[float]] = {name: [] for name in stages}
    for number in range(warm + rounds):
        for name, stage in stages.items():
            began = time.perf_counter()
            stage()
            if number >= warm:
                taken[name].append(1000 * (time.perf_counter() - began))
    turns = range(min(SINGLE, rounds))
    return {name: float(np.mean([np.median(times[turn::SINGLE]) for turn in turns])) for name, times in taken.items()}


if __name__ == "__main__":
    main()
