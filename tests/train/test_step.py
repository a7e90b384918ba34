"""A training step: what it moves, in which precision, and that it never waits for the device."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from lightmark.data.crops.dataset import Batch
from lightmark.data.sample import Sample
from lightmark.errors import ConfigError
from lightmark.train import step as step_module
from lightmark.train.config import Execution, Recipe
from lightmark.train.distributed.world import World
from lightmark.train.faces import Split, split_samples
from lightmark.train.loop import batches_of, new_spec, new_trainee, train
from lightmark.train.objectives import OBJECTIVES
from lightmark.train.state import TrainingState
from lightmark.train.step import _weight_by_labels, take_step


class Synchronisations(TorchDispatchMode):
    """Counts the calls that read a tensor's number, for which the processor waits where the tensor is on a GPU."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """The operation itself, counted where it reads."""
        self.count += func is torch.ops.aten._local_scalar_dense.default
        return func(*args, **(kwargs or {}))


def with_teachers(batch: Batch) -> Batch:
    """The batch with teachers' points a little off the labels."""
    return batch._replace(tough=batch.points + 0.01, tolerant=batch.points - 0.02)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_no_step_waits_for_the_device(faces: list[Sample], recipe: Recipe, objective: str) -> None:
    """Forward, backward, optimiser, moving average and the log's sums read no number off the device."""
    recipe = replace(recipe, objective=objective)
    split = split_samples(faces, recipe)
    spec = new_spec(recipe, split)
    trainee, state = new_trainee(recipe, split, spec, None, "cpu"), TrainingState()
    batches = batches_of(recipe, split, spec, None, 0, 0)
    for step in range(3):
        batch = with_teachers(next(batches))
        with Synchronisations() as synchronisations:
            state.count(take_step(trainee, batch, step, recipe, spec))
        assert synchronisations.count == 0
    with Synchronisations() as synchronisations:
        state.take_means()
    assert synchronisations.count > 0  # the log's row is where it waits, so this counter can see it


def test_statistics_of_the_start_are_kept_on_request(faces: list[Sample], recipe: Recipe) -> None:
    """Without `batch_statistics` means and variances stay, and scales and shifts are trained."""
    for own in (True, False):
        settings = replace(recipe, batch_statistics=own, learning_rate=0.01, warmup=0)
        split = split_samples(faces, settings)
        spec = new_spec(settings, split)
        trainee = new_trainee(settings, split, spec, None, "cpu")
        before = {name: value.clone() for name, value in trainee.network.state_dict().items()}
        take_step(trainee, next(batches_of(settings, split, spec, None, 0, 0)), 0, settings, spec)
        after = trainee.network.state_dict()
        assert torch.equal(after["head.norm.running_mean"], before["head.norm.running_mean"]) != own
        assert not torch.equal(after["head.norm.weight"], before["head.norm.weight"])


def test_log_rows_are_means_of_the_steps(faces: list[Sample], recipe: Recipe) -> None:
    """What was summed on the device is the mean of the steps' own losses, also where a state was saved between them."""
    losses = torch.tensor([0.5, 0.25, 1.5])
    state = TrainingState()
    for loss in losses[:2]:
        state.count({"loss": loss})
    state = TrainingState(**json.loads(state.to_json()))
    state.count({"loss": losses[2]})
    assert state.step == 3
    assert state.take_means() == {"loss": pytest.approx(0.75)}
    assert state.sums == {}


class Sent:
    """A tensor that records where it is sent."""

    def __init__(self, tensor: torch.Tensor, calls: list[object]) -> None:
        self.tensor, self.calls = tensor, calls

    def to(self, *args: object, **options: object) -> torch.Tensor:
        """The tensor as it is."""
        self.calls.append((args, options))
        return self.tensor


def test_a_batch_is_sent_to_the_device_of_the_network(faces: list[Sample], recipe: Recipe) -> None:
    """Every part, while the processor goes on."""
    split = split_samples(faces, recipe)
    spec = new_spec(recipe, split)
    trainee, calls = new_trainee(recipe, split, spec, None, "cpu"), list[object]()
    batch = with_teachers(next(batches_of(recipe, split, spec, None, 0, 0)))
    take_step(trainee, Batch(*(Sent(tensor, calls) for tensor in batch)), 0, recipe, spec)  # type: ignore[arg-type]  # as above
    assert calls == [(("cpu",), {"non_blocking": True})] * 4


@pytest.mark.parametrize(("labels", "share"), [([4, 4], 1.0), ([6, 2], 2 * 6 / 8), ([1, 7], 2 * 1 / 8)])
def test_losses_of_a_slice_weigh_as_their_labels(
    monkeypatch: pytest.MonkeyPatch, labels: list[int], share: float
) -> None:
    """Beside one other process: a mean over this one's labels counts by their number among all."""
    monkeypatch.setattr(step_module, "world", lambda: World(0, 2, 0))
    monkeypatch.setattr(step_module, "all_reduce", lambda count: count.add_(labels[1]))
    points = torch.zeros(2, 4, 2)
    points.view(8, 2)[labels[0] :] = torch.nan
    parts = _weight_by_labels({"loss": torch.tensor(0.5), "main": torch.tensor(2.0)}, points)
    found = {name: float(value) for name, value in parts.items()}
    assert found == pytest.approx({"loss": 0.5 * share, "main": 2 * share})


def test_bfloat16_and_large_batches_train(faces: list[Sample], recipe: Recipe) -> None:
    """Two steps of 64 faces in bf16: weights stay float32 and move about as they do in float32."""
    recipe = replace(recipe, batch=64, steps=2)
    many = Split([*faces, *faces], faces[:4])
    moved = {}
    for precision in ("fp32", "bf16"):
        chosen = replace(recipe, precision=precision)
        spec = new_spec(chosen, many)
        trainee = new_trainee(chosen, many, spec, None, "cpu")
        before = {name: weight.clone() for name, weight in trainee.network.named_parameters()}
        batches = batches_of(chosen, many, spec, None, 0, 0)
        losses = [float(take_step(trainee, next(batches), step, chosen, spec)["loss"]) for step in range(2)]
        assert np.isfinite(losses).all()
        assert {weight.dtype for weight in trainee.network.parameters()} == {torch.float32}
        moved[precision] = losses[0]
        assert any(not torch.equal(weight, before[name]) for name, weight in trainee.network.named_parameters())
    assert moved["bf16"] == pytest.approx(moved["fp32"], rel=0.05)
    assert moved["bf16"] != moved["fp32"]  # so that it was not computed in float32


def test_a_device_that_is_not_there_is_refused(
    faces: list[Sample], recipe: Recipe, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """cuda without a GPU is named before anything is trained or written."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match=r"device cuda: torch .* finds no GPU; use --device cpu"):
        train(recipe, split_samples(faces, recipe), tmp_path / "run", execution=Execution("cuda", quiet=True))
    assert not (tmp_path / "run").exists()
