"""The loop learns, resumes bit for bit after a real SIGKILL, and refuses what it must not train on."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from lightmark.data.crops.augment import NO_AUGMENTATION
from lightmark.data.sample import Sample
from lightmark.errors import CheckpointError, ConfigError, MissingExtraError, TrainingError
from lightmark.geometry import Array
from lightmark.nets.checkpoint import TorchModel, load_model, read_tensors
from lightmark.shape import fit
from lightmark.train import faces as faces_module
from lightmark.train import loop
from lightmark.train.config import Recipe
from lightmark.train.faces import (
    ValidationCrops,
    mean_normalized_points,
    normalized_points_of,
    split_samples,
)
from lightmark.train.loop import new_spec, train
from lightmark.train.step import learning_rate

KILLED_RUN = """
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
import torch
from numpy.typing import NDArray
sys.path.insert(0, {tests!r})
from conftest import blob_faces
from lightmark.nets.network import Architecture
from lightmark.train.config import Recipe
from lightmark.train.faces import split_samples
from lightmark.train.loop import train
torch.set_num_threads(1)
recipe = Recipe("killed", Architecture("mobilenetv2", "spatial", width=0.25, dropout=0.2), 32, "l1", steps=60, batch=4,
                warmup=2, ema=0.9, validation=0.2, validate_every=2, log_every=3)
train(recipe, split_samples(blob_faces(48), recipe), Path(sys.argv[1]), quiet=True)
"""


def start_run(script: Path, out: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, str(script), str(out)])


def kill_after_progress(script: Path, out: Path, saves: int) -> None:
    """Start the run, wait until its state was written `saves` times, and SIGKILL it."""
    process = start_run(script, out)
    seen: set[int] = set()
    deadline = time.monotonic() + 120
    while len(seen) < saves and process.poll() is None and time.monotonic() < deadline:
        if (out / "state.safetensors").exists():
            seen.add((out / "state.safetensors").stat().st_mtime_ns)
        time.sleep(0.002)
    assert process.poll() is None, "the run ended before it could be killed"
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL


def rows_without_time(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return [{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(file)]


def test_a_killed_run_ends_with_the_weights_of_an_unbroken_one(tmp_path: Path) -> None:
    """Killed twice by SIGKILL and started again, a run gives the same bytes of weights and the same log."""
    script = tmp_path / "run.py"
    script.write_text(KILLED_RUN.format(tests=str(Path(__file__).parent)))
    assert start_run(script, tmp_path / "whole").wait() == 0
    kill_after_progress(script, tmp_path / "killed", saves=3)
    kill_after_progress(script, tmp_path / "killed", saves=4)
    assert start_run(script, tmp_path / "killed").wait() == 0
    whole, killed = (read_tensors(tmp_path / name / "model.safetensors") for name in ("whole", "killed"))
    assert whole[0].keys() == killed[0].keys()
    assert all(torch.equal(whole[0][name], killed[0][name]) for name in whole[0])
    assert rows_without_time(tmp_path / "whole/log.csv") == rows_without_time(tmp_path / "killed/log.csv")


def test_training_learns_to_look_at_the_picture(
    tmp_path: Path, recipe: Recipe, blob_faces: Callable[[int], list[Sample]]
) -> None:
    """After 300 small steps the error on unseen faces is well below that of the mean shape, which sees nothing."""
    faces = blob_faces(160)
    moved = replace(NO_AUGMENTATION, scale=0.1, shift=0.08)
    net = replace(recipe.architecture, dropout=0.0)
    recipe = replace(
        recipe, architecture=net, augmentation=moved, size=48, steps=300, batch=8, learning_rate=3e-3, validate_every=99
    )
    split = split_samples(faces, recipe)
    model = load_model(train(recipe, split, tmp_path / "run", quiet=True))
    validation = ValidationCrops(split.validation, [s.points for s in split.validation], model.spec)
    always_mean = mean_normalized_points(split.train, model.spec)
    mean_error = validation(lambda crops: np.repeat(always_mean[None], len(crops), 0))  # type: ignore[arg-type]  # no spec needed here
    assert validation(model).mean() < 0.85 * mean_error.mean()


def test_a_finished_run_is_not_repeated(tmp_path: Path, faces: list[Sample], recipe: Recipe) -> None:
    """Training again into the same folder leaves the weights file untouched."""
    split = split_samples(faces, recipe)
    path = train(recipe, split, tmp_path / "run", quiet=True)
    before = path.stat().st_mtime_ns
    assert train(recipe, split, tmp_path / "run", quiet=True).stat().st_mtime_ns == before
    assert not (tmp_path / "run/state.safetensors").exists()


def test_another_recipe_is_refused_in_a_finished_folder(tmp_path: Path, faces: list[Sample], recipe: Recipe) -> None:
    """A folder that holds another run is not overwritten."""
    train(recipe, split_samples(faces, recipe), tmp_path / "run", quiet=True)
    with pytest.raises(ConfigError, match="another recipe, seed or data set"):
        train(replace(recipe, seed=1), split_samples(faces, recipe), tmp_path / "run", quiet=True)


def test_the_best_weights_are_kept(tmp_path: Path, faces: list[Sample], recipe: Recipe) -> None:
    """The saved checkpoint is the one whose validation error the result quotes."""
    split = split_samples(faces, recipe)
    model = load_model(train(recipe, split, tmp_path / "run", quiet=True))
    result = json.loads((tmp_path / "run/result.json").read_text())
    logged = [float(r["validation_nme"]) for r in rows_without_time(tmp_path / "run/log.csv") if r["validation_nme"]]
    assert result["validation_nme"] == min(logged)
    validation = ValidationCrops(split.validation, [s.points for s in split.validation], model.spec)
    assert validation(model).mean() == pytest.approx(min(logged), rel=1e-6)


def test_a_later_worse_checkpoint_does_not_replace_the_best(
    tmp_path: Path, faces: list[Sample], recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of four validations the second is the best: its weights are the model, to the bit, and its step is told."""
    averages = []

    class Scripted:
        def __init__(self, samples: list[Sample], *others: object) -> None:
            self.faces = len(samples)

        def __call__(self, model: TorchModel) -> Array:
            averages.append({name: t.clone() for name, t in model.network.state_dict().items()})
            return np.full(self.faces, (0.3, 0.1, 0.2, 0.4)[len(averages) - 1])

    monkeypatch.setattr(loop, "ValidationCrops", Scripted)
    path = train(replace(recipe, validate_every=2), split_samples(faces, recipe), tmp_path / "run", quiet=True)
    tensors = read_tensors(path)[0]
    assert all(torch.equal(tensors[name], tensor) for name, tensor in averages[1].items())
    assert any(not torch.equal(tensors[name], tensor) for name, tensor in averages[3].items())
    assert load_model(path).spec.provenance["step"] == 4
    result = json.loads((tmp_path / "run/result.json").read_text())
    assert (result["best_step"], result["validation_nme"]) == (4, 0.1)


def test_soft_landmarks_are_fitted_on_training_faces_alone(
    tmp_path: Path, faces: list[Sample], recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither what a run learns nor what it is judged by is told from the judged faces' shapes."""
    soft = replace(recipe, soft_variance=0.5, steps=2)
    split = split_samples(faces, soft)
    fitted = []

    def watched(shapes: Array, *options: object) -> object:
        fitted.append(shapes)
        return fit(shapes, *options)  # type: ignore[arg-type]  # handed on as they came

    monkeypatch.setattr(faces_module, "fit", watched)
    train(soft, split, tmp_path / "run", quiet=True)
    training = np.stack([normalized_points_of(sample, new_spec(soft, split)) for sample in split.train])
    assert len(fitted) >= 2
    for shapes in fitted:
        np.testing.assert_array_equal(shapes, training)


def test_log_averages_the_loss_over_its_interval(tmp_path: Path, faces: list[Sample], recipe: Recipe) -> None:
    """Rows every log_every steps and at validations hold a finite mean loss and the learning rate of that step."""
    train(recipe, split_samples(faces, recipe), tmp_path / "run", quiet=True)
    rows = rows_without_time(tmp_path / "run/log.csv")
    assert [int(row["step"]) for row in rows] == [2, 3, 4, 6, 8]
    assert [int(row["step"]) for row in rows if row["validation_nme"]] == [3, 6, 8]
    assert all(0 < float(row["loss"]) < 1 for row in rows)
    assert float(rows[0]["learning_rate"]) == learning_rate(recipe, 1)


def test_weights_to_start_from_need_no_imagenet_ones(tmp_path: Path, faces: list[Sample], recipe: Recipe) -> None:
    """A recipe that begins at ImageNet's weights can be run from a checkpoint where those are not to be had."""
    split = split_samples(faces, recipe)
    asking = replace(recipe, architecture=replace(recipe.architecture, pretrained=True))
    with pytest.raises(ConfigError, match="no pretrained weights"):
        train(asking, split, tmp_path / "alone", quiet=True)
    start = train(recipe, split, tmp_path / "first", quiet=True)
    train(asking, split, tmp_path / "second", start=start, quiet=True)


def test_a_run_starts_from_given_weights(tmp_path: Path, faces: list[Sample], recipe: Recipe) -> None:
    """With a learning rate of nearly nothing, the weights stay those of the checkpoint it started from."""
    split = split_samples(faces, recipe)
    first = train(recipe, split, tmp_path / "first", quiet=True)
    still = replace(recipe, learning_rate=1e-12, weight_decay=0.0)
    second = train(still, split, tmp_path / "second", start=first, quiet=True)
    name = "head.offsets.weight"
    assert torch.allclose(read_tensors(first)[0][name], read_tensors(second)[0][name], atol=1e-7)


def test_diverging_training_is_stopped(tmp_path: Path, faces: list[Sample], recipe: Recipe) -> None:
    """A loss that is not finite ends the run with its step and what to change."""
    wild = replace(recipe, learning_rate=1e30, warmup=0)
    with pytest.raises(TrainingError, match="not finite at step 2; lower the learning rate"):
        train(wild, split_samples(faces, wild), tmp_path / "run", quiet=True)


def test_a_cut_state_is_refused_by_name(tmp_path: Path, faces: list[Sample], recipe: Recipe) -> None:
    """A training state that is no whole safetensors file is named, and nothing is overwritten."""
    state = tmp_path / "run/state.safetensors"
    state.parent.mkdir()
    state.write_bytes(b"\x10\x00\x00\x00")
    with pytest.raises(CheckpointError, match=r"state\.safetensors: not a whole"):
        train(recipe, split_samples(faces, recipe), tmp_path / "run", quiet=True)
    assert state.read_bytes() == b"\x10\x00\x00\x00"


def test_bf16_trains_and_saves_float32(tmp_path: Path, faces: list[Sample], recipe: Recipe) -> None:
    """Autocast changes the arithmetic, not the weights' type, and the loss stays finite."""
    half = replace(recipe, precision="bf16")
    tensors = read_tensors(train(half, split_samples(faces, half), tmp_path / "run", quiet=True))[0]
    assert {t.dtype for t in tensors.values() if t.is_floating_point()} == {torch.float32}
    assert all(np.isfinite(float(row["loss"])) for row in rows_without_time(tmp_path / "run/log.csv") if row["loss"])


def test_tensorboard_gets_every_row(tmp_path: Path, faces: list[Sample], recipe: Recipe) -> None:
    """The event file holds the loss of each logged step."""
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    train(recipe, split_samples(faces, recipe), tmp_path / "run", quiet=True, tensorboard=True)
    events = EventAccumulator(str(tmp_path / "run"))
    events.Reload()
    assert [event.step for event in events.Scalars("loss")] == [2, 4, 6, 8]


def test_missing_tensorboard_gives_the_install_line(
    tmp_path: Path, faces: list[Sample], recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Asked for and not installed, it stops before any work."""
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(MissingExtraError, match=r'pip install "lightmark\[tensorboard\]"'):
        train(recipe, split_samples(faces, recipe), tmp_path / "run", quiet=True, tensorboard=True)
    assert not (tmp_path / "run/model.safetensors").exists()
