"""Fit the mean head of mean_head.py, 31 points in three dimensions, to 2D labels.

    python benchmarks/fit_head_shape.py --turned 300w_lp/afw --data 300w

Tomasi and Kanade's factorisation (IJCV 1992) in scaled orthography: the labels of 300W-LP's turned AFW faces (--turned)
and of their mirror images, centred and stacked (2F, 31), are cameras (2F, 3) times points (3, 31) up to a linear map,
which is found from the two rows of each camera being perpendicular and of one length. The points are then refined with
the labels of 300W's training faces (--data), which manual labels and so trained models resemble more: in turn a pose is
fitted to every face, as pose.py does it, and the points to all poses by least squares. Pitch is zero at the
median of 300W's training faces that look no more than 15° to a side. Never a test face. Prints the table for
mean_head.py and writes benchmarks/results/head-shape.json.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np

from lightmark.cli.training import training_samples
from lightmark.files import replacing
from lightmark.geometry import Array, rotation_angles, rotation_matrix
from lightmark.mean_head import RIGID
from lightmark.outputs import require_free
from lightmark.pose import fit_rotation
from lightmark.provenance import git_commit, versions
from lightmark.schema import IBUG68

ROUNDS = 6
FRONTAL = 15.0  # degrees
DECIMALS = 4
MIRROR = np.array([RIGID.index(IBUG68.mirror[index]) for index in RIGID])
CORNERS = [RIGID.index(36), RIGID.index(45)]
NOSE_ROOT, NOSE_TIP, NOSE_BASE = (RIGID.index(index) for index in (27, 30, 33))
RESULT = Path(__file__).parent / "results" / "head-shape.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turned", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=RESULT)
    parser.add_argument("--force", action="store_true", help="write over what is there")
    options = parser.parse_args()
    require_free([options.out], force=options.force)
    turned, frontal = (labels(root) for root in (options.turned, options.data))
    solid, singular = factorise(turned)
    faces = np.concatenate([turned, frontal])
    for _ in range(ROUNDS):
        previous = solid
        solid, spread = refine(solid, faces)
        print(f"spread {spread:.4f}, largest change {np.abs(solid - previous).max():.5f}", flush=True)
    angles = np.array([rotation_angles(fit_rotation(points, solid)) for points in frontal])
    pitch = float(np.median(angles[np.abs(angles[:, 0]) <= FRONTAL, 1]))
    # A head whose zero is moved by R is one whose points are.
    solid = np.round(normalised(solid @ rotation_matrix(0, pitch, 0).T), DECIMALS)
    print(table(solid))
    result = {
        "command": ["python", *sys.argv],
        "commit": git_commit(),
        "versions": versions(),
        "faces": {"turned": len(turned), "frontal": len(frontal)},
        "singular_values": np.round(singular[:6], 3).tolist(),
        "spread_eye_distances": round(spread, 4),
        "pitch_moved_degrees": round(pitch, 2),
        "points": {str(index): point.tolist() for index, point in zip(RIGID, solid, strict=True)},
    }
    with replacing(options.out) as path:
        path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def labels(root: Path) -> Array:
    """Rigid points (F, 31, 2) of the training faces at `root`."""
    return np.stack([sample.points[list(RIGID)] for sample in training_samples([root])])


def factorise(faces: Array) -> tuple[Array, Array]:
    """Symmetric points (31, 3) of faces (F, 31, 2) turned every way, and all singular values of their labels."""
    centred = faces - faces.mean(axis=1, keepdims=True)
    centred /= np.linalg.norm(centred, axis=(1, 2), keepdims=True)
    both = np.concatenate([centred, centred[:, MIRROR] * [-1, 1]])
    stacked = both.transpose(0, 2, 1).reshape(-1, len(RIGID))
    left, singular, right = np.linalg.svd(stacked, full_matrices=False)
    cameras = (left[:, :3] * singular[:3]).reshape(-1, 2, 3)
    return upright(np.linalg.solve(metric(cameras), right[:3]).T), singular


def metric(cameras: Array) -> Array:
    """Matrix G (3, 3) that makes both rows of each camera (F, 2, 3) times G perpendicular and of one length."""
    across, down = cameras[:, 0], cameras[:, 1]
    equations = np.concatenate([products(across, across) - products(down, down), products(across, down)])
    a, b, c, d, e, f = np.linalg.svd(equations, full_matrices=False)[2][-1]
    values, axes = np.linalg.eigh(np.array([[a, b, c], [b, d, e], [c, e, f]]))
    if values.min() * values.max() <= 0:
        raise SystemExit("no metric fits these labels: are the faces turned differently at all?")
    return np.asarray(axes * np.sqrt(np.abs(values)), dtype=np.float64)


def products(first: Array, second: Array) -> Array:
    """Coefficients (F, 6) of the six different elements of a symmetric Q in first · Q · second."""
    x, y = first.T, second.T
    mixed = [x[0] * y[1] + x[1] * y[0], x[0] * y[2] + x[2] * y[0], x[1] * y[2] + x[2] * y[1]]
    return np.stack([x[0] * y[0], mixed[0], mixed[1], x[1] * y[1], mixed[2], x[2] * y[2]], axis=1)


def upright(solid: Array) -> Array:
    """`solid` (31, 3), known up to a rotation and a reflection, on the axes of mean_head.py; its pitch is rough."""
    side = np.linalg.svd(solid - solid[MIRROR])[2][0]  # each point and its partner lie along the axis of the mirror
    side *= np.sign((solid[CORNERS[1]] - solid[CORNERS[0]]) @ side)
    down = solid[NOSE_BASE] - solid[NOSE_ROOT]
    down -= side * (side @ down)
    down /= np.linalg.norm(down)
    placed = solid @ np.stack([side, down, np.cross(side, down)]).T
    if placed[NOSE_TIP, 2] < placed[CORNERS, 2].mean():
        placed[:, 2] *= -1  # parallel projection does not tell a head from its hollow mould
    return normalised(placed)


def normalised(solid: Array) -> Array:
    """Symmetric, the outer eye corners one unit apart and about the origin."""
    solid = (solid + solid[MIRROR] * [-1, 1, 1]) / 2
    solid = solid - solid[CORNERS].mean(axis=0)
    return np.asarray(solid / np.ptp(solid[CORNERS, 0]))


def refine(solid: Array, faces: Array) -> tuple[Array, float]:
    """Points that fit all faces (F, 31, 2) best, each seen as `solid` is; and the labels' distance from them (rms)."""
    squares, right, errors = np.zeros((3, 3)), np.zeros_like(solid), 0.0
    for points in faces:
        camera = fit_rotation(points, solid)[:2]
        shown, seen = solid @ camera.T, points - points.mean(axis=0)
        shown -= shown.mean(axis=0)
        scale = (shown * seen).sum() / (shown**2).sum()
        placed = seen / scale + (solid @ camera.T).mean(axis=0)
        errors += ((placed - solid @ camera.T) ** 2).sum(axis=1).mean()
        squares += camera.T @ camera
        right += placed @ camera
    best = np.asarray(np.linalg.solve(squares, right.T).T, dtype=np.float64)
    return normalised(best), float(np.sqrt(errors / len(faces)))


def table(solid: Array) -> str:
    """The lines of HALF."""
    half = [i for i in range(len(RIGID)) if MIRROR[i] >= i]
    cells = [f"{RIGID[i]}: ({', '.join(f'{value:.4f}' for value in solid[i])})," for i in half]
    return "\n".join("    " + " ".join(cells[i : i + 3]) for i in range(0, len(cells), 3))


if __name__ == "__main__":
    main()
