"""Confidence: the points stay, expected errors follow the true ones, negative crops score below faces."""

from __future__ import annotations

import weakref
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from lightmark.data.crops import picture_cache
from lightmark.data.crops.dataset import Key
from lightmark.errors import ConfigError, DataError, TrainingError
from lightmark.image import warp
from lightmark.nets.checkpoint import load_checkpoint, load_model
from lightmark.nets.heads import ConfidenceHead
from lightmark.nets.network import Architecture
from lightmark.schema import IBUG68
from lightmark.source import to_picture
from lightmark.spec import spec_crop_matrix
from lightmark.train import confidence as confidence_module
from lightmark.train.confidence import (
    BACKGROUND_CROPS,
    HARD_NEGATIVES,
    ConfidenceRecipe,
    Features,
    _calibrate,
    _fit,
    _negative_features,
    _Standardiser,
    confidence_fingerprint,
    finished_confidence,
    laplace_nll,
    train_confidence,
)
from lightmark.train.config import Recipe
from lightmark.train.faces import split_by_share, split_samples
from lightmark.train.loop import train

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
    return faces, train(recipe, split_samples(faces, recipe), out, quiet=True)


@pytest.fixture(scope="module")
def confident(trained, tmp_path_factory):
    """What was measured, and the checkpoint with confidence."""
    faces, checkpoint = trained
    out = tmp_path_factory.mktemp("confident") / "model.safetensors"
    return train_confidence(checkpoint, faces, out, recipe=SHORT, quiet=True), out


def test_points_stay_to_the_bit(trained, confident):
    """The network itself is frozen."""
    before, after = load_model(trained[1]), load_model(confident[1])
    crops = np.random.default_rng(0).integers(0, 256, (4, 64, 64, 3), dtype=np.uint8)
    assert not before.spec.confidence
    assert after.spec.confidence
    np.testing.assert_array_equal(before(crops), after(crops))
    np.testing.assert_allclose(after.outputs(crops).normalized_points, after(crops), atol=1e-6)


def test_errors_that_features_foretell_are_learnt():
    """Where a feature tells the size of the error, expected errors follow it, on other data and in the right unit."""
    generator = torch.Generator().manual_seed(0)

    def read(count):
        point_features = torch.randn(count, 5, 6, generator=generator)
        expected = torch.exp(-4 + 0.8 * point_features[..., 2])
        first, second = (torch.empty(count, 5).exponential_(2, generator=generator) for _ in range(2))
        lengths = first + second  # its density is ∝ r exp(−2r), its mean 1
        return Features(point_features.half(), torch.randn(count, 3, generator=generator), expected * lengths)

    torch.manual_seed(0)
    head = ConfidenceHead(6, 3, 5)
    faces, checked, negatives = read(800), read(400), read(400)
    _fit(head, faces, [faces], negatives, replace(SHORT, steps=600))
    # Data that errs three times as much as what was learnt from: the scale makes up for it.
    measured = _calibrate(head, checked._replace(errors=3 * checked.errors), read(400))
    assert measured.scale == pytest.approx(3, rel=0.1)
    assert measured.spearman > 0.6
    assert measured.nll_gain > 0.3
    assert measured.presence_auc == pytest.approx(0.5, abs=0.06)


def test_missing_labels_teach_nothing():
    """Errors of labelled points are learnt as ever where every face lacks some; each is scaled to its mean."""
    rng = np.random.default_rng(0)
    features = torch.from_numpy(rng.standard_normal((600, 5, 4))).float()
    errors = torch.exp(0.5 * features[..., 0] - 3)
    lacking = torch.where(torch.from_numpy(rng.random((600, 5)) < 0.3), torch.nan, errors)
    found = []
    for known in (errors, lacking):
        torch.manual_seed(0)
        head = ConfidenceHead(4, 3, 5)
        read = Features(features, torch.zeros(600, 3), known)
        _fit(head, read, [read], read, ConfidenceRecipe(steps=200, batch=64))
        found.append(_calibrate(head, Features(features, torch.zeros(600, 3), errors), read))
    assert all(np.isfinite(measured).all() for measured in ((one.scale, one.nll_gain, one.spearman) for one in found))
    assert found[1].nll_gain == pytest.approx(found[0].nll_gain, abs=0.05)
    assert found[1].spearman > 0.9


def test_faces_score_above_negative_crops(confident):
    """On validation faces, and the file carries what was measured."""
    measured, out = confident
    assert measured.presence_auc > 0.85
    assert load_model(out).spec.provenance["confidence"]["presence_auc"] == measured.presence_auc


def test_expected_errors_are_measured_on_validation_faces_alone(trained, tmp_path):
    """With labels moved on those alone, the scale tells of it; what was learnt before the scale is the same."""
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
        measured.append(train_confidence(checkpoint, samples, out, recipe=short, quiet=True))
        heads.append(load_checkpoint(out)[0].confidence)
    assert measured[1].scale > 1.5 * measured[0].scale
    torch.testing.assert_close(heads[0].describe.weight, heads[1].describe.weight, rtol=0, atol=0)
    gained = (heads[1].bias - heads[0].bias).exp()
    torch.testing.assert_close(gained, torch.full((5,), measured[1].scale / measured[0].scale), rtol=1e-4, atol=0)


def negatives(faces):
    """The faces' pictures in negative, which no change of pixels in training comes near."""
    return [replace(face, image=255 - face.image) for face in faces]


def test_presence_learns_from_faces_that_the_points_do_not(trained, confident, tmp_path):
    """Faces in negative count as such once they were among those present, and the points stay what they were."""
    faces, checkpoint = trained
    out = tmp_path / "present.safetensors"
    measured = train_confidence(checkpoint, faces, out, present=negatives(faces[:120]), recipe=SHORT, quiet=True)
    assert measured.present_auc > 0.8
    with_them, without = load_model(out), load_model(confident[1])
    spec = without.spec
    crops = np.stack([warp(f.image, spec_crop_matrix(spec, f.box), spec.size) for f in negatives(faces[120:])])
    np.testing.assert_array_equal(with_them(crops), without(crops))
    doubt, doubt_before = (1 - model.outputs(crops).presence.mean() for model in (with_them, without))
    assert doubt < doubt_before / 2


def test_half_of_the_negative_crops_are_hard(trained, tmp_path, monkeypatch):
    """A picture with a white square, at which the detector looks in every size; one without finds; and faces."""
    hard_negative = np.zeros((90, 120, 3), np.uint8)
    hard_negative[20:60, 30:70] = 255
    plain = np.full((90, 120, 3), (0, 0, 200), np.uint8)
    paths = [tmp_path / "hard_negative.png", tmp_path / "plain.png"]
    for path, picture in zip(paths, (hard_negative, plain), strict=True):
        Image.fromarray(picture).save(path)
    looks = []

    class Detector:
        def __init__(self, input_size):
            looks.append(input_size)

        def scored(self, picture, threshold):
            boxes = [[30.0, 20.0, 69.0, 59.0]] if picture.max() == 255 else np.zeros((0, 4))
            return np.array(boxes), np.ones(len(boxes))

    monkeypatch.setattr(confidence_module, "FaceDetector", Detector)
    monkeypatch.setattr(confidence_module, "change_pixels", lambda crop, augmentation, rng: crop)

    def crops_of(network, spec, crop, count, copies, what, quiet):
        return np.stack([crop(Key(copy, face))[0] for copy in range(copies) for face in range(count)])

    monkeypatch.setattr(confidence_module, "_extract", crops_of)
    spec = load_model(trained[1]).spec
    crops = _negative_features(None, spec, trained[0], paths, SHORT, 5, True)
    white = (crops.min(-1) == 255).mean((1, 2)) > 0.3  # the square fills most of a crop that looks at it
    blue = (crops[..., :2].max((1, 2, 3)) == 0) & (crops[..., 2] == 200).any((1, 2))
    assert len(set(looks)) > 1
    assert abs(white.mean() - HARD_NEGATIVES) < 0.06
    assert 0.3 * BACKGROUND_CROPS < blue.mean() < 0.8 * BACKGROUND_CROPS


def test_pictures_are_not_all_decoded_at_once(trained, tmp_path, monkeypatch):
    """However many backgrounds there are, those that live fit into the cache, and the detector sees one at a time."""
    paths = [tmp_path / f"{index}.png" for index in range(12)]
    for index, path in enumerate(paths):
        Image.fromarray(np.full((64, 64, 3), 20 * index, np.uint8)).save(path)
    alive, most = [], []

    def watched(path):
        picture = to_picture(path)
        alive.append(weakref.ref(picture))
        most.append(sum(one() is not None for one in alive))
        return picture

    monkeypatch.setattr(confidence_module, "to_picture", watched)
    monkeypatch.setattr(picture_cache, "to_picture", watched)
    monkeypatch.setattr(confidence_module, "cache_limit", lambda processes: 3 * 64 * 64 * 3)
    monkeypatch.setattr(confidence_module, "HARD_NEGATIVES", 0.0)
    monkeypatch.setattr(confidence_module, "BACKGROUND_CROPS", 1.0)
    network, spec = load_checkpoint(trained[1])
    _negative_features(network, spec, trained[0][:8], paths, SHORT, 4, True)
    assert len(alive) > 2 * len(paths)  # looked at by the detector, and cut from
    assert max(most) <= 5  # three kept, one that is cut, one that is read


def test_a_face_that_cannot_be_learnt_from_is_named_first(trained, tmp_path):
    """As in every other training: before the network has seen any picture."""
    face = trained[0][0]
    lost = replace(face, points=face.points + 500, box=face.box + 500)
    with pytest.raises(DataError, match=r"blobs/0\.png: its points lie in x .*, all of them outside their picture"):
        train_confidence(
            trained[1], [lost, *trained[0][1:]], tmp_path / "m.safetensors", recipe=SHORT, quiet=True
        )


def test_a_finished_confidence_is_known_by_all_that_made_it(trained, confident):
    """The same inputs give what was measured then; other faces, weights or settings are refused by name."""
    faces, checkpoint = trained
    measured, out = confident
    same = confidence_fingerprint(checkpoint, faces, recipe=SHORT)
    assert finished_confidence(out, same) == measured
    moved = [replace(faces[0], points=faces[0].points + 0.5), *faces[1:]]
    for other, name in (
        (confidence_fingerprint(checkpoint, moved, recipe=SHORT), "faces: labels"),
        (confidence_fingerprint(out, faces, recipe=SHORT), "weights"),
        (confidence_fingerprint(checkpoint, faces, recipe=replace(SHORT, steps=9)), r"recipe: steps \(was 150, is 9\)"),
        (confidence_fingerprint(checkpoint, faces, present=faces[:2], recipe=SHORT), "present: boxes"),
    ):
        with pytest.raises(ConfigError, match=f"made from other inputs: {name}.*; give another --out, or --force"):
            finished_confidence(out, other)


def test_a_checkpoint_without_confidence_is_none_that_is_finished(trained, tmp_path):
    """Neither a network before, nor a file of something else, nor nothing."""
    same = confidence_fingerprint(trained[1], trained[0], recipe=SHORT)
    (tmp_path / "text.safetensors").write_text("no checkpoint")
    for path in (trained[1], tmp_path / "text.safetensors", tmp_path / "gone.safetensors"):
        assert finished_confidence(path, same) is None


def test_present_test_faces_are_refused(trained, tmp_path):
    """Even the presence alone never sees a test face."""
    tested = [replace(trained[0][0], subsets=frozenset({"test"}))]
    with pytest.raises(ConfigError, match="never train on a test set"):
        train_confidence(trained[1], trained[0], tmp_path / "m.safetensors", present=tested, recipe=SHORT, quiet=True)


def test_present_faces_need_the_same_points(trained, tmp_path):
    """A set labelled otherwise is named, not mixed in."""
    other = [replace(trained[0][0], points=np.zeros((68, 2)), schema=IBUG68)]
    with pytest.raises(ConfigError, match="faces are labelled with ibug68"):
        train_confidence(trained[1], trained[0], tmp_path / "m.safetensors", present=other, recipe=SHORT, quiet=True)


def test_the_same_seed_gives_the_same_weights(trained, confident, tmp_path):
    """All randomness comes from the recipe's seed."""
    faces, checkpoint = trained
    torch.manual_seed(99)
    train_confidence(checkpoint, faces, tmp_path / "again.safetensors", recipe=SHORT, quiet=True)
    crops = np.random.default_rng(0).integers(0, 256, (4, 64, 64, 3), dtype=np.uint8)
    first, second = (load_model(path).outputs(crops) for path in (confident[1], tmp_path / "again.safetensors"))
    np.testing.assert_array_equal(first.errors, second.errors)
    np.testing.assert_array_equal(first.presence, second.presence)


def test_training_goes_on_from_a_confident_network(confident, trained, recipe, tmp_path):
    """`start` takes the points' weights and leaves the confidence, which would no longer be true."""
    recipe = replace(recipe, architecture=Architecture("mobilenetv2", "spatial", width=0.25), steps=2)
    made = train(recipe, split_samples(trained[0], recipe), tmp_path, start=confident[1], quiet=True)
    assert not load_model(made).spec.confidence


def test_test_faces_are_refused(trained, tmp_path):
    """Confidence is training too."""
    faces = [replace(trained[0][0], subsets=frozenset({"test"})), *trained[0][1:]]
    with pytest.raises(ConfigError, match="never train on a test set"):
        train_confidence(trained[1], faces, tmp_path / "m.safetensors", recipe=SHORT, quiet=True)


def test_a_loss_that_is_not_finite_ends_it(trained, tmp_path):
    """Nothing is written then."""
    wild = replace(SHORT, learning_rate=float("inf"))
    with pytest.raises(TrainingError, match="confidence: the loss is not finite at step"):
        train_confidence(trained[1], trained[0], tmp_path / "m.safetensors", recipe=wild, quiet=True)
    assert not list(tmp_path.iterdir())


def test_likelihood_is_largest_at_the_mean_error():
    """The likelihood of errors under one expected error peaks where that is their mean."""
    errors = torch.distributions.Exponential(20.0).sample((1000,))
    candidates = torch.linspace(-5, -1, 401)
    nll = torch.stack([laplace_nll(c, errors).mean() for c in candidates])
    assert candidates[nll.argmin()].exp() == pytest.approx(float(errors.mean()), rel=0.01)


def test_density_is_normalised_with_the_right_mean():
    """2 / (π e²) · exp(−2r / e) over the plane has integral 1 and mean length e; the NLL is its logarithm."""
    e, r = 0.7, np.linspace(0, 12, 200_001)
    density = 2 / (np.pi * e**2) * np.exp(-2 * r / e) * 2 * np.pi * r
    assert np.trapezoid(density, r) == pytest.approx(1, abs=1e-6)
    assert np.trapezoid(density * r, r) == pytest.approx(e, abs=1e-6)
    nll = laplace_nll(torch.tensor(np.log(e)), torch.tensor([0.3]))
    assert float(nll) == pytest.approx(-np.log(2 / (np.pi * e**2) * np.exp(-2 * 0.3 / e)) - np.log(np.pi / 2), abs=1e-6)


def test_folding_the_standardisation_changes_nothing():
    """The layer on raw features gives what it gave on standardised ones."""
    features = torch.randn(200, 6) * torch.tensor([1.0, 5.0, 0.1, 2.0, 3.0, 10.0]) + 4
    norm, layer = _Standardiser(features), torch.nn.Linear(6, 3)
    want = layer(norm(features))
    norm.fold_into(layer)
    torch.testing.assert_close(layer(features), want, rtol=1e-4, atol=1e-4)
