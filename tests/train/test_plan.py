"""The plan that `train` and `distill` print before they run."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from lightmark.data.sample import Sample
from lightmark.train import plan
from lightmark.train.config import Execution, Recipe
from lightmark.train.faces import split_samples
from lightmark.train.loop import train
from lightmark.train.plan import Stage, plan_lines, seconds_a_face

QUIET = Execution(quiet=True)


def test_a_stage_has_its_steps_and_time(recipe: Recipe, tmp_path: Path) -> None:
    """Networks are timed on this machine; two stages have a sum."""
    lines = plan_lines([Stage(recipe, tmp_path / "a"), Stage(recipe, tmp_path / "b")], 5)
    expected = rf"{recipe.name}: {recipe.steps} steps of {recipe.batch} faces at {recipe.size} px, about \d+ min"
    assert all(re.fullmatch(expected, line) for line in lines[:2])
    assert re.fullmatch(r"about \d+ min in all, crops and validation not counted", lines[2])


def test_a_gpus_time_is_not_guessed(recipe: Recipe, tmp_path: Path) -> None:
    """Its first steps are slow."""
    assert plan_lines([Stage(recipe, tmp_path)], 5, "cuda") == [
        f"{recipe.name}: {recipe.steps} steps of {recipe.batch} faces at {recipe.size} px"
    ]


def test_finished_stages_take_no_time(recipe: Recipe, faces: list[Sample], tmp_path: Path) -> None:
    """A finished stage is marked as such, and its network is not timed."""
    train(recipe, split_samples(faces, recipe), tmp_path, execution=QUIET)
    assert plan_lines([Stage(recipe, tmp_path)], 5) == [f"{recipe.name}: finished, in {tmp_path}"]


def test_a_begun_stage_counts_the_steps_left(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the state that was saved last."""
    monkeypatch.setattr(plan, "saved_step", lambda path: recipe.steps - 3)
    (line,) = plan_lines([Stage(recipe, tmp_path)], 5)
    assert line.startswith(f"{recipe.name}: 3 of its {recipe.steps} steps of")


def test_the_pace_is_a_mean_over_both_sizes(recipe: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
    """A quarter of the steps at the small size."""
    monkeypatch.setattr(plan, "_pass_seconds", lambda architecture, points, size: {16: 1.0, 32: 5.0}[size])
    wide = replace(recipe, size=32, early_size=16, early_share=0.25)
    assert seconds_a_face(wide, 5) == 0.25 * 1 + 0.75 * 5
    assert seconds_a_face(replace(wide, early_size=None), 5) == 5


def test_stages_of_one_network_are_timed_once(recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both teachers are alike in what a step costs, so that the plan of a distillation comes in half the time."""
    built = []
    real = plan.build_network
    monkeypatch.setattr(plan, "build_network", lambda *words, **options: built.append(words) or real(*words, **options))
    plan._pass_seconds.cache_clear()
    plan_lines([Stage(recipe, tmp_path / "a"), Stage(replace(recipe, name="b", steps=3), tmp_path / "b")], 5)
    assert len(built) == 1
