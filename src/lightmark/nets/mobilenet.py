"""MobileNetV2 (Sandler et al. 2018, arXiv 1801.04381), any width, as a feature extractor."""

from __future__ import annotations

from typing import Final

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

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = inputs * expansion
        expand = [conv_norm(inputs, hidden, 1, nn.ReLU6)] if expansion != 1 else []
        self.layers = nn.Sequential(
            *expand, conv_norm(hidden, hidden, 3, nn.ReLU6, stride, groups=hidden), conv_norm(hidden, outputs, 1, None)
        )
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) → (B, outputs, H / stride, W / stride)."""
        y: Tensor = self.layers(x)
        return x + y if self.residual else y


class MobileNetV2(nn.Module):
    """MobileNetV2 backbone: feature maps at strides 16 and 32, whose numbers of channels are `channels`.

    With `last` the map at stride 32 is the output of the paper's last 1×1 convolution (1280 channels, more for widths
    above 1), otherwise its input (320 channels).
    """

    def __init__(self, width: float = 1.0, last: bool = True) -> None:
        super().__init__()
        channels = round_channels(STEM_CHANNELS * width)
        blocks: list[nn.Module] = [conv_norm(3, channels, 3, nn.ReLU6, stride=2)]
        for expansion, unscaled, repeats, stride in STAGES:
            outputs = round_channels(unscaled * width)
            for repeat in range(repeats):
                blocks.append(InvertedResidual(channels, outputs, stride if repeat == 0 else 1, expansion))
                channels = outputs
        self.fine = nn.Sequential(*blocks[:14])  # the stem and the blocks up to 96 channels, stride 16
        coarse = blocks[14:]
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
