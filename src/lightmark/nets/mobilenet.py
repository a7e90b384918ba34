"""MobileNetV2 (Sandler et al. 2018, arXiv 1801.04381), any width, as a feature extractor."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn

# Table 2 of the paper: expansion, channels, repeats, stride of each stage's first block.
STAGES: Final = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
# The slim network: hidden channels, channels and stride of each block. Fewer hidden channels, in multiples of 8, most
# where they cost the most time: at strides 2 and 4, whose maps do not fit a core's cache, and at stride 32, whose
# weights do not; there is one block less. 52 million multiply-adds at 128 px with a spatial head instead of 94.
SLIM_BLOCKS: Final = (
    (16, 16, 1),
    (48, 24, 2), (72, 24, 1),
    (96, 32, 2), (128, 32, 1), (128, 32, 1),
    (192, 64, 2), (256, 64, 1), (256, 64, 1), (256, 64, 1),
    (256, 96, 1), (384, 96, 1), (384, 96, 1),
    (256, 160, 2), (320, 160, 1),
    (320, 320, 1),
)  # fmt: skip
STEM_CHANNELS: Final = 32
LAST_CHANNELS: Final = 1280


def round_channels(channels: float, divisor: int = 8) -> int:
    """Nearest multiple of `divisor`, at most 10 % below `channels` (the rule of the paper's code).

    >>> round_channels(32 * 0.75), round_channels(10)
    (24, 16)
    """
    rounded = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * channels else rounded


def conv_norm(
    inputs: int, outputs: int, kernel: int, activation: type[nn.Module] | None, stride: int = 1, groups: int = 1
) -> nn.Sequential:
    """Convolution without bias, batch norm and activation (None: no activation)."""
    layers: list[nn.Module] = [
        nn.Conv2d(inputs, outputs, kernel, stride, (kernel - 1) // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
    ]
    if activation is not None:
        layers.append(activation(inplace=True))
    return nn.Sequential(*layers)


class InvertedResidual(nn.Module):
    """Inverted residual block: 1×1 expansion, depthwise 3×3, linear 1×1 projection, with a shortcut if shapes agree."""

    def __init__(self, inputs: int, hidden: int, outputs: int, stride: int) -> None:
        super().__init__()
        expand = [conv_norm(inputs, hidden, 1, nn.ReLU6)] if hidden != inputs else []
        self.layers = nn.Sequential(
            *expand, conv_norm(hidden, hidden, 3, nn.ReLU6, stride, groups=hidden), conv_norm(hidden, outputs, 1, None)
        )
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) → (B, outputs, H / stride, W / stride)."""
        y: Tensor = self.layers(x)
        return x + y if self.residual else y


def blocks_of(width: float, slim: bool) -> list[tuple[int, int, int]]:
    """Hidden channels, channels and stride of each block; the stem has as many channels as the first block hidden ones.

    >>> blocks_of(1.0, slim=False)[:3]
    [(32, 16, 1), (96, 24, 2), (144, 24, 1)]
    """
    if slim:
        return [
            (round_channels(hidden * width), round_channels(outputs * width), stride)
            for hidden, outputs, stride in SLIM_BLOCKS
        ]
    blocks, inputs = [], round_channels(STEM_CHANNELS * width)
    for expansion, unscaled, repeats, stride in STAGES:
        outputs = round_channels(unscaled * width)
        for repeat in range(repeats):
            blocks.append((inputs * expansion, outputs, stride if repeat == 0 else 1))
            inputs = outputs
    return blocks


def stem_for_thirds(weight: Tensor) -> Tensor:
    """Kernel (C, 3, 5, 5) of a stem of stride 3 that does what `weight` (C, 3, 3, 3) with stride 2 does after a resize.

    The resize is to two thirds of the side, bilinear: pixels 2i − 1, 2i and 2i + 1 of its result lie at 3i − 1.25,
    3i + 0.25 and 3i + 1.75, so that a row of the small kernel is spread over two pixels.

    >>> stem_for_thirds(torch.tensor([[[[0.0, 0, 0], [0, 4, 0], [0, 0, 0]]]])).flatten().nonzero().flatten().tolist()
    [12, 13, 17, 18]
    """
    spread = weight.new_tensor([[0.25, 0.75, 0, 0, 0], [0, 0, 0.75, 0.25, 0], [0, 0, 0, 0.25, 0.75]])
    return torch.einsum("ocij,ik,jl->ockl", weight, spread, spread)


class MobileNetV2(nn.Module):
    """MobileNetV2 backbone: feature maps at strides 16 and 32, whose numbers of channels are `channels`.

    With `last` the map at stride 32 is the output of the paper's last 1×1 convolution (1280 channels, more for widths
    above 1), otherwise its input (320 channels). `slim` has the channels of `SLIM_BLOCKS`. With `thirds` the stem is a
    5×5 convolution of stride 3, which can be that of a network for crops of two thirds of the side behind a bilinear
    resize (`stem_for_thirds`), and the maps have strides 24 and 48.
    """

    def __init__(self, width: float = 1.0, last: bool = True, slim: bool = False, thirds: bool = False) -> None:
        super().__init__()
        blocks = blocks_of(width, slim)
        channels = blocks[0][0]
        kernel, stride = (5, 3) if thirds else (3, 2)
        layers: list[nn.Module] = [conv_norm(3, channels, kernel, nn.ReLU6, stride)]
        for hidden, outputs, stride in blocks:
            layers.append(InvertedResidual(channels, hidden, outputs, stride))
            channels = outputs
        self.fine = nn.Sequential(*layers[:14])  # the stem and the blocks up to 96 channels, stride 16
        coarse = layers[14:]
        fine_channels = round_channels(96 * width)
        if last:
            outputs = round_channels(LAST_CHANNELS * max(1.0, width))
            coarse.append(conv_norm(channels, outputs, 1, nn.ReLU6))
            channels = outputs
        self.coarse = nn.Sequential(*coarse)
        self.channels = (fine_channels, channels)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Planes (B, 3, S, S) → maps at strides 16 and 32."""
        fine = self.fine(x)
        return fine, self.coarse(fine)
