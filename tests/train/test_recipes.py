"""Recipes are frozen, named, and the plain student differs from the distilled one in its objective alone."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest

from lightmark.errors import ConfigError
from lightmark.train.config import Recipe
from lightmark.train.recipes import DISTILLATIONS, FEW_FACES, default_distillation, get_distillation, get_recipe


@pytest.mark.parametrize("name", DISTILLATIONS)
def test_plain_student_differs_in_objective_alone(name: str) -> None:
    """Same network, crops, order, batch and steps: what is compared is distillation."""
    recipe = get_distillation(name)
    different = [f.name for f in fields(Recipe) if getattr(recipe.student, f.name) != getattr(recipe.plain, f.name)]
    assert set(different) <= {"name", "objective"}


@pytest.mark.parametrize("name", DISTILLATIONS)
def test_teachers_and_student_see_as_much_of_the_face(name: str) -> None:
    """A teacher's unit coordinates hold only for crops as wide as its own."""
    recipe = get_distillation(name)
    assert len({part.crop_scale for part in (recipe.tough, recipe.tolerant, recipe.student)}) == 1


def test_paper_recipes_hold_the_released_constants() -> None:
    """B3 teachers, MobileNetV2 1.0, 224 px, pooling heads, L2, Adam 1e-3, batch 70, 150 epochs of 4 copies, 90 %."""
    recipe = get_distillation("paper224")
    assert recipe.tough.architecture.backbone == recipe.tolerant.architecture.backbone == "efficientnet-b3"
    assert (recipe.student.architecture.backbone, recipe.student.architecture.width) == ("mobilenetv2", 1.0)
    for part in (recipe.tough, recipe.tolerant, recipe.student):
        assert (part.size, part.batch, part.learning_rate, part.schedule) == (224, 70, 1e-3, "inverse")
        assert part.architecture.head == "pooling"
        assert part.steps == 150 * 4 * 2012 // 70
    assert (recipe.tough.objective, recipe.tolerant.soft_variance, recipe.student.copies) == ("l2", 0.90, 4)
    assert get_distillation("paper224-released").student.objective == "kd-released"


def test_stage_recipe_is_found_by_name_and_seed() -> None:
    """`cpu128-plain` is the plain stage of cpu128 with the same seed."""
    assert get_recipe("cpu128-plain", seed=3) == get_distillation("cpu128", seed=3).plain


@pytest.mark.parametrize("name", ["cpu128", "cpu128-nobody", "other-plain", ""])
def test_unknown_stage_lists_the_known(name: str) -> None:
    """The error names every stage that there is."""
    with pytest.raises(ConfigError, match=r"no recipe called .*cpu128-tough, cpu128-tolerant"):
        get_recipe(name)


def test_unknown_distillation_lists_the_known() -> None:
    """The error names every recipe that there is."""
    known = (
        "cpu128, few128, standard224, standard224-second, standard192, standard192-second, fast128, "
        "fast128-second, fast128-third, slim128, long256, long128, paper224"
    )
    with pytest.raises(ConfigError, match=f"no recipe called 'paper'; known: {known}"):
        get_distillation("paper")


def test_unknown_objective_is_refused() -> None:
    """A recipe cannot name an objective that does not exist."""
    with pytest.raises(ConfigError, match="no objective 'l3'; known: l2, l1"):
        replace(get_recipe("cpu128-plain"), objective="l3")


def test_few_faces_have_a_shorter_default_recipe() -> None:
    """Below FEW_FACES the default takes a quarter of cpu128's steps, with the same networks."""
    assert [default_distillation(count) for count in (40, FEW_FACES - 1, FEW_FACES)] == ["few128", "few128", "cpu128"]
    few, many = get_distillation("few128"), get_distillation("cpu128")
    for stage in ("tough", "tolerant", "student", "plain"):
        ours, theirs = getattr(few, stage), getattr(many, stage)
        assert (ours.architecture, ours.size) == (theirs.architecture, theirs.size)
        assert ours.steps < 0.35 * theirs.steps
