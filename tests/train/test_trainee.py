"""What a step does to weights and their moving average, beside the gradient."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from lightmark.train.config import Recipe
from lightmark.train.step import Trainee, learning_rate, make_trainee, optimise, prepare_step, size_at


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
