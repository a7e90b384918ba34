"""Objectives hand the right tensors to the right loss."""

from __future__ import annotations

import torch

from lightmark.data.dataset import Batch
from lightmark.losses import kd_loss, l1_loss
from lightmark.train.objectives import DISTILLED, OBJECTIVES


def random_batch() -> tuple[torch.Tensor, Batch]:
    generator = torch.Generator().manual_seed(0)
    prediction, points, tough, tolerant = (torch.rand(3, 5, 2, generator=generator) for _ in range(4))
    return prediction, Batch(torch.zeros(3, 3, 8, 8, dtype=torch.uint8), points, tough, tolerant)


def test_plain_objective_ignores_the_teachers() -> None:
    """L1 is taken against the batch's points alone."""
    prediction, batch = random_batch()
    assert torch.equal(OBJECTIVES["l1"](prediction, batch)["loss"], l1_loss(prediction, batch.points))


def test_distilled_objectives_use_their_preset_and_each_teacher_in_its_place() -> None:
    """The figure and the released form differ, and swapping the teachers changes the released one."""
    prediction, batch = random_batch()
    for name, preset in (("kd-figure", "figure"), ("kd-released", "released")):
        expected = kd_loss(prediction, batch.points, batch.tough, batch.tolerant, preset)  # type: ignore[arg-type]
        assert torch.equal(OBJECTIVES[name](prediction, batch)["loss"], expected)
    swapped = batch._replace(tough=batch.tolerant, tolerant=batch.tough)
    first, second = (OBJECTIVES["kd-released"](prediction, b)["loss"] for b in (batch, swapped))
    assert not torch.isclose(first, second)


def test_distilled_objectives_name_their_parts() -> None:
    """The log can show what each term contributes."""
    prediction, batch = random_batch()
    for name in DISTILLED:
        assert list(OBJECTIVES[name](prediction, batch)) == ["loss", "main", "tough", "tolerant"]
