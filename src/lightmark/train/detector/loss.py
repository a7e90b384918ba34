"""What each cell of a FaceDetectorNet is to answer, and how far off it is."""

from __future__ import annotations

from typing import Final, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from lightmark.nets.face_detector import STRIDES, cell_middles

# Longer sides, in network pixels, of the boxes that each stride answers; between two, both do.
RANGES: Final = ((0.0, 36.0), (28.0, 92.0), (72.0, float("inf")))
NEAR: Final = 1.5  # cells from the box's centre, within which a cell answers it,
INNER: Final = 0.3  # but not further than this share of its longer side
OUTER: Final = 0.5  # share of the longer side within which a cell that does not answer is not told off either
SLACK: Final = 1.4  # factor beyond a stride's range up to which that holds
BOX_WEIGHT: Final = 2.0
NOTHING: Final = -1
EITHER: Final = -2


class Cells(NamedTuple):
    """Centres (C, 2) of a network's cells in pixels, and the stride and range of sizes (C,) of each."""

    middles: Tensor
    strides: Tensor
    low: Tensor
    high: Tensor


def cells_of(height: int, width: int, device: str = "cpu") -> Cells:
    """The cells of a picture of `height`×`width` pixels, in the network's order."""
    like = torch.zeros(0, device=device)
    middles = [cell_middles(height // stride, width // stride, stride, like) for stride in STRIDES]
    counts = torch.tensor([len(part) for part in middles], device=device)
    columns = [torch.tensor(STRIDES, device=device).float(), *torch.tensor(RANGES, device=device).T]
    return Cells(torch.cat(middles), *(column.repeat_interleave(counts) for column in columns))


def assign(boxes: Tensor, counts: Tensor, cells: Cells) -> Tensor:
    """Which of `boxes` (F, 4) each cell answers (C,): its number, NOTHING, or EITHER where no answer is wrong.

    A cell answers the box whose centre it is nearest to, in shares of the box's side, among those of its stride's sizes
    whose centre is at most NEAR cells away. Where a box does not count (`counts` (F,) false) either answer will do.
    """
    if len(boxes) == 0:
        return torch.full((len(cells.middles),), NOTHING, device=cells.middles.device)
    centres, sides = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]).amax(1)
    away = (cells.middles[:, None] - centres).abs().amax(-1)  # (C, F)
    reach = torch.minimum(NEAR * cells.strides[:, None], INNER * sides).clamp(min=0.5 * cells.strides[:, None])
    fits = (cells.low[:, None] <= sides) & (sides < cells.high[:, None])
    nearly = (cells.low[:, None] / SLACK <= sides) & (sides < cells.high[:, None] * SLACK)
    answers = fits & (away <= reach) & counts
    either = (nearly & (away <= OUTER * sides)) | (~counts & (away <= OUTER * sides))
    nearest = torch.where(answers, away / sides, torch.inf).argmin(1)
    target = torch.where(either.any(1), EITHER, NOTHING)
    return torch.where(answers.any(1), nearest, target)


def detection_loss(logits: Tensor, boxes: Tensor, targets: Tensor, wanted: Tensor) -> dict[str, Tensor]:
    """Named losses of logits (B, C) and boxes (B, C, 4), given `targets` (B, C) of `assign` and boxes `wanted`.

    `wanted` (B, C, 4) holds each answering cell's box. The score learns whether the cell answers (focal loss, Lin et
    al. 2017, γ = 2), the box by its generalised overlap (GIoU, Rezatofighi et al. 2019); both per answering cell. To
    score by how well the box fits (Li et al. 2020) was tried: a small face's fits badly, however surely it is a face.
    """
    positive, judged = targets >= 0, targets != EITHER
    generalised = overlap_and_giou(boxes[positive], wanted[positive])[1]
    face = positive.float()
    error = F.binary_cross_entropy_with_logits(logits, face, reduction="none")
    score = (error * (logits.sigmoid() - face).detach().square() * judged).sum()
    count = positive.sum().clamp(min=1)
    parts = {"score": score / count, "box": BOX_WEIGHT * (1 - generalised).sum() / count}
    return {"loss": parts["score"] + parts["box"], **parts}


def overlap_and_giou(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Intersection over union, and the generalised one, of paired boxes (M, 4): (M,) each."""
    low, high = torch.maximum(first[:, :2], second[:, :2]), torch.minimum(first[:, 2:], second[:, 2:])
    shared = (high - low).clamp(min=0).prod(1)
    union = sum((boxes[:, 2:] - boxes[:, :2]).prod(1) for boxes in (first, second)) - shared
    around = (torch.maximum(first[:, 2:], second[:, 2:]) - torch.minimum(first[:, :2], second[:, :2])).prod(1)
    overlap = shared / union
    return overlap, overlap - (around - union) / around
