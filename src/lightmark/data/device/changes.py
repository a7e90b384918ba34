"""Pixel changes of a whole batch on any device, each rounded where `lightmark.data.augment` rounds it."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from lightmark.data.device.grouped import (
    Covered,
    GroupedChanges,
    Noised,
    Recoloured,
    Reduced,
    Rolled,
    Shaken,
    Softened,
)
from lightmark.data.device.jpeg import compress_batch

LUMA = 9798, 19235, 3735  # 0.299, 0.587, 0.114 in 2⁻¹⁵, as OpenCV has them
RESIZE = 2048  # OpenCV's linear resize weighs in 2⁻¹¹


@torch.no_grad()
def change_batch(crops: Tensor, changes: GroupedChanges) -> Tensor:
    """`crops` uint8 (B, S, S, 3), changed in place and returned."""
    if changes.colour is not None:
        crops[changes.colour.which] = recolour(crops[changes.colour.which], changes.colour)
    if changes.grey is not None:
        crops[changes.grey] = to_grey(crops[changes.grey])
    if changes.cover is not None:
        _cover(crops, changes.cover)
    if changes.roll is not None:
        _roll(crops, changes.roll)
    if changes.small is not None:
        crops[changes.small.which] = reduce(crops[changes.small.which], changes.small)
    if changes.gaussian is not None:
        crops[changes.gaussian.which] = soften(crops[changes.gaussian.which], changes.gaussian)
    if changes.motion is not None:
        crops[changes.motion.which] = shake(crops[changes.motion.which], changes.motion)
    if changes.noise is not None:
        crops[changes.noise.which] = add_noise(crops[changes.noise.which], changes.noise)
    if changes.jpeg is not None:
        crops[changes.jpeg.which] = compress_batch(crops[changes.jpeg.which], changes.jpeg.qualities)
    return crops


def recolour(crops: Tensor, colour: Recoloured) -> Tensor:
    """Crops uint8 (K, S, S, 3) through their tables, then a share of their grey."""
    coloured = colour.tables.gather(1, crops.flatten(1, 2).long()).view_as(crops)
    share = colour.shares.view(-1, 1, 1, 1)
    return _levels(coloured * (1 - share) + to_grey(coloured) * share)


def to_grey(crops: Tensor) -> Tensor:
    """Brightness in all channels, uint8 (K, S, S, 3)."""
    red, green, blue = crops.int().unbind(-1)
    grey = (red * LUMA[0] + green * LUMA[1] + blue * LUMA[2] + 2**14) >> 15
    return grey.to(torch.uint8)[..., None].expand_as(crops)


def _cover(crops: Tensor, cover: Covered) -> None:
    crops.view(-1, 3)[cover.where] = cover.colours


def _roll(crops: Tensor, roll: Rolled) -> None:
    pixels = crops.view(-1, 3)
    pixels[roll.where] = pixels[roll.sources]


def reduce(crops: Tensor, small: Reduced) -> Tensor:
    """Crops uint8 (K, S, S, 3) reduced by area to their sides, and linearly enlarged again."""
    size = crops.shape[1]
    means = _separable(area_weights(small.sides, small.longest, size), crops.float())
    # OpenCV halves by (a + b + c + d + 2) >> 2, which rounds a half up; other halves go to the even number.
    halved = (2 * small.sides == size).view(-1, 1, 1, 1)
    means = torch.where(halved, (means + 0.5).floor(), means.round())
    return enlarge(means.int(), small.sides, size)


def area_weights(sides: Tensor, longest: int, size: int) -> Tensor:
    """Shares float32 (K, T, S) that each pixel of `size` has in each of the `sides` (K,) many; T is the `longest` side.

    Pixels of `size` are `side` units long, those of `side` are `size` units, and overlaps whole numbers.
    """
    sides = sides.view(-1, 1, 1)
    place = torch.arange(longest, device=sides.device).view(1, -1, 1)
    pixel = torch.arange(size, device=sides.device)
    overlap = torch.minimum((place + 1) * size, (pixel + 1) * sides) - torch.maximum(place * size, pixel * sides)
    return torch.where(place < sides, overlap.clamp(min=0), 0) / size


def enlarge(crops: Tensor, sides: Tensor, size: int) -> Tensor:
    """The upper left `sides` (K,) of crops int32 (K, T, T, 3), linearly enlarged to uint8 (K, `size`, `size`, 3).

    In OpenCV's whole numbers: its columns end at the last pixel, its rows are weighed on and only then repeated.
    """
    last = sides[:, None] - 1
    place = (2 * torch.arange(size, device=sides.device) + 1) * sides[:, None] - size
    low, share = place // (2 * size), (place % (2 * size) * RESIZE // size + 1) // 2
    ends = (low < 0) | (low >= last)
    wide = _mix(crops, 2, low.clamp(min=0).minimum(last), last, torch.where(ends, 0, share))
    above, below = (_pick(wide >> 4, 1, row.clamp(min=0).minimum(last)) for row in (low, low + 1))
    share = share.int()[:, :, None, None]
    return ((((above * (RESIZE - share)) >> 16) + ((below * share) >> 16) + 2) >> 2).to(torch.uint8)


def _mix(crops: Tensor, axis: int, low: Tensor, last: Tensor, share: Tensor) -> Tensor:
    share = share.int().view(len(crops), *(-1 if side == axis else 1 for side in (1, 2, 3)))
    return _pick(crops, axis, low) * (RESIZE - share) + _pick(crops, axis, (low + 1).minimum(last)) * share


def _pick(crops: Tensor, axis: int, places: Tensor) -> Tensor:
    """Rows (`axis` 1) or columns (2) of each crop at its own `places` (K, S)."""
    shape = list(crops.shape)
    shape[axis] = places.shape[1]
    index = places.view(len(crops), *(-1 if side == axis else 1 for side in (1, 2, 3)))
    return crops.gather(axis, index.expand(shape))


def soften(crops: Tensor, gaussian: Softened) -> Tensor:
    """Crops uint8 (K, S, S, 3) under their Gaussians, mirrored about their border pixels.

    All sums are whole and below 2²⁴, so that float32 holds them exactly, on any device that does not round its inputs.
    """
    sums = _separable(_bands(gaussian.weights, crops.shape[1]), crops.float())
    return ((sums.round().int() + 2**15) >> 16).to(torch.uint8)


def _bands(weights: Tensor, size: int) -> Tensor:
    """Matrices (K, S, S) that apply `weights` (K, T) to every pixel of a line of `size`."""
    count, length = weights.shape
    pixel = torch.arange(size, device=weights.device)[:, None]
    place = (pixel + torch.arange(length, device=weights.device) - length // 2).abs()
    place = torch.where(place < size, place, 2 * (size - 1) - place).expand(count, -1, -1)
    bands = weights.new_zeros(count, size, size)
    return bands.scatter_add_(2, place, weights[:, None].expand(-1, size, -1))


def shake(crops: Tensor, motion: Shaken) -> Tensor:
    """Crops uint8 (K, S, S, 3), each pixel the mean along its crop's trace, mirrored about the border pixels."""
    reach = motion.traces.shape[1] // 2
    planes = F.pad(crops.permute(3, 0, 1, 2).float(), (reach,) * 4, mode="reflect")
    sums = F.conv2d(planes, motion.traces[:, None], groups=len(crops)).round()
    return _levels((sums / motion.traces.sum((1, 2))[:, None, None]).permute(1, 2, 3, 0))


def add_noise(crops: Tensor, noise: Noised) -> Tensor:
    """Crops uint8 (K, S, S, 3) with noise of their own."""
    return (crops.to(torch.int16) + noise.noise).clamp(0, 255).to(torch.uint8)


def _separable(matrices: Tensor, planes: Tensor) -> Tensor:
    """`matrices` (K, T, S) applied to rows and columns of `planes` (K, S, S, 3), giving (K, T, T, 3)."""
    for _ in range(2):
        lines = matrices @ planes.flatten(2)
        planes = lines.view(*lines.shape[:2], -1, 3).transpose(1, 2)
    return planes


def _levels(values: Tensor) -> Tensor:
    return values.round().clamp(0, 255).to(torch.uint8)
