"""Batches of cutouts become batches of crops on the device that learns from them."""

from __future__ import annotations

from typing import TypeVar, cast

from torch import Tensor

from lightmark.data.cutout import CutoutBatch
from lightmark.data.dataset import Batch
from lightmark.data.device.changes import change_batch
from lightmark.data.device.warp import warp_batch

Value = TypeVar("Value")


def crops_of(cutouts: CutoutBatch, device: str) -> Batch:
    """The batch on `device` that a `CropDataset` gives of the same faces, but for rounding (docs/scaling.md).

    Crops (B, 3, S, S) lie in memory pixel by pixel (channels last), as networks here take them.
    """
    cutouts = move(cutouts, device)
    crops = change_batch(warp_batch(cutouts.view), cutouts.changes)
    return Batch(crops.permute(0, 3, 1, 2), cutouts.points, cutouts.tough, cutouts.tolerant)


def move(value: Value, device: str) -> Value:
    """A tensor, or a named tuple with all that are in it, on `device`; from pinned memory without waiting."""
    if isinstance(value, Tensor):
        return cast(Value, value.to(device, non_blocking=True))
    if isinstance(value, tuple):
        return type(value)(*(move(part, device) for part in value))
    return value
