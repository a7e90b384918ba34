"""Each face is answered by cells near its centre, of the stride for its size; all else is background or either."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from lightmark.nets.face_detector import CellOutputs
from lightmark.train.detector.loss import (
    BACKGROUND,
    IGNORED,
    KEYPOINT_BEND,
    KEYPOINT_WEIGHT,
    SLACK,
    Cells,
    assign,
    cells_of,
    detection_loss,
    overlap_and_giou,
)

YES = torch.tensor([True])


@pytest.fixture
def cells() -> Cells:
    """Those of a square picture."""
    return cells_of(256, 256)


def square(x: float, y: float, side: float) -> list[float]:
    """Box about (x, y)."""
    return [x - side / 2, y - side / 2, x + side / 2, y + side / 2]


def test_no_faces_are_all_background(cells: Cells) -> None:
    """Nothing anywhere, for every cell."""
    target = assign(torch.zeros(0, 4), torch.zeros(0, dtype=torch.bool), cells)
    assert target.tolist() == [BACKGROUND] * len(cells.middles)


@pytest.mark.parametrize(("side", "stride"), [(12, 8), (20, 8), (48, 16), (64, 16), (128, 32), (250, 32)])
def test_the_stride_fits_the_size(cells: Cells, side: float, stride: int) -> None:
    """Small faces are answered by the fine map, large ones by the coarse, and all by at least one cell."""
    target = assign(torch.tensor([square(128.3, 120.7, side)]), YES, cells)
    assert set(cells.strides[target >= 0].tolist()) == {float(stride)}


@pytest.mark.parametrize("side", [11, 15, 30, 36, 70, 90, 200, 280])
def test_every_face_has_a_cell_wherever_it_lies(cells: Cells, side: float) -> None:
    """Also between cells."""
    for shift in range(0, 32, 5):
        target = assign(torch.tensor([square(100 + shift, 90 + shift / 2, side)]), YES, cells)
        assert (target == 0).any()


def test_answers_come_from_near_the_centre(cells: Cells) -> None:
    """Of a face of 128 px the answering cells lie within 30 % of it about its centre."""
    target = assign(torch.tensor([square(128, 128, 128)]), YES, cells)
    away = (cells.middles[target == 0] - 128).abs().max()
    assert 16 <= away <= 0.3 * 128


def test_around_the_answers_either_will_do(cells: Cells) -> None:
    """Cells of the same stride inside the face are ignored, not background; those outside are background."""
    target = assign(torch.tensor([square(128, 128, 128)]), YES, cells)
    coarse = cells.strides == 32
    away = (cells.middles - 128).abs().amax(1)
    assert set(target[coarse & (away > 40) & (away < 64)].tolist()) == {IGNORED}
    assert set(target[away > 70].tolist()) == {BACKGROUND}
    assert set(target[(cells.strides == 8) & (away < 60)].tolist()) == {BACKGROUND}  # a face too large for this map


def test_a_face_that_does_not_count_is_neither_learnt_nor_unlearnt(cells: Cells) -> None:
    """All its cells are free, on every map."""
    target = assign(torch.tensor([square(128, 128, 128)]), ~YES, cells)
    away = (cells.middles - 128).abs().amax(1)
    assert set(target[away <= 64].tolist()) == {IGNORED}
    assert set(target[away > 64].tolist()) == {BACKGROUND}


def test_of_two_faces_the_nearer_is_answered(cells: Cells) -> None:
    """In shares of their sizes, so that a small face before a large one keeps its cells."""
    boxes = torch.tensor([square(100, 100, 80), square(130, 100, 76)])
    target = assign(boxes, torch.tensor([True, True]), cells)
    for face, x in ((0, 100.0), (1, 130.0)):
        nearest = ((cells.middles - torch.tensor([x, 100.0])).abs().amax(1) + (cells.strides != 16) * 1e6).argmin()
        assert target[nearest] == face


def loss_of(logits: Tensor, boxes: Tensor, targets: Tensor, expected: Tensor) -> dict[str, Tensor]:
    """Losses with keypoints that are all right."""
    keypoints = torch.zeros(*logits.shape, 5, 2)
    return detection_loss(CellOutputs(logits, boxes, keypoints), targets, expected, keypoints)


def test_a_right_answer_costs_nothing_and_a_wrong_one_does() -> None:
    """The score is to be the overlap, which is 1 for the very box."""
    expected = torch.tensor([[square(20, 20, 10), square(0, 0, 1)]])
    targets = torch.tensor([[0, BACKGROUND]])
    sure = torch.tensor([[20.0, -20.0]])
    right = loss_of(sure, expected.clone(), targets, expected)
    assert float(right["loss"]) == pytest.approx(0, abs=1e-5)
    missed = loss_of(-sure, expected.clone(), targets, expected)
    assert float(missed["score"]) > 10
    off = loss_of(sure, expected + 4, targets, expected)
    assert float(off["box"]) > 0.5


def test_cells_that_may_answer_either_way_cost_nothing() -> None:
    """Whatever their outputs."""
    expected = torch.zeros(1, 1, 4)
    loss = loss_of(torch.tensor([[5.0]]), expected, torch.tensor([[IGNORED]]), expected)
    assert float(loss["loss"]) == 0


def test_overlaps_are_those_of_the_formula() -> None:
    """Half shared; apart by a gap as wide as they are; the same."""
    first = torch.tensor([[0.0, 0, 2, 2], [0, 0, 1, 1], [3, 3, 5, 8]])
    second = torch.tensor([[1.0, 0, 3, 2], [2, 0, 3, 1], [3, 3, 5, 8]])
    overlap, generalised = overlap_and_giou(first, second)
    torch.testing.assert_close(overlap, torch.tensor([1 / 3, 0.0, 1.0]))
    torch.testing.assert_close(generalised, torch.tensor([1 / 3, -1 / 3, 1.0]))


def test_cells_lie_in_the_middle_of_their_strides() -> None:
    """Row by row, the finest map first, each with its stride and range of face sizes; for wide pictures, too."""
    cells = cells_of(64, 96)
    assert [int((cells.strides == stride).sum()) for stride in (8, 16, 32)] == [8 * 12, 4 * 6, 2 * 3]
    assert cells.middles[[0, 1, 12]].tolist() == [[3.5, 3.5], [11.5, 3.5], [3.5, 11.5]]
    assert cells.middles[[96, 97, 120, 123]].tolist() == [[7.5, 7.5], [23.5, 7.5], [15.5, 15.5], [15.5, 47.5]]
    assert cells.low[[0, 95, 96, 119, 120]].tolist() == [0, 0, 28, 28, 72]
    assert cells.high[[0, 95, 96, 119, 120]].tolist() == [36, 36, 92, 92, math.inf]
    assert len(cells_of(70, 100).middles) == len(cells.middles)  # only whole cells count


def one_cell(side_low: float = 30.0, side_high: float = 60.0) -> Cells:
    """A single cell of stride 16 at (100, 100), responsible for faces of `side_low` to `side_high` pixels."""
    low, high = torch.tensor([side_low]), torch.tensor([side_high])
    return Cells(torch.tensor([[100.0, 100.0]]), torch.tensor([16.0]), low, high)


@pytest.mark.parametrize(
    ("side", "verdict"),
    [(30, 0), (59.9, 0), (60, IGNORED), (29.9, IGNORED), (30 / SLACK + 0.1, IGNORED), (30 / SLACK - 0.1, BACKGROUND),
     (60 * SLACK - 0.1, IGNORED), (60 * SLACK, BACKGROUND)],
)  # fmt: skip
def test_a_range_begins_with_its_least_size_and_ends_before_its_largest(side: float, verdict: int) -> None:
    """Up to `SLACK` times smaller or larger, the cell is ignored by the loss."""
    assert assign(torch.tensor([square(100, 100, side)]), YES, one_cell()).tolist() == [verdict]


@pytest.mark.parametrize(("shift", "verdict"), [(12, 0), (12.5, IGNORED), (20, IGNORED), (20.5, BACKGROUND)])
def test_distances_at_their_bounds_count(shift: float, verdict: int) -> None:
    """For a face of 40 px: cells within 0.3 of its side are positive, within 0.5 ignored; all of an ignored face."""
    box = torch.tensor([square(100 + shift, 100, 40)])
    assert assign(box, YES, one_cell()).tolist() == [verdict]
    assert assign(box, ~YES, one_cell()).tolist() == [BACKGROUND if verdict == BACKGROUND else IGNORED]


def test_freedom_ends_with_its_bounds() -> None:
    """The least size of those nearly answered, and half the side of a face that does not count, are within."""
    assert assign(torch.tensor([square(100, 100, 10)]), YES, one_cell(14, 60)).tolist() == [IGNORED]
    assert assign(torch.tensor([square(200, 100, 200)]), ~YES, one_cell()).tolist() == [IGNORED]


def test_a_face_is_as_large_as_its_longer_side() -> None:
    """And about the centre of its box."""
    for box in ([80.0, 95, 120, 105], [95.0, 80, 105, 120]):
        assert assign(torch.tensor([box]), YES, one_cell()).tolist() == [0]
        assert assign(torch.tensor([box]), YES, one_cell(8, 15)).tolist() == [BACKGROUND]


def test_the_nearest_is_so_in_shares_of_the_side() -> None:
    """A large face 9 px away is nearer than a small one 8 px away."""
    boxes = torch.tensor([square(108, 100, 32), square(91, 100, 50)])
    assert assign(boxes, torch.tensor([True, True]), one_cell()).tolist() == [1]


def test_the_loss_by_hand() -> None:
    """Focal and GIoU losses per answering cell; cells where either will do count for nothing."""
    logits = torch.tensor([[0.0, 1.0, -2.0, 5.0]])
    targets = torch.tensor([[0, 1, BACKGROUND, IGNORED]])
    expected = torch.tensor([[[0.0, 0, 2, 2], [0, 0, 1, 1], [0, 0, 0, 0], [0, 0, 0, 0]]])
    boxes = torch.tensor([[[1.0, 0, 3, 2], [2, 0, 3, 1], [7, 7, 8, 8], [7, 7, 9, 9]]])
    found = loss_of(logits, boxes, targets, expected)
    sure, unsure = 1 / (1 + math.exp(-1.0)), 1 / (1 + math.exp(2.0))
    focal = 0.25 * math.log(2) - (1 - sure) ** 2 * math.log(sure) - unsure**2 * math.log(1 - unsure)
    giou = 4.0 * ((1 - 1 / 3) + (1 + 1 / 3))
    assert float(found["score"]) == pytest.approx(focal / 2, rel=1e-5)
    assert float(found["box"]) == pytest.approx(giou / 2, rel=1e-5)
    assert float(found["loss"]) == pytest.approx((focal + giou) / 2, rel=1e-5)
    alone = loss_of(logits[:, :1], boxes[:, :1], targets[:, :1], expected[:, :1])
    assert float(alone["score"]) == pytest.approx(0.25 * math.log(2), rel=1e-5)
    nobody = loss_of(logits[:, 2:3], boxes[:, 2:3], targets[:, 2:3], expected[:, 2:3])
    assert float(nobody["loss"]) == pytest.approx(-unsure**2 * math.log(1 - unsure), rel=1e-5)


def test_keypoints_cost_by_the_longer_side_of_the_face() -> None:
    """Of two positive cells, by hand: beyond the bend linear, below it by the square; a negative cell costs nothing."""
    boxes = torch.tensor([[[0.0, 0, 10, 8], [0, 0, 20, 40], [0, 0, 0, 0]]])
    targets = torch.tensor([[0, 1, BACKGROUND]])
    expected = torch.zeros(1, 3, 5, 2)
    keypoints = expected.clone()
    keypoints[0, 0, 2, 0] = 3.0  # 0.3 of the longer side
    keypoints[0, 1, 4, 1] = -1.0  # 0.025 of it
    keypoints[0, 2] = 99.0
    keypoints.requires_grad_()
    found = detection_loss(CellOutputs(torch.zeros(1, 3), boxes, keypoints), targets, boxes, expected)
    linear, squared = (0.3 - KEYPOINT_BEND / 2) / 10, 0.025**2 / 2 / KEYPOINT_BEND / 10
    values = {name: float(value.detach()) for name, value in found.items()}
    assert values["keypoints"] == pytest.approx(KEYPOINT_WEIGHT * (linear + squared) / 2, rel=1e-5)
    assert values["loss"] == pytest.approx(values["score"] + values["box"] + values["keypoints"])
    found["keypoints"].backward()
    assert torch.isfinite(keypoints.grad).all()
    assert (keypoints.grad[0, 2] == 0).all()


def test_overlaps_of_boxes_that_share_a_corner() -> None:
    """In x and y unlike: 2×1 of 4×3 and 3×4."""
    first, second = torch.tensor([[0.0, 0, 4, 3]]), torch.tensor([[2.0, 2, 5, 6]])
    for one, other in ((first, second), (second, first)):
        overlap, generalised = overlap_and_giou(one, other)
        torch.testing.assert_close(overlap, torch.tensor([2 / 22]))
        torch.testing.assert_close(generalised, torch.tensor([2 / 22 - 8 / 30]))
