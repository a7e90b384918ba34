"""Target assignment and loss of the face detector."""

from __future__ import annotations

from typing import Final, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from lightmark.nets.face_detector import BASES, STRIDES, CellOutputs, cell_geometry

# Longer sides, in network pixels, of the boxes assigned to each stride; the ranges overlap, so that both strides learn
# the sizes between them.
RANGES: Final = ((0.0, 36.0), (28.0, 92.0), (72.0, float("inf")))
NEAR: Final = 1.5  # a cell is positive within this many cells of the box's centre,
INNER: Final = 0.3  # but not further than this share of the box's longer side
OUTER: Final = 0.5  # share of the longer side within which other cells are ignored instead of negative
SLACK: Final = 1.4  # factor beyond a stride's range of sizes up to which its cells are ignored too
BOX_WEIGHT: Final = 4.0
KEYPOINT_WEIGHT: Final = 8.0
KEYPOINT_BEND: Final = 0.05  # of the box's longer side: smaller keypoint errors count by their square
BACKGROUND: Final = -1  # target of a negative cell
IGNORED: Final = -2  # target of a cell without loss


class Cells(NamedTuple):
    """Centres (C, 2) of a network's cells in pixels, and the stride and range of box sizes (C,) of each."""

    middles: Tensor
    strides: Tensor
    low: Tensor
    high: Tensor


def cells_of(height: int, width: int, device: str = "cpu") -> Cells:
    """Cells of a picture of `height`×`width` pixels, in the order of the network's outputs."""
    levels = zip(STRIDES, BASES, strict=True)
    maps = [
        cell_geometry(torch.zeros(1, 1, height // stride, width // stride, device=device), stride, base)[0]
        for stride, base in levels
    ]
    counts = torch.tensor([part.shape[1] for part in maps], device=device)
    ranges = (column.repeat_interleave(counts) for column in torch.tensor(RANGES, device=device).T)
    geometry = torch.cat(maps, 1)
    return Cells(geometry[:2].T, geometry[2], *ranges)


def assign(boxes: Tensor, counts: Tensor, cells: Cells) -> Tensor:
    """Assign `boxes` (F, 4) to cells: index of the cell's box, BACKGROUND or IGNORED (C,).

    A positive cell gets the box with the nearest centre, relative to the box's side, among the boxes in its stride's
    range whose centre is at most NEAR cells away. Cells near a box with `counts` (F,) false are ignored.
    """
    if len(boxes) == 0:
        return torch.full((len(cells.middles),), BACKGROUND, device=cells.middles.device)
    centres, sides = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]).amax(1)
    away = (cells.middles[:, None] - centres).abs().amax(-1)  # (C, F)
    reach = torch.minimum(NEAR * cells.strides[:, None], INNER * sides).clamp(min=0.5 * cells.strides[:, None])
    fits = (cells.low[:, None] <= sides) & (sides < cells.high[:, None])
    nearly = (cells.low[:, None] / SLACK <= sides) & (sides < cells.high[:, None] * SLACK)
    positive = fits & (away <= reach) & counts
    ignored = (nearly & (away <= OUTER * sides)) | (~counts & (away <= OUTER * sides))
    nearest = torch.where(positive, away / sides, torch.inf).argmin(1)
    target = torch.where(ignored.any(1), IGNORED, BACKGROUND)
    return torch.where(positive.any(1), nearest, target)


def detection_loss(
    outputs: CellOutputs, targets: Tensor, target_boxes: Tensor, target_keypoints: Tensor
) -> dict[str, Tensor]:
    """Named losses of a network's outputs: focal loss of the score, GIoU loss of the box, keypoint loss.

    `targets` (B, C) are those of `assign`, `target_boxes` (B, C, 4) and `target_keypoints` (B, C, 5, 2) those of
    positive cells. All losses (Lin et al. 2017, γ = 2; Rezatofighi et al. 2019; smooth L1 in longer sides of the target
    box) are divided by the number of positive cells. A score target of the box's IoU (Li et al. 2020) was tried and
    dropped: a small face has a low IoU, however certain the face is.
    """
    logits, boxes, keypoints = outputs
    positive, counted = targets >= 0, targets != IGNORED
    generalised = overlap_and_giou(boxes[positive], target_boxes[positive])[1]
    face = positive.float()
    error = F.binary_cross_entropy_with_logits(logits, face, reduction="none")
    score = (error * (logits.sigmoid() - face).detach().square() * counted).sum()
    count = positive.sum().clamp(min=1)
    # Of positive cells only: the box of any other may have no side to divide by.
    off = keypoint_losses(keypoints[positive], target_keypoints[positive], target_boxes[positive])
    parts = {
        "score": score / count,
        "box": BOX_WEIGHT * (1 - generalised).sum() / count,
        "keypoints": KEYPOINT_WEIGHT * off.sum() / count,
    }
    return {"loss": parts["score"] + parts["box"] + parts["keypoints"], **parts}


def keypoint_losses(keypoints: Tensor, targets: Tensor, boxes: Tensor) -> Tensor:
    """Mean smooth L1 (M,) of keypoints (M, 5, 2) against `targets`, in longer sides of the target `boxes` (M, 4)."""
    sides = (boxes[:, 2:] - boxes[:, :2]).amax(1)[:, None, None]
    return F.smooth_l1_loss(keypoints / sides, targets / sides, reduction="none", beta=KEYPOINT_BEND).mean((1, 2))


def overlap_and_giou(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """IoU and generalised IoU (M,) of paired boxes (M, 4)."""
    low, high = torch.maximum(first[:, :2], second[:, :2]), torch.minimum(first[:, 2:], second[:, 2:])
    shared = (high - low).clamp(min=0).prod(1)
    union = sum((boxes[:, 2:] - boxes[:, :2]).prod(1) for boxes in (first, second)) - shared
    around = (torch.maximum(first[:, 2:], second[:, 2:]) - torch.minimum(first[:, :2], second[:, :2])).prod(1)
    overlap = shared / union
    return overlap, overlap - (around - union) / around
