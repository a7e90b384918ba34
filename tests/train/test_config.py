"""Recipes that no training can follow are refused as they are made, by name."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lightmark.errors import ConfigError
from lightmark.train.config import DetectorRecipe, Recipe
from lightmark.train.detector.mosaic import MosaicRules
from lightmark.train.objectives import OBJECTIVES


def test_an_unknown_objective_is_refused_with_the_known(recipe: Recipe) -> None:
    """All of them, to choose from."""
    with pytest.raises(ConfigError) as caught:
        replace(recipe, objective="l3")
    assert str(caught.value) == f"recipe tiny: no objective 'l3'; known: {', '.join(OBJECTIVES)}"


@pytest.mark.parametrize("name", ["steps", "batch", "validate_every", "log_every"])
def test_numbers_that_count_something_are_at_least_one(recipe: Recipe, name: str) -> None:
    """Nothing happens every 0 steps; 1 will do, of a batch 2."""
    expected = "^recipe tiny: steps, batch, validate_every and log_every must be at least 1$"
    with pytest.raises(ConfigError, match=expected):
        replace(recipe, **{name: 0})
    least = 2 if name == "batch" else 1
    assert getattr(replace(recipe, **{name: least}), name) == least


def test_a_batch_of_one_is_refused(recipe: Recipe) -> None:
    """A norm over one crop has no variance."""
    with pytest.raises(ConfigError, match=r"^recipe tiny: a batch of 1; layers are normalised over a batch, give 2 or"):
        replace(recipe, batch=1)


@pytest.mark.parametrize("share", [0.0, 1.0, -0.1, 1.5])
def test_validation_is_a_share_of_the_photographs(recipe: Recipe, share: float) -> None:
    """Neither none nor all of them."""
    with pytest.raises(ConfigError, match=f"^recipe tiny: validation {share}; needs a share between 0 and 1$"):
        replace(recipe, validation=share)


def test_mosaics_fit_the_detectors_cells() -> None:
    """Their side is a multiple of the coarsest cell's."""
    with pytest.raises(ConfigError, match=r"^recipe face-detector: mosaics of 100 px; needs a multiple of 32$"):
        DetectorRecipe(rules=MosaicRules(size=100))
    assert DetectorRecipe(rules=MosaicRules(size=96)).rules.size == 96
