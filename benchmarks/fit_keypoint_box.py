"""Where eyes, nose and mouth lie in the tight box of the 68 points: how detectors' few points become a box.

    python benchmarks/fit_keypoint_box.py --data 300w

Over the faces that may be trained on, never test faces: the mean shape of the points, each face turned upright, moved
and scaled so that its tight box is centred on the origin with a longer side of 1, and the mean extent of that box. Says
how well a box made of each detector's points overlaps the tight one. Prints the constants of detectors/keypoint_box.py
and writes benchmarks/results/keypoint-box.json.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np

from lightmark.cli.training import training_samples
from lightmark.detectors.keypoint_box import MEDIAPIPE, MEMBERS, YUNET, Keypoint, box_of_keypoints, keypoints_of
from lightmark.files import replacing
from lightmark.geometry import Array, overlaps, tight_box
from lightmark.outputs import require_free
from lightmark.provenance import git_commit, versions

RESULT = Path(__file__).parent / "results" / "keypoint-box.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=RESULT)
    parser.add_argument("--force", action="store_true", help="write over what is there")
    options = parser.parse_args()
    require_free([options.out], force=options.force)
    shapes = np.stack([sample.points for sample in training_samples([options.data])])
    centred = np.stack([upright(shape) for shape in shapes])
    names: tuple[Keypoint, ...] = tuple(MEMBERS)
    places = dict(zip(names, keypoints_of(centred.mean(axis=0), names).round(4).tolist(), strict=True))
    boxes = tight_box(centred)
    extent = (boxes[:, 2:] - boxes[:, :2]).mean(axis=0).round(4).tolist()
    fits = {
        "yunet": overlap_of(shapes, YUNET),
        "mediapipe": overlap_of(shapes, MEDIAPIPE),
    }
    print(json.dumps({"PLACES": places, "EXTENT": extent, "median overlap with the tight box": fits}, indent=1))
    result = {
        "command": ["python", *sys.argv],
        "commit": git_commit(),
        "versions": versions(),
        "faces": len(shapes),
        "places": places,
        "extent": extent,
        "median_overlap": fits,
    }
    with replacing(options.out) as path:
        path.write_text(json.dumps(result, indent=1), encoding="utf-8")


def upright(shape: Array) -> Array:
    """Points (68, 2) with the eyes level, centred on their tight box, its longer side 1."""
    right, left = keypoints_of(shape, ("right_eye", "left_eye"))
    cos, sin = (left - right) / np.hypot(*(left - right))
    turned = shape @ np.array([[cos, -sin], [sin, cos]])
    box = tight_box(turned)
    return np.asarray((turned - (box[:2] + box[2:]) / 2) / (box[2:] - box[:2]).max())


def overlap_of(shapes: Array, names: tuple[Keypoint, ...]) -> float:
    """Median overlap of the boxes made of the points called `names` with the tight boxes."""
    made = [box_of_keypoints(keypoints_of(shape, names), names) for shape in shapes]
    shares = [overlaps(box[None], tight_box(shape)[None])[0, 0] for box, shape in zip(made, shapes, strict=True)]
    return round(float(np.median(shares)), 4)


if __name__ == "__main__":
    main()
