"""Error of `Face.pose` against known poses and against another method.

    python benchmarks/measure_pose.py --turned 300w_lp/afw --data 300w

- synthetic: procedural faces (lightmark.data.synthetic, seed 0) of random persons and expressions whose angles and
  camera are known, yaw up to 80°, at several distances of the camera; a head unit is half a face's width, 7 cm say. The
  same with the width of the head held fast, to say what that freedom is worth. The two heads' ideas of looking
  straight ahead differ: that is in the bias of pitch.
- turned: 300W-LP's copies of one AFW photograph, a step of their numbers being a turn of 5°: the angle of the rotation
  between the poses of two copies against that. Their points belong to those that made the mean head, all 93 of its
  numbers by 3020 faces.
- pnp: 300W's training faces by cv2.solvePnP with the procedural mean head, another shape and another projection.
- model: the pose from the points of `fast` against that from the labels, on 300W's test faces.

Writes benchmarks/results/pose.json; angles are degrees, [yaw, pitch, roll].
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Callable
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from lightmark import pose
from lightmark.cli.training import training_samples
from lightmark.data.read import read_samples
from lightmark.data.sample import Sample
from lightmark.data.synthetic.head import make_head, mean_points
from lightmark.data.synthetic.scene import random_expression, random_identity
from lightmark.data.synthetic.view import Pose, view_head
from lightmark.evaluate.predict import open_model, predict
from lightmark.files import replacing
from lightmark.geometry import Array, rotation_angles, tight_box
from lightmark.mean_head import RIGID, head_points
from lightmark.outputs import require_free
from lightmark.provenance import git_commit, versions
from lightmark.runtime.shipped import shipped_hashes
from lightmark.scores import spearman

MODEL = "fast"
RESULT = Path(__file__).parent / "results" / "pose.json"
FACES = 600
LARGEST = (80.0, 25.0, 30.0)  # degrees
DISTANCES = (6.0, 12.0, 20.0, 1000.0)  # head units: 40 cm, 85 cm, 1.4 m, and so far that nothing is left of perspective
YAWS = (0, 30, 60, 80)
TURN = 5.0  # degrees a step in 300W-LP's names (Zhu et al. 2016, section 5)
TURNS = (0, 10, 25, 50, 90)
FAR = 10.0  # focal length of cv2.solvePnP's camera over the face's size: seen from two metres or so
PLACES = list(RIGID)

Rotation = Callable[[Array], Array]  # points (68, 2) to (3, 3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turned", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=RESULT)
    parser.add_argument("--force", action="store_true", help="write over what is there")
    options = parser.parse_args()
    require_free([options.out], force=options.force)
    result = {
        "command": ["python", *sys.argv],
        "commit": git_commit(),
        "versions": versions(),
        "models": shipped_hashes(MODEL),
        "synthetic": {f"{distance:g}": synthetic(distance) for distance in DISTANCES},
        "synthetic_of_fixed_width": {f"{distance:g}": without_width(distance) for distance in DISTANCES},
        "turned": turned(training_samples([options.turned])),
        "pnp": against_pnp(training_samples([options.data])),
        "model": of_model(read_samples(options.data, subset="test")),
    }
    print(json.dumps(result, indent=1))
    with replacing(options.out) as path:
        path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def fitted(points: Array) -> Array:
    return pose.fit_rotation(points[PLACES], head_points())


def synthetic(distance: float) -> dict[str, Any]:
    """Errors at a distance of the camera, for all faces and by the size of yaw."""
    truth, found = [], []
    for index in range(FACES):
        rng = np.random.default_rng((0, index))
        head = make_head(random_identity(rng), random_expression(rng))
        yaw, pitch, roll = (rng.uniform(-1, 1, 3) * LARGEST).tolist()
        view = view_head(head, Pose(yaw, pitch, roll, centre=(0.0, 0.0), scale=100.0, distance=distance))
        truth.append((yaw, pitch, roll))
        found.append(rotation_angles(fitted(view.points)))
    known, errors = np.abs(truth)[:, 0], np.array(found) - truth
    bands = {f"yaw {low}-{high}": errors[(low <= known) & (known < high)] for low, high in pairwise(YAWS)}
    return {name: spread(band) for name, band in {"all": errors, **bands}.items()}


def without_width(distance: float) -> dict[str, Any]:
    """`synthetic` with a head that cannot be wider or narrower."""
    kept = pose.WIDTH_SPREAD
    pose.WIDTH_SPREAD = 1e-6
    try:
        return synthetic(distance)
    finally:
        pose.WIDTH_SPREAD = kept


def turned(samples: list[Sample]) -> dict[str, Any]:
    """Angle between the poses of two copies of a photograph, against what their names say, by the size of the turn."""
    copies: dict[str, list[tuple[int, Array]]] = defaultdict(list)
    for sample in samples:
        face, step = sample.path.stem.rsplit("_", 1)
        copies[face].append((int(step), fitted(sample.points)))
    pairs = [pair for poses in copies.values() for pair in combinations(poses, 2)]
    turns = TURN * np.array([abs(second - first) for (first, _), (second, _) in pairs])
    errors = np.array([angle_between(a, b) for (_, a), (_, b) in pairs]) - turns
    bands = {f"turn {low}-{high}": errors[(low < turns) & (turns <= high)] for low, high in pairwise(TURNS)}
    return {
        name: {"pairs": len(band), "bias": number(band.mean()), "mean_abs": number(np.abs(band).mean())}
        for name, band in {"all": errors, **bands}.items()
    }


def angle_between(first: Array, second: Array) -> float:
    """Degrees of the rotation that leads from one to the other."""
    return float(np.degrees(np.arccos(np.clip((np.trace(second @ first.T) - 1) / 2, -1, 1))))


def against_pnp(samples: list[Sample]) -> dict[str, Any]:
    """Differences of our angles from cv2.solvePnP's, and how well both rank the faces."""
    ours, theirs = (np.array([rotation_angles(find(s.points)) for s in samples]) for find in (fitted, solve_pnp))
    ranks = [number(spearman(a, b)) for a, b in zip(ours.T, theirs.T, strict=True)]
    return {**spread(ours - theirs), "spearman": ranks, "median_of_ours": [number(one) for one in np.median(ours, 0)]}


def solve_pnp(points: Array) -> Array:
    """Rotation by OpenCV, its camera looking along z; ours has z towards the viewer."""
    x0, y0, x1, y1 = tight_box(points)
    focal = FAR * max(x1 - x0, y1 - y0)
    camera = np.array([[focal, 0, (x0 + x1) / 2], [0, focal, (y0 + y1) / 2], [0, 0, 1]])
    flip = np.diag([1.0, 1.0, -1.0])
    solid = mean_points()[PLACES] @ flip
    _, turn, _ = cv2.solvePnP(solid, points[PLACES], camera, None, flags=cv2.SOLVEPNP_SQPNP)
    return np.asarray(flip @ cv2.Rodrigues(turn)[0] @ flip)


def of_model(samples: list[Sample]) -> dict[str, Any]:
    """Differences of the angles from the points of `fast` and from the labels; crops by the labels' boxes."""
    points = predict(open_model(MODEL), samples)
    found, labelled = (
        np.array([rotation_angles(fitted(face)) for face in faces])
        for faces in (points, [sample.points for sample in samples])
    )
    return spread(found - labelled)


def spread(errors: Array) -> dict[str, Any]:
    """Bias (median), mean absolute error with and without it, and 95th percentile of errors (F, 3)."""
    bias = np.median(errors, axis=0)
    return {
        "faces": len(errors),
        "bias": [number(value) for value in bias],
        "mean_abs": [number(value) for value in np.abs(errors).mean(axis=0)],
        "mean_abs_less_bias": [number(value) for value in np.abs(errors - bias).mean(axis=0)],
        "p95_abs": [number(value) for value in np.percentile(np.abs(errors), 95, axis=0)],
    }


def number(value: float) -> float:
    return round(float(value), 3)


if __name__ == "__main__":
    main()
