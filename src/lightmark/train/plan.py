"""Plan of a training run: stages, remaining steps and estimated time on this machine."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch

from lightmark.nets.network import Architecture, build_network
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
    lines, total, unfinished = [], 0.0, 0
    for stage in stages:
        recipe, left = stage.recipe, stage.steps_left
        unfinished += left > 0
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
    if total and unfinished > 1:
        lines.append(f"about {duration(total)} in all, crops and validation not counted")
    return lines


def seconds_a_face(recipe: Recipe, points: int) -> float:
    """Seconds of a forward and backward pass for one face on this CPU, averaged over the run's sizes."""
    # Random weights take the same time as ImageNet's, whose package may not be installed.
    architecture = replace(recipe.architecture, pretrained=False)
    late = _pass_seconds(architecture, points, recipe.size)
    if not (recipe.early_size and recipe.early_share):
        return late
    early = _pass_seconds(architecture, points, recipe.early_size)
    return recipe.early_share * early + (1 - recipe.early_share) * late


@lru_cache  # both teachers are one network at one size, as are the student and the plain one beside it
def _pass_seconds(architecture: Architecture, points: int, size: int) -> float:
    network = build_network(architecture, np.full((points, 2), 0.5), seed=0).train()
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
