"""Landmarks of faces unlike the training pictures, MediaPipe's face mesh beside ours: found faces and their errors.

    python benchmarks/wild.py --data FOLDER --model fast --mediapipe --split test --every 16 \\
        --out benchmarks/results/wild.json --figure docs/figures/wild.png

FOLDER holds 300w, 300w_lp, wflw and face-free (benchmarks/face_free.py). Each part has levels, at each of which the
same faces are drawn anew, grey where their picture ends, and searched in the whole picture with default settings:

- roll: turned in the picture plane, in steps of 15°; roll-in-box: the same in the labels' box (ours alone);
- yaw: 300W-LP's turned copies of the photographs that the detector was not trained on, by their yaw; errors over half
  the longer side of the face's box, since the distance of the eyes vanishes;
- size: the longer side of the face's box, 12 to 400 px, in a picture of 640×480; size-in-large: of 1600×1200;
- exposure: grey levels times a factor; noise: Gaussian noise of so many grey levels;
- covered: a mask over nose and mouth, shades over the eyes, drawn; judged by the points that are not covered;
- border: the share of the face's box beyond the picture's border, on one of four sides; judged by the points inside;
- scenes: WFLW's test pictures as they are, by the labelled faces' sizes, inner points;
- false: faces in a hundred pictures without any.

Faces of exposure, noise, covers and border are 160 px of 640×480. A face is found where the NME, inter-ocular, is below
20 %; among several answers the nearest by IoU counts. `--split validation` (the default) takes the photographs of
300W's training set that the shipped students did not learn from, for choosing thresholds; `--split test` the test faces
of common, to be looked at once. MediaPipe's mesh is turned into the 68 points by `lightmark.mesh_points`.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from lightmark.cli.auxiliary_training import pictures_of
from lightmark.data.read import read_samples
from lightmark.data.sample import Sample, load_image
from lightmark.data.shards.pack import by_picture
from lightmark.data.split import split_by_photo
from lightmark.evaluate.predict import to_schema
from lightmark.files import replacing
from lightmark.geometry import Array, box_centre, longer_side, overlaps, similarity_matrix, tight_box, transform
from lightmark.image import Picture
from lightmark.landmarker import Landmarker
from lightmark.mesh_points import MESH, mesh_weights
from lightmark.metrics import interocular
from lightmark.outputs import require_free
from lightmark.pose import head_pose
from lightmark.provenance import git_commit, versions
from lightmark.runtime.shipped import shipped_hashes
from lightmark.schema import IBUG68
from lightmark.source import to_picture

Find = Callable[[Picture, Array], list[Array]]  # a picture and the true box to the points (68, 2) of each answer
Level = float | str

FOUND_NME = 0.2
BORDER = (128, 128, 128)
VALIDATION, DETECTOR_VALIDATION, SEED = 0.06, 0.12, 0  # of the recipes of the shipped students and detector
SMALL, LARGE = (640, 480), (1600, 1200)
SIDE = 160.0  # px of a face where its size is not what varies
SIZES = (12, 16, 20, 28, 40, 60, 100, 200, 400)
YAWS = (0, 30, 45, 60, 75, 91)
SCENE_SIZES = (0, 24, 48, 96, 1000)
MASK, SHADES = (*range(2, 15), 29), (range(36, 42), range(42, 48))  # outlines, of IBUG68
MASKED = (*range(3, 14), *range(30, 36), *range(48, 68))
COVERS = {"none": (), "mask": MASKED, "shades": tuple(range(36, 48)), "both": (*MASKED, *range(36, 48))}
MEDIAPIPE = "MediaPipe"


@dataclass(frozen=True, eq=False)
class Case:
    """A picture, the face's points (68, 2) in it, and which of them (68,) are judged."""

    picture: Picture
    points: Array
    judged: NDArray[np.bool_] = field(default_factory=lambda: np.ones(IBUG68.size, dtype=bool))
    turned: bool = False  # so that the distance of its eyes says little about its size

    @property
    def box(self) -> Array:
        """Tight box (4,) of all points."""
        return tight_box(self.points)

    @property
    def normaliser(self) -> float:
        """What divides errors: the distance of the outer eye corners, half the box's longer side of a turned face."""
        if self.turned:
            return longer_side(self.box) / 2
        return float(interocular(self.points[None], IBUG68)[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--part", action="append", choices=[*PARTS, "scenes", "false"], help="default: all")
    parser.add_argument("--model", action="append", required=True)
    parser.add_argument("--mediapipe", action="store_true", help="needs mediapipe 0.10.21")
    parser.add_argument("--split", choices=("validation", "test"), default="validation")
    parser.add_argument("--every", type=int, default=1, help="take every so many faces")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--figure", type=Path, help="PNG to draw the shares of found faces in")
    parser.add_argument("--force", action="store_true", help="write over what is there")
    options = parser.parse_args()
    require_free([path for path in (options.out, options.figure) if path], force=options.force)
    faces = split_faces(read_samples(options.data / "300w"), options.split)[:: options.every]
    landmarkers = {name: Landmarker(name, threads=1) for name in options.model}
    systems = {name: finder(landmarker) for name, landmarker in landmarkers.items()}
    boxed = {name: finder_in_box(landmarker) for name, landmarker in landmarkers.items()}
    if options.mediapipe:
        from compare_mediapipe import face_mesh  # beside this script

        opened = ExitStack()  # until the script ends
        systems[MEDIAPIPE] = mesh_finder(opened.enter_context(face_mesh(refine=False)))
    result: dict[str, Any] = {
        "command": "python " + " ".join(sys.argv),
        "commit": git_commit(),
        "versions": versions(),
        "models": shipped_hashes(*options.model, "face"),
        "faces": len(faces),
        "split": options.split,
    }
    for part in options.part or [*PARTS, "scenes", "false"]:
        if part == "scenes":
            result[part] = {name: scenes(find, read_samples(options.data / "wflw")) for name, find in systems.items()}
        elif part == "false":
            pictures = pictures_of([options.data / "face-free" / "test"])
            result[part] = {name: false_faces(find, pictures) for name, find in systems.items()}
        else:
            copies = by_yaw(turned_copies(options.data / "300w_lp")) if part == "yaw" else {}
            groups: dict[Level, list[Sample]] = copies or dict.fromkeys(PARTS[part].levels, faces)
            chosen = boxed if part == "roll-in-box" else systems
            result[part] = {name: measure(find, PARTS[part], groups) for name, find in chosen.items()}
        print(part, json.dumps(result[part]), flush=True)
    with replacing(options.out) as partial:
        partial.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(tables(result))
    if options.figure:
        draw(result, options.figure)


def split_faces(samples: Sequence[Sample], split: str) -> list[Sample]:
    """Test faces of common, or the validation faces of the shipped students' training."""
    if split == "test":
        return [sample for sample in samples if "common" in sample.subsets]
    return split_by_photo([sample for sample in samples if "train" in sample.subsets], VALIDATION, SEED)[1]


def turned_copies(folder: Path) -> list[Sample]:
    """300W-LP's faces of the photographs that detector and students hold out."""
    return split_by_photo(read_samples(folder), DETECTOR_VALIDATION, SEED)[1]


# Systems


def finder(landmarker: Landmarker) -> Find:
    return lambda picture, box: [face.points for face in landmarker.detect(picture)]


def finder_in_box(landmarker: Landmarker) -> Find:
    return lambda picture, box: [face.points for face in landmarker.landmarks(picture, [box])]


def mesh_finder(detect: Callable[[Picture], Sequence[Array]]) -> Find:
    """The 68 points from the meshes that `detect` finds, whose coordinates are relative to the picture."""
    weights = mesh_weights()

    def find(picture: Picture, box: Array) -> list[Array]:
        extent = (picture.shape[1], picture.shape[0])
        return [weights @ (mesh[:MESH] * extent - 0.5) for mesh in detect(picture)]

    return find


# Parts: cases by level


def placed(
    sample: Sample, side: float, extent: tuple[int, int], angle: float = 0.0, centre: Array | None = None
) -> Case:
    """The sample's picture on a grey one of `extent`: its box's longer side is `side` px.

    The box's centre is at `centre`, by default in the middle.
    """
    box, picture = tight_box(sample.points), load_image(sample)
    place = (np.array(extent) - 1) / 2 if centre is None else centre
    zoom = side / longer_side(box)
    matrix = similarity_matrix(box_centre(box), place, zoom, angle)
    halved = matrix
    while zoom < 0.5:  # bilinear samples of a much larger picture alias
        picture, halved, zoom = np.asarray(cv2.pyrDown(picture), np.uint8), halved @ np.diag([2.0, 2.0, 1.0]), 2 * zoom
    drawn = cv2.warpAffine(
        picture, halved, extent, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=BORDER
    )
    return Case(np.asarray(drawn, dtype=np.uint8), transform(matrix, sample.points))


def rolled(sample: Sample, roll: float) -> Case:
    """The sample at its own size, in a square that holds its picture at any roll, but for the face's offset."""
    side = math.ceil(math.hypot(*load_image(sample).shape[:2])) + 2
    return placed(sample, longer_side(tight_box(sample.points)), (side, side), roll)


def by_yaw(faces: Sequence[Sample]) -> dict[Level, list[Sample]]:
    yaws = [abs(pose.yaw) if (pose := head_pose(sample.points, IBUG68)) else 0.0 for sample in faces]
    return {
        f"{low}–{high}": [sample for sample, yaw in zip(faces, yaws, strict=True) if low <= yaw < high]
        for low, high in pairwise(YAWS)
    }


def lit(case: Case, factor: float) -> Case:
    return replace(case, picture=np.clip(case.picture * factor, 0, 255).astype(np.uint8))


def with_noise(case: Case, level: float, seed: int) -> Case:
    noise = np.random.default_rng(seed).normal(0, level, case.picture.shape)
    return replace(case, picture=np.clip(case.picture + noise, 0, 255).round().astype(np.uint8))


def with_cover(case: Case, kind: str) -> Case:
    """A light blue mask from ear to ear below the nose's bridge, or dark shades; covered points are not judged."""
    picture, points = case.picture.copy(), case.points
    if kind in ("mask", "both"):
        cv2.fillPoly(picture, [points[list(MASK)].round().astype(np.int32)], (170, 200, 220))
    if kind in ("shades", "both"):
        for eye in SHADES:
            centre, width = points[list(eye)].mean(axis=0), np.ptp(points[list(eye), 0])
            axes = (round(0.9 * width), round(0.65 * width))
            cv2.ellipse(picture, [round(c) for c in centre.tolist()], axes, 0, 0, 360, (20, 20, 25), -1)
    return Case(picture, points, ~np.isin(np.arange(len(points)), COVERS[kind]))


def beyond_border(sample: Sample, share: float, edge: int) -> Case:
    """The sample with `share` of its box beyond the left, right, upper or lower border, where no point is judged."""
    box = tight_box(sample.points)
    width, height = (box[2:] - box[:2]) * SIDE / longer_side(box)
    centre = (np.array(SMALL) - 1) / 2
    axis, length = edge // 2, (width, height)[edge // 2]
    near = (0.5 - share) * length
    centre[axis] = near if edge % 2 == 0 else SMALL[axis] - 1 - near
    case = placed(sample, SIDE, SMALL, centre=centre)
    inside = ((case.points >= 0) & (case.points <= np.array(SMALL) - 1)).all(axis=1)
    return replace(case, judged=np.asarray(inside))


@dataclass(frozen=True)
class Part:
    """`levels` of a disturbance, and how the sample of a number is drawn at one of them."""

    levels: Sequence[Any]
    draw: Callable[[Sample, Any, int], Case]


def upright(sample: Sample) -> Case:
    return placed(sample, SIDE, SMALL)


ROLL = Part(range(0, 360, 15), lambda sample, roll, number: rolled(sample, roll))
PARTS = {
    "roll": ROLL,
    "roll-in-box": ROLL,
    "yaw": Part((), lambda sample, level, number: replace(upright(sample), turned=True)),  # its levels are other faces
    "size": Part(SIZES, lambda sample, side, number: placed(sample, side, SMALL)),
    "size-in-large": Part(SIZES, lambda sample, side, number: placed(sample, side, LARGE)),
    "exposure": Part((0.1, 0.2, 0.5, 1.0, 1.5, 2.0, 3.0), lambda sample, factor, number: lit(upright(sample), factor)),
    "noise": Part((0, 10, 20, 40, 80), lambda sample, level, number: with_noise(upright(sample), level, number)),
    "covered": Part(tuple(COVERS), lambda sample, kind, number: with_cover(upright(sample), kind)),
    "border": Part(
        (0.0, 0.1, 0.2, 0.3, 0.4, 0.5), lambda sample, share, number: beyond_border(sample, share, number % 4)
    ),
}


# Measurement


def measure(find: Find, part: Part, groups: Mapping[Level, Sequence[Sample]]) -> list[dict[str, Any]]:
    """A row a level: faces, share of found ones, mean NME of these, milliseconds a picture."""
    rows = []
    for level, faces in groups.items():
        errors, spent = [], 0.0
        for number, sample in enumerate(faces):
            case = part.draw(sample, level, number)
            started = time.perf_counter()
            answers = find(case.picture, case.box)
            spent += time.perf_counter() - started
            errors.append(error(answers, case))
        rows.append({"level": level, **row_of(np.array(errors)), "ms": round(1000 * spent / len(errors), 1)})
    return rows


def row_of(errors: Array) -> dict[str, Any]:
    found = errors < FOUND_NME
    mean = round(float(errors[found].mean()), 5) if found.any() else None
    return {"faces": len(errors), "found": round(float(found.mean()), 4), "nme_of_found": mean}


def error(answers: Sequence[Array], case: Case) -> float:
    """NME over the judged points of the answer whose box overlaps the face's most; infinite without any."""
    if not answers:
        return math.inf
    boxes = np.stack([tight_box(points) for points in answers])
    nearest = answers[int(overlaps(boxes, case.box[None])[:, 0].argmax())]
    distances = np.linalg.norm(nearest - case.points, axis=-1)[case.judged]
    return float(distances.mean() / case.normaliser)


def scenes(find: Find, samples: Sequence[Sample]) -> list[dict[str, Any]]:
    """Rows by the labelled faces' sizes in whole pictures; the jaw, which WFLW defines differently, is not judged."""
    inner = np.isin(np.arange(IBUG68.size), IBUG68.inner)
    errors, sides = [], []
    for faces in by_picture(to_schema(samples, IBUG68)):
        picture = to_picture(faces[0].path)
        answers = find(picture, np.zeros(4))
        for face in faces:
            case = Case(picture, face.points, inner)
            errors.append(error(answers, case))
            sides.append(longer_side(case.box))
    bands = {"all": (0, math.inf), **{f"{low}–{high}": (low, high) for low, high in pairwise(SCENE_SIZES)}}
    rows = []
    for level, (low, high) in bands.items():
        within = np.array([low <= side < high for side in sides])
        if within.any():
            rows.append({"level": level, **row_of(np.array(errors)[within])})
    return rows


def false_faces(find: Find, pictures: Sequence[Path]) -> dict[str, Any]:
    """Faces found in pictures without any."""
    counts = {path.name: len(find(to_picture(path), np.zeros(4))) for path in pictures}
    return {
        "pictures": len(counts),
        "faces": sum(counts.values()),
        "in": {name: count for name, count in counts.items() if count},
    }


# Output


def tables(result: Mapping[str, Any]) -> str:
    """Markdown: a table a part, found faces and their NME by system and level."""
    lines = []
    for part in (part for part in [*PARTS, "scenes"] if part in result):
        rows = next(iter(result[part].values()))
        lines += ["", f"| {part} | {' | '.join(str(row['level']) for row in rows)} |", "|---" * (len(rows) + 1) + "|"]
        for name, measured in result[part].items():
            found = " | ".join(f"{100 * row['found']:.0f}" for row in measured)
            lines.append(f"| {name}: found, % | {found} |")
            errors = (row["nme_of_found"] for row in measured)
            lines.append(f"| NME, % | {' | '.join('–' if e is None else f'{100 * e:.1f}' for e in errors)} |")
    return "\n".join(lines)


def draw(result: Mapping[str, Any], path: Path) -> None:
    """Found faces by level, one panel a part."""
    from matplotlib.figure import Figure

    parts = [part for part in [*PARTS, "scenes"] if part in result]
    figure = Figure(figsize=(15, 3.2 * math.ceil(len(parts) / 5)), layout="constrained")
    panels = figure.subplots(math.ceil(len(parts) / 5), 5, squeeze=False).ravel()
    for axes, part in zip(panels, parts, strict=False):
        for name, rows in result[part].items():
            axes.plot([100 * row["found"] for row in rows], ".-", label=name)
        axes.set(title=part, ylim=(-3, 103))
        step = math.ceil(len(rows) / 8)  # as many labels as do not overlap
        axes.set_xticks(range(0, len(rows), step), [str(row["level"]) for row in rows[::step]])
        axes.grid(alpha=0.3)
    for axes in panels[len(parts) :]:
        axes.set_axis_off()
    panels[0].set_ylabel("found, %")
    panels[0].legend()
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=100)


if __name__ == "__main__":
    main()
