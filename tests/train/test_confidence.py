"""Training of the confidence: its parts against their formulas, their arguments, and refused inputs.

Those of a network that has learnt are in test_confidence_learning.py; here it has not, which saves a training.
"""

from __future__ import annotations

import copy
import weakref
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lightmark.data.crops import picture_cache
from lightmark.data.crops.augment import Augmentation, change_pixels
from lightmark.data.crops.dataset import CropDataset, Key
from lightmark.data.crops.negatives import background_matrix, hard_negative_matrix, misplaced_matrix
from lightmark.data.fingerprint import fingerprint_of_faces, fingerprint_of_pictures
from lightmark.data.sample import Sample
from lightmark.data.split import split_by_photo
from lightmark.detectors.face_detector import Detections
from lightmark.errors import ConfigError, DataError, TrainingError
from lightmark.image import warp
from lightmark.nets.checkpoint import load_checkpoint, load_model, save_checkpoint
from lightmark.nets.heads import ConfidenceHead
from lightmark.nets.network import Architecture, build_network
from lightmark.schema import IBUG68
from lightmark.scores import likelihood_gain, mean_spearman, roc_auc
from lightmark.source import to_picture
from lightmark.spec import normalise_crops
from lightmark.train import confidence as confidence_module
from lightmark.train import confidence_features as features_module
from lightmark.train.confidence import (
    ConfidenceMetrics,
    _calibrate,
    _fit,
    _mean_nll,
    _pooled,
    _predict,
    _Standardiser,
    confidence_fingerprint,
    finished_confidence,
    laplace_nll,
    saved_confidence,
    train_confidence,
)
from lightmark.train.confidence_features import (
    BACKGROUND_CROPS,
    HARD_NEGATIVES,
    Features,
    face_features,
    hard_negatives,
    negative_features,
)
from lightmark.train.config import ConfidenceRecipe, Execution, Recipe
from lightmark.train.detector.train import split_backgrounds
from lightmark.train.faces import mean_normalized_points, split_by_share, split_samples
from lightmark.train.fingerprint import plain, weights_hash
from lightmark.train.loop import new_spec, train

QUIET = Execution(quiet=True)

QUICK = ConfidenceRecipe(copies=2, steps=5, batch=16)
BOX = np.array([20.0, 20.0, 30.0, 30.0])


@pytest.fixture(scope="module")
def untrained(blob_faces, tmp_path_factory):
    """Faces, and the checkpoint of a network before its first step, which the training of confidence takes as any."""
    architecture = Architecture("mobilenetv2", "spatial", width=0.25)
    recipe = Recipe("blobs", architecture, size=32, objective="l1", steps=1, validation=0.25, seed=3)
    faces = blob_faces(24)
    split = split_samples(faces, recipe)
    spec = new_spec(recipe, split)
    path = tmp_path_factory.mktemp("blobs") / "model.safetensors"
    network = build_network(architecture, mean_normalized_points(split.train, spec), recipe.seed)
    save_checkpoint(path, network, architecture, spec)
    return faces, path


@pytest.fixture(scope="module")
def confident(untrained, tmp_path_factory):
    """What was measured, and the checkpoint with confidence."""
    faces, checkpoint = untrained
    out = tmp_path_factory.mktemp("confident") / "model.safetensors"
    return train_confidence(checkpoint, faces, out, recipe=QUICK, execution=QUIET), out


def test_points_stay_to_the_bit(untrained, confident):
    """The network itself is frozen."""
    before, after = load_model(untrained[1]), load_model(confident[1])
    crops = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), dtype=np.uint8)
    assert not before.spec.confidence
    assert after.spec.confidence
    np.testing.assert_array_equal(before(crops), after(crops))
    np.testing.assert_allclose(after.outputs(crops).normalized_points, after(crops), atol=1e-6)


def test_errors_that_features_foretell_are_learnt():
    """Expected errors follow a feature that predicts the error, on other data and in the right unit."""
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
    _fit(head, faces, [faces], negatives, replace(QUICK, steps=600))
    # Data that errs three times as much as what was learnt from: the scale makes up for it.
    measured = _calibrate(head, checked._replace(errors=3 * checked.errors), read(400))
    assert measured.scale == pytest.approx(3, rel=0.1)
    assert measured.spearman > 0.6
    assert measured.nll_gain > 0.3
    assert measured.auc == pytest.approx(0.5, abs=0.06)


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


def test_half_of_the_negative_crops_are_hard(untrained, tmp_path, monkeypatch):
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

        def candidates(self, picture, minimum):
            boxes = [[30.0, 20.0, 69.0, 59.0]] if picture.max() == 255 else np.zeros((0, 4))
            return Detections(np.array(boxes), np.ones(len(boxes)), np.zeros((len(boxes), 5, 2)))

    monkeypatch.setattr(features_module, "FaceDetector", Detector)
    monkeypatch.setattr(features_module, "change_pixels", lambda crop, augmentation, rng: crop)

    def crops_of(network, spec, crop, count, copies, what, quiet):
        return np.stack([crop(Key(copy, face))[0] for copy in range(copies) for face in range(count)])

    monkeypatch.setattr(features_module, "extract", crops_of)
    spec = load_model(untrained[1]).spec
    crops = negative_features(None, spec, untrained[0], paths, replace(QUICK, copies=34), True)
    white = (crops.min(-1) == 255).mean((1, 2)) > 0.3  # the square fills most of a crop that looks at it
    blue = (crops[..., :2].max((1, 2, 3)) == 0) & (crops[..., 2] == 200).any((1, 2))
    assert len(set(looks)) > 1
    assert abs(white.mean() - HARD_NEGATIVES) < 0.06
    assert 0.3 * BACKGROUND_CROPS < blue.mean() < 0.8 * BACKGROUND_CROPS


def test_pictures_are_not_all_decoded_at_once(untrained, tmp_path, monkeypatch):
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

    class Detector:
        def __init__(self, input_size):
            pass

        def candidates(self, picture, minimum):
            return Detections(np.zeros((0, 4)), np.zeros(0), np.zeros((0, 5, 2)))

    monkeypatch.setattr(features_module, "FaceDetector", Detector)
    monkeypatch.setattr(features_module, "to_picture", watched)
    monkeypatch.setattr(picture_cache, "to_picture", watched)
    monkeypatch.setattr(features_module, "cache_limit", lambda processes: 3 * 64 * 64 * 3)
    monkeypatch.setattr(features_module, "HARD_NEGATIVES", 0.0)
    monkeypatch.setattr(features_module, "BACKGROUND_CROPS", 1.0)
    network, spec = load_checkpoint(untrained[1])
    negative_features(network, spec, untrained[0][:8], paths, replace(QUICK, copies=4), True)
    assert len(alive) > 2 * len(paths)  # looked at by the detector, and cut from
    assert max(most) <= 5  # three kept, one that is cut, one that is read


def test_a_face_that_cannot_be_learnt_from_is_named_first(untrained, tmp_path):
    """As in every other training, before any picture is read."""
    face = untrained[0][0]
    lost = replace(face, points=face.points + 500, box=face.box + 500)
    with pytest.raises(DataError, match=r"blobs/0\.png: its points lie in x .*, all of them outside their picture"):
        train_confidence(
            untrained[1], [lost, *untrained[0][1:]], tmp_path / "m.safetensors", recipe=QUICK, execution=QUIET
        )


def test_a_finished_confidence_is_known_by_all_that_made_it(untrained, confident):
    """The same inputs give what was measured then; other faces, weights or settings are refused by name."""
    faces, checkpoint = untrained
    measured, out = confident
    same = confidence_fingerprint(checkpoint, faces, recipe=QUICK)
    assert finished_confidence(out, same) == measured
    moved = [replace(faces[0], points=faces[0].points + 0.5), *faces[1:]]
    for other, name in (
        (confidence_fingerprint(checkpoint, moved, recipe=QUICK), "faces: labels"),
        (confidence_fingerprint(out, faces, recipe=QUICK), "weights"),
        (confidence_fingerprint(checkpoint, faces, recipe=replace(QUICK, steps=9)), r"recipe: steps \(was 5, is 9\)"),
        (confidence_fingerprint(checkpoint, faces, present=faces[:2], recipe=QUICK), "present: boxes"),
    ):
        with pytest.raises(ConfigError, match=f"made from other inputs: {name}.*; give another --out, or --force"):
            finished_confidence(out, other)


def test_a_checkpoint_without_confidence_is_none_that_is_finished(untrained, tmp_path):
    """Neither a network before, nor a file of something else, nor nothing."""
    same = confidence_fingerprint(untrained[1], untrained[0], recipe=QUICK)
    (tmp_path / "text.safetensors").write_text("no checkpoint")
    for path in (untrained[1], tmp_path / "text.safetensors", tmp_path / "gone.safetensors"):
        assert finished_confidence(path, same) is None


def test_present_test_faces_are_refused(untrained, tmp_path):
    """The confidence, too, is never trained on a test face."""
    tested = [replace(untrained[0][0], subsets=frozenset({"test"}))]
    with pytest.raises(ConfigError, match="never train on a test set"):
        train_confidence(untrained[1], untrained[0], tmp_path / "m.safetensors", present=tested, recipe=QUICK)


def test_present_faces_need_the_same_points(untrained, tmp_path):
    """A set labelled otherwise is named, not mixed in."""
    other = [replace(untrained[0][0], points=np.zeros((68, 2)), schema=IBUG68)]
    with pytest.raises(ConfigError, match="faces are labelled with ibug68"):
        train_confidence(untrained[1], untrained[0], tmp_path / "m.safetensors", present=other, recipe=QUICK)


def test_the_same_seed_gives_the_same_weights(untrained, confident, tmp_path):
    """All randomness comes from the recipe's seed."""
    faces, checkpoint = untrained
    torch.manual_seed(99)
    train_confidence(checkpoint, faces, tmp_path / "again.safetensors", recipe=QUICK, execution=QUIET)
    crops = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), dtype=np.uint8)
    first, second = (load_model(path).outputs(crops) for path in (confident[1], tmp_path / "again.safetensors"))
    np.testing.assert_array_equal(first.expected_error, second.expected_error)
    np.testing.assert_array_equal(first.confidence, second.confidence)


def test_training_goes_on_from_a_confident_network(confident, untrained, recipe, tmp_path):
    """`start` takes the points' weights and leaves the confidence, which would no longer be true."""
    recipe = replace(recipe, architecture=Architecture("mobilenetv2", "spatial", width=0.25), steps=2)
    made = train(recipe, split_samples(untrained[0], recipe), tmp_path, start=confident[1], execution=QUIET)
    assert not load_model(made).spec.confidence


def test_test_faces_are_refused(untrained, tmp_path):
    """Confidence is training too."""
    faces = [replace(untrained[0][0], subsets=frozenset({"test"})), *untrained[0][1:]]
    with pytest.raises(ConfigError, match="never train on a test set"):
        train_confidence(untrained[1], faces, tmp_path / "m.safetensors", recipe=QUICK, execution=QUIET)


def test_a_loss_that_is_not_finite_ends_it(untrained, tmp_path):
    """Nothing is written then."""
    wild = replace(QUICK, learning_rate=float("inf"))
    with pytest.raises(TrainingError, match="confidence: the loss is not finite at step"):
        train_confidence(untrained[1], untrained[0], tmp_path / "m.safetensors", recipe=wild, execution=QUIET)
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


@pytest.fixture
def parts(monkeypatch):
    """The slow parts of a training, replaced by stubs that record their arguments in order."""
    calls = []

    def named(name, answer):
        def record(*given, **options):
            calls.append((name, *given, *options.values()))
            return answer(*given)

        return record

    monkeypatch.setattr(confidence_module, "face_features", named("faces", lambda *given: given[2:4]))
    monkeypatch.setattr(confidence_module, "negative_features", named("negatives", lambda *given: given[2:5]))
    monkeypatch.setattr(confidence_module, "_fit", named("fit", lambda *given: None))
    metrics = ConfidenceMetrics(1.5, 0.25, 0.5, 0.75)
    monkeypatch.setattr(confidence_module, "_calibrate", named("calibrate", lambda *given: metrics))
    monkeypatch.setattr(confidence_module, "_confidence_auc", named("auc", lambda *given: 0.875))
    return calls


def test_each_part_gets_its_faces(untrained, parts, tmp_path):
    """Training on training faces and pictures, measuring on the held-out ones, under augmentations of another seed."""
    faces, checkpoint = untrained
    others = [replace(face, path=Path(f"other-{i}.png"), photo=f"other-{i}") for i, face in enumerate(faces)]
    pictures = [tmp_path / f"{index}.png" for index in range(20)]
    recipe = replace(QUICK, seed=5)
    for path in pictures:
        Image.new("L", (8, 8)).save(path)
    measured = train_confidence(
        checkpoint, faces, tmp_path / "m.safetensors", pictures, others, recipe, Execution(quiet="loud or quiet")
    )
    assert measured == ConfidenceMetrics(1.5, 0.25, 0.5, 0.75, 0.875)
    split = split_by_share(faces, 0.25, 3)
    known, unknown = split_backgrounds(pictures, 0.12)
    more, judging = split_by_photo(others, 0.12, 5)
    head, network, spec = parts[3][1], parts[0][1], parts[0][2]
    assert spec == load_checkpoint(checkpoint)[1]
    assert head is network.confidence
    later, how = replace(recipe, seed=6), ("loud or quiet",)
    seen = [tuple(names_of(given) for given in call if given is not head) for call in parts]
    judged = ((*names_of(split.validation),), later), (names_of(split.validation), names_of(unknown), later)
    assert seen == [
        ("faces", network, spec, names_of(split.train), recipe, *how),
        ("faces", network, spec, names_of(more), recipe, *how),
        ("negatives", network, spec, names_of(split.train), names_of(known), recipe, *how),
        ("fit", (names_of(split.train), recipe), ((names_of(split.train), recipe), (names_of(more), recipe)),
         (names_of(split.train), names_of(known), recipe), recipe),
        ("faces", network, spec, names_of(split.validation), later, *how),
        ("negatives", network, spec, names_of(split.validation), names_of(unknown), later, *how),
        ("calibrate", *judged),
        ("faces", network, spec, names_of(judging), later, *how),
        ("auc", (names_of(judging), later), judged[1]),
    ]  # fmt: skip


def names_of(given):
    """Samples and paths as their names, so that they can be compared."""
    if isinstance(given, list | tuple) and not isinstance(given, Features):
        return tuple(names_of(one) for one in given)
    return given.name if isinstance(given, Path | Sample) else given


def test_without_pictures_and_faces_of_others_all_is_the_networks_own(untrained, parts, tmp_path):
    """One background teaches and judges; nothing is measured of faces that are not there; settings have defaults."""
    faces, checkpoint = untrained
    Image.new("L", (8, 8)).save(tmp_path / "one.png")
    for pictures in ([], [tmp_path / "one.png"]):
        parts.clear()
        measured = train_confidence(checkpoint, faces, tmp_path / "m.safetensors", pictures)
        assert measured.present_auc is None
        assert [call[0] for call in parts] == ["faces", "negatives", "fit", "faces", "negatives", "calibrate"]
        assert [call[4] for call in parts if call[0] == "negatives"] == [pictures] * 2
        assert parts[0][4:] == (ConfidenceRecipe(), False)
        assert parts[2][3] == [parts[2][2]]  # the confidence of a face learns from the faces alone


def test_a_checkpoint_records_its_confidence(untrained, parts, tmp_path):
    """What was measured, the settings and the fingerprint, beside what it recorded before."""
    faces, checkpoint = untrained
    out = tmp_path / "m.safetensors"
    train_confidence(checkpoint, faces, out, recipe=QUICK)
    (network, spec), (_, before) = load_checkpoint(out), load_checkpoint(checkpoint)
    measured = {"scale": 1.5, "nll_gain": 0.25, "spearman": 0.5, "auc": 0.75}
    settings = {"seed": 0, "copies": 2, "steps": 5}
    fingerprint = confidence_fingerprint(checkpoint, faces, recipe=QUICK)
    assert spec.provenance["confidence"] == {**measured, **settings, "fingerprint": fingerprint}
    assert {name: value for name, value in spec.provenance.items() if name != "confidence"} == before.provenance
    assert saved_confidence(out) == spec.provenance["confidence"]
    assert finished_confidence(out, fingerprint) == ConfidenceMetrics(1.5, 0.25, 0.5, 0.75)
    assert network.confidence is not None


def test_initial_weights_depend_on_the_seed_alone(untrained, parts, tmp_path):
    """Whatever torch has drawn before."""
    heads = []
    for state, seed in ((1, 0), (2, 0), (1, 1)):
        torch.manual_seed(state)
        out = tmp_path / f"{len(heads)}.safetensors"
        train_confidence(untrained[1], untrained[0], out, recipe=replace(QUICK, seed=seed))
        heads.append(load_checkpoint(out)[0].confidence.describe.weight)
    assert torch.equal(heads[0], heads[1])
    assert not torch.equal(heads[0], heads[2])


def test_one_crop_is_too_few(untrained, parts, tmp_path):
    """A standard deviation needs two crops; the message has the next step."""
    faces, checkpoint = untrained
    split = split_by_share(faces, 0.25, 3)
    with pytest.raises(ConfigError, match=r"^one crop of one face has no spread to learn from; give more faces, or"):
        train_confidence(
            checkpoint, [split.train[0], split.validation[0]], tmp_path / "m", recipe=replace(QUICK, copies=1)
        )
    train_confidence(checkpoint, [split.train[0], split.validation[0]], tmp_path / "m.safetensors", recipe=QUICK)


def test_the_split_is_that_of_the_networks_training(untrained, parts, tmp_path):
    """Or by the recipe's defaults; if a side would be empty, the error has the share and the seed."""
    faces, checkpoint = untrained
    split = split_by_share(faces, 0.25, 3)
    with pytest.raises(DataError) as caught:
        train_confidence(checkpoint, split.train, tmp_path / "m.safetensors")
    assert str(caught.value) == (
        f"{checkpoint}: was trained with seed 3 and the share 0.25 of photographs for validation, which leaves one "
        f"side of these {len(split.train)} faces empty; give all the faces that it was trained on"
    )
    network, spec = load_checkpoint(checkpoint)
    bare = tmp_path / "bare.safetensors"
    save_checkpoint(bare, network, Architecture("mobilenetv2", "spatial", width=0.25), replace(spec, provenance={}))
    many = [replace(face, photo=f"{index}") for index, face in enumerate(faces * 4)]
    train_confidence(bare, many, tmp_path / "m.safetensors")
    assert [face.photo for face in parts[0][3]] == [face.photo for face in split_by_share(many, 0.06, 0).train]
    apart = replace(spec, provenance={"seed": 3, "split_seed": 1, "validation": 0.25})
    save_checkpoint(bare, network, Architecture("mobilenetv2", "spatial", width=0.25), apart)
    train_confidence(bare, faces, tmp_path / "other.safetensors")
    assert [face.photo for face in parts[6][3]] == [face.photo for face in split_by_share(faces, 0.25, 1).train]


def test_features_are_those_of_every_copy_of_every_item(untrained, monkeypatch):
    """Copy by copy, whatever number goes through the network at once; errors are shares of the crop's side."""
    network, spec = load_checkpoint(untrained[1])
    crops = np.random.default_rng(0).integers(0, 256, (2, 5, 32, 32, 3), dtype=np.uint8)
    labels = torch.rand(2, 5, 5, 2, generator=torch.Generator().manual_seed(0))
    labels[1, 2, 3] = torch.nan
    shown = []
    monkeypatch.setattr(features_module, "track", lambda firsts, text: shown.append((list(firsts), text)) or firsts)

    def extract(batch, quiet):
        monkeypatch.setattr(features_module, "inference_batch", lambda device: batch)
        network.train()
        crop = lambda key: (crops[key.epoch, key.face], labels[key.epoch, key.face])  # noqa: E731  # short
        return features_module.extract(network, spec, crop, 5, 2, "blobs", quiet)

    planes = torch.from_numpy(normalise_crops(crops.reshape(10, 32, 32, 3), spec))
    with torch.inference_mode():
        predicted, by_point, coarse = network.eval().forward_features(planes)
    expected = (predicted - labels.flatten(0, 1)).square().sum(-1).sqrt()
    for batch, quiet in ((3, False), (10, True), (4, True)):
        found = extract(batch, quiet)
        assert found.by_point.dtype == torch.float16
        torch.testing.assert_close(found.by_point.float(), by_point, rtol=2e-3, atol=2e-3)
        torch.testing.assert_close(found.coarse, coarse, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(found.errors, expected, rtol=1e-4, atol=1e-5, equal_nan=True)
    assert int(expected.isnan().sum()) == 1
    assert shown == [([0, 3, 6, 9], "features of blobs")]


def crops_alone(monkeypatch):
    """Make `extract` return the crops and labels that it would have put through the network, and its texts."""

    def extract(network, spec, crop, count, copies, what, quiet):
        cut = [crop(Key(copy, face)) for copy in range(copies) for face in range(count)]
        return np.stack([one for one, _ in cut]), torch.stack([points for _, points in cut]), (network, what, quiet)

    monkeypatch.setattr(features_module, "extract", extract)


def test_crops_of_faces_are_those_of_a_training(untrained, monkeypatch):
    """Under the recipe's augmentation and seed, each copy another one, with their own labels."""
    faces, checkpoint = untrained
    spec = load_model(checkpoint).spec
    crops_alone(monkeypatch)
    recipe = replace(QUICK, seed=7, augmentation=Augmentation(rotation=10.0))
    crops, labels, texts = face_features("network", spec, faces[:3], recipe, True)
    dataset = CropDataset(faces[:3], [face.points for face in faces[:3]], spec, recipe.augmentation, 7)
    expected = [dataset[Key(copy, face)] for copy in range(2) for face in range(3)]
    np.testing.assert_array_equal(crops, np.stack([one.crops.numpy().transpose(1, 2, 0) for one in expected]))
    assert torch.equal(labels, torch.stack([one.points for one in expected]))
    assert texts == ("network", "faces", True)


def test_without_backgrounds_all_negative_crops_are_misplaced(untrained, monkeypatch):
    """Cut from the faces' pictures, a stream of numbers a copy and face; their labels are a placeholder."""
    faces, checkpoint = untrained
    spec = load_model(checkpoint).spec
    crops_alone(monkeypatch)
    recipe = replace(QUICK, seed=7)
    crops, labels, texts = negative_features("network", spec, faces[:3], [], recipe, False)
    expected = []
    for epoch in range(2):
        for number, face in enumerate(faces[:3]):
            rng = np.random.default_rng((7, 10, epoch, number))
            rng.random()
            matrix = misplaced_matrix(face.box, (48, 48), spec, rng)
            expected.append(change_pixels(warp(face.image, matrix, 32), recipe.augmentation, rng))
    np.testing.assert_array_equal(crops, np.stack(expected))
    assert torch.equal(labels, torch.zeros(6, 5, 2))
    assert texts == ("network", "negative crops", False)


def test_hard_negatives_and_backgrounds_are_cut_as_such(untrained, tmp_path, monkeypatch):
    """Each from the picture and the box that its random numbers choose."""
    faces, checkpoint = untrained
    spec = load_model(checkpoint).spec
    paths = [tmp_path / f"{index}.png" for index in range(3)]
    pictures = [np.random.default_rng(index).integers(0, 256, (60, 80, 3), dtype=np.uint8) for index in range(3)]
    for path, picture in zip(paths, pictures, strict=True):
        Image.fromarray(picture).save(path)
    crops_alone(monkeypatch)
    found = [(paths[2], BOX), (paths[0], BOX + 9)]
    monkeypatch.setattr(features_module, "hard_negatives", lambda given: found if given == paths else [])
    crops, _, _ = negative_features("network", spec, faces[:8], paths, replace(QUICK, copies=6), True)
    kinds = []
    for number, crop in enumerate(crops):
        epoch, face = divmod(number, 8)
        rng = np.random.default_rng((0, 10, epoch, face))
        kind = rng.random()
        kinds.append(np.searchsorted([0.5, 0.6], kind, side="right"))
        if kinds[-1] == 0:
            path, box = found[int(rng.integers(2))]
            picture, matrix = pictures[paths.index(path)], hard_negative_matrix(box, spec, rng)
        elif kinds[-1] == 1:
            picture = pictures[int(rng.integers(3))]
            matrix = background_matrix(picture, spec, rng)
        else:
            picture = faces[face].image
            matrix = misplaced_matrix(faces[face].box, (48, 48), spec, rng)
        np.testing.assert_array_equal(crop, change_pixels(warp(picture, matrix, 32), QUICK.augmentation, rng))
    assert set(kinds) == {0, 1, 2}


def test_hard_negatives_are_looked_for_in_every_size(tmp_path, monkeypatch):
    """Below the detector's own threshold; without pictures it is not loaded."""
    looks = []

    class Detector:
        def __init__(self, input_size):
            self.size = input_size

        def candidates(self, picture, minimum):
            looks.append((self.size, int(picture[0, 0, 0]), minimum))
            boxes = np.array([BOX, BOX + self.size])[: int(picture[0, 0, 0])]
            return Detections(boxes, np.ones(len(boxes)), np.zeros((len(boxes), 5, 2)))

    paths = [tmp_path / "two.png", tmp_path / "none.png"]
    for path, value in zip(paths, (2, 0), strict=True):
        Image.fromarray(np.full((8, 8, 3), value, np.uint8)).save(path)
    monkeypatch.setattr(features_module, "FaceDetector", Detector)
    found = hard_negatives(paths)
    sizes = (224, 320, 480, 640, 960)
    assert looks == [(size, value, 0.2) for value in (2, 0) for size in sizes]
    assert [path for path, _ in found] == [paths[0]] * 10
    np.testing.assert_array_equal([box for _, box in found], [box for size in sizes for box in (BOX, BOX + size)])
    monkeypatch.setattr(features_module, "FaceDetector", None)
    assert hard_negatives([]) == []


def random_features(count, seed=0, points=5):
    """Features of as many crops, and errors of about a twentieth, in which one label is missing."""
    generator = torch.Generator().manual_seed(seed)
    errors = 0.1 * torch.rand(count, points, generator=generator)
    errors[0, 1] = torch.nan
    by_point = 3 * torch.randn(count, points, 4, generator=generator) + 1
    return Features(by_point.half(), torch.randn(count, 3, generator=generator) - 2, errors)


def test_a_head_begins_at_the_mean_error_of_each_point():
    """Before its first step; of a point that no face has labelled at that of all; nothing expects no error at all."""
    faces = random_features(40)
    faces.errors[:, 2] = torch.nan
    faces.errors[:, 4] = 0.0
    head = ConfidenceHead(4, 3, 5)
    before = copy.deepcopy(head)
    _fit(head, faces, [faces], random_features(30, 1), replace(QUICK, steps=0))
    expected = faces.errors.numpy()
    means = np.array([np.nanmean(expected[:, point]) if point != 2 else np.nanmean(expected) for point in range(5)])
    np.testing.assert_allclose(head.bias.detach().exp(), np.maximum(means, 1e-6), rtol=1e-5)
    assert not head.training
    pooled = torch.cat([_pooled(faces), _pooled(random_features(30, 1))])
    points = faces.by_point.float().flatten(0, 1)
    for layer, old, inputs in ((head.describe, before.describe, points), (head.logit[0], before.logit[0], pooled),
                               (head.face[1], before.face[1], pooled)):  # fmt: skip
        torch.testing.assert_close(layer(inputs), old((inputs - inputs.mean(0)) / inputs.std(0)), rtol=1e-4, atol=1e-4)


def test_confidence_separates_faces_from_negative_crops():
    """The confidence learns from all positives against the negatives, expected errors from the faces alone."""
    faces, others, negatives = (random_features(60, seed) for seed in range(3))
    others = others._replace(coarse=others.coarse + 4, errors=torch.full_like(others.errors, torch.nan))
    negatives = negatives._replace(coarse=negatives.coarse + 2, errors=negatives.errors * 100)
    torch.manual_seed(0)
    head = ConfidenceHead(4, 3, 5)
    _fit(head, faces, [faces, others], negatives, ConfidenceRecipe(steps=120, batch=64, learning_rate=0.02))
    log_errors, logits = _predict(head, faces)
    assert float(log_errors.exp().mean()) == pytest.approx(float(faces.errors.nanmean()), rel=0.2)
    assert float((logits > 0).float().mean()) > 0.85
    assert float((_predict(head, others)[1] > 0).float().mean()) > 0.85
    assert float((_predict(head, negatives)[1] < 0).float().mean()) > 0.85


def test_predictions_do_not_depend_on_the_batch():
    """All features have their place, on the CPU, without dropout's noise once the head is done."""
    head, features = ConfidenceHead(4, 3, 5).eval(), random_features(11)
    log_errors, logits = head(features.by_point.float(), features.coarse)
    for batch in (1, 4, 11, 512):
        found = _predict(head, features, batch)
        torch.testing.assert_close(found[0], log_errors, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(found[1], logits, rtol=1e-5, atol=1e-5)
        assert not found[0].is_inference()


def test_what_is_measured_is_of_the_scaled_errors():
    """The scale is the mean of true over expected error, goes into the head, and the metrics are taken after it."""
    head, faces, negatives = ConfidenceHead(4, 3, 5).eval(), random_features(50), random_features(40, 1)
    expected = _predict(head, faces)[0].exp().numpy()
    errors, before = faces.errors.numpy(), head.bias.detach().clone()
    measured = _calibrate(head, faces, negatives)
    scale = np.nanmean(errors / expected)
    assert measured.scale == pytest.approx(scale, rel=1e-5)
    torch.testing.assert_close(head.bias.detach(), before + float(np.log(scale)))
    assert measured.nll_gain == pytest.approx(likelihood_gain(expected * scale, errors).mean(), rel=1e-4)
    assert measured.spearman == pytest.approx(mean_spearman(expected, errors), abs=1e-6)
    scores = [_predict(head, one)[1].numpy() for one in (faces, negatives)]
    assert measured.auc == roc_auc(*scores)
    assert roc_auc(*scores) != roc_auc(*reversed(scores))


def test_missing_labels_leave_the_mean_of_the_others():
    """Their loss is the mean over labelled points alone, and no NaN reaches the gradient."""
    log_errors = torch.tensor([[-3.0, -2.0], [-1.0, -2.5]], requires_grad=True)
    errors = torch.tensor([[0.1, torch.nan], [0.3, 0.2]])
    loss = _mean_nll(log_errors, errors)
    there = ~errors.isnan()
    torch.testing.assert_close(loss, laplace_nll(log_errors[there], errors[there]).mean())
    torch.autograd.backward(loss)
    assert torch.isfinite(log_errors.grad).all()
    assert log_errors.grad[0, 1] == 0


def test_channels_that_do_not_vary_are_standardised_to_nothing():
    """Not divided by their rounding."""
    features = torch.tensor([[1.0, 5.0], [3.0, 5.0]])
    found = _Standardiser(features)(features)
    torch.testing.assert_close(found, torch.tensor([[-(0.5**0.5), 0.0], [0.5**0.5, 0.0]]))
    torch.testing.assert_close(_Standardiser(features).std, torch.tensor([2.0**0.5, 1e-5]))


def test_a_confidence_of_an_older_lightmark_is_refused(untrained, confident, tmp_path):
    """A record without a fingerprint is refused; anything that is no record counts as none."""
    network, spec = load_checkpoint(confident[1])
    record = {name: value for name, value in spec.provenance["confidence"].items() if name != "fingerprint"}
    out = tmp_path / "old.safetensors"
    architecture = Architecture("mobilenetv2", "spatial", width=0.25)
    save_checkpoint(out, network, architecture, replace(spec, provenance={"confidence": record}))
    with pytest.raises(ConfigError) as caught:
        finished_confidence(out, {})
    assert str(caught.value) == (
        f"{out}: holds a confidence made from other inputs: an older Lightmark, which did not record its data; give "
        "another --out, or --force"
    )
    save_checkpoint(out, network, architecture, replace(spec, provenance={"confidence": "high"}))
    assert saved_confidence(out) is None
    assert saved_confidence(confident[1]) == spec.provenance["confidence"]


def test_a_confidences_fingerprint_holds_all_that_made_it(untrained, tmp_path):
    """By name, with default settings."""
    faces, checkpoint = untrained
    Image.new("L", (8, 8)).save(tmp_path / "a.png")
    found = confidence_fingerprint(checkpoint, faces[:3], [tmp_path / "a.png"], faces[3:5])
    assert found == plain(
        {
            "recipe": asdict(ConfidenceRecipe()),
            "weights": weights_hash(checkpoint),
            "faces": fingerprint_of_faces(faces[:3]),
            "backgrounds": fingerprint_of_pictures([tmp_path / "a.png"]),
            "present": fingerprint_of_faces(faces[3:5]),
        }
    )
