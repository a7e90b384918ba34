"""Faces for `train --extra`: unlabelled ones labelled by the mean of several models, and turned ones of 300W-LP.

    lightmark detect unlabelled/portraits --model fast --format coco --out portraits.json --min-confidence 0.9
    python benchmarks/extra_faces.py portraits.json --model standard --model fast --most 800 --out extra/portraits.json
    python benchmarks/extra_faces.py 300w_lp --turned 35 --out extra/turned.json

Each model sees every face in two boxes, off by 4 % of their size (standard deviation). The label is the mean of all
answers; a face on which they differ from it by more than 5 % of the eye distance on average is left out. --turned takes
the inner points of faces with at least that yaw, without the photographs that detector and students hold out.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from lightmark.data.convert import write_coco
from lightmark.data.read import read_samples
from lightmark.data.sample import Sample
from lightmark.data.split import split_by_photo
from lightmark.evaluate.face_boxes import with_face_boxes
from lightmark.evaluate.predict import open_model, predict
from lightmark.metrics import interocular
from lightmark.outputs import require_free
from lightmark.pose import head_pose
from lightmark.schema import IBUG68
from lightmark.train.config import DetectorRecipe

JITTER, JITTER_SEEDS = 0.04, (1, 2)
LARGEST_SPREAD = 0.05


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("faces", type=Path)
    parser.add_argument("--model", action="append", default=[], help="a shipped name or a file; may be repeated")
    parser.add_argument("--most", type=int, help="label so many faces, chosen at random")
    parser.add_argument("--turned", type=float, help="least yaw in degrees; instead of --model")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--force", action="store_true", help="write over what is there")
    options = parser.parse_args()
    if bool(options.model) == (options.turned is not None):
        parser.error("give either --model or --turned")
    require_free([options.out], [options.faces], options.force)
    known = read_samples(options.faces)
    if options.turned is None:
        random.Random(0).shuffle(known)
        made = labelled_by(options.model, known[: options.most])
    else:
        made = turned_faces(known, options.turned)
    write_coco(made, options.out, options.force)
    print(f"{len(made)} of {len(known)} faces in {options.out}")


def labelled_by(models: Sequence[str], samples: Sequence[Sample]) -> list[Sample]:
    """`samples` with the mean of the models' points, without those on which they disagree."""
    boxed = with_face_boxes(samples)
    opened = [open_model(model) for model in models]
    answers = np.stack([
        predict(model, boxed, box_jitter=JITTER, seed=seed) for model in opened for seed in JITTER_SEEDS
    ])
    mean = answers.mean(axis=0)
    spread = np.linalg.norm(answers - mean, axis=-1).mean(axis=(0, 2)) / interocular(mean, boxed[0].schema)
    return [
        replace(sample, points=points)
        for sample, points, far in zip(boxed, mean, spread > LARGEST_SPREAD, strict=True)
        if not far
    ]


def turned_faces(samples: Sequence[Sample], least: float) -> list[Sample]:
    """Those with a yaw of at least `least` degrees, without jaw, of photographs that the detector was trained on.

    300W-LP's jaw is the head's own, 300W's the visible contour: trained on both, a student is 2 points worse at the jaw
    of WFLW's faces.
    """
    recipe = DetectorRecipe()
    known, _ = split_by_photo(samples, recipe.validation, recipe.seed)  # a superset of what the students hold out
    turned = [face for face in known if (pose := head_pose(face.points, face.schema)) and abs(pose.yaw) >= least]
    jaw = np.isin(np.arange(IBUG68.size), IBUG68.groups["jaw"])[:, None]
    return [replace(sample, points=np.where(jaw, np.nan, sample.points)) for sample in turned]


if __name__ == "__main__":
    main()
