"""One training step: forward, backward, AdamW and EMA of the weights."""

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
from lightmark.train.distributed.collectives import (
    all_reduce,
    all_reduce_mean,
    collective_errors,
    data_parallel,
    with_sync_batch_norm,
)
from lightmark.train.distributed.world import world
from lightmark.train.objectives import OBJECTIVES

# A prime above a million: the random streams of neighbouring seeds do not overlap within a million steps.
SEED_STRIDE = 1_000_003
POINT_LAYERS = ("head.scores.", "head.offsets.")  # of spatial heads
COMPANION = "companion."  # prefix of the weights of a network's companion


AnyRecipe = Recipe | DetectorRecipe
Net = TypeVar("Net", bound=nn.Module)


@dataclass
class Trainee(Generic[Net]):
    """A network in training with the EMA of its weights, which is what gets saved, and its optimiser.

    `forward` is the module that a step calls: the network, or its DistributedDataParallel wrapper.
    """

    network: Net
    ema: Net
    optimiser: AdamW
    device: str
    forward: nn.Module


def make_trainee(
    network: Net, learning_rate: float, weight_decay: float, device: str, head_rate: float = 1.0
) -> Trainee[Net]:
    """Trainee of `network` on `device`; AdamW decays matrices and kernels, but no biases and norms.

    `head_rate` multiplies the learning rate of the layers with an output a point.
    """
    network = with_sync_batch_norm(network, device)
    network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # no stub for modules
    named = list(network.named_parameters())
    groups = []
    for rate in dict.fromkeys((1.0, head_rate)):
        rated = [p for name, p in named if (head_rate if is_point_layer(name) else 1.0) == rate]
        groups += [
            {"params": [p for p in rated if p.ndim > 1], "weight_decay": weight_decay, "rate": rate},
            {"params": [p for p in rated if p.ndim <= 1], "weight_decay": 0.0, "rate": rate},
        ]
    ema = copy.deepcopy(network).eval()
    # Fused: else every step waits until Adam's step counters, which are tensors, are copied from the device.
    optimiser = AdamW(groups, lr=learning_rate, fused=True)
    return Trainee(network.train(), ema, optimiser, device, data_parallel(network, device))


def is_point_layer(name: str) -> bool:
    """Whether the weights called `name` are of a layer with an output a point."""
    return name.removeprefix(COMPANION).startswith(POINT_LAYERS)


def keep_statistics(network: nn.Module) -> None:
    """Let the batch norms of a network in training use the means and variances that they have, and keep them."""
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()


def take_step(
    trainee: Trainee[LandmarkNet], batch: Batch, step: int, recipe: Recipe, spec: ModelSpec
) -> dict[str, Tensor]:
    """Run step number `step`, counted from 0, update weights and EMA, and return the named losses.

    `batch` is this rank's slice; the update and the losses are those of the complete batch.
    """
    prepare_step(trainee, step, recipe)
    batch = Batch(*(tensor.to(trainee.device, non_blocking=True) for tensor in batch))
    autocast = torch.autocast(torch.device(trainee.device).type, torch.bfloat16, enabled=recipe.precision == "bf16")
    with autocast, collective_errors():
        prediction = trainee.forward(planes_of(batch.crops, spec, size_at(recipe, step)))
    parts = _weight_by_labels(OBJECTIVES[recipe.objective](prediction, batch), batch.points)
    optimise(trainee, parts["loss"], step, recipe)
    return all_reduce_mean({name: value.detach() for name, value in parts.items()})


def _weight_by_labels(parts: dict[str, Tensor], points: Tensor) -> dict[str, Tensor]:
    """Losses of this rank's slice, weighted so that their mean over the ranks is the loss of the complete batch.

    Each is a mean over labelled points, whose number differs between slices of the same size.
    """
    if world().size == 1:
        return parts
    count = labelled_points(points).sum()
    weight = count * world().size / all_reduce(count.clone())
    return {name: value * weight for name, value in parts.items()}


def prepare_step(trainee: Trainee[Net], step: int, recipe: AnyRecipe) -> None:
    """Set the learning rate of step number `step` and seed torch's generator, from which dropout samples.

    Seeding by step makes a resumed run sample the same masks; seeding by rank gives each slice its own.
    """
    torch.manual_seed((recipe.seed * SEED_STRIDE + step) * world().size + world().rank)
    for group in trainee.optimiser.param_groups:
        group["lr"] = learning_rate(recipe, step) * group.get("rate", 1.0)


def optimise(trainee: Trainee[Net], loss: Tensor, step: int, recipe: AnyRecipe) -> None:
    """Backward pass of `loss`, optimiser step and EMA update of step number `step`."""
    trainee.optimiser.zero_grad(set_to_none=True)
    with collective_errors():
        torch.autograd.backward(loss)
    trainee.optimiser.step()
    # A smaller decay in the first steps, or the EMA would hold on to the untrained weights.
    update_ema(trainee.ema, trainee.network, min(recipe.ema, (1 + step) / (10 + step)))


def learning_rate(recipe: AnyRecipe, step: int) -> float:
    """Learning rate of step number `step`, counted from 0: warm-up and cosine decay, or inverse decay."""
    if recipe.schedule == "inverse":
        return recipe.learning_rate / (1 + 1e-4 * step)
    warmup = min(1.0, (step + 1) / max(1, recipe.warmup))
    return recipe.learning_rate * warmup * (0.5 + 0.5 * math.cos(math.pi * step / recipe.steps))


def size_at(recipe: Recipe, step: int) -> int:
    """Input size in pixels of step number `step` (progressive resizing)."""
    early = recipe.early_size is not None and step < recipe.early_share * recipe.steps
    return recipe.early_size if early and recipe.early_size else recipe.size


def planes_of(crops: Tensor, spec: ModelSpec, size: int) -> Tensor:
    """Network input (B, 3, size, size) of uint8 crops (B, 3, S, S): `spec.normalise_crops` in torch.

    A smaller `size` resizes the planes; normalized_points do not change, since they are relative to the crop.
    """
    planes = crops.to(memory_format=torch.channels_last).float()
    planes = (planes / 255 - _channels(spec.mean, planes.device)) / _channels(spec.std, planes.device)
    if size == crops.shape[-1]:
        return planes
    return torch.nn.functional.interpolate(planes, size=(size, size), mode="bilinear", antialias=True)


@lru_cache(maxsize=16)
def _channels(values: tuple[float, float, float], device: torch.device) -> Tensor:
    """One value a channel (3, 1, 1); cached, since a copy to the GPU would stall every step."""
    return torch.tensor(values, device=device).view(3, 1, 1)


@torch.no_grad()
def update_ema(ema: nn.Module, network: nn.Module, decay: float) -> None:
    """ema ← decay · ema + (1 − decay) · network, in place; integer buffers (counters) are copied."""
    pairs = list(zip(ema.state_dict().values(), network.state_dict().values(), strict=True))
    floats = [(ours, theirs) for ours, theirs in pairs if ours.is_floating_point()]
    counters = [(ours, theirs) for ours, theirs in pairs if not ours.is_floating_point()]
    torch._foreach_lerp_([ours for ours, _ in floats], [theirs for _, theirs in floats], 1 - decay)
    torch._foreach_copy_([ours for ours, _ in counters], [theirs for _, theirs in counters])
