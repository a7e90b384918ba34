"""What a run is about to do: its stages, their steps, and how long they take on this machine."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from lightmark.nets.network import build_network
from lightmark.train.config import Recipe
from lightmark.train.folder import RESULT, STATE
from lightmark.train.state import saved_step

PROBE = 2  # crops that the pace is measured with; a whole batch of a large teacher takes half a minute on a CPU


@dataclass(frozen=True)
class Stage:
    """One training of a run: its recipe and its folder."""

    recipe: Recipe
    folder: Path

    @property
    def steps_left(self) -> int:
        """Steps until it is finished, counted from the state that was saved last."""
        if (self.folder / RESULT).exists():
            return 0
        return self.recipe.steps - (saved_step(self.folder / STATE) or 0)


def plan_lines(stages: Sequence[Stage], points: int, device: str = "cpu") -> list[str]:
    """A line for each stage, and one for all together if there are several; times on CPUs alone.

    A GPU's first steps are slow and say nothing of the others.
    """
    lines, total = [], 0.0
    for stage in stages:
        recipe, left = stage.recipe, stage.steps_left
        if not left:
            lines.append(f"{recipe.name}: finished, in {stage.folder}")
            continue
        after = f"{left} of its {recipe.steps} steps" if left < recipe.steps else f"{recipe.steps} steps"
        line = f"{recipe.name}: {after} of {recipe.batch} faces at {recipe.size} px"
        if device == "cpu":
            seconds = left * recipe.batch * seconds_a_face(recipe, points)
            total += seconds
            line += f", about {duration(seconds)}"
        lines.append(line)
    if total and sum(bool(stage.steps_left) for stage in stages) > 1:
        lines.append(f"about {duration(total)} in all, crops and validation not counted")
    return lines


def seconds_a_face(recipe: Recipe, points: int) -> float:
    """Seconds of a forward and backward pass for one face, a mean over the run's sizes, measured now on the CPU."""
    # Random weights are as fast as ImageNet's, whose package need not be there for a look at the plan.
    architecture = replace(recipe.architecture, pretrained=False)
    network = build_network(architecture, np.full((points, 2), 0.5), recipe.seed).train()
    share = recipe.early_share if recipe.early_size else 0.0
    late = _pass_seconds(network, recipe.size)
    return late if not share else share * _pass_seconds(network, recipe.early_size or 0) + (1 - share) * late


def _pass_seconds(network: torch.nn.Module, size: int) -> float:
    planes = torch.zeros(PROBE, 3, size, size).to(memory_format=torch.channels_last)
    seconds = []
    for _ in range(2):  # the first one allocates
        began = time.perf_counter()
        torch.autograd.backward(network(planes).sum())
        seconds.append(time.perf_counter() - began)
    return seconds[-1] / PROBE


def duration(seconds: float) -> str:
    """Seconds as people say them.

    >>> duration(40), duration(500), duration(40_000), duration(400_000)
    ('1 min', '8 min', '11 h', '4.6 days')
    """
    if seconds < 5400:
        return f"{max(1, round(seconds / 60))} min"
    return f"{seconds / 3600:.0f} h" if seconds < 48 * 3600 else f"{seconds / 86_400:.1f} days"
