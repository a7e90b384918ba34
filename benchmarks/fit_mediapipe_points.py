"""Weights that make MediaPipe's face mesh 68 points, and how far off those are: the table of lightmark.mesh_points.

    .venv-mediapipe/bin/python benchmarks/fit_mediapipe_points.py --train 300w/lfpw/trainset 300w/helen/trainset \\
        300w/afw --data 300w

in the environment that compare_mediapipe.py describes. Each of the 68 is the weighted mean of three of the 468 mesh
points near it, chosen one after the other by least squares on the training faces (weights sum to 1, so place, size and
roll do not matter). Measures on the test faces: NME of the nearest mesh points and of the weighted means, and how the
openness of eyes and mouth from both kinds of points agrees with that from the labels.

Writes benchmarks/results/mediapipe-points.json.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from compare_mediapipe import face_mesh, find_meshes, mediapipe_hashes, nearest_mesh_points, training_faces
from lightmark.data.read import read_samples
from lightmark.data.sample import Sample
from lightmark.face import Face
from lightmark.files import replacing
from lightmark.geometry import Array, tight_box
from lightmark.metrics import interocular, nme
from lightmark.outputs import require_free
from lightmark.provenance import git_commit, versions
from lightmark.schema import IBUG68

RESULT = Path(__file__).parent / "results" / "mediapipe-points.json"
MARGIN = 2.0  # side of the crops over the labelled box
MESH = 468  # of 478: the irises are there only with refine_landmarks
POINTS = 3  # mesh points a label: a fourth takes off 0.04 of 4.4 %
NEAREST = 60  # mesh points to choose from
RIDGE = 0.05  # keeps weights of points close together small
EVERY = 3  # faces the choice is made on

Rows = dict[int, dict[int, float]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", type=Path, nargs="+", required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=RESULT)
    parser.add_argument("--force", action="store_true", help="write over what is there")
    options = parser.parse_args()
    require_free([options.out], force=options.force)
    training = [sample for folder in options.train for sample in training_faces(folder)]
    testing = read_samples(options.data, subset="test")
    meshes, labels = mesh_and_labels(training)
    rows = fit_rows(meshes, labels)
    nearest = nearest_mesh_points(meshes, labels, interocular(labels, IBUG68))
    meshes, labels = mesh_and_labels(testing)
    weighted = weights_of(rows) @ meshes
    result = {
        "command": ["python", *sys.argv],
        "commit": git_commit(),
        "versions": versions(),
        "mediapipe": mediapipe_hashes(refine=True),
        "train_faces": len(training),
        "test_faces": len(testing),
        "missed": len(testing) - len(labels),
        "nearest": errors(meshes[:, list(nearest)], labels),
        "weighted": errors(weighted, labels),
        "openness": {
            "nearest": agreement(meshes[:, list(nearest)], labels),
            "weighted": agreement(weighted, labels),
        },
        "rows": rows,
    }
    print(json.dumps({name: value for name, value in result.items() if name != "rows"}, indent=1))
    with replacing(options.out) as path:
        path.write_text(json.dumps(result) + "\n", encoding="utf-8")


def mesh_and_labels(samples: Sequence[Sample]) -> tuple[Array, Array]:
    """Meshes (F, 468, 2) and labels (F, 68, 2) of the faces that MediaPipe finds."""
    with face_mesh(refine=True) as detector:
        meshes = find_meshes(samples, detector, MARGIN)
    found = [(mesh[:MESH], one.points) for mesh, one in zip(meshes, samples, strict=True) if mesh is not None]
    return np.stack([mesh for mesh, _ in found]), np.stack([points for _, points in found])


def fit_rows(meshes: Array, labels: Array) -> Rows:
    """Weights of mesh points for each label, in units of the eye distance."""
    size = interocular(labels, IBUG68)[:, None, None]
    meshes, labels = meshes[::EVERY] / size[::EVERY], labels[::EVERY] / size[::EVERY]
    return {label: fit_row(meshes, labels[:, label]) for label in range(labels.shape[1])}


def fit_row(meshes: Array, label: Array) -> dict[int, float]:
    """Weights of `POINTS` mesh points that come closest to `label` (F, 2), by forward selection."""
    near = np.linalg.norm(meshes - label[:, None], axis=-1).mean(axis=0).argsort()[:NEAREST]
    first = int(near[0])
    moves, target = meshes - meshes[:, first, None], (label - meshes[:, first]).ravel()
    chosen: list[int] = []
    weights: Array = np.empty(0)
    while len(chosen) < POINTS - 1:
        trials = []
        for index in (int(one) for one in near[1:] if one not in chosen):
            columns = np.stack([moves[:, one].ravel() for one in (*chosen, index)], axis=1)
            gram = columns.T @ columns + RIDGE * np.eye(columns.shape[1])
            solved = np.asarray(np.linalg.solve(gram, columns.T @ target), dtype=np.float64)
            trials.append((float(np.linalg.norm(target - columns @ solved)), index, solved))
        _, index, weights = min(trials, key=lambda trial: trial[0])
        chosen.append(index)
    others = [round(float(weight), 3) for weight in weights]
    return {first: round(1 - sum(others), 3), **dict(zip(chosen, others, strict=True))}


def weights_of(rows: Rows) -> Array:
    weights = np.zeros((len(rows), MESH))
    for label, row in rows.items():
        weights[label, list(row)] = list(row.values())
    return weights


def errors(points: Array, labels: Array) -> dict[str, float]:
    """NME over all and over the inner points, inter-ocular."""
    size, inner = interocular(labels, IBUG68), list(IBUG68.inner)
    return {"nme": number(nme(points, labels, size).mean()),
            "nme_inner": number(nme(points[:, inner], labels[:, inner], size).mean())}  # fmt: skip


def agreement(points: Array, labels: Array) -> dict[str, Any]:
    """Mean absolute difference and Pearson's r of openness from the points and from the labels."""
    ours, theirs = (np.stack([openness(face) for face in faces]) for faces in (points, labels))
    pairs = {"eyes": (ours[:, :2].ravel(), theirs[:, :2].ravel()), "mouth": (ours[:, 2], theirs[:, 2])}
    return {
        name: {"mean_abs": number(np.abs(a - b).mean()), "pearson": number(np.corrcoef(a, b)[0, 1])}
        for name, (a, b) in pairs.items()
    }


def openness(points: Array) -> Array:
    """Openness (3,) of the left eye, the right eye and the mouth."""
    face = Face(points, tight_box(points), IBUG68)
    if face.eye_openness is None or face.mouth_openness is None:
        return np.zeros(3)
    return np.array([*face.eye_openness, face.mouth_openness])


def number(value: float) -> float:
    return round(float(value), 4)


if __name__ == "__main__":
    main()
