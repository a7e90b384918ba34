"""Plan of a training run: stages, remaining steps and estimated time on this machine."""

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

PROBE = 2  # crops of the timing run: a full batch of a large teacher would take half a minute on a CPU


@dataclass(frozen=True)
class Stage:
    """One training of a pipeline: recipe and folder."""

    recipe: Recipe
    folder: Path

    @property
    def steps_left(self) -> int:
        """Remaining steps, counted from the last saved training state."""
        if (self.folder / RESULT).exists():
            return 0
        return self.recipe.steps - (saved_step(self.folder / STATE) or 0)


def plan_lines(stages: Sequence[Stage], points: int, device: str = "cpu") -> list[str]:
    """Text lines of the plan, one a stage and a total; estimated times for CPUs only.

    A GPU's first steps are much slower than the rest, so a short measurement would mislead.
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
    """Seconds of a forward and backward pass for one face on this CPU, averaged over the run's sizes."""
    # Random weights take the same time as ImageNet's, whose package may not be installed.
    architecture = replace(recipe.architecture, pretrained=False)
    network = build_network(architecture, np.full((points, 2), 0.5), recipe.seed).train()
    share = recipe.early_share if recipe.early_size else 0.0
    late = _pass_seconds(network, recipe.size)
    return late if not share else share * _pass_seconds(network, recipe.early_size or 0) + (1 - share) * late


def _pass_seconds(network: torch.nn.Module, size: int) -> float:
    planes = torch.zeros(PROBE, 3, size, size).to(memory_format=torch.channels_last)
    seconds = []
    for _ in range(2):  # the first pass allocates memory and is slower
        began = time.perf_counter()
        torch.autograd.backward(network(planes).sum())
        seconds.append(time.perf_counter() - began)
    return seconds[-1] / PROBE


def duration(seconds: float) -> str:
    """Human-readable duration.

    >>> duration(40), duration(500), duration(40_000), duration(400_000)
    ('1 min', '8 min', '11 h', '4.6 days')
    """
    if seconds < 5400:
        return f"{max(1, round(seconds / 60))} min"
    return f"{seconds / 3600:.0f} h" if seconds < 48 * 3600 else f"{seconds / 86_400:.1f} days"
