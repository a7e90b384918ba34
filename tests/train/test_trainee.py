"""What a step does to weights and their moving average, beside the gradient."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from lightmark.nets.network import Architecture, LandmarkNet
from lightmark.train import step as step_module
from lightmark.train.config import Recipe
from lightmark.train.distributed.world import World
from lightmark.train.step import Trainee, learning_rate, make_trainee, optimise, prepare_step, size_at, update_ema


@pytest.fixture
def trainee() -> Trainee[nn.Sequential]:
    """A convolution with its bias and a norm, all ones."""
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
    for parameter in network.parameters():
        nn.init.ones_(parameter)
    return make_trainee(network, learning_rate=0.1, weight_decay=0.5, device="cpu")


def step_without_gradient(trainee: Trainee[nn.Sequential], step: int, recipe: Recipe) -> None:
    """A step whose loss is the same whatever the weights."""
    prepare_step(trainee, step, recipe)
    optimise(trainee, sum(p.sum() * 0 for p in trainee.network.parameters()), step, recipe)  # type: ignore[arg-type]  # a tensor


def test_weight_decay_shrinks_kernels_alone(trainee: Trainee[nn.Sequential], recipe: Recipe) -> None:
    """By rate times decay; biases and norms stay, since zero is no plainer a norm than one."""
    step_without_gradient(trainee, 0, replace(recipe, learning_rate=0.1, warmup=0))
    weights = dict(trainee.network.named_parameters())
    torch.testing.assert_close(weights["0.weight"], torch.full((4, 3, 1, 1), 1 - 0.1 * 0.5))
    for name in ("0.bias", "1.weight", "1.bias"):
        torch.testing.assert_close(weights[name], torch.ones(4))


@pytest.mark.parametrize(
    ("step", "decay"), [(0, 1 / 10), (8, 9 / 18), (989, 990 / 999), (100_000, 0.999)], ids=["first", "9", "990", "late"]
)
def test_the_average_forgets_untrained_weights_first(
    trainee: Trainee[nn.Sequential], recipe: Recipe, step: int, decay: float
) -> None:
    """Its decay rises as (1 + step) / (10 + step) to the recipe's: the first weights are soon forgotten."""
    before = copy.deepcopy(trainee.ema.state_dict())
    with torch.no_grad():
        for parameter in trainee.network.parameters():
            parameter.fill_(3.0)
    step_without_gradient(trainee, step, replace(recipe, learning_rate=0.0, ema=0.999, steps=10**6))
    torch.testing.assert_close(trainee.ema.state_dict()["0.weight"], decay * before["0.weight"] + (1 - decay) * 3.0)


def test_cosine_schedule_warms_up_and_ends_at_nothing(recipe: Recipe) -> None:
    """The rate rises over the warm-up and falls towards zero."""
    recipe = replace(recipe, steps=100, warmup=10)
    rates = [learning_rate(recipe, step) for step in range(100)]
    assert rates[0] == pytest.approx(recipe.learning_rate / 10)
    assert np.argmax(rates) in (8, 9)
    assert rates[-1] < 0.001 * recipe.learning_rate


def test_inverse_schedule_is_the_released_one(recipe: Recipe) -> None:
    """Adam's inverse-time decay of 1e-4 a step halves the rate after 10,000 steps."""
    assert learning_rate(replace(recipe, schedule="inverse"), 10_000) == pytest.approx(recipe.learning_rate / 2)


def test_early_steps_run_small(recipe: Recipe) -> None:
    """Half the steps at the early size, the rest at the full one; none without an early size."""
    early = replace(recipe, steps=10, early_size=16, early_share=0.5)
    assert [size_at(early, step) for step in (0, 4, 5, 9)] == [16, 16, 32, 32]
    assert size_at(recipe, 0) == 32


def test_counters_of_the_average_are_the_networks(trainee: Trainee[nn.Sequential], recipe: Recipe) -> None:
    """How many batches a norm has seen is a number to copy, not to average."""
    norm, averaged = trainee.network[1], trainee.ema[1]
    assert isinstance(norm, nn.BatchNorm2d)
    assert isinstance(averaged, nn.BatchNorm2d)
    norm.num_batches_tracked.add_(7)
    step_without_gradient(trainee, 0, recipe)
    assert int(averaged.num_batches_tracked) == 7


def test_matrices_decay_as_kernels_do() -> None:
    """A dense layer's weight has two axes, a kernel four."""
    groups = make_trainee(nn.Sequential(nn.Linear(3, 2), nn.Conv2d(2, 2, 1)), 0.1, 0.5, "cpu").optimiser.param_groups
    axes = [([parameter.ndim for parameter in group["params"]], group["weight_decay"]) for group in groups]
    assert axes == [([2, 4], 0.5), ([1, 1], 0.0)]
    assert all(group["fused"] and group["lr"] == 0.1 for group in groups)


def test_layers_of_the_points_have_a_rate_of_their_own(recipe: Recipe) -> None:
    """The head's scores and offsets, kernels and biases; all other weights have the recipe's."""
    network = LandmarkNet(Architecture("mobilenetv2", "spatial", width=0.25), 5)
    trainee = make_trainee(network, 0.1, 0.5, "cpu", head_rate=10.0)
    prepare_step(trainee, recipe.warmup, replace(recipe, learning_rate=0.1, steps=10**6))
    rates = {id(p): group["lr"] for group in trainee.optimiser.param_groups for p in group["params"]}
    fast = {name for name, p in network.named_parameters() if rates[id(p)] == pytest.approx(1.0)}
    assert fast == {"head.scores.weight", "head.scores.bias", "head.offsets.weight", "head.offsets.bias"}
    assert len(rates) == len(list(network.parameters()))
    assert min(rates.values()) == pytest.approx(0.1)


def test_a_network_is_laid_out_and_wrapped_for_its_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """Norms are synchronised first, the EMA is a copy that never trains, and a step calls the wrapped network."""
    calls: list[object] = []

    class Recorded(nn.Conv2d):
        def to(self, *args: object, **options: object) -> Recorded:  # type: ignore[override]  # records alone
            calls.append((args, options))
            return self

    monkeypatch.setattr(step_module, "with_sync_batch_norm", lambda network, device: (calls.append(device), network)[1])
    monkeypatch.setattr(step_module, "data_parallel", lambda network, device: nn.Sequential(network, nn.Identity()))
    made = make_trainee(Recorded(3, 4, 1), 0.1, 0.5, "cuda:1")
    assert calls == ["cuda:1", (("cuda:1",), {"memory_format": torch.channels_last})]
    assert made.device == "cuda:1"
    assert made.network.training
    assert not made.ema.training
    assert made.ema is not made.network
    assert isinstance(made.forward, nn.Sequential)
    assert made.forward[0] is made.network


@pytest.mark.parametrize(("size", "rank", "seed"), [(1, 0, 2 * 1_000_003 + 5), (3, 2, 3 * (2 * 1_000_003 + 5) + 2)])
def test_each_step_and_process_has_its_own_random_stream(
    trainee: Trainee[nn.Sequential], recipe: Recipe, monkeypatch: pytest.MonkeyPatch, size: int, rank: int, seed: int
) -> None:
    """A resumed run draws the same dropout, and no two slices of a batch share one."""
    monkeypatch.setattr(step_module, "world", lambda: World(rank, size, rank))
    prepare_step(trainee, 5, replace(recipe, seed=2, learning_rate=0.5, warmup=10))
    assert torch.initial_seed() == seed
    rates = [group["lr"] for group in trainee.optimiser.param_groups]
    assert rates == [learning_rate(replace(recipe, learning_rate=0.5, warmup=10), 5)] * 2


def test_what_a_loss_does_not_depend_on_stays(trainee: Trainee[nn.Sequential], recipe: Recipe) -> None:
    """Gradients of the step before are gone: they neither add up nor move a parameter again."""
    recipe = replace(recipe, learning_rate=0.1, warmup=0)
    kernel, bias = trainee.network[0].weight, trainee.network[0].bias
    assert isinstance(kernel, nn.Parameter)
    assert isinstance(bias, nn.Parameter)
    optimise(trainee, kernel.sum() + bias.sum(), 0, recipe)
    before = bias.clone()
    optimise(trainee, 2 * kernel.sum(), 1, recipe)
    assert torch.equal(bias, before)
    assert bias.grad is None
    torch.testing.assert_close(kernel.grad, torch.full_like(kernel, 2.0))


@pytest.mark.parametrize(
    ("warmup", "step", "share"),
    [(0, 0, 1.0), (1, 0, 1.0), (0, 25, 0.5 + 0.5 * 0.5**0.5), (0, 50, 0.5), (10, 50, 0.5), (100, 49, 0.5 * 0.515708)],
)
def test_cosine_schedule_has_its_formula(recipe: Recipe, warmup: int, step: int, share: float) -> None:
    """(1 + cos(π · step / steps)) / 2, times (step + 1) / warmup until that is 1."""
    recipe = replace(recipe, steps=100, warmup=warmup, learning_rate=0.2)
    assert learning_rate(recipe, step) == pytest.approx(0.2 * share, rel=1e-5)


def test_an_average_moves_its_share_of_the_way() -> None:
    """ema ← decay · ema + (1 − decay) · network, for weights and the norms' statistics alike."""
    ema, network = nn.BatchNorm2d(2), nn.BatchNorm2d(2)
    ema.running_mean, network.running_mean = torch.tensor([1.0, 2.0]), torch.tensor([3.0, -2.0])
    nn.init.constant_(network.weight, 5.0)
    update_ema(ema, network, 0.75)
    assert ema.running_mean.tolist() == [1.5, 1.0]
    assert ema.weight.tolist() == [2.0, 2.0]
    assert network.weight.tolist() == [5.0, 5.0]
