"""Objectives hand the right tensors to the right loss."""

from __future__ import annotations

import pytest
import torch

from lightmark.data.crops.dataset import Batch
from lightmark.losses import FIGURE, assistive_loss, kd_loss, l1_loss, main_loss
from lightmark.train.objectives import DISTILLED, OBJECTIVES, _with_errors_of_other_faces


def random_batch() -> tuple[torch.Tensor, Batch]:
    generator = torch.Generator().manual_seed(0)
    prediction, points, tough, tolerant = (torch.rand(3, 5, 2, generator=generator) for _ in range(4))
    return prediction, Batch(torch.zeros(3, 3, 8, 8, dtype=torch.uint8), points, tough, tolerant)


@pytest.mark.parametrize("name", sorted(OBJECTIVES.keys() - DISTILLED.keys()))
def test_plain_objectives_ignore_the_teachers(name: str) -> None:
    """With other teachers the loss is the same: such a student can be trained alone."""
    prediction, batch = random_batch()
    other = batch._replace(tough=batch.tolerant, tolerant=batch.points)
    assert torch.equal(OBJECTIVES[name](prediction, batch)["loss"], OBJECTIVES[name](prediction, other)["loss"])


@pytest.mark.parametrize("name", sorted(DISTILLED))
def test_distilled_objectives_listen_to_a_teacher(name: str) -> None:
    """With other teachers the loss is another one."""
    prediction, batch = random_batch()
    other = batch._replace(tough=batch.points, tolerant=batch.points)
    assert not torch.isclose(OBJECTIVES[name](prediction, batch)["loss"], OBJECTIVES[name](prediction, other)["loss"])


def test_l1_is_taken_against_the_labels() -> None:
    """The plain student's loss is L1 to the batch's points."""
    prediction, batch = random_batch()
    assert torch.equal(OBJECTIVES["l1"](prediction, batch)["loss"], l1_loss(prediction, batch.points))


def test_kd_objectives_use_their_preset_and_each_teacher_in_its_place() -> None:
    """The figure and the released form differ, and swapping the teachers changes the released one."""
    prediction, batch = random_batch()
    for name, preset in (("kd-figure", "figure"), ("kd-released", "released"), ("kd-signed", "signed")):
        expected = kd_loss(prediction, batch.points, batch.tough, batch.tolerant, preset)  # type: ignore[arg-type]  # a Preset
        assert torch.isclose(OBJECTIVES[name](prediction, batch)["loss"], expected)
    swapped = batch._replace(tough=batch.tolerant, tolerant=batch.tough)
    first, second = (OBJECTIVES["kd-released"](prediction, b)["loss"] for b in (batch, swapped))
    assert not torch.isclose(first, second)


def test_parts_of_the_kd_loss_can_be_had_alone() -> None:
    """Loss_Main alone, and with one teacher each, carry the published weight of Loss_Main."""
    prediction, batch = random_batch()
    main = 2.5 * main_loss(prediction, batch.points, batch.tolerant, FIGURE)
    tough = assistive_loss(prediction, batch.points, batch.tough, FIGURE.tough)
    tolerant = assistive_loss(prediction, batch.points, batch.tolerant, FIGURE.tolerant)
    for name, expected in (
        ("main-figure", main),
        ("kd-figure-tough", main + tough),
        ("kd-figure-tolerant", main + tolerant),
    ):
        assert torch.isclose(OBJECTIVES[name](prediction, batch)["loss"], expected)


def test_l1_to_teachers_takes_the_point_it_names() -> None:
    """Both teachers' mean, the Tough-Teacher's point, or the middle between it and the label."""
    prediction, batch = random_batch()
    for name, target in (
        ("l1-teachers", (batch.tough + batch.tolerant) / 2),
        ("l1-tough", batch.tough),
        ("l1-half-tough", (batch.points + batch.tough) / 2),
    ):
        assert torch.equal(OBJECTIVES[name](prediction, batch)["loss"], l1_loss(prediction, target))


def test_shuffled_teachers_err_as_on_the_face_before() -> None:
    """Each face keeps its label and gets another face's errors, with their sides."""
    prediction, batch = random_batch()
    others = [2, 0, 1]
    tough = batch.points + (batch.tough - batch.points)[others]
    tolerant = batch.points + (batch.tolerant - batch.points)[others]
    expected = kd_loss(prediction, batch.points, tough, tolerant, "figure")
    assert torch.isclose(OBJECTIVES["kd-figure-shuffled"](prediction, batch)["loss"], expected)


def test_shuffled_errors_keep_their_side() -> None:
    """To the coordinate; the error of a point that the other face lacks is unknown, and taken as none."""
    _, batch = random_batch()
    batch.points[1, 3] = torch.nan
    shuffled = _with_errors_of_other_faces(batch)
    for found, given in ((shuffled.tough, batch.tough), (shuffled.tolerant, batch.tolerant)):
        for face, other in ((0, 2), (1, 0), (2, 1)):
            expected = batch.points[face] + given[other] - batch.points[other]
            expected[3] = batch.points[face, 3] if other == 1 else expected[3]
            torch.testing.assert_close(found[face], expected, equal_nan=True)
    assert shuffled.points is batch.points


def test_perfect_teachers_stand_on_the_labels() -> None:
    """With D = 0 every coordinate has the positive assistants' weight: 4.3 times L1 below half a crop."""
    prediction, batch = random_batch()
    near = batch.points + 0.1 * (prediction - batch.points)
    expected = (2.5 + 0.9 + 0.9) * l1_loss(near, batch.points)
    assert torch.isclose(OBJECTIVES["kd-figure-perfect"](near, batch)["loss"], expected)


def test_kd_objectives_name_their_parts() -> None:
    """The log can show what each term contributes."""
    prediction, batch = random_batch()
    for name in (name for name in DISTILLED if name.startswith("kd-")):
        assert list(OBJECTIVES[name](prediction, batch)) == ["loss", "main", "tough", "tolerant"]


@pytest.mark.parametrize("name", sorted(OBJECTIVES))
def test_no_objective_learns_from_a_missing_point(name: str) -> None:
    """Wherever student and teachers put it, the loss is the same, and finite."""
    prediction, batch = random_batch()
    points = batch.points.clone()
    points[1, 3] = torch.nan
    moved, tough, tolerant = (one.clone() for one in (prediction, batch.tough, batch.tolerant))
    moved[1, 3], tough[1, 3], tolerant[1, 3] = 7.0, 8.0, 9.0
    losses = [
        OBJECTIVES[name](prediction, batch._replace(points=points))["loss"],
        OBJECTIVES[name](moved, batch._replace(points=points, tough=tough, tolerant=tolerant))["loss"],
    ]
    assert torch.equal(*losses)
    assert torch.isfinite(losses[0])
