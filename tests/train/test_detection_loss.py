"""Each face is answered by cells near its centre, of the stride for its size; all else is background or either."""

from __future__ import annotations

import pytest
import torch

from lightmark.train.detection_loss import (
    EITHER,
    NOTHING,
    assign,
    cells_of,
    detection_loss,
    overlap_and_giou,
)

CELLS = cells_of(256, 256)
YES = torch.tensor([True])


def square(x: float, y: float, side: float) -> list[float]:
    """Box about (x, y)."""
    return [x - side / 2, y - side / 2, x + side / 2, y + side / 2]


def test_no_faces_are_all_background() -> None:
    """Nothing anywhere, for every cell."""
    target = assign(torch.zeros(0, 4), torch.zeros(0, dtype=torch.bool), CELLS)
    assert target.tolist() == [NOTHING] * len(CELLS.middles)


@pytest.mark.parametrize(("side", "stride"), [(12, 8), (20, 8), (48, 16), (64, 16), (128, 32), (250, 32)])
def test_the_stride_fits_the_size(side: float, stride: int) -> None:
    """Small faces are answered by the fine map, large ones by the coarse, and all by at least one cell."""
    target = assign(torch.tensor([square(128.3, 120.7, side)]), YES, CELLS)
    assert set(CELLS.strides[target >= 0].tolist()) == {float(stride)}


@pytest.mark.parametrize("side", [11, 15, 30, 36, 70, 90, 200, 280])
def test_every_face_has_a_cell_wherever_it_lies(side: float) -> None:
    """Also between cells."""
    for shift in range(0, 32, 5):
        target = assign(torch.tensor([square(100 + shift, 90 + shift / 2, side)]), YES, CELLS)
        assert (target == 0).any()


def test_answers_come_from_near_the_centre() -> None:
    """Of a face of 128 px the answering cells lie within 30 % of it about its centre."""
    target = assign(torch.tensor([square(128, 128, 128)]), YES, CELLS)
    away = (CELLS.middles[target == 0] - 128).abs().max()
    assert 16 <= away <= 0.3 * 128


def test_around_the_answers_either_will_do() -> None:
    """Cells of the same stride still inside the face are not told that nothing is there; those outside are."""
    target = assign(torch.tensor([square(128, 128, 128)]), YES, CELLS)
    coarse = CELLS.strides == 32
    away = (CELLS.middles - 128).abs().amax(1)
    assert set(target[coarse & (away > 40) & (away < 64)].tolist()) == {EITHER}
    assert set(target[away > 70].tolist()) == {NOTHING}
    assert set(target[(CELLS.strides == 8) & (away < 60)].tolist()) == {NOTHING}  # a face too large for this map


def test_a_face_that_does_not_count_is_neither_learnt_nor_unlearnt() -> None:
    """All its cells are free, on every map."""
    target = assign(torch.tensor([square(128, 128, 128)]), ~YES, CELLS)
    away = (CELLS.middles - 128).abs().amax(1)
    assert set(target[away <= 64].tolist()) == {EITHER}
    assert set(target[away > 64].tolist()) == {NOTHING}


def test_of_two_faces_the_nearer_is_answered() -> None:
    """In shares of their sizes, so that a small face before a large one keeps its cells."""
    boxes = torch.tensor([square(100, 100, 80), square(130, 100, 76)])
    target = assign(boxes, torch.tensor([True, True]), CELLS)
    for face, x in ((0, 100.0), (1, 130.0)):
        nearest = ((CELLS.middles - torch.tensor([x, 100.0])).abs().amax(1) + (CELLS.strides != 16) * 1e6).argmin()
        assert target[nearest] == face


def test_a_right_answer_costs_nothing_and_a_wrong_one_does() -> None:
    """The score is to be the overlap, which is 1 for the very box."""
    wanted = torch.tensor([[square(20, 20, 10), square(0, 0, 1)]])
    targets = torch.tensor([[0, NOTHING]])
    sure = torch.tensor([[20.0, -20.0]])
    right = detection_loss(sure, wanted.clone(), targets, wanted)
    assert float(right["loss"]) == pytest.approx(0, abs=1e-5)
    missed = detection_loss(-sure, wanted.clone(), targets, wanted)
    assert float(missed["score"]) > 10
    off = detection_loss(sure, wanted + 4, targets, wanted)
    assert float(off["box"]) > 0.5


def test_cells_that_may_answer_either_way_cost_nothing() -> None:
    """Whatever they say."""
    wanted = torch.zeros(1, 1, 4)
    loss = detection_loss(torch.tensor([[5.0]]), wanted, torch.tensor([[EITHER]]), wanted)
    assert float(loss["loss"]) == 0


def test_overlaps_are_those_of_the_formula() -> None:
    """Half shared; apart by a gap as wide as they are; the same."""
    first = torch.tensor([[0.0, 0, 2, 2], [0, 0, 1, 1], [3, 3, 5, 8]])
    second = torch.tensor([[1.0, 0, 3, 2], [2, 0, 3, 1], [3, 3, 5, 8]])
    overlap, generalised = overlap_and_giou(first, second)
    torch.testing.assert_close(overlap, torch.tensor([1 / 3, 0.0, 1.0]))
    torch.testing.assert_close(generalised, torch.tensor([1 / 3, -1 / 3, 1.0]))
