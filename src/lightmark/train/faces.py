"""Which faces a run learns from, which it is judged by, and what it is to answer on each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lightmark.data.normaliser import normalisers_of
from lightmark.data.sample import Sample, load_image
from lightmark.data.split import split_by_photo
from lightmark.errors import ConfigError
from lightmark.geometry import Array, from_normalized, invert, matrix_scale, to_normalized, transform
from lightmark.image import warp
from lightmark.metrics import nme
from lightmark.runtime.crop_model import CropModel
from lightmark.shape import fit, mean_labelled, soften
from lightmark.spec import ModelSpec, spec_crop_matrix
from lightmark.train.config import Recipe


@dataclass(frozen=True)
class Split:
    """Training and validation faces, carved apart by source photograph."""

    train: list[Sample]
    validation: list[Sample]


def carve(samples: Sequence[Sample], recipe: Recipe) -> Split:
    """Training and validation faces of `samples`; raises `ConfigError` where test faces are among them."""
    return carve_share(samples, recipe.validation, recipe.seed)


def carve_share(samples: Sequence[Sample], share: float, seed: int) -> Split:
    """The split that a run of `seed` makes with `share` of the photographs in validation; raises as `carve` does."""
    require_no_tests(samples)
    return Split(*split_by_photo(samples, share, seed))


def require_no_tests(samples: Sequence[Sample]) -> None:
    """Raise `ConfigError` where test faces are among the samples."""
    tests = [sample.name for sample in samples if "test" in sample.subsets]
    if tests:
        raise ConfigError(f"{len(tests)} test faces among the training data ({tests[0]} …): never train on a test set")


def unit_points_of(sample: Sample, spec: ModelSpec) -> Array:
    """normalized_points (N, 2) of a sample in its upright crop."""
    return to_normalized(transform(spec_crop_matrix(spec, sample.box), sample.points), spec.size)


def mean_normalized_points(samples: Sequence[Sample], spec: ModelSpec) -> Array:
    """Mean normalized_points (N, 2) of the samples' upright crops, each over the faces that have it labelled.

    Raises `DataError` where a point is labelled in no face.
    """
    return mean_labelled(_upright_shapes(samples, spec), spec.schema.name, "training faces")


def targets_of(recipe: Recipe, samples: Sequence[Sample], fitted_on: Sequence[Sample]) -> list[Array]:
    """Image points (N, 2) a face that the recipe learns: the labels, or their Soft-landmarks.

    The shape model is fitted on the faces `fitted_on`, which must be training faces. Shapes are softened in the upright
    crop, before any augmentation, so that the same face has the same soft target however it is turned.
    """
    if recipe.soft_variance is None:
        return [sample.points for sample in samples]
    spec = ModelSpec(samples[0].schema, recipe.size, recipe.crop_scale)
    model = fit(_upright_shapes(fitted_on, spec), recipe.soft_variance, recipe.soft_align)
    soft = soften(model, _upright_shapes(samples, spec))
    return [image_points_of(points, sample, spec) for points, sample in zip(soft, samples, strict=True)]


def _upright_shapes(samples: Sequence[Sample], spec: ModelSpec) -> Array:
    return np.stack([unit_points_of(sample, spec) for sample in samples])


def image_points_of(normalized_points: Array, sample: Sample, spec: ModelSpec) -> Array:
    """Image points (N, 2) of normalized_points in a sample's upright crop: the way back of `unit_points_of`."""
    return transform(invert(spec_crop_matrix(spec, sample.box)), from_normalized(normalized_points, spec.size))


class ValidationCrops:
    """Upright crops of the validation faces, cut once; calling it with a model gives one NME a face (F,).

    Errors are those against `targets`, image points (F, N, 2): a Tolerant-Teacher is to be judged by the Soft-landmarks
    that it learns. Errors are divided by the labels' normaliser, whose points they must have (see `with_normaliser`).
    """

    def __init__(self, samples: Sequence[Sample], targets: Sequence[Array], spec: ModelSpec) -> None:
        matrices = [spec_crop_matrix(spec, sample.box) for sample in samples]
        self.crops = [warp(load_image(s), matrix, spec.size) for s, matrix in zip(samples, matrices, strict=True)]
        crop_points = [transform(matrix, points) for matrix, points in zip(matrices, targets, strict=True)]
        self.targets = to_normalized(np.stack(crop_points), spec.size)
        zooms = [matrix_scale(matrix) for matrix in matrices]
        self.normalisers = normalisers_of(samples) * zooms / spec.size

    def __call__(self, model: CropModel, batch: int = 32) -> Array:
        """NME of each face: a crop only shifts and scales, so the ratio is that of image pixels."""
        found = [model(np.stack(self.crops[i : i + batch])) for i in range(0, len(self.crops), batch)]
        return nme(np.concatenate(found), self.targets, self.normalisers)
