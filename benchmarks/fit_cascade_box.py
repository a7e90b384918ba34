"""Which Haar cascade finds faces best, and how its square becomes the tight box of the 68 points.

    python benchmarks/fit_cascade_box.py --data 300w --every 4

Runs OpenCV's frontal cascades over the faces that may be trained on, never over test faces. Each of them is sought in
its own picture; a square that overlaps its tight box counts for the offsets (their medians), and it is found where the
square, moved by the offsets, reaches an IoU of 0.5 with that box. Whatever else is found counts as false, though some
are faces without labels: the precision is a lower bound. Writes benchmarks/results/cascade-box.json;
detectors/cascade.py holds its choice.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from lightmark.cli.training import training_samples
from lightmark.data.sample import Sample, load_image
from lightmark.detectors.cascade import (
    CASCADE,
    INPUT_SIZE,
    MIN_SIZE,
    NEIGHBOURS,
    STEP,
    detect_rectangles,
    open_cascade,
    rectangle_edges,
    reduced_grey,
)
from lightmark.files import replacing
from lightmark.geometry import Array, map_box, overlaps
from lightmark.outputs import require_free
from lightmark.provenance import git_commit, versions

CASCADES = tuple(f"haarcascade_frontalface_{name}.xml" for name in ("default", "alt", "alt2"))
THRESHOLDS = (1, 2, 3, 4, 5, 6, 8)
GROUPING = 0.2  # GROUP_EPS of OpenCV's cascadedetect.cpp
LOOSE_IOU, FOUND_IOU = 0.3, 0.5  # before and after the square is moved; squares and tight boxes differ by half
RESULT = Path(__file__).parent / "results" / "cascade-box.json"


@dataclass(frozen=True)
class Row:
    """One cascade at one threshold; `side_spread` is the median distance of each side from its offset."""

    cascade: str
    neighbours: int
    recall: float
    precision: float
    f1: float
    median_iou: float
    offsets: tuple[float, ...]
    side_spread: tuple[float, ...]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=RESULT)
    parser.add_argument("--force", action="store_true", help="write over what is there")
    parser.add_argument("--every", type=int, default=1, help="only each so many-th face, to be quicker")
    options = parser.parse_args()
    require_free([options.out], force=options.force)
    samples = training_samples([options.data])[:: options.every]
    rows: list[Row] = []
    for cascade in CASCADES:
        classifier = open_cascade(cascade)
        candidates = [find_candidates(classifier, sample) for sample in samples]
        rows += [measure(cascade, threshold, candidates, samples) for threshold in THRESHOLDS]
        for row in rows[-len(THRESHOLDS) :]:
            print(line(row), flush=True)
    (chosen,) = (row for row in rows if (row.cascade, row.neighbours) == (CASCADE, NEIGHBOURS))
    print(f"chosen: {line(chosen)}\noffsets: {chosen.offsets}")
    result = {
        "command": ["python", *sys.argv],
        "commit": git_commit(),
        "versions": versions(),
        "faces": len(samples),
        "min_size": MIN_SIZE,
        "longest": INPUT_SIZE,
        "step": STEP,
        "found_iou": FOUND_IOU,
        "chosen": asdict(chosen),
        "rows": [asdict(row) for row in rows],
    }
    with replacing(options.out) as path:
        path.write_text(json.dumps(result, indent=1), encoding="utf-8")


def find_candidates(classifier: cv2.CascadeClassifier, sample: Sample) -> tuple[NDArray[np.int64], Array]:
    """Ungrouped finds in the picture of `sample`, and the matrix picture → what the cascade saw."""
    grey, matrix = reduced_grey(load_image(sample), INPUT_SIZE)
    return detect_rectangles(classifier, grey, MIN_SIZE, 0), matrix


def measure(
    cascade: str, threshold: int, candidates: list[tuple[NDArray[np.int64], Array]], samples: list[Sample]
) -> Row:
    squares = [rectangle_edges(group(found, threshold), matrix) for found, matrix in candidates]
    deviations = np.array([
        (sample.box - square) / (square[2] - square[0])
        for found, sample in zip(squares, samples, strict=True)
        for square in closest(found, sample.box, LOOSE_IOU)
    ])  # fmt: skip
    offsets = np.round(np.median(deviations, axis=0), 3)
    shares = [
        float(overlaps(box[None], sample.box[None])[0, 0])
        for found, sample in zip(squares, samples, strict=True)
        for box in closest(np.array([map_box(one, offsets) for one in found]).reshape(-1, 4), sample.box, FOUND_IOU)
    ]
    recall, precision = len(shares) / len(samples), len(shares) / sum(map(len, squares))
    return Row(
        cascade,
        threshold,
        recall,
        precision,
        2 * recall * precision / (recall + precision),
        float(np.median(shares)),
        tuple(offsets.tolist()),
        tuple(np.round(np.median(abs(deviations - offsets), axis=0), 3).tolist()),
    )


def group(rectangles: NDArray[np.int64], threshold: int) -> NDArray[np.int64]:
    """What detectMultiScale makes of its candidates, so that each picture is searched once for all thresholds."""
    if not len(rectangles):
        return rectangles
    grouped, _counts = cv2.groupRectangles(rectangles.tolist(), threshold, GROUPING)
    return np.asarray(grouped, dtype=np.int64).reshape(-1, 4)


def closest(boxes: Array, truth: Array, least: float) -> Array:
    """The one of `boxes` (F, 4) that overlaps `truth` most, as (1, 4); none, (0, 4), where its IoU is below `least`."""
    shares = overlaps(boxes, truth[None])
    if not len(boxes) or shares.max() < least:
        return np.empty((0, 4))
    return boxes[[shares.argmax()]]


def line(row: Row) -> str:
    return (
        f"{row.cascade:36} neighbours {row.neighbours}: recall {row.recall:.3f}, precision {row.precision:.3f}, "
        f"F1 {row.f1:.3f}, median IoU {row.median_iou:.3f}"
    )


if __name__ == "__main__":
    main()
