"""The warp of a whole batch on any device, bit for bit OpenCV's."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lightmark.geometry import Array

# warpAffine rounds matrix products to 1/1024 px, places to 1/32 px, and weighs four pixels by the products of 32nds.
STEP, PLACE = 1024, 32
FAR = 2**29  # in steps, outside every picture; two of them still fit into 32 bits


class View(NamedTuple):
    """What B crops of S×S pixels look at.

    `pixels` uint8 (P, 3) are all cutouts' pixels, one cutout after the other, row by row; `places` int64 (B, 3) where
    each begins among them, its height and its width. Crop pixel (column, row) of a cutout lies at x, y =
    `columns`[:, column] + `rows`[:, row], both int32 (B, 2, S), in steps of 1/1024 px.
    """

    pixels: Tensor
    places: Tensor
    columns: Tensor
    rows: Tensor


def sampling_steps(matrices: Array, size: int) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """`columns` and `rows` of a `View` for `matrices` (B, 2, 3), cutout → crop, which must not be singular.

    The inverse is written out as OpenCV has it, whose rounding another order of sums would not always meet.
    """
    a, b, c, d = (matrices[:, i, j] for i, j in ((0, 0), (0, 1), (1, 0), (1, 1)))
    determinant = 1 / (a * d - b * c)
    a, b, c, d = d * determinant, -b * determinant, -c * determinant, a * determinant
    x, y = matrices[:, 0, 2], matrices[:, 1, 2]
    steps = np.arange(size)
    along = np.stack([a, c], axis=1)[..., None] * steps
    across = np.stack([b, d], axis=1)[..., None] * steps + np.stack([-a * x - b * y, -c * x - d * y], axis=1)[..., None]
    columns, rows = (np.clip(np.rint(part * STEP), -FAR, FAR).astype(np.int32) for part in (along, across))
    return columns, rows


def warp_batch(view: View) -> Tensor:
    """Crops uint8 (B, S, S, 3), bilinear, zeros outside: what `lightmark.image.warp` makes of the same pictures."""
    return ((weigh(view) + PLACE**2 // 2) // PLACE**2).to(torch.uint8)


def weigh(view: View) -> Tensor:
    """The crops before they are rounded, int32 (B, S, S, 3), in 1/1024 of a grey level."""
    half = STEP // PLACE // 2
    at = (view.columns[:, :, None, :] + view.rows[:, :, :, None] + half) >> 5  # in 1/32 px: 1024 / 32 = 2⁵
    whole, share = at >> 5, (at & (PLACE - 1))[..., None]
    (x, y), (right, down) = whole.unbind(1), share.unbind(1)
    above = _pixels(view, x, y) * (PLACE - right) + _pixels(view, x + 1, y) * right
    below = _pixels(view, x, y + 1) * (PLACE - right) + _pixels(view, x + 1, y + 1) * right
    return above * (PLACE - down) + below * down


def _pixels(view: View, x: Tensor, y: Tensor) -> Tensor:
    """Pixels int32 (B, S, S, 3) at whole x, y (B, S, S) of each cutout; zero outside of it."""
    start, height, width = (each[:, None, None] for each in view.places.unbind(1))
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    index = torch.where(inside, start + y * width + x, 0)
    return view.pixels[index].int() * inside[..., None]
