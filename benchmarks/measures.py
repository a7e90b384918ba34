"""Errors of the measures of a face: openness of eyes and mouth, recognition crops, schemes, camera transform.

    python benchmarks/measures.py --data 300w --turned 300w_lp/afw --helen29 helen29

- constants: what lightmark.measures takes from 300W's training labels, and what `fast` makes of closed eyes there
  (a labelled opening below CLOSED is closed, one above OPEN is open).
- test: openness and five points from the points of the shipped models against those from the labels, on 300W's test
  faces; crops by the labels' boxes. Five points are compared in pixels of the ArcFace crop of the labels.
- formulas: how well eye openness by several formulas agrees (Pearson's r) on the training faces that were held out for
  choosing the models: ours, its distance across the corners' line, the eye aspect ratio, the lids' area over width².
- annotators: eye opening (over the eye distance) of HELEN's training faces by 300W's labels and by those of the
  29-point scheme, drawn by other people: what labels allow.
- pose: openness from the exact points of procedural heads (seed 0) against the known openings of the heads, by yaw and
  pitch, at the distance of an arm or two.
- painted: closed against open eyes on painted procedural faces without dark glasses and covers, points by the models.
- transform: rotation and distance of procedural heads near a known camera, beside `head_pose`, which knows no camera.
- schemes: the 29 points made of 68 against labels of both kinds on the same faces of HELEN's training set, after the
  best similarity, since their crops differ.

Writes benchmarks/results/measures.json, with --part only the sections named; openness is from 0 to 1. `--figure PNG`
draws eye openness by the points of `fast` against the labels', and the two annotators.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from lightmark import measures
from lightmark.alignment import alignment_matrix
from lightmark.cli.training import training_samples
from lightmark.data.read import read_samples
from lightmark.data.sample import Sample
from lightmark.data.split import split_by_photo
from lightmark.data.synthetic.head import make_head
from lightmark.data.synthetic.render import render_scene
from lightmark.data.synthetic.scene import random_expression, random_identity, random_scene
from lightmark.data.synthetic.view import PIVOT, Pose, view_head
from lightmark.evaluate.predict import open_model, predict
from lightmark.face import Face
from lightmark.files import replacing
from lightmark.geometry import Array, align, rotation_angles, rotation_matrix, tight_box, transform
from lightmark.mean_head import RIGID, head_points, head_scale
from lightmark.outputs import require_free
from lightmark.pose import fit_rotation, head_transform
from lightmark.provenance import git_commit, versions
from lightmark.runtime.shipped import shipped_hashes
from lightmark.schema import COFW29, IBUG68
from lightmark.schemes import convert_points, five_points

RESULT = Path(__file__).parent / "results" / "measures.json"
MODELS = ("fast", "standard")
SEED, HELD_OUT = 0, 0.06  # of the split by which the shipped models were trained
CLOSED, OPEN = 0.12, 0.3  # labelled openness: below, a line or nearly; above, plainly open
VIEWS = [(0, 0), (15, 0), (30, 0), (45, 0), (60, 0), (0, -30), (0, -15), (0, 15), (0, 30),
         (20, 20), (30, -30), (30, 30), (-30, -30)]  # fmt: skip
HEADS, PAINTED = 300, 400
DISTANCE = 12.0  # of the camera in head units of the procedural head: 85 cm
EYES, LIPS = (measures.LEFT_LIDS, measures.RIGHT_LIDS), measures.LIPS
# COFW's points that the 68 have in the same place: for the similarity between the crops of the two copies.
SHARED = [8, 9, 10, 11, 20, 21, 22, 23, 24, 27]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("data", "turned", "helen29"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=RESULT)
    parser.add_argument("--part", action="append", help="section to measure again; the others of --out stay")
    parser.add_argument("--figure", type=Path, help="PNG of the eyes' agreement to draw")
    parser.add_argument("--force", action="store_true", help="write over what is there")
    options = parser.parse_args()
    require_free([options.out, *filter(None, [options.figure])], force=options.force)
    training, testing = training_samples([options.data]), read_samples(options.data, subset="test")
    helen29 = read_samples(options.helen29)
    held_out = split_by_photo(training, HELD_OUT, SEED)[1]
    parts: dict[str, Callable[[], object]] = {
        "constants": lambda: constants(training, training_samples([options.turned])),
        "test": lambda: {name: of_model(name, testing) for name in MODELS},
        "formulas": lambda: {name: of_formulas(name, held_out) for name in MODELS},
        "annotators": lambda: agreement(*annotators(training, helen29)),
        "pose": lambda: {f"yaw {yaw}, pitch {pitch}": at_pose(yaw, pitch) for yaw, pitch in VIEWS},
        "painted": of_painted,
        "transform": lambda: {f"{distance:g}": of_transform(distance) for distance in (5.0, 8.0, DISTANCE, 20.0)},
        "schemes": lambda: {"cofw29": of_cofw(training, helen29)},
    }
    chosen = options.part or list(parts)
    before = json.loads(options.out.read_text(encoding="utf-8")) if options.part else {}
    made = {"command": ["python", *sys.argv], "commit": git_commit(), "versions": versions(), "seed": SEED,
            "models": {name: shipped_hashes(name) for name in MODELS}}  # fmt: skip
    newer = {"newer_parts": before.get("newer_parts", {}) | dict.fromkeys(chosen, made)} if options.part else made
    result = before | newer | {name: parts[name]() for name in chosen}
    print(json.dumps(result, indent=1))
    with replacing(options.out) as path:
        path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    if options.figure is not None:
        points = list(predict(open_model("fast"), testing))
        by_fast = [values[:, :2].ravel() for values in (openness([one.points for one in testing]), openness(points))]
        draw_agreement(options.figure, by_fast, annotators(training, helen29))


def constants(training: Sequence[Sample], turned: Sequence[Sample]) -> dict[str, Any]:
    """Percentiles of labelled openings in eye distances, slopes of lids and jaw, and closed eyes by `fast`."""
    gaps = np.array([openings(one.points) for one in training])
    eyes, lips = gaps[:, :2].ravel(), gaps[:, 2]
    labelled = openness([one.points for one in training])[:, :2].ravel()
    found = openness(list(predict(open_model("fast"), training)))[:, :2].ravel()
    return {
        "faces": len(training),
        "eye_p99": number(np.percentile(eyes, 99)),
        "open_mouth_p99": number(np.percentile(lips[lips > 0.1], 99)),
        "jaw_slope": {name: number(slope([one.points for one in faces], LIPS, 0.08))
                      for name, faces in (("300w train", training), ("300w_lp", turned))},
        "closed_by_fast": told_apart(found, labelled),
    }  # fmt: skip


def openings(points: Array) -> list[float]:
    """Left eye, right eye and mouth, in distances of the outer eye corners."""
    face = face_of(points)
    if face.pose is None:
        return [0.0, 0.0, 0.0]
    wide = [measures.WIDE_EYE, measures.WIDE_EYE, measures.WIDE_MOUTH]
    return [value * most for value, most in zip(unclipped(face), wide, strict=True)]


def unclipped(face: Face) -> list[float]:
    """Openness without the limits 0 and 1."""
    rotation = fit_rotation(face.points[list(RIGID)], head_points())
    scale = head_scale(face.points[list(RIGID)], rotation)
    values = []
    for (upper, lower), fall, wide in (
        *((lids, measures.LIDS_SLOPE, measures.WIDE_EYE) for lids in EYES),
        (LIPS, measures.JAW_SLOPE, measures.WIDE_MOUTH),
    ):
        down = rotation[:2, 1] - fall * rotation[:2, 2]
        gap = face.points[lower].mean(axis=0) - face.points[upper].mean(axis=0)
        values.append(float(gap @ down / (down @ down) / scale / wide))
    return values


def slope(faces: Sequence[Array], parts: tuple[list[int], list[int]], least: float) -> float:
    """Move away from the viewer of the lower part as it goes down by 1, by least squares over open ones."""
    upper, lower = parts
    gaps, downs, backs = [], [], []
    for points in faces:
        rotation = fit_rotation(points[list(RIGID)], head_points())
        scale = head_scale(points[list(RIGID)], rotation)
        gaps.append((points[lower].mean(axis=0) - points[upper].mean(axis=0)) / scale)
        downs.append(rotation[:2, 1])
        backs.append(-rotation[:2, 2])
    gap, down, back = np.array(gaps), np.array(downs), np.array(backs)
    found = 0.0
    for _ in range(20):  # openings depend on the slope, and the slope on the openings
        axis = down + found * back
        opening = (gap * axis).sum(axis=1) / (axis * axis).sum(axis=1)
        use = opening > least
        moved = opening[use, None] * back[use]
        found = float((moved * (gap[use] - opening[use, None] * down[use])).sum() / (moved * moved).sum())
    return found


def of_model(name: str, samples: Sequence[Sample]) -> dict[str, Any]:
    """Openness and five points of the model's points against those of the labels."""
    points, labels = predict(open_model(name), samples), [one.points for one in samples]
    found, known = openness(list(points)), openness(labels)
    groups = {group: [group in one.subsets for one in samples] for group in ("full", "common", "challenging")}
    return {
        "faces": len(samples),
        "eyes": {group: agreement(found[use, :2].ravel(), known[use, :2].ravel()) for group, use in groups.items()},
        "both_eyes": agreement(found[:, :2].mean(axis=1), known[:, :2].mean(axis=1)),
        "mouth": {group: agreement(found[use, 2], known[use, 2]) for group, use in groups.items()},
        "closed": told_apart(found[:, :2].ravel(), known[:, :2].ravel()),
        "five_points_px_of_112": crop_errors(list(points), labels),
    }


def openness(faces: Sequence[Array]) -> Array:
    """Left eye, right eye, mouth (F, 3); 0 where a face has no pose."""
    rows = []
    for face in map(face_of, faces):
        known = face.eye_openness is not None and face.mouth_openness is not None
        rows.append([*face.eye_openness, face.mouth_openness] if known else [0.0, 0.0, 0.0])  # type: ignore[misc]
    return np.array(rows)


def face_of(points: Array) -> Face:
    return Face(points, tight_box(points), IBUG68)


def agreement(found: Array, known: Array) -> dict[str, float]:
    errors = found - known
    return {
        "mean_abs": number(np.abs(errors).mean()),
        "pearson": number(np.corrcoef(found, known)[0, 1]),
        "bias": number(errors.mean()),
    }


def told_apart(found: Array, known: Array) -> dict[str, Any]:
    """ROC of closed (`known` below CLOSED) against open eyes (above OPEN) by openness, and rates at the threshold."""
    shut, wide = found[known < CLOSED], found[known > OPEN]
    auc = (shut[:, None] < wide).mean() + (shut[:, None] == wide).mean() / 2
    rates = {f"{least:.2f}": [number((shut < least).mean()), number((wide < least).mean())]
             for least in sorted({*np.arange(0.2, 0.55, 0.05).round(2).tolist(), measures.CLOSED_EYE})}  # fmt: skip
    return {"closed": len(shut), "open": len(wide), "auc": number(auc), "closed_and_open_below": rates}


def crop_errors(points: Sequence[Array], labels: Sequence[Array]) -> dict[str, Any]:
    """Distances in the labels' ArcFace crop, and how the crop by the found points differs from it."""
    distances, shifts, turns, scales = [], [], [], []
    for face, label in zip(points, labels, strict=True):
        found, known = five_points(face, IBUG68), five_points(label, IBUG68)
        matrix = alignment_matrix(known)
        distances.append(np.linalg.norm(transform(matrix, found) - transform(matrix, known), axis=1))
        between = align(transform(matrix, found), transform(alignment_matrix(found), found))
        factor = complex(between[0, 0], between[1, 0])
        shifts.append(float(np.linalg.norm(transform(between, np.full((1, 2), 55.5)) - 55.5)))
        turns.append(abs(np.degrees(np.angle(factor))))
        scales.append(abs(abs(factor) - 1))
    errors = np.array(distances)
    return {
        "mean_by_point": [number(value) for value in errors.mean(axis=0)],
        "mean": number(errors.mean()),
        "p95_of_faces": number(np.percentile(errors.mean(axis=1), 95)),
        "crop_shift_px": number(float(np.mean(shifts))),
        "crop_turn_degrees": number(float(np.mean(turns))),
        "crop_scale_share": number(float(np.mean(scales))),
    }


def at_pose(yaw: float, pitch: float) -> dict[str, Any]:
    """Errors of openness of procedural heads at this pose, in any roll, against their known openings."""
    found, known = [], []
    for index in range(HEADS):
        rng = np.random.default_rng((SEED, index))
        head = make_head(random_identity(rng), random_expression(rng))
        view = view_head(head, Pose(yaw, pitch, rng.uniform(-30, 30), (0.0, 0.0), 100.0, DISTANCE))
        found.append(view.points)
        known.append(known_openness(head.points))
    errors = openness(found) - np.array(known)
    return {"eyes": spread(errors[:, :2].ravel()), "mouth": spread(errors[:, 2])}


def known_openness(solid: Array) -> list[float]:
    """Openness of a head (68, 3) by its own coordinates."""
    distance = solid[45, 0] - solid[36, 0]
    parts = (*((lids, measures.WIDE_EYE) for lids in EYES), (LIPS, measures.WIDE_MOUTH))
    return [
        float(np.clip((solid[lower, 1].mean() - solid[upper, 1].mean()) / distance / wide, 0, 1))
        for (upper, lower), wide in parts
    ]


def spread(errors: Array) -> dict[str, float]:
    size = np.abs(errors)
    return {
        "mean_abs": number(size.mean()),
        "bias": number(np.median(errors)),
        "p95_abs": number(np.percentile(size, 95)),
    }


def of_painted() -> dict[str, Any]:
    """Closed against open eyes on painted faces; every other face has both eyes closed."""
    samples, known = [], []
    for index in range(PAINTED):
        scene = random_scene(np.random.default_rng((SEED, 1, index)), 256)
        left, right = (1.0 if index % 2 else min(one, 0.35) for one in scene.expression.eyes_closed)
        looks = replace(scene.looks, glasses="none") if scene.looks.glasses == "dark" else scene.looks
        scene = replace(scene, expression=replace(scene.expression, eyes_closed=(left, right)), cover=None, looks=looks)
        picture = render_scene(scene)
        samples.append(Sample(Path(f"{index}.png"), picture.points, tight_box(picture.points), IBUG68,
                              photo=str(index), image=picture.image))  # fmt: skip
        known += [0.0, 0.0] if index % 2 else [1.0, 1.0]
    found = {name: openness(list(predict(open_model(name), samples)))[:, :2].ravel() for name in MODELS}
    return {name: told_apart(values, np.array(known)) for name, values in found.items()}


def of_transform(distance: float) -> dict[str, Any]:
    """Errors of rotation [yaw, pitch, roll] with and without the camera, and of the distance, at this distance."""
    camera = np.array([[100.0 * distance, 0, 0], [0, 100.0 * distance, 0], [0, 0, 1]])
    flip = np.diag([1.0, 1.0, -1.0])
    with_camera, without, far = [], [], []
    for index in range(HEADS):
        rng = np.random.default_rng((SEED, index))
        head = make_head(random_identity(rng), random_expression(rng))
        yaw, pitch, roll = (rng.uniform(-1, 1, 3) * [45, 25, 30]).tolist()
        view = view_head(head, Pose(yaw, pitch, roll, (0.0, 0.0), 100.0, distance))
        matrix = head_transform(view.points, IBUG68, camera)
        pose = face_of(view.points).pose
        if matrix is None or pose is None:
            continue
        with_camera.append(np.subtract(rotation_angles(flip @ matrix[:3, :3] @ flip), (yaw, pitch, roll)))
        without.append(np.subtract((pose.yaw, pose.pitch, pose.roll), (yaw, pitch, roll)))
        eyes = head.points[[36, 45]]
        nearer = float(((eyes.mean(axis=0) - PIVOT) @ rotation_matrix(yaw, pitch, roll).T)[2])
        far.append(matrix[2, 3] * (eyes[1, 0] - eyes[0, 0]) / (distance - nearer) - 1)
    both = {"with_camera": np.array(with_camera), "without": np.array(without)}
    angles = {name: [number(value) for value in np.abs(errors - np.median(errors, axis=0)).mean(axis=0)]
              for name, errors in both.items()}  # fmt: skip
    return {"mean_abs_less_bias": angles, "distance_mean_abs_share": number(np.abs(far).mean())}


def of_formulas(name: str, samples: Sequence[Sample]) -> dict[str, Any]:
    """Pearson's r between the model's points and the labels by each formula of `formulas`."""
    found, known = ([formulas(one) for one in faces]
                    for faces in (predict(open_model(name), samples), [one.points for one in samples]))  # fmt: skip
    return {"faces": len(samples)} | {
        formula: agreement(*(np.ravel([one[formula] for one in values]) for values in (found, known)))["pearson"]
        for formula in known[0]
    }


def formulas(points: Array) -> dict[str, Array]:
    """Openness (2,) of the left and right eye by several formulas, each in its own unit."""
    lids = points[[[45, 44, 43, 42, 47, 46], [36, 37, 38, 39, 40, 41]]]  # outer, upper two, inner, lower two
    wide = lids[:, 3] - lids[:, 0]
    width = np.linalg.norm(wide, axis=1)
    gap = (lids[:, 4] + lids[:, 5] - lids[:, 1] - lids[:, 2]) / 2
    heights = np.linalg.norm(lids[:, [1, 2]] - lids[:, [5, 4]], axis=2)
    return {
        "ours": np.array(unclipped(face_of(points))[:2]),
        "across": np.abs(cross(wide, gap)) / width / np.linalg.norm(points[36] - points[45]),
        "eye_aspect_ratio": heights.mean(axis=1) / width,
        "area_over_width_squared": np.abs(cross(lids, np.roll(lids, -1, axis=1)).sum(axis=1)) / 2 / width**2,
    }


def cross(first: Array, second: Array) -> Array:
    return np.asarray(first[..., 0] * second[..., 1] - first[..., 1] * second[..., 0])


def annotators(training: Sequence[Sample], helen29: Sequence[Sample]) -> tuple[Array, Array]:
    """Eye openings (2F,) of the faces with labels of both kinds: by the 29 points and by the 68."""
    labelled68 = {one.path.name: one.points for one in training if one.path.parent.parent.name == "helen"}
    both = [(one.points, labelled68[one.path.name]) for one in helen29 if one.path.name in labelled68]
    by29 = [
        np.abs(cross(one[[11, 10]] - one[[9, 8]], one[[15, 13]] - one[[14, 12]]))
        / np.linalg.norm(one[[11, 10]] - one[[9, 8]], axis=1) / np.linalg.norm(one[8] - one[9]) for one, _ in both
    ]  # fmt: skip
    return np.ravel(by29), np.ravel([formulas(one)["across"] for _, one in both])


def draw_agreement(path: Path, by_fast: Sequence[Array], by_people: Sequence[Array]) -> None:
    """PNG of both pairs of openness, each value a dot, with r."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4.4), dpi=100, layout="constrained")
    people = [values / measures.WIDE_EYE for values in reversed(by_people)]
    for axes, (across, up), title, other in zip(
        figure.subplots(1, 2, sharex=True, sharey=True), (by_fast, people),
        ("fast on 300W's test faces", "other people on HELEN's training faces"),
        ("by the points of fast", "by labels of the 29-point scheme"), strict=True,
    ):  # fmt: skip
        axes.plot([0, 1], [0, 1], color="#808890", linewidth=0.8)
        axes.plot(across, up, ".", color="#0f8bd0", alpha=0.35, markersize=4)
        axes.set(title=f"{title}: r = {np.corrcoef(across, up)[0, 1]:.2f}", xlim=(0, 1.02), ylim=(0, 1.02),
                 xlabel="eye openness by 300W's labels", ylabel=other, aspect="equal")  # fmt: skip
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", metadata={"Software": None})


def of_cofw(training: Sequence[Sample], helen29: Sequence[Sample]) -> dict[str, Any]:
    """Errors of the 29 points made of labelled 68, in distances of the outer eye corners, by point."""
    labelled68 = {one.path.name: one.points for one in training if one.path.parent.parent.name == "helen"}
    errors = []
    for one in helen29:
        if one.path.name in labelled68:
            made = convert_points(labelled68[one.path.name], IBUG68, COFW29.name)
            matrix = align(one.points[SHARED], made[SHARED])
            distance = np.linalg.norm(made[8] - made[9])
            errors.append(np.linalg.norm(transform(matrix, one.points) - made, axis=1) / distance)
    by_point = np.mean(errors, axis=0)
    return {"faces": len(errors), "nme": number(by_point.mean()), "by_point": [number(value) for value in by_point]}


def number(value: float) -> float:
    return round(float(value), 4)


if __name__ == "__main__":
    main()
