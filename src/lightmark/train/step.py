"""One training step, and the network, average and optimiser that it moves."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn
from torch.optim import AdamW

from lightmark.data.crops.dataset import Batch
from lightmark.losses import labelled_points
from lightmark.nets.network import LandmarkNet
from lightmark.spec import ModelSpec
from lightmark.train.config import DetectorRecipe, Recipe
from lightmark.train.distributed.collectives import collective, data_parallel, mean, synchronised, total
from lightmark.train.distributed.world import world
from lightmark.train.objectives import OBJECTIVES

# A prime that keeps the streams of neighbouring seeds apart for a million steps.
SEED_STRIDE = 1_000_003


AnyRecipe = Recipe | DetectorRecipe
Net = TypeVar("Net", bound=nn.Module)


@dataclass
class Trainee(Generic[Net]):
    """A network in training: its weights, their moving average (which is what gets saved), and Adam's moments.

    `forward` is what a step calls: the network, or what shares its gradients with other processes.
    """

    network: Net
    average: Net
    optimiser: AdamW
    device: str
    forward: nn.Module


def make_trainee(network: Net, learning_rate: float, weight_decay: float, device: str) -> Trainee[Net]:
    """`network` on `device` with AdamW, which decays matrices and kernels but neither biases nor norms."""
    network = synchronised(network, device)
    network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # no stub for modules
    groups = [
        {"params": [p for p in network.parameters() if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in network.parameters() if p.ndim <= 1], "weight_decay": 0.0},
    ]
    average = copy.deepcopy(network).eval()
    # Fused, so that no step waits for Adam's counters, which are tensors, to come back from the device.
    optimiser = AdamW(groups, lr=learning_rate, fused=True)
    return Trainee(network.train(), average, optimiser, device, data_parallel(network, device))


def take_step(
    trainee: Trainee[LandmarkNet], batch: Batch, step: int, recipe: Recipe, spec: ModelSpec
) -> dict[str, Tensor]:
    """Step number `step`, counted from 0: forward, backward, weights and average moved; gives the named losses.

    Of several processes each is given its slice of the batch; weights and losses are those of the whole one.
    """
    prepare_step(trainee, step, recipe)
    batch = Batch(*(tensor.to(trainee.device, non_blocking=True) for tensor in batch))
    half = torch.autocast(torch.device(trainee.device).type, torch.bfloat16, enabled=recipe.precision == "bf16")
    with half, collective():
        prediction = trainee.forward(planes_of(batch.crops, spec, size_at(recipe, step)))
    parts = _weigh(OBJECTIVES[recipe.objective](prediction, batch), batch.points)
    learn_from(trainee, parts["loss"], step, recipe)
    return mean({name: value.detach() for name, value in parts.items()})


def _weigh(parts: dict[str, Tensor], points: Tensor) -> dict[str, Tensor]:
    """Losses of this process's slice so that their mean over processes is the whole batch's.

    Each is a mean over labelled points, of which slices of one size may hold different numbers.
    """
    if world().size == 1:
        return parts
    count = labelled_points(points).sum()
    weight = count * world().size / total(count.clone())
    return {name: value * weight for name, value in parts.items()}


def prepare_step(trainee: Trainee[Net], step: int, recipe: AnyRecipe) -> None:
    """Set the learning rate of step number `step`, and torch's own generator, which dropout draws from.

    Seeding it by step makes a resumed run draw the same; by process, so that slices of a batch draw different masks.
    """
    torch.manual_seed((recipe.seed * SEED_STRIDE + step) * world().size + world().rank)
    for group in trainee.optimiser.param_groups:
        group["lr"] = learning_rate(recipe, step)


def learn_from(trainee: Trainee[Net], loss: Tensor, step: int, recipe: AnyRecipe) -> None:
    """Move weights and average by the loss of step number `step`."""
    trainee.optimiser.zero_grad(set_to_none=True)
    with collective():
        torch.autograd.backward(loss)
    trainee.optimiser.step()
    # The average starts fast, so that it does not remember the untrained weights.
    move_average(trainee.average, trainee.network, min(recipe.ema, (1 + step) / (10 + step)))


def learning_rate(recipe: AnyRecipe, step: int) -> float:
    """Learning rate of step number `step`, counted from 0."""
    if recipe.schedule == "inverse":
        return recipe.learning_rate / (1 + 1e-4 * step)
    warm = min(1.0, (step + 1) / max(1, recipe.warmup))
    return recipe.learning_rate * warm * (0.5 + 0.5 * math.cos(math.pi * step / recipe.steps))


def size_at(recipe: Recipe, step: int) -> int:
    """Side in pixels at which step number `step` runs."""
    early = recipe.early_size is not None and step < recipe.early_share * recipe.steps
    return recipe.early_size if early and recipe.early_size else recipe.size


def planes_of(crops: Tensor, spec: ModelSpec, size: int) -> Tensor:
    """Network input (B, 3, size, size) of uint8 crops (B, 3, S, S): the torch twin of `spec.normalise_crops`.

    A smaller `size` reduces the planes; normalized_points stay as they are, since they are shares of the crop.
    """
    planes = crops.to(memory_format=torch.channels_last).float()
    planes = (planes / 255 - _channels(spec.mean, planes.device)) / _channels(spec.std, planes.device)
    if size == crops.shape[-1]:
        return planes
    return torch.nn.functional.interpolate(planes, size=(size, size), mode="bilinear", antialias=True)


@lru_cache(maxsize=16)
def _channels(values: tuple[float, float, float], device: torch.device) -> Tensor:
    """One value a channel (3, 1, 1); made once, since copying to a GPU makes every step wait."""
    return torch.tensor(values, device=device).view(3, 1, 1)


@torch.no_grad()
def move_average(average: nn.Module, network: nn.Module, decay: float) -> None:
    """average ← decay · average + (1 − decay) · network; counters are copied."""
    pairs = list(zip(average.state_dict().values(), network.state_dict().values(), strict=True))
    floats = [(ours, theirs) for ours, theirs in pairs if ours.is_floating_point()]
    counters = [(ours, theirs) for ours, theirs in pairs if not ours.is_floating_point()]
    torch._foreach_lerp_([ours for ours, _ in floats], [theirs for _, theirs in floats], 1 - decay)
    torch._foreach_copy_([ours for ours, _ in counters], [theirs for _, theirs in counters])
