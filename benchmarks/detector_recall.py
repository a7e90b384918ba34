"""How many faces each detector finds, how many it makes up, and what its boxes cost in landmark accuracy.

    python benchmarks/detector_recall.py --data 300w --turned 300w_lp --scenes wflw --face-free face-free/test \\
        --detector face --detector cascade

- pasted: each 300W test face on its own 640×480 picture without other faces, its tight box 40 to 400 px on its longer
  side (evenly on a logarithmic scale, one draw a face, the same for all detectors);
- turned: the same with 300W-LP's turned copies of photographs that the detector was not trained on, also by yaw;
- scenes: WFLW's test pictures as they are, of which only some faces are labelled;
- false boxes: finds in pictures without any face (`test` of what benchmarks/face_free.py fetches).

"face+fast" stands for what `Landmarker("fast", "face").detect` gives: the student judges what the detector offers.

A face is found where a box overlaps its tight box by an IoU of at least 0.5. NME is that of the shipped student on the
pasted faces, with the detector's box and with the labels' on the same faces. Writes
benchmarks/results/detector-recall.json.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lightmark.cli.auxiliary_training import pictures_of
from lightmark.data.read import read_samples
from lightmark.data.sample import Sample, load_image
from lightmark.data.shards.pack import by_picture
from lightmark.data.split import split_by_photo
from lightmark.detectors.open import Detector, open_detector
from lightmark.evaluate.predict import to_schema
from lightmark.files import replacing, sha256_of
from lightmark.geometry import Array, overlaps, similarity_matrix, tight_box, transform
from lightmark.image import Picture, warp
from lightmark.landmarker import Landmarker
from lightmark.metrics import interocular, nme
from lightmark.outputs import require_free
from lightmark.pose import head_pose
from lightmark.provenance import git_commit, versions
from lightmark.runtime.shipped import shipped_hashes
from lightmark.schema import IBUG68
from lightmark.source import to_picture
from lightmark.train.detector.mosaic import Sources

WIDTH, HEIGHT = 640, 480
SMALLEST, LARGEST = 40.0, 400.0
SIZES = ((40, 60), (60, 100), (100, 200), (200, 401))
YAWS = ((0, 30), (30, 60), (60, 91))
FOUND_IOU = 0.5
RESULT = Path(__file__).parent / "results" / "detector-recall.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="300W")
    parser.add_argument("--turned", type=Path, required=True, help="300W-LP")
    parser.add_argument("--scenes", type=Path, required=True, help="WFLW")
    parser.add_argument("--face-free", type=Path, required=True, help="folder of pictures without faces")
    parser.add_argument("--detector", action="append", required=True)
    parser.add_argument("--model", default="fast", help="student whose NME is measured")
    parser.add_argument("--held-out", type=float, default=0.12, help="share of photographs kept from training")
    parser.add_argument("--split-seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=RESULT)
    parser.add_argument("--force", action="store_true", help="write over what is there")
    options = parser.parse_args()
    require_free([options.out], force=options.force)
    empty = pictures_of([options.face_free])
    backgrounds = Sources([], empty)
    frontal = [sample for sample in read_samples(options.data) if "test" in sample.subsets]
    _, turned = split_by_photo(read_samples(options.turned), options.held_out, options.split_seed)
    scenes = to_schema(read_samples(options.scenes), IBUG68)
    student = Landmarker(options.model, "cascade")
    rows = {}
    for name in options.detector:
        detector = named(name)
        found, extra = recall_pasted(detector, frontal, backgrounds, student)
        rows[name] = {
            "pasted": found,
            **extra,
            "turned": recall_pasted(detector, turned, backgrounds, None)[0],
            "scenes": recall_scenes(detector, scenes),
            "false_boxes": false_boxes(detector, empty),
        }
        print(name, json.dumps(rows[name], indent=1), flush=True)
    result = {
        "command": ["python", *sys.argv],
        "commit": git_commit(),
        "versions": versions(),
        "models": shipped_hashes(options.model, "face"),
        "found_iou": FOUND_IOU,
        "face_free": {"pictures": len(empty), "sha256": [sha256_of(path) for path in empty]},
        "detectors": rows,
    }
    with replacing(options.out) as path:
        path.write_text(json.dumps(result, indent=1), encoding="utf-8")


def named(name: str) -> Detector:
    """The detector of that name; "face+fast" is what `Landmarker("fast", "face").detect` leaves of its finds."""
    detector, _, model = name.partition("+")
    if not model:
        return open_detector(detector)
    landmarker = Landmarker(model, detector)
    return lambda image: np.array([face.box for face in landmarker.detect(image)]).reshape(-1, 4)


def recall_pasted(
    detector: Detector, samples: Sequence[Sample], backgrounds: Sources, student: Landmarker | None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Recall over `samples` pasted on pictures without faces, and what the detector's boxes cost the student."""
    sides, yaws, hits, ious, label_errors, found_errors = [], [], [], [], [], []
    for number, sample in enumerate(samples):
        image, points = paste(sample, backgrounds, np.random.default_rng(number))
        truth = tight_box(points)
        found = closest(detector(image), truth)
        sides.append(float((truth[2:] - truth[:2]).max()))
        pose = head_pose(points, IBUG68)
        yaws.append(0.0 if pose is None else abs(pose.yaw))
        hits.append(found is not None)
        if found is None:
            continue
        ious.append(float(overlaps(found[None], truth[None])[0, 0]))
        if student is not None:
            pair = student.landmarks(image, [truth, found])
            given, both = np.stack([face.points for face in pair]), np.stack([points] * 2)
            errors = nme(given, both, interocular(both, IBUG68))
            label_errors.append(errors[0])
            found_errors.append(errors[1])
    extra = {}
    if student is not None:
        extra["nme"] = {
            "label_boxes": float(np.mean(label_errors)),
            "found_boxes": float(np.mean(found_errors)),
            "ratio": float(np.mean(found_errors) / np.mean(label_errors)),
            "faces": len(found_errors),
        }
    recall = {
        "faces": len(hits),
        "recall": float(np.mean(hits)),
        "by_size": shares(np.array(sides), np.array(hits), SIZES),
        "by_yaw": shares(np.array(yaws), np.array(hits), YAWS),
        "median_iou": float(np.median(ious)),
    }
    return recall, extra


def shares(values: Array, hits: Array, bands: Sequence[tuple[int, int]]) -> dict[str, Any]:
    """Recall, and the number of faces, of each band of `values`."""
    return {
        f"{low}-{high}": [float(hits[inside].mean()), int(inside.sum())]
        for low, high in bands
        if (inside := (low <= values) & (values < high)).any()
    }


def paste(
    sample: Sample, backgrounds: Sources, rng: np.random.Generator, angle: float = 0.0
) -> tuple[Picture, Array]:
    """A 640×480 picture with the face of `sample` in it, as its set cut it out, and its points there.

    The face is turned by `angle` degrees, counter-clockwise; place and size are the same at every angle.
    """
    behind = backgrounds.background(rng)
    zoom = max(WIDTH / behind.shape[1], HEIGHT / behind.shape[0])
    canvas = warp(behind, np.array([[zoom, 0, (zoom - 1) / 2], [0, zoom, (zoom - 1) / 2]]), (WIDTH, HEIGHT))
    box, picture = tight_box(sample.points), load_image(sample)
    extent = box[2:] - box[:2]
    scale = math.exp(rng.uniform(math.log(SMALLEST), math.log(LARGEST))) / float(extent.max())
    half = extent * scale / 2
    place = rng.uniform(half, np.maximum((WIDTH, HEIGHT) - half, half + 1e-6))
    matrix = similarity_matrix((box[:2] + box[2:]) / 2, place, scale, angle)
    patch = warp(picture, matrix, (WIDTH, HEIGHT))
    inside = warp(np.full_like(picture, 255), matrix, (WIDTH, HEIGHT)) > 127
    return np.where(inside, patch, canvas), transform(matrix, sample.points)


def recall_scenes(detector: Detector, samples: Sequence[Sample]) -> dict[str, Any]:
    """Recall over the labelled faces of whole pictures."""
    sides, hits = [], []
    for faces in by_picture(samples):
        found = detector(to_picture(faces[0].path))
        for face in faces:
            truth = tight_box(face.points)
            sides.append(float((truth[2:] - truth[:2]).max()))
            hits.append(closest(found, truth) is not None)
    return {"faces": len(hits), "recall": float(np.mean(hits)), "median_side": float(np.median(sides))}


def false_boxes(detector: Detector, pictures: Sequence[Path]) -> dict[str, Any]:
    """Finds in pictures without faces."""
    counts = {path.name: len(detector(to_picture(path))) for path in pictures}
    return {
        "pictures": len(pictures),
        "boxes": sum(counts.values()),
        "where": {name: count for name, count in counts.items() if count},
    }


def closest(boxes: Array, truth: Array) -> Array | None:
    """The one of `boxes` (F, 4) that overlaps `truth` most, if by enough."""
    if not len(boxes):
        return None
    row = overlaps(boxes, truth[None])[:, 0]
    return np.asarray(boxes[row.argmax()]) if row.max() >= FOUND_IOU else None


if __name__ == "__main__":
    main()
