"""Split, targets and validation crops of a training: what it learns from and is judged by."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from lightmark.data.sample import Sample, load_image
from lightmark.errors import ConfigError, DataError
from lightmark.geometry import Array
from lightmark.image import warp
from lightmark.schema import FACE_BOX
from lightmark.shape import fit, soften
from lightmark.spec import ModelSpec, spec_crop_matrix
from lightmark.train.config import Recipe
from lightmark.train.faces import (
    ValidationCrops,
    image_points_of,
    mean_normalized_points,
    normalized_points_of,
    split_by_share,
    split_samples,
    targets_of,
)


def test_test_faces_are_never_trained_on(faces: list[Sample], recipe: Recipe) -> None:
    """One face tagged test among the data stops everything."""
    with pytest.raises(ConfigError, match="never train on a test set"):
        split_samples([*faces, replace(faces[0], subsets=frozenset({"test"}))], recipe)


def test_validation_shares_no_photograph_with_training(faces: list[Sample], recipe: Recipe) -> None:
    """Copies of one photograph all lie on one side."""
    copies = [replace(face, photo=f"photo{index % 24}") for index, face in enumerate(faces)]
    split = split_samples(copies, replace(recipe, validation=0.4))
    assert len(split.train) + len(split.validation) == len(faces)
    assert not {s.photo for s in split.train} & {s.photo for s in split.validation}


def test_soft_targets_lie_between_label_and_mean(faces: list[Sample], recipe: Recipe) -> None:
    """Soft-landmarks keep less of each shape's variance the smaller the share, and all of it at 1.0."""
    spread = [
        np.var(np.stack(targets_of(replace(recipe, soft_variance=share), faces, faces)), axis=0).sum()
        for share in (0.3, 0.7, 1.0)
    ]
    assert spread[0] < spread[1] < spread[2]
    hard = np.stack([face.points for face in faces])
    assert np.abs(np.stack(targets_of(recipe, faces, faces)) - hard).max() == 0


def test_a_tolerant_teacher_is_judged_by_what_it_learns(faces: list[Sample], recipe: Recipe) -> None:
    """Answering with the Soft-landmarks themselves has no error, answering with the labels has one."""
    soft = replace(recipe, soft_variance=0.5)
    split = split_samples(faces, soft)
    spec = ModelSpec(faces[0].schema, recipe.size, recipe.crop_scale)
    targets = targets_of(soft, split.validation, fitted_on=split.train)
    validation = ValidationCrops(split.validation, targets, spec)
    upright = np.stack([normalized_points_of(sample, spec) for sample in split.validation])

    class Answer:
        def __init__(self, points: Array) -> None:
            self.points, self.spec = points, spec

        def __call__(self, crops: NDArray[np.uint8]) -> Array:
            return self.points[: len(crops)]

    assert validation(Answer(validation.targets)).max() < 1e-9
    assert validation(Answer(upright)).mean() > 0.01


def test_test_faces_are_counted_and_one_is_named(faces: list[Sample], recipe: Recipe) -> None:
    """So that a reader finds them; other subsets are welcome."""
    tests = [replace(face, subsets=frozenset({"test", "common"})) for face in faces[3:5]]
    with pytest.raises(ConfigError) as caught:
        split_samples([*faces[:3], *tests, replace(faces[5], subsets=frozenset({"train"}))], recipe)
    assert str(caught.value) == (f"2 test faces among the training data ({tests[0].name} …): never train on a test set")
    split_samples([replace(face, subsets=frozenset({"train"})) for face in faces], recipe)


def test_share_and_seed_of_the_split_are_the_recipes(faces: list[Sample], recipe: Recipe) -> None:
    """About the share of the faces; another seed chooses others."""
    splits = [split_samples(faces, replace(recipe, validation=0.5, seed=seed)) for seed in (3, 4)]
    assert splits[0] == split_by_share(faces, 0.5, 3)
    assert splits[1] == split_by_share(faces, 0.5, 4)
    names = [{sample.name for sample in split.validation} for split in splits]
    assert names[0] != names[1]
    assert all(12 < len(chosen) < 36 for chosen in names)


def test_a_split_seed_replaces_the_seed(faces: list[Sample], recipe: Recipe) -> None:
    """Runs of several seeds share their validation faces, also where the split's seed is 0."""
    for split_seed in (0, 4):
        chosen = replace(recipe, validation=0.5, seed=3, split_seed=split_seed)
        assert split_samples(faces, chosen) == split_by_share(faces, 0.5, split_seed)


def test_normalized_points_are_of_the_upright_crop(faces: list[Sample]) -> None:
    """0 and 1 are the crop's edges, whose side is the scale times the box's longer one; and back."""
    spec = ModelSpec(faces[0].schema, 32, 1.5)
    box = np.array([9.5, 19.5, 29.5, 29.5])  # 20 pixels wide, 10 high
    points = np.array([19.5, 24.5]) + np.array([[0, 0], [-15, -15], [15, 15], [15, 0], [0, 7.5]])
    face = replace(faces[0], points=points, box=box)
    expected = [[0.5, 0.5], [0.0, 0.0], [1.0, 1.0], [1.0, 0.5], [0.5, 0.75]]
    np.testing.assert_allclose(normalized_points_of(face, spec), expected, atol=1e-9)
    np.testing.assert_allclose(image_points_of(np.array(expected), face, spec), points, atol=1e-9)


def test_the_mean_is_over_the_faces_that_have_a_point(faces: list[Sample]) -> None:
    """And one that none has is named, with the schema."""
    spec = ModelSpec(faces[0].schema, 32, 1.25)
    lacking = replace(faces[0], points=np.where(np.arange(5)[:, None] == 2, np.nan, faces[0].points))
    shapes = [normalized_points_of(face, spec) for face in (lacking, *faces[1:3])]
    expected = np.mean(shapes, axis=0)
    expected[2] = (shapes[1][2] + shapes[2][2]) / 2
    np.testing.assert_allclose(mean_normalized_points([lacking, *faces[1:3]], spec), expected, rtol=1e-12)
    with pytest.raises(DataError, match=r"^point 2 of five is labelled in none of 1 training faces"):
        mean_normalized_points([lacking], spec)


@pytest.mark.parametrize("align", ["none", "procrustes"])
def test_soft_targets_are_those_of_the_fitted_shapes(faces: list[Sample], recipe: Recipe, align: str) -> None:
    """Variance and alignment are the recipe's; shapes are softened in the crop, then laid back into the picture."""
    soft = replace(recipe, soft_variance=0.6, soft_align=align, crop_scale=1.5)
    spec = ModelSpec(faces[0].schema, soft.size, 1.5)
    shapes = np.stack([normalized_points_of(face, spec) for face in faces])
    model = fit(shapes[:30], 0.6, align)  # type: ignore[arg-type]  # an Align
    expected = [image_points_of(points, face, spec) for points, face in zip(soften(model, shapes), faces, strict=True)]
    np.testing.assert_allclose(targets_of(soft, faces, faces[:30]), expected, atol=1e-9)


class Watched:
    """A model that answers with given points, and keeps the crops it was given."""

    def __init__(self, points: Array, spec: ModelSpec) -> None:
        self.points, self.spec = points, spec
        self.crops: list[NDArray[np.uint8]] = []

    def __call__(self, crops: NDArray[np.uint8]) -> Array:
        """The next of its outputs."""
        first = sum(map(len, self.crops))
        self.crops.append(crops)
        return self.points[first : first + len(crops)]


def test_validation_measures_the_nme_of_the_picture(faces: list[Sample]) -> None:
    """On the upright crop of each face, some at a time: the error in pixels over the distance of the eyes."""
    spec = ModelSpec(faces[0].schema, 32, 1.25)
    judged = [replace(face, box=face.box * 1.1) for face in faces[:5]]
    off = np.random.default_rng(0).normal(0, 1.5, (5, 5, 2))
    moved = [replace(face, points=face.points + error) for face, error in zip(judged, off, strict=True)]
    model = Watched(np.stack([normalized_points_of(face, spec) for face in moved]), spec)
    errors = ValidationCrops(judged, [face.points for face in judged], spec)(model, batch=2)
    eyes = [np.linalg.norm(face.points[0] - face.points[1]) for face in judged]
    np.testing.assert_allclose(errors, np.linalg.norm(off, axis=-1).mean(-1) / eyes, rtol=1e-9)
    assert [len(crops) for crops in model.crops] == [2, 2, 1]
    for face, crop in zip(judged, np.concatenate(model.crops), strict=True):
        np.testing.assert_array_equal(crop, warp(load_image(face), spec_crop_matrix(spec, face.box), 32))


def test_a_schema_without_normaliser_measures_by_the_box(faces: list[Sample]) -> None:
    """By its longer side in the picture's pixels, whatever the crop's size."""
    bare = replace(faces[0].schema, normaliser=(), normaliser_name=FACE_BOX)
    judged = [replace(face, schema=bare, box=np.array([5.0, 5.0, 44.0, 34.0])) for face in faces[:2]]
    spec = ModelSpec(bare, 24, 1.25)
    moved = [replace(face, points=face.points + np.array([3.0, 4.0])) for face in judged]
    model = Watched(np.stack([normalized_points_of(face, spec) for face in moved]), spec)
    errors = ValidationCrops(judged, [face.points for face in judged], spec)(model)
    np.testing.assert_allclose(errors, [5 / 39, 5 / 39], rtol=1e-9)


def test_one_face_has_soft_targets_of_the_others_shapes(faces: list[Sample], recipe: Recipe) -> None:
    """As a process has that judges by one face."""
    soft = replace(recipe, soft_variance=0.6)
    np.testing.assert_allclose(targets_of(soft, faces[:1], faces), targets_of(soft, faces, faces)[:1], atol=1e-9)


def test_every_validation_face_has_a_target(faces: list[Sample]) -> None:
    """Errors are never measured against the targets of some faces alone."""
    spec = ModelSpec(faces[0].schema, 32, 1.25)
    for targets in ([faces[0].points], [face.points for face in faces[:3]]):
        with pytest.raises(ValueError, match="zip"):
            ValidationCrops(faces[:2], targets, spec)
