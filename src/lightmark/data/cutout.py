"""Cutouts: what a crop needs of its picture and how it is to change, for a device that makes whole batches of crops."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from lightmark.data.augment import PixelChanges
from lightmark.data.device.grouped import GroupedChanges, group_changes
from lightmark.data.device.warp import View, sampling_steps
from lightmark.geometry import Array
from lightmark.image import Picture


class Cutout(NamedTuple):
    """One crop to be of `size`×`size` pixels.

    `part` (H, W, 3) is all that it shows of its picture, `matrix` moves its pixels to the crop's. Targets and both
    teachers' points are unit_points float32 (N, 2), as in a `Batch`.
    """

    part: Picture
    matrix: Array
    changes: PixelChanges
    size: int
    points: Tensor
    tough: Tensor
    tolerant: Tensor


class CutoutBatch(NamedTuple):
    """Many cutouts in few tensors, and the points (B, N, 2) that go with the crops."""

    view: View
    changes: GroupedChanges
    points: Tensor
    tough: Tensor
    tolerant: Tensor


def collate_cutouts(cutouts: Sequence[Cutout]) -> CutoutBatch:
    """One batch of many cutouts of one size."""
    size = cutouts[0].size
    points, tough, tolerant = (
        torch.stack(tensors) for tensors in zip(*((c.points, c.tough, c.tolerant) for c in cutouts), strict=True)
    )
    view = _view([cutout.part for cutout in cutouts], np.stack([cutout.matrix for cutout in cutouts]), size)
    return CutoutBatch(view, group_changes([cutout.changes for cutout in cutouts], size), points, tough, tolerant)


def _view(parts: Sequence[Picture], matrices: Array, size: int) -> View:
    areas = [part.shape[0] * part.shape[1] for part in parts]
    ends = np.cumsum(areas)
    pixels = np.empty((ends[-1], 3), np.uint8)
    for part, area, end in zip(parts, areas, ends, strict=True):
        pixels[end - area : end].reshape(part.shape)[:] = part
    places = np.array([[end - area, *part.shape[:2]] for part, area, end in zip(parts, areas, ends, strict=True)])
    return View(*map(torch.from_numpy, (pixels, places.astype(np.int64), *sampling_steps(matrices, size))))
