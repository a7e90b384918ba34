"""EfficientNet B0–B3 (Tan and Le 2019, arXiv 1905.11946) and Lite0–Lite2 as feature extractors.

The Lite family (the authors' code, 2020) is for phones: without squeeze-and-excite, with ReLU6, and the width of the
stem and the depth of the first and last stage are not scaled.
"""

from __future__ import annotations

import math
from typing import Final

import torch
from torch import Tensor, nn

from lightmark.nets.mobilenet import conv_norm, round_channels

# Table 1 of the paper: expansion, kernel, stride, channels, repeats.
STAGES: Final = (
    (1, 3, 1, 16, 1),
    (6, 3, 2, 24, 2),
    (6, 5, 2, 40, 2),
    (6, 3, 2, 80, 3),
    (6, 5, 1, 112, 3),
    (6, 5, 2, 192, 4),
    (6, 3, 1, 320, 1),
)
FINE_STAGES: Final = 5  # stages whose output is the stride-16 map
STEM_CHANNELS: Final = 32
LAST_CHANNELS: Final = 1280
SQUEEZE: Final = 4
# Width and depth factors of the compound scaling, from the authors' code.
SCALING: Final = {
    "b0": (1.0, 1.0),
    "b1": (1.0, 1.1),
    "b2": (1.1, 1.2),
    "b3": (1.2, 1.4),
    "lite0": (1.0, 1.0),
    "lite1": (1.0, 1.1),
    "lite2": (1.1, 1.2),
}


class SqueezeExcite(nn.Module):
    """Squeeze-and-excite (Hu et al. 2018): channel weights from the global mean of all channels."""

    def __init__(self, channels: int, squeezed: int) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(channels, squeezed, 1)
        self.expand = nn.Conv2d(squeezed, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) → the same shape."""
        squeezed = nn.functional.silu(self.reduce(x.mean((2, 3), keepdim=True)))
        return x * torch.sigmoid(self.expand(squeezed))


class MBConv(nn.Module):
    """Inverted residual block with squeeze-and-excite and SiLU; `lite` blocks have ReLU6 only.

    In training the residual branch is dropped for a share `drop` of the samples (stochastic depth).
    """

    def __init__(
        self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int, drop: float, lite: bool = False
    ) -> None:
        super().__init__()
        hidden = inputs * expansion
        activation = nn.ReLU6 if lite else nn.SiLU
        expand = [conv_norm(inputs, hidden, 1, activation)] if expansion != 1 else []
        squeeze = [] if lite else [SqueezeExcite(hidden, max(1, inputs // SQUEEZE))]
        self.layers = nn.Sequential(
            *expand,
            conv_norm(hidden, hidden, kernel, activation, stride, groups=hidden),
            *squeeze,
            conv_norm(hidden, outputs, 1, None),
        )
        self.residual = stride == 1 and inputs == outputs
        self.drop = drop

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) → (B, outputs, H / stride, W / stride)."""
        y: Tensor = self.layers(x)
        if not self.residual:
            return y
        if self.training and self.drop:
            keep = 1 - self.drop
            y = y * torch.empty(len(y), 1, 1, 1, device=y.device, dtype=y.dtype).bernoulli_(keep).div_(keep)
        return x + y


class EfficientNet(nn.Module):
    """EfficientNet backbone: feature maps at strides 16 and 32, whose numbers of channels are `channels`.

    The share of dropped samples grows linearly from 0 in the first block to `drop_path` in the last (0.2 in the paper).
    `last` adds the paper's last 1×1 convolution to the map at stride 32.
    """

    def __init__(self, variant: str = "b0", last: bool = True, drop_path: float = 0.2) -> None:
        super().__init__()
        width, depth = SCALING[variant]
        lite = variant.startswith("lite")
        ends = (STAGES[0], STAGES[-1]) if lite else ()
        stages = [
            (e, k, s, round_channels(c * width), n if (e, k, s, c, n) in ends else math.ceil(n * depth))
            for e, k, s, c, n in STAGES
        ]
        total = sum(stage[-1] for stage in stages)
        activation = nn.ReLU6 if lite else nn.SiLU
        channels = STEM_CHANNELS if lite else round_channels(STEM_CHANNELS * width)
        fine: list[nn.Module] = [conv_norm(3, channels, 3, activation, stride=2)]
        coarse: list[nn.Module] = []
        built = 0
        for index, (expansion, kernel, stride, outputs, repeats) in enumerate(stages):
            for repeat in range(repeats):
                drop = drop_path * built / total
                block = MBConv(channels, outputs, kernel, stride if repeat == 0 else 1, expansion, drop, lite)
                (fine if index < FINE_STAGES else coarse).append(block)
                channels, built = outputs, built + 1
        if last:
            outputs = LAST_CHANNELS if lite else round_channels(LAST_CHANNELS * width)
            coarse.append(conv_norm(channels, outputs, 1, activation))
            channels = outputs
        self.fine, self.coarse = nn.Sequential(*fine), nn.Sequential(*coarse)
        self.channels = (stages[FINE_STAGES - 1][3], channels)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Planes (B, 3, S, S) → maps at strides 16 and 32."""
        fine = self.fine(x)
        return fine, self.coarse(fine)
