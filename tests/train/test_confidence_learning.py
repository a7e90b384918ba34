"""Confidence of a network that has learnt: faces score above negative crops, errors are those of unseen faces."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from lightmark.image import warp
from lightmark.nets.checkpoint import load_checkpoint, load_model
from lightmark.nets.network import Architecture
from lightmark.spec import spec_crop_matrix
from lightmark.train.confidence import train_confidence
from lightmark.train.config import ConfidenceRecipe, Execution, Recipe
from lightmark.train.faces import split_by_share, split_samples
from lightmark.train.loop import train

QUIET = Execution(quiet=True)

SHORT = ConfidenceRecipe(copies=4, steps=150, batch=64)


@pytest.fixture(scope="module")
def trained(blob_faces, tmp_path_factory):
    """Faces, and the checkpoint of a small network that has learnt them well enough for its errors to have reasons."""
    recipe = Recipe(
        name="blobs",
        architecture=Architecture("mobilenetv2", "spatial", width=0.25),
        size=64,
        objective="l1",
        steps=200,
        batch=16,
        learning_rate=3e-3,
        warmup=10,
        ema=0.9,
        validation=0.25,
        validate_every=100,
        log_every=100,
    )
    faces = blob_faces(160)
    out = tmp_path_factory.mktemp("blobs")
    return faces, train(recipe, split_samples(faces, recipe), out, execution=QUIET)


@pytest.fixture(scope="module")
def confident(trained, tmp_path_factory):
    """What was measured, and the checkpoint with confidence."""
    faces, checkpoint = trained
    out = tmp_path_factory.mktemp("confident") / "model.safetensors"
    return train_confidence(checkpoint, faces, out, recipe=SHORT, execution=QUIET), out


def test_faces_score_above_negative_crops(confident):
    """On validation faces, and the file carries what was measured."""
    measured, out = confident
    assert measured.auc > 0.85
    assert load_model(out).spec.provenance["confidence"]["auc"] == measured.auc


def test_expected_errors_are_measured_on_validation_faces_alone(trained, tmp_path):
    """With labels moved on validation faces alone only the scale changes."""
    faces, checkpoint = trained
    short = replace(SHORT, copies=1, steps=5)
    provenance = load_model(checkpoint).spec.provenance
    split = split_by_share(faces, provenance["validation"], provenance["seed"])
    judged = {face.name for face in split.validation}
    apart = np.array([[6.0, -6.0], [-6.0, 6.0], [6.0, 6.0], [-6.0, -6.0], [6.0, -6.0]])
    moved = [replace(face, points=face.points + apart) if face.name in judged else face for face in faces]
    measured, heads = [], []
    for samples in (faces, moved):
        out = tmp_path / f"{len(heads)}.safetensors"
        measured.append(train_confidence(checkpoint, samples, out, recipe=short, execution=QUIET))
        heads.append(load_checkpoint(out)[0].confidence)
    assert measured[1].scale > 1.5 * measured[0].scale
    torch.testing.assert_close(heads[0].describe.weight, heads[1].describe.weight, rtol=0, atol=0)
    gained = (heads[1].bias - heads[0].bias).exp()
    torch.testing.assert_close(gained, torch.full((5,), measured[1].scale / measured[0].scale), rtol=1e-4, atol=0)


def negatives(faces):
    """The faces' pictures in negative, which no change of pixels in training comes near."""
    return [replace(face, image=255 - face.image) for face in faces]


def test_confidence_learns_from_faces_that_the_points_do_not(trained, confident, tmp_path):
    """Faces in negative count as such once they were among those present, and the points stay what they were."""
    faces, checkpoint = trained
    out = tmp_path / "present.safetensors"
    measured = train_confidence(checkpoint, faces, out, present=negatives(faces[:120]), recipe=SHORT, execution=QUIET)
    assert measured.present_auc > 0.8
    with_them, without = load_model(out), load_model(confident[1])
    spec = without.spec
    crops = np.stack([warp(f.image, spec_crop_matrix(spec, f.box), spec.size) for f in negatives(faces[120:])])
    np.testing.assert_array_equal(with_them(crops), without(crops))
    doubt, doubt_before = (1 - model.outputs(crops).confidence.mean() for model in (with_them, without))
    assert doubt < doubt_before / 2
