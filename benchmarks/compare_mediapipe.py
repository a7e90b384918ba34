"""Comparison of a Lightmark model with MediaPipe Face Mesh on the same labelled faces, by subset and group of points.

MediaPipe 0.10.21 carries its models and wants NumPy below 2, so it gets an environment of its own, without torch:

    python -m venv .venv-mediapipe
    .venv-mediapipe/bin/pip install mediapipe==0.10.21 onnxruntime pillow click rich
    .venv-mediapipe/bin/pip install --no-deps -e .
    .venv-mediapipe/bin/python benchmarks/compare_mediapipe.py --model model.onnx \\
        --train 300w/lfpw/trainset --data 300w --out benchmarks/results/mediapipe-300w.json

(MediaPipe brings its own build of OpenCV; --no-deps keeps a second one from being laid over it.)

Face Mesh gives 468 points (478 with --refine), none of them a 68-point label. "Nearest" takes for each label the mesh
point that lies nearest to it, "fitted" then moves those 68 by one affine map. Both are learned on --train alone, from
which test faces and their repeats are refused. In the crop view MediaPipe is given a square around each labelled box;
its side is --margin, or the --margins factor that serves MediaPipe best on --train, and a face missed there is tried at
the others.
In the picture view it is given the whole picture and its faces are matched to the labelled ones by overlap. The
Lightmark model has crops around labelled boxes. Errors are over the faces that MediaPipe found; those it missed are
counted and named. Measures the --data test faces where it has such, else all of them.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from lightmark.data.read import read_samples
from lightmark.data.sample import Sample, load_image
from lightmark.data.subsets import REPEATS_TEST
from lightmark.errors import DataError, MissingExtraError, SchemaError
from lightmark.evaluate.notes import CONVERTED_NOTE, LABEL_BOX_NOTE
from lightmark.evaluate.predict import face_boxes, open_model, predict, same_points, to_schema
from lightmark.evaluate.report.rows import FaceRow, face_names, face_rows, nme_key
from lightmark.evaluate.report.summary import ALL
from lightmark.evaluate.run import choose_faces
from lightmark.files import replacing, sha256_of
from lightmark.geometry import Array, align, crop_matrix, invert, overlaps, tight_box, transform
from lightmark.image import Picture, warp
from lightmark.metrics import Interval, auc, bootstrap_interval, interocular, nme, paired_bootstrap, percentile
from lightmark.outputs import require_free
from lightmark.provenance import git_commit, versions
from lightmark.runtime.exported_model import CropModel
from lightmark.runtime.shipped import model_path
from lightmark.schema import IBUG68

View = Literal["crop", "picture"]
Detector = Callable[[Picture], Sequence[Array]]  # picture → normalized points (M, 2) of each detected face

MEDIAPIPE = "0.10.21"
# Side of the crop over the longer side of the labels' box. The mesh is cut out anew around the face that the detector
# finds, so the margin decides only how well it finds it.
MARGINS = (1.5, 2.0, 2.5, 3.0)
# MediaPipe shrinks to 128 px to find the face and cuts 192 px for the mesh, about 1.5 faces wide: at 512 px neither has
# to enlarge. On every fourth of LFPW's training faces 512 beat 256 and 192 (nearest: 5.17, 5.24, 5.32 %).
CROP_SIZE = 512
MOST_FACES = 50  # more than any picture here shows; those not found cost nothing
# The mesh's box reaches over the forehead, the labels' ends at the brows: true pairs here overlap by 0.58 to 0.9.
LEAST_OVERLAP = 0.3
# In units of the frame's squared coordinates summed over the faces; the best of them is chosen by cross-validation.
RIDGES = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
FOLDS = 5
FAR = 0.08  # the error at which a face of 300W is usually a failure
MISSED = 1.0  # error that a missed face counts as where margins are compared: any value above FAR says the same
MAPPED = frozenset({"challenging", "ibug"})  # subsets whose labels are too rough for a second decimal

NEAREST, FITTED, OURS = "mediapipe_nearest", "mediapipe_fitted", "lightmark"
INNER = "inner 51"
MOST_NAMES = 20  # of missed faces, in print


@dataclass(frozen=True, eq=False)
class AffineMap:
    """How 68 points are moved: in the frame of `shape` (N, 2), by `weights` (2N + 1, 2N) times their coordinates and 1.

    The frame is the similarity that brings a face's points closest to `shape`, so neither place nor size nor the
    head's roll matter.
    """

    shape: Array
    weights: Array


@dataclass(frozen=True)
class Trial:
    """What MediaPipe makes of the training faces at one `margin` (None: whole pictures); errors are fractions.

    `nearest` and the cross-validated `fitted` are NMEs of the faces found; `auc` is that of `fitted` up to `FAR`, over
    all faces.
    """

    margin: float | None
    faces: int
    missed: int
    nearest: float
    fitted: float
    auc: float
    ridge: float


@dataclass(frozen=True, eq=False)
class MeshLabels:
    """The way from a mesh (M, 2) to labels: for each label a mesh point, then an affine map; and the trial it won."""

    mesh_points: tuple[int, ...]
    affine: AffineMap
    trial: Trial


@dataclass(frozen=True)
class GroupResult:
    """NME of one group of points over the same faces, and Lightmark's minus the others': below zero it is better.

    Of few and hard faces one stray mesh can carry the mean, so the medians stand beside it.
    """

    errors: Mapping[str, Interval]
    medians: Mapping[str, float]
    differences: Mapping[str, Interval]


@dataclass(frozen=True)
class SubsetResult:
    """One subset: how many faces are labelled, which MediaPipe missed, and the errors on the others by group."""

    labelled: int
    missed: tuple[str, ...]
    groups: Mapping[str, GroupResult]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="a shipped name or an .onnx file, of 68 points")
    parser.add_argument("--train", type=Path, required=True, help="LFPW's training faces, on which MediaPipe is fitted")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True, help="JSON to write")
    parser.add_argument("--force", action="store_true", help="write over what is there")
    parser.add_argument("--view", choices=("crop", "picture"), default="crop", help="what MediaPipe is given")
    parser.add_argument("--margins", type=float, nargs="+", default=MARGINS, help="crop sides to try, in boxes")
    parser.add_argument("--margin", type=float, help="the one of --margins to take, whatever serves best on --train")
    parser.add_argument("--refine", action="store_true", help="refine_landmarks: MediaPipe's attention mesh")
    parser.add_argument("--threads", type=int, help="processor threads of the Lightmark model")
    parser.add_argument("--seed", type=int, default=0, help="of the bootstrap")
    options = parser.parse_args()
    if options.margin is not None and (options.view != "crop" or options.margin not in options.margins):
        parser.error(f"--margin {options.margin:g}: needs --view crop and one of {options.margins}")
    require_free([options.out], force=options.force)
    text = compare(options)
    with replacing(options.out) as path:
        path.write_text(text, encoding="utf-8")
    print(render(json.loads(text)))


def compare(options: argparse.Namespace) -> str:
    """JSON text of the whole comparison."""
    model = open_model(options.model, options.threads)
    require_68_points(model, options.model)
    training = training_faces(options.train)
    chosen, choice = choose_faces(read_samples(options.data), None, options.data)
    samples = to_schema(chosen, IBUG68)
    margins: Sequence[float | None] = options.margins if options.view == "crop" else (None,)
    with face_mesh(options.refine) as detector:
        labels, trials = learn_labels(training, detector, margins, options.margin)
        ranked = sorted(trials, key=lambda trial: (trial.margin != labels.trial.margin, -trial.auc))
        meshes, missed_after = find_at_margins(samples, detector, [trial.margin for trial in ranked])
    found = [index for index, mesh in enumerate(meshes) if mesh is not None]
    if not found:
        raise DataError(f"{options.data}: MediaPipe found none of {len(samples)} faces; there is nothing to compare")
    nearest = np.stack([mesh for mesh in meshes if mesh is not None])[:, list(labels.mesh_points)]
    fitted = apply_affine(labels.affine, nearest)
    points = {NEAREST: nearest, FITTED: fitted, OURS: predict(model, samples)[found]}
    seen = [samples[index] for index in found]
    errors = {system: group_errors(face_rows(seen, given)) for system, given in points.items()}
    names = face_names(samples, options.data if options.data.is_dir() else options.data.parent)
    converted = (CONVERTED_NOTE,) if chosen[0].schema.size != IBUG68.size else ()
    data = {
        "title": f"{Path(options.model).name} beside MediaPipe Face Mesh on {options.data.resolve().name}",
        "error": f"{nme_key(IBUG68)}, a fraction",
        "intervals": "95 %, bootstrapped over faces; of differences (Lightmark − MediaPipe), paired",
        "notes": [*choice, LABEL_BOX_NOTE, *converted],
        "origin": origin(options, model, len(samples), len(training)),
        "fit": {
            "chosen": asdict(labels.trial),
            "trials": [asdict(trial) for trial in trials],
            "mesh_points": labels.mesh_points,
        },
        "missed_after": missed_after,
        "subsets": {
            name: asdict(subset_result(members, names, found, errors, options.seed))
            for name, members in subset_members(samples).items()
        },
    }
    return json.dumps(data, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def require_68_points(model: CropModel, name: str) -> None:
    if not same_points(model.spec.schema, IBUG68):
        raise SchemaError(f"{name}: gives {model.spec.schema.name}; only models of ibug68 are compared with MediaPipe")


def training_faces(folder: Path) -> list[Sample]:
    """68-point faces at `folder` to learn from; repeats of test faces are left out, test faces are an error."""
    samples = to_schema(read_samples(folder), IBUG68)
    for sample in samples:
        if "train" not in sample.subsets:
            raise DataError(f"{sample.name}: no training face; --train needs training faces only, 300w/lfpw/trainset")
    return [sample for sample in samples if REPEATS_TEST not in sample.subsets]


# MediaPipe on pictures


@contextmanager
def face_mesh(refine: bool) -> Iterator[Detector]:
    """MediaPipe's Face Mesh for single pictures; raises `MissingExtraError` where it is not installed."""
    try:
        solutions = importlib.import_module("mediapipe").solutions
    except ModuleNotFoundError as error:
        raise MissingExtraError(f"needs {error.name}: pip install mediapipe=={MEDIAPIPE}, as --help says") from error
    options = {"static_image_mode": True, "max_num_faces": MOST_FACES, "refine_landmarks": refine}
    with solutions.face_mesh.FaceMesh(**options) as network:

        def detect(picture: Picture) -> list[Array]:
            faces = network.process(np.ascontiguousarray(picture)).multi_face_landmarks or []
            return [np.array([[point.x, point.y] for point in face.landmark]) for face in faces]

        yield detect


def find_meshes(samples: Sequence[Sample], detector: Detector, margin: float | None) -> list[Array | None]:
    """Mesh (M, 2) of each face in image pixels, None where it is missed; `margin` None takes whole pictures."""
    boxes = face_boxes(samples)
    meshes: list[Array | None] = [None] * len(samples)
    for faces, picture, matrix in views(samples, boxes, margin):
        extent = (picture.shape[1], picture.shape[0])
        found = [transform(invert(matrix), normalized_points * extent - 0.5) for normalized_points in detector(picture)]
        if found:
            pairs = match_boxes(boxes[faces], tight_box(np.stack(found)))
            for labelled, detected in pairs.items():
                meshes[faces[labelled]] = found[detected]
    return meshes


def find_at_margins(
    samples: Sequence[Sample], detector: Detector, margins: Sequence[float | None]
) -> tuple[list[Array | None], list[dict[str, float | None]]]:
    """Meshes as by `find_meshes`, each at the first margin that finds the face; and how many each margin left."""
    meshes: list[Array | None] = [None] * len(samples)
    left = []
    for margin in margins:
        missed = [index for index, mesh in enumerate(meshes) if mesh is None]
        if missed:
            again = find_meshes([samples[index] for index in missed], detector, margin)
            for index, mesh in zip(missed, again, strict=True):
                meshes[index] = mesh
        left.append({"margin": margin, "missed": sum(mesh is None for mesh in meshes)})
    return meshes, left


def views(samples: Sequence[Sample], boxes: Array, margin: float | None) -> Iterator[tuple[list[int], Picture, Array]]:
    """What MediaPipe is given: indices of the labelled faces to look for, a picture, the matrix image → picture."""
    if margin is None:
        for faces in faces_by_picture(samples):
            yield faces, load_image(samples[faces[0]]), np.eye(2, 3)
    else:
        for index, sample in enumerate(samples):
            matrix = crop_matrix(boxes[index], CROP_SIZE, margin)
            yield [index], warp(load_image(sample), matrix, CROP_SIZE), matrix


def faces_by_picture(samples: Sequence[Sample]) -> list[list[int]]:
    """Indices of the faces of each picture: a file, or the pixels that a face brings along."""
    pictures: dict[Path | int, list[int]] = {}
    for index, sample in enumerate(samples):
        pictures.setdefault(sample.path if sample.image is None else index, []).append(index)
    return list(pictures.values())


def match_boxes(labelled: Array, found: Array, least: float = LEAST_OVERLAP) -> dict[int, int]:
    """Index in boxes `found` (D, 4) for indices in `labelled` (L, 4): the best overlap first, each box once."""
    shares = overlaps(labelled, found)
    pairs: dict[int, int] = {}
    for flat in np.argsort(-shares, axis=None, kind="stable"):
        row, column = divmod(int(flat), len(found))
        if shares[row, column] >= least and row not in pairs and column not in pairs.values():
            pairs[row] = column
    return pairs


# From the mesh to the labels


def learn_labels(
    samples: Sequence[Sample], detector: Detector, margins: Sequence[float | None], chosen: float | None = None
) -> tuple[MeshLabels, list[Trial]]:
    """The way from mesh to labels at the margin `chosen`, else at the best on `samples`; and what each margin gave."""
    learned = []
    for margin in margins:
        learned.append(learn_at(samples, detector, margin))
        trial = learned[-1].trial
        print(
            f"training faces, {'whole pictures' if margin is None else f'margin {margin:g}'}: {trial.missed} missed, "
            f"nearest {100 * trial.nearest:.2f} %, fitted {100 * trial.fitted:.2f} %, AUC {trial.auc:.4f}",
            flush=True,
        )
    best = max(learned, key=lambda labels: (chosen is not None and labels.trial.margin == chosen, labels.trial.auc))
    return best, [labels.trial for labels in learned]


def learn_at(samples: Sequence[Sample], detector: Detector, margin: float | None) -> MeshLabels:
    every = find_meshes(samples, detector, margin)
    found = [index for index, mesh in enumerate(every) if mesh is not None]
    if len(found) < FOLDS:
        raise DataError(f"MediaPipe found {len(found)} of {len(samples)} training faces; needs many more to learn from")
    meshes = np.stack([mesh for mesh in every if mesh is not None])
    truth = np.stack([samples[index].points for index in found])
    normaliser = interocular(truth, IBUG68)
    mesh_points = nearest_mesh_points(meshes, truth, normaliser)
    points = meshes[:, list(mesh_points)]
    folds = photo_folds([samples[index].photo for index in found])
    fitted = {ridge: nme(cross_validated(points, truth, folds, ridge), truth, normaliser) for ridge in RIDGES}
    ridge = min(RIDGES, key=lambda ridge: float(fitted[ridge].mean()))
    missed = [MISSED] * (len(samples) - len(found))
    trial = Trial(
        margin=margin,
        faces=len(samples),
        missed=len(missed),
        nearest=float(nme(points, truth, normaliser).mean()),
        fitted=float(fitted[ridge].mean()),
        auc=auc([*fitted[ridge], *missed], FAR),
        ridge=ridge,
    )
    return MeshLabels(mesh_points, fit_affine(points, truth, ridge), trial)


def nearest_mesh_points(meshes: Array, truth: Array, normaliser: Array) -> tuple[int, ...]:
    """For each label of truth (F, N, 2) the point of meshes (F, M, 2) that lies nearest on average.

    Distances are over the face's normaliser (F,). One mesh point may serve two labels.
    """
    return tuple(
        int((np.linalg.norm(meshes - truth[:, label, None], axis=-1) / normaliser[:, None]).mean(axis=0).argmin())
        for label in range(truth.shape[1])
    )


def fit_affine(points: Array, truth: Array, ridge: float) -> AffineMap:
    """The map that brings points (F, N, 2) to truth (F, N, 2) by least squares over the faces.

    `ridge` draws it towards leaving the points where they are, so that few faces do not make it wild.
    """
    shape = mean_shape(points)
    matrices = frames(points, shape)
    source, target = flatten(matrices, points), flatten(matrices, truth)
    inputs = with_one(source)
    penalty = ridge * np.eye(inputs.shape[1])
    penalty[-1, -1] = 0  # a common shift is free
    moves = np.linalg.solve(inputs.T @ inputs + penalty, inputs.T @ (target - source))
    return AffineMap(shape, moves + np.eye(*moves.shape))


def apply_affine(affine: AffineMap, points: Array) -> Array:
    """Points (F, N, 2) where the map moves them."""
    matrices = frames(points, affine.shape)
    moved = (with_one(flatten(matrices, points)) @ affine.weights).reshape(points.shape)
    return np.stack([transform(invert(matrix), face) for matrix, face in zip(matrices, moved, strict=True)])


def mean_shape(points: Array) -> Array:
    """Mean (N, 2) of the faces in points (F, N, 2), each centred and divided by its points' RMS distance from there."""
    centred = points - points.mean(axis=1, keepdims=True)
    sizes = np.sqrt((centred**2).sum(axis=-1).mean(axis=-1))
    return np.asarray((centred / sizes[:, None, None]).mean(axis=0))


def frames(points: Array, shape: Array) -> list[Array]:
    """The similarity (2, 3) of each face of points (F, N, 2) onto shape (N, 2)."""
    return [align(face, shape) for face in points]


def flatten(matrices: Sequence[Array], points: Array) -> Array:
    """Coordinates (F, 2N) of points (F, N, 2) in the frame of each face, for the linear algebra alone."""
    return np.stack([transform(matrix, face).ravel() for matrix, face in zip(matrices, points, strict=True)])


def with_one(inputs: Array) -> Array:
    return np.column_stack([inputs, np.ones(len(inputs))])


def photo_folds(photos: Sequence[str]) -> NDArray[np.intp]:
    """Number of the fold (F,) of each face; faces of one photograph share theirs."""
    return np.unique(photos, return_inverse=True)[1] % FOLDS


def cross_validated(points: Array, truth: Array, folds: NDArray[np.intp], ridge: float) -> Array:
    """Points (F, N, 2), each face moved by a map that was fitted without its fold."""
    moved = np.empty_like(truth)
    for fold in np.unique(folds):
        held = folds == fold
        moved[held] = apply_affine(fit_affine(points[~held], truth[~held], ridge), points[held])
    return moved


# Results


def subset_members(samples: Sequence[Sample]) -> dict[str, list[int]]:
    """Indices of all faces under "all", then of each subset, larger ones first; of equal subsets only the first."""
    members = {ALL: list(range(len(samples)))}
    names = {name for sample in samples for name in sample.subsets}
    faces = {name: [i for i, sample in enumerate(samples) if name in sample.subsets] for name in names}
    for name in sorted(names, key=lambda name: (-len(faces[name]), name)):
        if faces[name] not in members.values():
            members[name] = faces[name]
    return members


def subset_result(
    members: Sequence[int],
    names: Sequence[str],
    found: Sequence[int],
    errors: Mapping[str, Mapping[str, Array]],
    seed: int,
) -> SubsetResult:
    """What the faces `members` say; `errors` by system and group of points are those of the faces `found`."""
    missed = tuple(names[index] for index in sorted(set(members) - set(found)))
    kept = np.isin(found, members)
    if not kept.any():
        return SubsetResult(len(members), missed, {})
    groups = {
        group: group_result({system: by_group[group][kept] for system, by_group in errors.items()}, seed)
        for group in errors[OURS]
    }
    return SubsetResult(len(members), missed, groups)


def group_errors(rows: Sequence[FaceRow]) -> dict[str, Array]:
    """Errors (F,) of the faces by group of points, then of the inner 51 and of all points."""
    groups = {group: np.array([row.groups[group] for row in rows]) for group in rows[0].groups}
    return {**groups, INNER: np.array([row.nme_inner for row in rows]), ALL: np.array([row.nme for row in rows])}


def group_result(errors: Mapping[str, Array], seed: int) -> GroupResult:
    return GroupResult(
        errors={system: bootstrap_interval(faces, seed=seed) for system, faces in errors.items()},
        medians={system: percentile(faces, 50) for system, faces in errors.items()},
        differences={system: paired_bootstrap(errors[system], errors[OURS], seed=seed) for system in (NEAREST, FITTED)},
    )


def origin(options: argparse.Namespace, model: CropModel, faces: int, training: int) -> dict[str, Any]:
    """What made the numbers."""
    spec = model.spec
    return {
        "command": ["python", *sys.argv],
        "commit": git_commit(),
        "model": {
            "source": options.model,
            "sha256": sha256_of(model_path(options.model)),
            "size": spec.size,
            "crop_scale": spec.crop_scale,
            "architecture": dict(spec.architecture),
            "provenance": dict(spec.provenance),
        },
        "mediapipe": {
            "solution": "face_mesh, static_image_mode",
            "refine_landmarks": options.refine,
            "view": options.view,
            "crop_size": CROP_SIZE if options.view == "crop" else None,
            "sha256": mediapipe_hashes(options.refine),
        },
        "data": {"root": str(options.data), "faces": faces},
        "train": {"root": str(options.train), "faces": training},
        "seed": options.seed,
        "versions": versions() | {name: metadata.version(name) for name in ("mediapipe", "opencv-contrib-python")},
    }


def mediapipe_hashes(refine: bool) -> dict[str, str]:
    """SHA-256 of the two networks that MediaPipe ran, by file name."""
    modules = Path(str(importlib.import_module("mediapipe").__file__)).parent / "modules"
    mesh = "face_landmark_with_attention.tflite" if refine else "face_landmark.tflite"
    files = (modules / "face_detection" / "face_detection_short_range.tflite", modules / "face_landmark" / mesh)
    return {file.name: sha256_of(file) for file in files}


def render(data: Mapping[str, Any]) -> str:
    """Markdown of the comparison's JSON."""
    chosen = data["fit"]["chosen"]
    margin = "whole pictures" if chosen["margin"] is None else f"crops of {chosen['margin']:g} labelled boxes"
    lines = [
        f"{data['title']}. NME, inter-ocular, % over the faces that MediaPipe found: mean with its bootstrap 95 % "
        f"interval, then the median; differences are of means, paired. MediaPipe was given {margin} and fitted on "
        f"{chosen['faces'] - chosen['missed']} training faces (of {chosen['faces']}). "
        + missed_words(data["missed_after"]),
        *data["notes"],
        "",
        "| subset | points | faces | missed | MediaPipe, nearest | MediaPipe, fitted | Lightmark "
        "| Lightmark − nearest | Lightmark − fitted |",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for name, subset in data["subsets"].items():
        counts = (str(subset["labelled"] - len(subset["missed"])), str(len(subset["missed"])))
        decimals = 1 if name in MAPPED else 2
        for group, result in subset["groups"].items():
            cells = [
                f"{percent(result['errors'][system], decimals)} / {100 * result['medians'][system]:.{decimals}f}"
                for system in (NEAREST, FITTED, OURS)
            ]
            cells += [percent(result["differences"][system], decimals, sign="+") for system in (NEAREST, FITTED)]
            lines.append(f"| {' | '.join((name, group, *counts, *cells))} |")
    missed = data["subsets"][ALL]["missed"]
    more = f" and {len(missed) - MOST_NAMES} more, which the JSON names" if len(missed) > MOST_NAMES else ""
    named = f"MediaPipe missed {len(missed)}: {', '.join(missed[:MOST_NAMES])}{more}"
    lines += ["", named if missed else "MediaPipe missed no face."]
    return "\n".join(lines) + "\n"


def missed_words(left: Sequence[Mapping[str, float | None]]) -> str:
    """How many faces were missed, and were still missed after each further margin."""
    first, *others = left
    later = "".join(f", {step['missed']} after crops of {step['margin']:g}" for step in others)
    return f"It missed {first['missed']} faces there{later}."


def percent(interval: Mapping[str, float], decimals: int, sign: str = "") -> str:
    """An interval in percent, such as "3.56 [3.41, 3.72]"."""
    value, low, high = (f"{100 * interval[key]:{sign}.{decimals}f}" for key in ("value", "low", "high"))
    return f"{value} [{low}, {high}]"


if __name__ == "__main__":
    main()
