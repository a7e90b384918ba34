"""JPEG and back for a whole batch on any device, as libjpeg does it: baseline, chroma halved, smooth upsampling.

The steps and their whole-number arithmetic, which ITU-T T.81 leaves open, are those of the Independent JPEG Group's
library and of libjpeg-turbo after it, so that the bytes are OpenCV's.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

# T.81, tables K.1 and K.2, row by row: what luma and chroma coefficients are divided by at quality 50.
LUMA = [
    16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55,
    14, 13, 16, 24, 40, 57, 69, 56, 14, 17, 22, 29, 51, 87, 80, 62,
    18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92,
    49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99,
]  # fmt: skip
CHROMA = [
    17, 18, 24, 47, 99, 99, 99, 99, 18, 21, 26, 66, 99, 99, 99, 99,
    24, 26, 56, 99, 99, 99, 99, 99, 47, 66, 99, 99, 99, 99, 99, 99,
    *[99] * 32,
]  # fmt: skip
# The left half of √8 times the cosine transform, in 2⁻¹³; even rows go on mirrored, odd ones mirrored and negative.
# The library sums three or four rounded products where one would do, hence 10703 beside 10704.
HALF_COSINES = [
    [8192, 8192, 8192, 8192],
    [11363, 9633, 6437, 2260],
    [10703, 4433, -4433, -10703],
    [9633, -2259, -11362, -6436],
    [8192, -8192, -8192, 8192],
    [6437, -11362, 2261, 9633],
    [4433, -10704, 10704, -4433],
    [2260, -6436, 9633, -11363],
]


def compress_batch(crops: Tensor, qualities: Tensor) -> Tensor:
    """Crops uint8 (K, S, S, 3) as they come back from JPEG of their `qualities` int (K,), 1 to 100."""
    size = crops.shape[1]
    luma, blue, red = _to_ycc(crops)
    luma = _quantise(_pad(luma, 8, 8), _divisors(LUMA, qualities))[:, :size, :size]
    chroma = [_enlarge(_quantise(_halve(plane), _divisors(CHROMA, qualities)), size) for plane in (blue, red)]
    return _to_rgb(luma, *chroma)


def _fix(value: float) -> int:
    """`value` in 2⁻¹⁶."""
    return math.floor(value * 2**16 + 0.5)


def _to_ycc(crops: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Luma, blue and red difference, int32 (K, S, S) from 0 to 255."""
    red, green, blue = crops.int().unbind(-1)
    half, middle = 2**15, (128 << 16) + 2**15 - 1
    return (
        (red * _fix(0.299) + green * _fix(0.587) + blue * _fix(0.114) + half) >> 16,
        (red * -_fix(0.168735892) - green * _fix(0.331264108) + blue * _fix(0.5) + middle) >> 16,
        (red * _fix(0.5) - green * _fix(0.418687589) - blue * _fix(0.081312411) + middle) >> 16,
    )


def _to_rgb(luma: Tensor, blue: Tensor, red: Tensor) -> Tensor:
    blue, red = blue - 128, red - 128
    half = 2**15
    planes = (
        luma + ((red * _fix(1.402) + half) >> 16),
        luma + ((blue * -_fix(0.344136286) - red * _fix(0.714136286) + half) >> 16),
        luma + ((blue * _fix(1.772) + half) >> 16),
    )
    return torch.stack(planes, dim=-1).clamp(0, 255).to(torch.uint8)


def _pad(plane: Tensor, rows: int, columns: int) -> Tensor:
    """`plane` (K, H, W) with its last row and column repeated up to multiples of `rows` and `columns`."""
    _, height, width = plane.shape
    if height % rows == 0 and width % columns == 0:
        return plane
    down, right = (
        torch.arange(side + -side % step, device=plane.device).clamp(max=side - 1)
        for side, step in ((height, rows), (width, columns))
    )
    return plane[:, down][:, :, right]


def _halve(plane: Tensor) -> Tensor:
    """Means of 2×2 pixels, filled up to blocks: columns before they are halved, rows after."""
    plane = _pad(plane, 2, 16)
    sums = plane[:, ::2, ::2] + plane[:, ::2, 1::2] + plane[:, 1::2, ::2] + plane[:, 1::2, 1::2]
    bias = 1 + torch.arange(sums.shape[2], device=plane.device, dtype=torch.int32) % 2  # rounds up every other time
    return _pad((sums + bias) >> 2, 8, 8)


def _divisors(table: list[int], qualities: Tensor) -> Tensor:
    """Divisors int32 (K, 8, 8) of `table` at each quality."""
    percent = torch.where(qualities < 50, 5000 // qualities, 200 - 2 * qualities).int()
    base = torch.tensor(table, dtype=torch.int32, device=qualities.device).view(8, 8)
    return ((base * percent.view(-1, 1, 1) + 50) // 100).clamp(1, 255)


def _quantise(plane: Tensor, divisors: Tensor) -> Tensor:
    """`plane` int32 (K, H, W), sides multiples of 8, as its rounded coefficients tell it."""
    cosines, divisors = _cosines(plane.device), divisors[:, None, None]
    count, height, width = plane.shape
    blocks = (plane - 128).reshape(count, height // 8, 8, width // 8, 8).transpose(2, 3).double()
    eighths = _shift(cosines @ _shift(blocks @ cosines.T, 11), 15).int()  # of the orthonormal coefficients
    levels = (eighths.abs() + 4 * divisors) // (8 * divisors) * eighths.sign()
    restored = _shift(_shift(cosines.T @ (levels * divisors).double(), 11) @ cosines, 18).int() + 128
    return restored.clamp(0, 255).transpose(2, 3).reshape(plane.shape)


def _cosines(device: torch.device) -> Tensor:
    """The library's cosine transform (8, 8), whole numbers in float64: sums of its products pass 2²⁴, not 2⁵³."""
    left = torch.tensor(HALF_COSINES, dtype=torch.float64)
    right = left.flip(1)
    right[1::2] *= -1
    return torch.cat([left, right], dim=1).to(device)


def _shift(values: Tensor, bits: int) -> Tensor:
    """`values` over 2 to the `bits`, rounded, halves up."""
    return (values / 2.0**bits + 0.5).floor()


def _enlarge(plane: Tensor, size: int) -> Tensor:
    """Chroma int32 (K, H, W) at twice its size, (K, `size`, `size`): 3/4 of the nearer pixel and 1/4 of the next."""
    half = (size + 1) // 2
    plane = plane[:, :half, :half]
    padded = F.pad(plane[:, None].float(), (1, 1, 1, 1), mode="replicate")[:, 0].int()
    rows = 3 * padded[:, 1:-1]
    tall = torch.stack([rows + padded[:, :-2], rows + padded[:, 2:]], dim=2).flatten(1, 2)
    near = 3 * tall[:, :, 1:-1]
    wide = torch.stack([(near + tall[:, :, :-2] + 8) >> 4, (near + tall[:, :, 2:] + 7) >> 4], dim=3).flatten(2, 3)
    return wide[:, :size, :size]
