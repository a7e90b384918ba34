"""Jitter of a tracked face at rest and lag of a moving one, for raw and smoothed points.

    python benchmarks/jitter.py --data 300w

Real faces of 300W's test sets are moved along known paths: the whole still picture is warped by a known similarity for
each frame of 1/30 s, so the truth moves with it, below the pixel too; then every frame gets a camera's noise and JPEG.
The tracker follows with its default smoothing. Jitter is the standard deviation of a point over the frames. Lag is the
time by which the points follow the truth: −Σ error · velocity / Σ velocity², error less its mean at rest. The bar:
smoothing at least halves the jitter, at no more than 50 ms of lag on any path. Exit status 1 if it is missed.

Speeds are in face sizes (the longer side of the labels' tight box) a second. The slowest is where 50 ms of lag are as
far as the raw points jitter. `--split train --smoothing 1,25,2` is for choosing min_cutoff, beta and d_cutoff.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from lightmark.data.read import read_samples
from lightmark.data.sample import Sample, load_image
from lightmark.data.subsets import REPEATS_TEST
from lightmark.detectors.open import FixedBoxes
from lightmark.files import replacing, sha256_of
from lightmark.geometry import Array, compose, tight_box, transform
from lightmark.image import Picture, compress_jpeg
from lightmark.landmarker import Landmarker
from lightmark.metrics import bootstrap_interval
from lightmark.outputs import require_free
from lightmark.provenance import git_commit, versions
from lightmark.runtime.shipped import model_path
from lightmark.video.smoothing import Smoothing
from lightmark.video.tracker import Tracker, Tracking

FPS = 30.0
FACE = 128.0  # pixels of a face's size in the frames
WIDTH, HEIGHT = 560, 224  # the fastest face stays inside with its crop
SETTLED = 15  # frames before anything is measured
HALVED, LAG_MS = 0.5, 50.0  # the bar
SPLITS = {"test": ("common", "challenging"), "train": ("train",)}
RESULT = Path(__file__).parent / "results" / "jitter.json"

Path2D = Callable[[float], tuple[float, float, float, float]]  # seconds → x, y in sizes, degrees, zoom


@dataclass(frozen=True)
class Camera:
    """Noise of `sigma` grey levels of 255 on each channel of each pixel, then JPEG of `quality`."""

    sigma: float
    quality: int


@dataclass(frozen=True)
class Clip:
    """`frames` frames of every face along `path`, taken by `camera`."""

    name: str
    frames: int
    path: Path2D
    camera: Camera


GOOD, POOR = Camera(4.0, 85), Camera(12.0, 50)


def still(_seconds: float) -> tuple[float, float, float, float]:
    return 0.0, 0.0, 0.0, 1.0


def straight(speed: float, frames: int) -> Path2D:
    """Along x through the middle of the picture, at `speed` sizes a second."""
    return lambda seconds: (speed * (seconds - frames / FPS / 2), 0.0, 0.0, 1.0)


def sway(seconds: float) -> tuple[float, float, float, float]:
    """Once a second to and fro by a tenth of the size, turning by 5° and growing by 5 % out of step."""
    angle = 2 * math.pi * seconds
    return 0.1 * math.sin(angle), 0.05 * math.cos(angle), 5 * math.sin(angle + 1), 1 + 0.05 * math.sin(angle + 2)


SPEEDS = (0.05, 0.1, 0.3, 1.0, 2.0)
REST = Clip("rest", 60, still, GOOD)
MOVING = (
    *(Clip(f"{speed:g} sizes/s", 45, straight(speed, 45), GOOD) for speed in SPEEDS),
    Clip("sway", 60, sway, GOOD),
)
POOR_REST = Clip("rest, poor camera", 60, still, POOR)


@dataclass(frozen=True, eq=False)
class Run:
    """A clip of one face: points (T, N, 2) raw, smoothed and true, in pixels of the frames."""

    raw: Array
    smooth: Array
    truth: Array


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=RESULT)
    parser.add_argument("--force", action="store_true", help="write over what is there")
    parser.add_argument("--model", default="fast")
    parser.add_argument("--faces", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--split", choices=SPLITS, default="test")
    parser.add_argument("--smoothing", help="min_cutoff,beta,d_cutoff")
    parser.add_argument("--threads", type=int)
    options = parser.parse_args()
    require_free([options.out], force=options.force)
    smoothing = Smoothing(*map(float, options.smoothing.split(","))) if options.smoothing else Smoothing()
    commit = git_commit()  # of the code that runs: it takes minutes
    samples = pick_faces(options.data, options.split, options.faces, options.seed)
    runs: dict[str, list[Run]] = {clip.name: [] for clip in (REST, POOR_REST, *MOVING)}
    for number, sample in enumerate(samples):
        for clip in (REST, POOR_REST, *MOVING):
            rng = np.random.default_rng([options.seed, number])
            runs[clip.name].append(film_face(sample, clip, rng, options.model, smoothing, options.threads))
        print(f"{number + 1} of {len(samples)} faces", file=sys.stderr, flush=True)
    rest = [jitter_row(clip, runs[clip.name], options.seed) for clip in (REST, POOR_REST)]
    lags = [lag_row(clip, runs[clip.name], runs[REST.name], options.seed) for clip in MOVING]
    met = rest[0]["ratio_of_means"] <= HALVED and max(row["smooth_ms"]["value"] for row in lags) <= LAG_MS
    result = {
        "command": ["python", *sys.argv],
        "commit": commit,
        "versions": versions(),
        "model": {"name": options.model, "sha256": sha256_of(model_path(options.model))},
        "split": options.split,
        "faces": len(samples),
        "seed": options.seed,
        "fps": FPS,
        "face_px": FACE,
        "cameras": {REST.name: asdict(GOOD), POOR_REST.name: asdict(POOR)},
        "smoothing": asdict(smoothing),
        "bar": {"jitter_ratio": HALVED, "lag_ms": LAG_MS, "met": bool(met)},
        "rest": rest,
        "moving": lags,
    }
    with replacing(options.out) as path:
        path.write_text(json.dumps(result, indent=1), encoding="utf-8")
    print(table(rest, lags))
    sys.exit(0 if met else 1)


def pick_faces(data: Path, split: str, count: int, seed: int) -> list[Sample]:
    """`count` faces drawn from the subsets of `split`, training faces without those that repeat test photographs."""
    samples = [one for one in read_samples(data) if one.subsets & set(SPLITS[split])]
    if split == "train":
        samples = [one for one in samples if REPEATS_TEST not in one.subsets]
    chosen = np.random.default_rng(seed).choice(len(samples), count, replace=False)
    return [samples[index] for index in sorted(chosen)]


def film_face(
    sample: Sample, clip: Clip, rng: np.random.Generator, model: str, smoothing: Smoothing, threads: int | None
) -> Run:
    """The face of `sample` along the path of `clip`, as the tracker sees it; shown where it is in the first frame."""
    picture, start = scaled_picture(sample)
    matrices = [frame_matrix(start, clip.path(index / FPS)) for index in range(clip.frames)]
    truth = np.stack([transform(matrix, sample.points) for matrix in matrices])
    landmarker = Landmarker(model, FixedBoxes([tight_box(truth[0])]), threads)
    tracker = Tracker(landmarker, Tracking(redetect=clip.frames + 1, min_confidence=0.0), smoothing)
    raw, smooth = [], []
    for index, matrix in enumerate(matrices):
        (found,) = tracker.update(photograph(picture, matrix, clip.camera, rng), index / FPS)
        raw.append(found.raw_points)
        smooth.append(found.face.points)
    return Run(np.stack(raw), np.stack(smooth), truth)


def scaled_picture(sample: Sample) -> tuple[Picture, Array]:
    """The picture, blurred where it is to shrink, and the matrix that brings its face to `FACE` px in mid-frame."""
    picture = load_image(sample)
    x0, y0, x1, y1 = tight_box(sample.points)
    zoom = FACE / max(x1 - x0, y1 - y0)
    if zoom < 1:
        # A pixel of the frame is 1 / zoom of the picture's: what is finer would alias.
        picture = np.asarray(cv2.GaussianBlur(picture, (0, 0), 0.5 / zoom), dtype=np.uint8)
    centre = np.array([x0 + x1, y0 + y1]) / 2
    shift = np.array([(WIDTH - 1) / 2, (HEIGHT - 1) / 2]) - zoom * centre
    return picture, np.column_stack([zoom * np.eye(2), shift])


def frame_matrix(start: Array, place: tuple[float, float, float, float]) -> Array:
    """Matrix (2, 3) from the picture to the frame: `start`, then turned and grown about mid-frame and moved."""
    x, y, degrees, zoom = place
    turn = cv2.getRotationMatrix2D(((WIDTH - 1) / 2, (HEIGHT - 1) / 2), degrees, zoom)
    return compose(np.array([[1, 0, FACE * x], [0, 1, FACE * y]]), compose(np.asarray(turn, dtype=np.float64), start))


def photograph(picture: Picture, matrix: Array, camera: Camera, rng: np.random.Generator) -> Picture:
    """Frame of `picture` under `matrix`, mirrored beyond its borders, as `camera` takes it."""
    # Linear interpolation blurs by the part of a pixel it moves; cubic keeps fine texture alike from frame to frame.
    frame = cv2.warpAffine(picture, matrix, (WIDTH, HEIGHT), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101)
    noisy = frame + np.float32(camera.sigma) * rng.standard_normal(frame.shape, dtype=np.float32)
    return compress_jpeg(np.rint(np.clip(noisy, 0, 255)).astype(np.uint8), camera.quality)


def jitter(points: Array) -> float:
    """Root mean square over the points of (T, N, 2) of their standard deviation over time, in % of a face's size."""
    return float(100 / FACE * math.sqrt(points[SETTLED:].var(axis=0).sum(axis=-1).mean()))


def lag(points: Array, truth: Array, bias: Array) -> float:
    """Milliseconds by which `points` (T, N, 2) follow `truth`, less the `bias` (N, 2) that they have at rest."""
    velocity = np.gradient(truth, 1 / FPS, axis=0)[SETTLED:-1]
    error = (points - truth - bias)[SETTLED:-1]
    return float(-1000 * (error * velocity).sum() / (velocity**2).sum())


def jitter_row(clip: Clip, runs: Sequence[Run], seed: int) -> dict[str, Any]:
    raw = np.array([jitter(run.raw) for run in runs])
    smooth = np.array([jitter(run.smooth) for run in runs])
    return {
        "clip": clip.name,
        "raw_percent_of_size": asdict(bootstrap_interval(raw, seed=seed)),
        "smooth_percent_of_size": asdict(bootstrap_interval(smooth, seed=seed)),
        "ratio": asdict(bootstrap_interval(smooth / raw, seed=seed)),
        "ratio_of_means": float(smooth.mean() / raw.mean()),
        "worst_ratio": float((smooth / raw).max()),
    }


def lag_row(clip: Clip, runs: Sequence[Run], still_runs: Sequence[Run], seed: int) -> dict[str, Any]:
    biases = [(run.raw - run.truth)[SETTLED:].mean(axis=0) for run in still_runs]
    pairs = list(zip(runs, biases, strict=True))
    raw = np.array([lag(run.raw, run.truth, bias) for run, bias in pairs])
    smooth = np.array([lag(run.smooth, run.truth, bias) for run, bias in pairs])
    return {
        "clip": clip.name,
        "raw_ms": asdict(bootstrap_interval(raw, seed=seed)),
        "smooth_ms": asdict(bootstrap_interval(smooth, seed=seed)),
    }


def table(rest: Sequence[dict[str, Any]], lags: Sequence[dict[str, Any]]) -> str:
    """Markdown of both kinds of row; the ratio is that of the means."""
    lines = ["| at rest | raw, % of the size | smoothed | ratio |", "|---|---|---|---|"]
    for row in rest:
        raw, smooth = row["raw_percent_of_size"]["value"], row["smooth_percent_of_size"]["value"]
        lines.append(f"| {row['clip']} | {raw:.3f} | {smooth:.3f} | {row['ratio_of_means']:.2f} |")
    lines += ["", "| moving | lag raw, ms | smoothed |", "|---|---|---|"]
    lines += [f"| {row['clip']} | {row['raw_ms']['value']:.1f} | {row['smooth_ms']['value']:.1f} |" for row in lags]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
