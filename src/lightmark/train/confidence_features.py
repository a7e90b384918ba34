"""Features of face crops and negative crops, from which a ConfidenceHead learns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from rich.progress import track
from torch import Tensor

from lightmark.data.crops.augment import change_pixels
from lightmark.data.crops.dataset import CropDataset, Key
from lightmark.data.crops.negatives import background_matrix, hard_negative_matrix, misplaced_matrix
from lightmark.data.crops.picture_cache import PictureCache, cache_limit
from lightmark.data.sample import Sample
from lightmark.detectors.face_detector import FaceDetector
from lightmark.geometry import Array
from lightmark.image import Picture, warp
from lightmark.nets.checkpoint import inference_batch
from lightmark.nets.network import LandmarkNet
from lightmark.source import to_picture
from lightmark.spec import ModelSpec
from lightmark.train.config import ConfidenceRecipe
from lightmark.train.step import planes_of

NEGATIVE_STREAM = 10  # of random numbers; `confidence` has STEP_STREAM
# Below the detector's own thresholds: few pictures without faces reach those, so there would be too few negatives.
HARD_NEGATIVE_SCORE = 0.2
DETECTOR_SIZES = (224, 320, 480, 640, 960)  # detector input sizes in pixels; several, for more false positives
HARD_NEGATIVES, BACKGROUND_CROPS = 0.5, 0.1  # shares of the negative crops; the rest are misplaced crops of faces


class Features(NamedTuple):
    """Features of M crops: of each point (M, N, C), of the crop (M, C32), and the points' errors (M, N).

    Errors are shares of the crop's side, NaN where the point's label is missing.
    """

    by_point: Tensor
    coarse: Tensor
    errors: Tensor


def face_features(
    network: LandmarkNet, spec: ModelSpec, samples: Sequence[Sample], recipe: ConfidenceRecipe, quiet: bool
) -> Features:
    """Features of the recipe's augmented crops of each face."""
    targets = [sample.points for sample in samples]
    dataset = CropDataset(samples, targets, spec, recipe.augmentation, recipe.seed)

    def crop(key: Key) -> tuple[Picture, Tensor]:
        batch = dataset[key]
        return batch.crops.permute(1, 2, 0).numpy(), batch.points

    return extract(network, spec, crop, len(samples), recipe.copies, "faces", quiet)


def negative_features(
    network: LandmarkNet,
    spec: ModelSpec,
    samples: Sequence[Sample],
    backgrounds: Sequence[Path],
    recipe: ConfidenceRecipe,
    quiet: bool,
) -> Features:
    """Features of negative crops, as many as of faces: hard negatives, backgrounds and misplaced crops."""
    pictures = PictureCache(cache_limit(1))
    false_positives = hard_negatives(backgrounds)
    no_points = torch.zeros(spec.schema.size, 2)  # a placeholder: errors of negative crops are never read

    def crop(key: Key) -> tuple[Picture, Tensor]:
        rng = np.random.default_rng((recipe.seed, NEGATIVE_STREAM, *key))
        kind = rng.random()
        if false_positives and kind < HARD_NEGATIVES:
            path, box = false_positives[int(rng.integers(len(false_positives)))]
            picture = pictures.of_file(path)
            matrix = hard_negative_matrix(box, spec, rng)
        elif backgrounds and kind < HARD_NEGATIVES + BACKGROUND_CROPS:
            picture = pictures.of_file(backgrounds[int(rng.integers(len(backgrounds)))])
            matrix = background_matrix(picture, spec, rng)
        else:
            picture = pictures.of_sample(samples[key.face])
            matrix = misplaced_matrix(samples[key.face].box, picture.shape[:2], spec, rng)
        return change_pixels(warp(picture, matrix, spec.size), recipe.augmentation, rng), no_points

    return extract(network, spec, crop, len(samples), recipe.copies, "negative crops", quiet)


def hard_negatives(paths: Sequence[Path]) -> list[tuple[Path, Array]]:
    """False positives of the shipped face detector: path and box (4,) of each, at every input size.

    Its score is at least `HARD_NEGATIVE_SCORE`.
    """
    detectors = [FaceDetector(input_size=size) for size in DETECTOR_SIZES] if paths else []
    return [
        (path, box)
        for path in paths
        for picture in [to_picture(path)]  # one at a time: thousands of them decoded would not fit into memory
        for detector in detectors
        for box in detector.candidates(picture, HARD_NEGATIVE_SCORE).boxes
    ]


def extract(
    network: LandmarkNet,
    spec: ModelSpec,
    crop: Callable[[Key], tuple[Picture, Tensor]],
    count: int,
    copies: int,
    what: str,
    quiet: bool,
) -> Features:
    """Features of `copies` crops of `count` items, which `crop` cuts with their normalized_points (N, 2)."""
    keys = [Key(copy, face) for copy in range(copies) for face in range(count)]
    device = next(network.parameters()).device
    batch = inference_batch(device)
    firsts = range(0, len(keys), batch)
    parts = []
    for first in firsts if quiet else track(firsts, f"features of {what}"):
        crops, labels = zip(*(crop(key) for key in keys[first : first + batch]), strict=True)
        planes = planes_of(torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).to(device), spec, spec.size)
        with torch.inference_mode():
            predicted, by_point, coarse = network.eval().forward_features(planes)
        errors = (predicted.cpu() - torch.stack(labels)).norm(dim=-1)  # NaN where the label is missing
        parts.append(Features(by_point.half().cpu(), coarse.cpu(), errors))
    return Features(*(torch.cat(tensors) for tensors in zip(*parts, strict=True)))
