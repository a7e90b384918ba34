"""Parts of the face detector's training: their arguments, and their numbers against formulas."""

from __future__ import annotations

import copy
import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from lightmark import __version__
from lightmark.data.sample import Sample
from lightmark.data.synthetic.head import mean_points
from lightmark.detectors.face_detector import DETECTOR_KEY
from lightmark.errors import CheckpointError, ConfigError, DataError
from lightmark.nets.checkpoint import read_tensors, write_tensors
from lightmark.nets.face_detector import CellOutputs, FaceDetectorNet
from lightmark.nets.network import parameter_count
from lightmark.schema import IBUG68
from lightmark.train.config import DetectorRecipe, Execution
from lightmark.train.detector import train as module
from lightmark.train.detector.loss import assign, cells_of, detection_loss
from lightmark.train.detector.mosaic import Mosaic, MosaicRules, Sources, draw_mosaic
from lightmark.train.detector.train import (
    MosaicBatch,
    MosaicDataset,
    make_detector_trainee,
    split_backgrounds,
    take_detector_step,
    train_face_detector,
    validate,
)
from lightmark.train.faces import split_by_share
from lightmark.train.fingerprint import detector_fingerprint, plain
from lightmark.train.step import Trainee, optimise, prepare_step

QUIET = Execution(quiet=True)

RULES = MosaicRules(size=64, smallest=16, largest=0.7, rotation=0, crowd=2)
RECIPE = DetectorRecipe("tiny", steps=3, batch=2, rules=RULES, warmup=2, ema=0.9, validation=0.3, validate_every=2)


@pytest.fixture
def faces(faces: list[Sample]) -> list[Sample]:
    """The blob faces, labelled with the 68 points of a mean face in their boxes."""
    flat = mean_points()[:, :2]
    shares = (flat - flat.min(axis=0)) / np.ptp(flat, axis=0)
    return [
        replace(face, points=face.box[:2] + shares * (face.box[2:] - face.box[:2]), schema=IBUG68) for face in faces
    ]


@pytest.fixture
def backgrounds(tmp_path: Path) -> list[Path]:
    """Seven pictures of noise."""
    paths = [tmp_path / f"background-{index}.png" for index in range(7)]
    for index, path in enumerate(paths):
        Image.fromarray(np.random.default_rng(index).integers(0, 160, (70, 90, 3), dtype=np.uint8)).save(path)
    return paths


@pytest.fixture
def sources(faces: list[Sample], backgrounds: list[Path]) -> Sources:
    """All of them."""
    return Sources(faces, backgrounds)


def test_a_run_gets_its_faces_pictures_and_steps(
    faces: list[Sample], backgrounds: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """Training faces for the steps, held-out ones for the validation; result.json records both."""
    taken: list[Any] = []
    judged: list[Any] = []

    def take(*given: Any) -> dict[str, torch.Tensor]:
        taken.append(given)
        return {"loss": torch.tensor(0.5)}

    monkeypatch.setattr(module, "take_detector_step", take)
    monkeypatch.setattr(module, "validate", lambda *given: judged.append(given) or 0.25 + 0.5 * len(judged) / 4)
    lacking = replace(faces[0], points=np.where(np.arange(68)[:, None] == 3, np.nan, faces[0].points))
    recipe = replace(RECIPE, seed=2, validation_mosaics=5)
    out = tmp_path / "new" / "run"
    assert train_face_detector(recipe, [lacking, *faces[1:]], backgrounds, out) == out / "model.safetensors"
    split = split_by_share(faces[1:], 0.3, 2)
    known, unknown = split_backgrounds(backgrounds, 0.3)
    trainee = taken[0][0]
    batches = module._batches(Sources(split.train, known), recipe, 0, 0)
    for number, (same, batch, step, given) in enumerate(taken):
        assert (same, step, given) == (trainee, number, recipe)
        assert all(torch.equal(*pair) for pair in zip(batch, next(batches), strict=True))
    assert len(taken) == 3
    assert [(given[0], given[2]) for given in judged] == [(trainee, 5)] * 2
    mosaics = judged[0][1]
    assert (mosaics.sources.samples, mosaics.sources.backgrounds) == (split.validation, unknown)
    assert (mosaics.rules, mosaics.seed, mosaics.stream) == (RULES, 2, 1)
    result = json.loads((out / "result.json").read_text())
    assert result.pop("fingerprint") == detector_fingerprint(recipe, split, known, unknown, None)
    metadata = json.loads(read_tensors(out / "model.safetensors")[1][DETECTOR_KEY])
    assert metadata == result
    assert result.pop("recipe") == plain(asdict(recipe))
    assert result["seconds"] == round(result.pop("seconds"), 1)
    assert result == {
        "train_faces": len(split.train),
        "validation_faces": len(split.validation),
        "backgrounds": len(known),
        "parameters": parameter_count(FaceDetectorNet()),
        "validation_ap": 0.5,
        "torch": torch.__version__,
        "device": "cpu",
        "threads": torch.get_num_threads(),
        "lightmark": __version__,
    }
    saved = read_tensors(out / "model.safetensors")[0]
    assert all(torch.equal(tensor, saved[name]) for name, tensor in trainee.ema.state_dict().items())
    assert sorted(path.name for path in out.iterdir()) == ["log.csv", "model.safetensors", "result.json"]
    printed = capsys.readouterr()
    assert "average precision 0.3750" in printed.out + printed.err


def test_a_finished_folder_is_left_alone_without_a_step(
    faces: list[Sample], backgrounds: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same run again returns its weights, another one is refused."""
    taken: list[Any] = []
    monkeypatch.setattr(module, "take_detector_step", lambda *given: taken.append(given) or {"loss": torch.tensor(0.5)})
    monkeypatch.setattr(module, "validate", lambda *given: 0.5)
    recipe, out = replace(RECIPE, steps=2), tmp_path / "run"
    for _ in range(2):
        assert train_face_detector(recipe, faces, backgrounds, out, execution=QUIET) == out / "model.safetensors"
    with pytest.raises(ConfigError, match="holds a finished run of another recipe, seed or data set"):
        train_face_detector(replace(recipe, seed=1), faces, backgrounds, out, execution=QUIET)
    assert len(taken) == 2


def test_a_result_has_its_seconds_to_a_tenth(
    faces: list[Sample], backgrounds: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of all the run's lives."""

    def ran(recipe: DetectorRecipe, trainee: object, state: Any, *given: object) -> None:
        state.seconds = 12.345
        state.rows.append({"step": 1, "validation_ap": 0.5})

    monkeypatch.setattr(module, "run_steps", ran)
    train_face_detector(RECIPE, faces, backgrounds, tmp_path / "run")
    assert json.loads((tmp_path / "run" / "result.json").read_text())["seconds"] == 12.3


def test_options_of_a_run_are_handed_on(
    faces: list[Sample], backgrounds: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Start and execution settings reach their functions; the defaults are CPU, no workers, a progress bar."""
    calls: list[Any] = []
    made = make_detector_trainee(RECIPE, None, "cpu")
    monkeypatch.setattr(module, "make_detector_trainee", lambda recipe, *given: calls.append(given) or made)
    monkeypatch.setattr(module, "_batches", lambda sources, recipe, step, workers: calls.append((step, workers)))

    def stopped(*given: Any) -> None:
        calls.append(given[-1])
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "run_steps", stopped)
    start = tmp_path / "start.safetensors"
    start.write_bytes(b"weights")
    for number, options in enumerate([(), (start, Execution("cuda:1", 3, quiet=True))]):
        with pytest.raises(KeyboardInterrupt):
            train_face_detector(RECIPE, faces, backgrounds, tmp_path / str(number), *options)
    assert calls == [(None, "cpu"), (0, 0), False, (start, "cuda:1"), (0, 3), True]


def test_two_backgrounds_are_enough(faces: list[Sample], backgrounds: list[Path], tmp_path: Path) -> None:
    """One to train on and one to check with; faces that cannot be learnt from are named before."""
    recipe = replace(RECIPE, steps=1, validation_mosaics=8)
    train_face_detector(recipe, faces, backgrounds[:2], tmp_path / "run", execution=QUIET)
    with pytest.raises(ConfigError) as caught:
        train_face_detector(recipe, faces, backgrounds[:1], tmp_path / "one")
    assert str(caught.value) == "1 pictures without faces; needs at least 2, to train on and to check with"
    split = split_by_share(faces, 0.3, 0)
    for mine in (split.train[1], split.validation[1]):
        lost = [replace(f, points=f.points + 500, box=f.box + 500) if f is mine else f for f in faces]
        with pytest.raises(DataError, match=f"{mine.path}: its points lie in x"):
            train_face_detector(recipe, lost, backgrounds, tmp_path / "lost")
    bare = [replace(face, points=np.where(np.arange(68)[:, None] == 3, np.nan, face.points)) for face in faces]
    with pytest.raises(ConfigError) as caught:
        train_face_detector(recipe, bare, backgrounds, tmp_path / "bare")
    assert str(caught.value) == "none of 48 faces has all points labelled; a detector needs complete ones"


@pytest.mark.parametrize(
    ("count", "share", "held_out"),
    [(10, 0.2, [0, 5]), (10, 0.3, [0, 3, 6, 9]), (3, 0.9, [0, 2]), (2, 0.01, [0]), (9, 0.12, [0, 8])],
)
def test_backgrounds_are_held_out_at_even_intervals(count: int, share: float, held_out: list[int]) -> None:
    """About their share, the first always, and never all."""
    paths = [Path(f"{index}.png") for index in range(count)]
    known, unknown = split_backgrounds(paths, share)
    assert unknown == [paths[index] for index in held_out]
    assert known == [path for path in paths if path not in unknown]


def test_a_detector_begins_at_its_seed_or_start(tmp_path: Path) -> None:
    """Whatever torch has drawn before, whose stream goes on; with the recipe's rate and decay."""
    first, same, other = (
        [torch.manual_seed(state), make_detector_trainee(replace(RECIPE, seed=seed), None, "cpu"), torch.rand(1)]
        for state, seed in ((1, 0), (2, 0), (1, 1))
    )
    weights = [one[1].network.state_dict() for one in (first, same, other)]
    assert all(torch.equal(tensor, weights[1][name]) for name, tensor in weights[0].items())
    assert any(not torch.equal(tensor, weights[2][name]) for name, tensor in weights[0].items())
    assert first[2] == other[2]
    group = first[1].optimiser.param_groups[0]
    assert (group["lr"], group["weight_decay"], first[1].device) == (RECIPE.learning_rate, RECIPE.weight_decay, "cpu")
    path = tmp_path / "start.safetensors"
    write_tensors(path, weights[2], {})
    begun = make_detector_trainee(RECIPE, path, "cpu").network.state_dict()
    assert all(torch.equal(tensor, weights[2][name]) for name, tensor in begun.items())
    write_tensors(path, {"weight": torch.zeros(1)}, {})
    with pytest.raises(CheckpointError, match=str(path)):
        make_detector_trainee(RECIPE, path, "cpu")


def test_mosaics_have_the_targets_of_their_cells(sources: Sources) -> None:
    """Number and stream decide all; one without faces has targets, but no boxes."""
    dataset, other = (MosaicDataset(sources, RULES, 5, stream) for stream in (0, 1))
    empty = 0
    for number in range(12):
        mosaic = draw_mosaic(sources, RULES, np.random.default_rng((5, 0, number)))
        image, targets, boxes, keypoints = dataset[number]
        np.testing.assert_array_equal(image, mosaic.image.transpose(2, 0, 1))
        cells = cells_of(64, 64)
        expected = assign(torch.tensor(mosaic.boxes, dtype=torch.float32), torch.tensor(mosaic.counts), cells)
        assert torch.equal(targets, expected)
        assert boxes.dtype == torch.float32
        assert boxes.shape == (len(targets), 4)
        assert keypoints.shape == (len(targets), 5, 2)
        for cell, target in enumerate(targets.tolist()):
            if target >= 0:
                np.testing.assert_allclose(boxes[cell], mosaic.boxes[target], rtol=1e-6)
                np.testing.assert_allclose(keypoints[cell], mosaic.keypoints[target], rtol=1e-6)
        empty += len(mosaic.boxes) == 0
        if not len(mosaic.boxes):
            assert not boxes.any()
            assert not keypoints.any()
        assert not torch.equal(image, other[number].images)
    assert 0 < empty < 12


def test_batches_go_on_where_the_run_was_left(sources: Sources, monkeypatch: pytest.MonkeyPatch) -> None:
    """Number after number, to the last step's last."""
    recipe = replace(RECIPE, seed=5, steps=4)
    dataset = MosaicDataset(sources, RULES, 5, 0)
    found = list(module._batches(sources, recipe, 1, 0))
    assert len(found) == 3
    for step, batch in enumerate(found, 1):
        expected = [dataset[number] for number in (2 * step, 2 * step + 1)]
        for tensor, parts in zip(batch, zip(*expected, strict=True), strict=True):
            assert torch.equal(tensor, torch.stack(parts))
    given: list[object] = []
    monkeypatch.setattr(module, "DataLoader", lambda *parts, **options: given.append(options["num_workers"]) or [])
    assert list(module._batches(sources, recipe, 0, 3)) == []
    assert given == [3]


def test_a_step_is_one_of_the_detection_loss(sources: Sources) -> None:
    """On planes of 0 to 1; weights and their average move as in every training, the losses hold no graph."""
    trainee = make_detector_trainee(RECIPE, None, "cpu")
    twin = copy.deepcopy(trainee)
    twin.optimiser.load_state_dict(trainee.optimiser.state_dict())
    batch: MosaicBatch = next(module._batches(sources, RECIPE, 0, 0))
    found = take_detector_step(trainee, batch, 1, RECIPE)
    prepare_step(twin, 1, RECIPE)
    outputs = twin.network(batch.images.float())
    expected = detection_loss(outputs, batch.targets, batch.target_boxes, batch.target_keypoints)
    optimise(twin, expected["loss"], 1, RECIPE)
    assert found.keys() == expected.keys()
    for name, value in found.items():
        torch.testing.assert_close(value, expected[name].detach(), rtol=1e-4, atol=1e-5)
        assert not value.requires_grad
    for name, tensor in trainee.ema.state_dict().items():
        torch.testing.assert_close(tensor, twin.ema.state_dict()[name], rtol=1e-3, atol=1e-4)
    rates = {group["lr"] for one in (trainee, twin) for group in one.optimiser.param_groups}
    assert len(rates) == 1


class Answers(nn.Module):
    """A network that gives prepared boxes and scores, one pair a mosaic, and keeps the planes."""

    def __init__(self, boxes: list[Any], scores: list[Any]) -> None:
        super().__init__()
        self.boxes, self.scores, self.planes = boxes, scores, list[torch.Tensor]()

    def forward(self, planes: torch.Tensor) -> CellOutputs:
        """Logits (1, C), boxes (1, C, 4) and unused keypoints."""
        number = len(self.planes)
        self.planes.append(planes)
        scores = torch.tensor([self.scores[number]], dtype=torch.float64)
        boxes = torch.tensor([self.boxes[number]], dtype=torch.float32)
        return CellOutputs(torch.logit(scores), boxes, torch.full((*scores.shape, 5, 2), torch.nan))


def mosaic_of(image: np.ndarray, boxes: list[list[float]], counts: list[bool]) -> Mosaic:
    """Mosaic of faces with these boxes, whose keypoints are unknown."""
    keypoints = np.full((len(boxes), 5, 2), np.nan)
    return Mosaic(image, np.array(boxes).reshape(-1, 4), keypoints, np.array(counts, dtype=bool))


def test_validation_is_the_average_precision_over_its_mosaics(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the averaged weights; ignored faces count for nothing, nor do boxes below 0.05."""
    box, far = [2.0, 2.0, 22.0, 22.0], [40.0, 40.0, 60.0, 60.0]
    mosaics = [
        mosaic_of(np.full((64, 64, 3), 51, np.uint8), [box], [True]),
        mosaic_of(np.full((64, 64, 3), 102, np.uint8), [box, far], [True, False]),
        mosaic_of(np.full((64, 64, 3), 0, np.uint8), [], []),
        mosaic_of(np.full((64, 64, 3), 0, np.uint8), [far], [True]),
    ]
    drawn: list[Any] = []

    def draw(sources: object, rules: object, rng: np.random.Generator) -> Mosaic:
        drawn.append((sources, rules, rng.random()))
        return mosaics[len(drawn) - 1]

    monkeypatch.setattr(module, "draw_mosaic", draw)
    # Found at 0.9; missed, with a false one at 0.8 and the ignored face at 0.95; a false one at 0.06, one below 0.05.
    boxes = [[box, far], [far, [2.0, 40.0, 22.0, 60.0]], [box, far], [box, far]]
    scores = [[0.9, 0.01], [0.95, 0.8], [0.06, 0.049], [0.001, 0.055]]
    answers = Answers(boxes, scores)
    network = nn.Linear(1, 1)
    trainee: Any = Trainee(network, answers, torch.optim.AdamW(network.parameters()), "cpu", network)  # type: ignore[type-var]  # answers as a network would
    dataset = MosaicDataset(Sources([], []), RULES, 5, 1)
    # Three faces: hits at 0.9 and 0.055, false ones at 0.8 and 0.06: precision 1 to a third, then 2 of 4.
    assert validate(trainee, dataset, 4) == pytest.approx(1 / 3 * 1 + 1 / 3 * 2 / 4)
    assert drawn == [(dataset.sources, RULES, np.random.default_rng((5, 1, n)).random()) for n in range(4)]
    assert [planes.shape for planes in answers.planes] == [(1, 3, 64, 64)] * 4
    assert [float(planes.mean()) for planes in answers.planes[:2]] == pytest.approx([51, 102])


def test_planes_of_a_validation_keep_rows_columns_and_channels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Channels first, then rows and columns as they are."""
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    box = [2.0, 2.0, 22.0, 22.0]
    monkeypatch.setattr(module, "draw_mosaic", lambda *given: mosaic_of(image, [box], [True]))
    answers, network = Answers([[box]], [[0.9]]), nn.Linear(1, 1)
    trainee: Any = Trainee(network, answers, torch.optim.AdamW(network.parameters()), "cpu", network)  # type: ignore[type-var]  # as above
    assert validate(trainee, MosaicDataset(Sources([], []), RULES, 5, 1), 1) == 1.0
    np.testing.assert_allclose(answers.planes[0][0].numpy(), image.transpose(2, 0, 1), rtol=1e-6)
