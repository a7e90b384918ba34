"""Train / validation split, training targets and validation crops of a landmark training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lightmark.data.sample import Sample, load_image, normalisers_of
from lightmark.data.split import split_by_photo
from lightmark.errors import ConfigError
from lightmark.geometry import Array, from_normalized, invert, matrix_scale, to_normalized, transform
from lightmark.image import warp
from lightmark.metrics import nme
from lightmark.runtime.exported_model import CropModel
from lightmark.shape import fit, mean_labelled, soften
from lightmark.spec import ModelSpec, spec_crop_matrix
from lightmark.train.config import Recipe


@dataclass(frozen=True)
class Split:
    """Training and validation faces, which share no source photograph."""

    train: list[Sample]
    validation: list[Sample]


def split_samples(samples: Sequence[Sample], recipe: Recipe) -> Split:
    """Training and validation faces of `samples`; raises `ConfigError` where test faces are among them."""
    seed = recipe.seed if recipe.split_seed is None else recipe.split_seed
    return split_by_share(samples, recipe.validation, seed)


def split_by_share(samples: Sequence[Sample], share: float, seed: int) -> Split:
    """Training and validation faces with `share` of the photographs in validation; raises as `split_samples` does."""
    require_no_tests(samples)
    return Split(*split_by_photo(samples, share, seed))


def require_no_tests(samples: Sequence[Sample]) -> None:
    """Raise `ConfigError` where test faces are among the samples."""
    tests = [sample.name for sample in samples if "test" in sample.subsets]
    if tests:
        raise ConfigError(f"{len(tests)} test faces among the training data ({tests[0]} …): never train on a test set")


def normalized_points_of(sample: Sample, spec: ModelSpec) -> Array:
    """normalized_points (N, 2) of a sample in its upright crop."""
    return to_normalized(transform(spec_crop_matrix(spec, sample.box), sample.points), spec.size)


def mean_normalized_points(samples: Sequence[Sample], spec: ModelSpec) -> Array:
    """Mean normalized_points (N, 2) of the samples' upright crops, each over the faces that have it labelled.

    Raises `DataError` where a point is labelled in no face.
    """
    return mean_labelled(_upright_shapes(samples, spec), spec.schema.name, "training faces")


def targets_of(recipe: Recipe, samples: Sequence[Sample], fitted_on: Sequence[Sample]) -> list[Array]:
    """Training targets of the recipe, image points (N, 2) a face: the labels, or their Soft-landmarks.

    The shape model is fitted on `fitted_on`, which must be training faces, or the validation would leak into it. Shapes
    are softened in the upright crop, before the augmentation, so that a face has one soft target at every rotation.
    """
    if recipe.soft_variance is None:
        return [sample.points for sample in samples]
    spec = ModelSpec(samples[0].schema, recipe.size, recipe.crop_scale)
    model = fit(_upright_shapes(fitted_on, spec), recipe.soft_variance, recipe.soft_align)
    soft = soften(model, _upright_shapes(samples, spec))
    return [image_points_of(points, sample, spec) for points, sample in zip(soft, samples, strict=True)]


def _upright_shapes(samples: Sequence[Sample], spec: ModelSpec) -> Array:
    return np.stack([normalized_points_of(sample, spec) for sample in samples])


def image_points_of(normalized_points: Array, sample: Sample, spec: ModelSpec) -> Array:
    """Image points (N, 2) of normalized_points in a sample's upright crop, the inverse of `normalized_points_of`."""
    return transform(invert(spec_crop_matrix(spec, sample.box)), from_normalized(normalized_points, spec.size))


class ValidationCrops:
    """Upright crops of the validation faces, cut once; a call with a model returns the NME of each face (F,).

    Errors are measured against `targets`, image points (F, N, 2), so that a Tolerant-Teacher is evaluated on the
    Soft-landmarks that it learns. They are divided by the labels' normaliser, whose points must be labelled
    (`with_normaliser`).
    """

    def __init__(self, samples: Sequence[Sample], targets: Sequence[Array], spec: ModelSpec) -> None:
        matrices = [spec_crop_matrix(spec, sample.box) for sample in samples]
        self.crops = [warp(load_image(s), matrix, spec.size) for s, matrix in zip(samples, matrices, strict=True)]
        crop_points = [transform(matrix, points) for matrix, points in zip(matrices, targets, strict=True)]
        self.targets = to_normalized(np.stack(crop_points), spec.size)
        zooms = [matrix_scale(matrix) for matrix in matrices]
        self.normalisers = normalisers_of(samples) * zooms / spec.size

    def __call__(self, model: CropModel, batch: int = 32) -> Array:
        """NME of each face (F,); an upright crop only shifts and scales, so it equals the NME in image pixels."""
        predicted = [model(np.stack(self.crops[i : i + batch])) for i in range(0, len(self.crops), batch)]
        return nme(np.concatenate(predicted), self.targets, self.normalisers)
