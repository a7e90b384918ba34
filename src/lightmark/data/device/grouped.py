"""Pixel changes of many crops, grouped by kind: each group is changed at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lightmark.data.augment import Cover, PixelChanges
from lightmark.geometry import Array

Value = TypeVar("Value")


class Recoloured(NamedTuple):
    """Crops `which` (K,), their tables uint8 (K, 256, 3) and the share of grey float32 (K,)."""

    which: Tensor
    tables: Tensor
    shares: Tensor


class Covered(NamedTuple):
    """Pixels int32 (P,), counted over the whole batch row by row, and the colours uint8 (P, 3) that they become."""

    where: Tensor
    colours: Tensor


class Rolled(NamedTuple):
    """Pixels int32 (P,), counted over the whole batch row by row, and the pixels (P,) whose colours they take."""

    where: Tensor
    sources: Tensor


class Reduced(NamedTuple):
    """Crops `which` (K,), the sides int64 (K,) that they are reduced to, and the longest of these."""

    which: Tensor
    sides: Tensor
    longest: int  # a number here, since a device that is asked for one must first finish


class Softened(NamedTuple):
    """Crops `which` (K,) and their Gaussian weights float32 (K, T), whole 256ths, T odd."""

    which: Tensor
    weights: Tensor


class Shaken(NamedTuple):
    """Crops `which` (K,) and float32 (K, M, M), M odd: 1 where the camera moved along, else 0."""

    which: Tensor
    traces: Tensor


class Noised(NamedTuple):
    """Crops `which` (K,) and what is added, int8 (K, S, S, 3)."""

    which: Tensor
    noise: Tensor


class Compressed(NamedTuple):
    """Crops `which` (K,) and JPEG's qualities int32 (K,)."""

    which: Tensor
    qualities: Tensor


class GroupedChanges(NamedTuple):
    """The changes of a batch in the order in which they are made; None where no crop has one."""

    colour: Recoloured | None
    grey: Tensor | None  # crops (K,)
    cover: Covered | None
    roll: Rolled | None
    small: Reduced | None
    gaussian: Softened | None
    motion: Shaken | None
    noise: Noised | None
    jpeg: Compressed | None


def group_changes(changes: Sequence[PixelChanges], size: int) -> GroupedChanges:
    """The changes of a batch's crops, each `size`×`size`, by their kinds."""
    blurs = [change.blur for change in changes]
    return GroupedChanges(
        _group([change.colour for change in changes], lambda index, colours: Recoloured(
            index, _stack([colour.table for colour in colours]), torch.tensor([colour.share for colour in colours])
        )),
        _group([change.grey or None for change in changes], lambda index, _: index),
        _group([_filled(change.cover) for change in changes], lambda index, covers: _cover(index, covers, size)),
        _group([_rolled(change.cover) for change in changes], lambda index, covers: _roll(index, covers, size)),
        _group([change.small for change in changes], lambda index, sides: Reduced(
            index, torch.tensor(sides), max(sides)
        )),
        _group([blur if isinstance(blur, float) else None for blur in blurs], _soften),
        _group([None if isinstance(blur, float) else blur for blur in blurs], _shake),
        # Crops are whole numbers, so whole noise gives the same sums, in a quarter of the bytes; and it is at most 14
        # times a normal number, which 9 standard deviations do not bring out of 8 bits.
        _group([change.noise for change in changes], lambda index, noises: Noised(
            index, _stack([np.rint(noise).clip(-128, 127).astype(np.int8) for noise in noises])
        )),
        _group([change.quality for change in changes], lambda index, qualities: Compressed(
            index, torch.tensor(qualities, dtype=torch.int32)
        )),
    )  # fmt: skip


Group = TypeVar("Group")


def _group(values: Sequence[Value | None], make: Callable[[Tensor, list[Value]], Group]) -> Group | None:
    """`make` of the crops' numbers that have a value, and of their values; None where none has."""
    having = [(number, value) for number, value in enumerate(values) if value is not None]
    return make(torch.tensor([number for number, _ in having]), [value for _, value in having]) if having else None


def _stack(arrays: Sequence[NDArray[np.generic]]) -> Tensor:
    return torch.from_numpy(np.stack(arrays))


def _filled(cover: Cover | None) -> Cover | None:
    return None if cover is None or cover.fill is None else cover


def _rolled(cover: Cover | None) -> Cover | None:
    return None if cover is None or cover.fill is not None else cover


def _cover(index: Tensor, covers: list[Cover], size: int) -> Covered:
    inside = [np.flatnonzero(cover.inside) for cover in covers]
    colours = [np.broadcast_to(cover.fill, (len(own), 3)) for cover, own in zip(covers, inside, strict=True)]  # type: ignore[arg-type]  # only those with a fill
    return Covered(_flat(index, inside, size), torch.from_numpy(np.concatenate(colours)))


def _roll(index: Tensor, covers: list[Cover], size: int) -> Rolled:
    inside = [np.flatnonzero(cover.inside) for cover in covers]
    sources = []
    for cover, own in zip(covers, inside, strict=True):
        rows, columns = np.divmod(own, size)
        sources.append((rows - cover.shift[0]) % size * size + (columns - cover.shift[1]) % size)
    return Rolled(_flat(index, inside, size), _flat(index, sources, size))


def _flat(index: Tensor, places: list[NDArray[np.intp]], size: int) -> Tensor:
    """Places within each crop as places in the whole batch."""
    starts = (index.numpy() * size**2).tolist()
    shifted = [own + start for own, start in zip(places, starts, strict=True)]
    return torch.from_numpy(np.concatenate(shifted).astype(np.int32))


def _soften(index: Tensor, sigmas: list[float]) -> Softened:
    kernels = [gaussian_weights(sigma) for sigma in sigmas]
    longest = max(map(len, kernels))
    return Softened(index, _stack([np.pad(kernel, (longest - len(kernel)) // 2) for kernel in kernels]))


def gaussian_weights(sigma: float) -> NDArray[np.float32]:
    """Weights (T,) of OpenCV's Gaussian on bytes, whole 256ths: each is rounded with what the last one left over."""
    length = round(sigma * 6 + 1) | 1
    exact = cv2.getGaussianKernel(length, sigma)[: length // 2, 0] * 256
    weights, left = np.zeros(length, np.float32), 0.0
    for place, weight in enumerate(exact):
        whole = np.rint(weight + left)
        left += weight - whole
        weights[place] = weights[length - 1 - place] = whole
    weights[length // 2] = 256 - weights.sum()
    return weights


def _shake(index: Tensor, kernels: list[Array]) -> Shaken:
    reach = max(len(kernel) for kernel in kernels) // 2
    traces = np.zeros((len(kernels), 2 * reach + 1, 2 * reach + 1), np.float32)
    for trace, kernel in zip(traces, kernels, strict=True):
        first = reach - len(kernel) // 2  # OpenCV's anchor is the kernel's middle, of an even one that to the right
        trace[first : first + len(kernel), first : first + len(kernel)] = kernel > 0
    return Shaken(index, torch.from_numpy(traces))
