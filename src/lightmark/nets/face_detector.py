"""FaceDetectorNet: a small anchor-free detector (after FCOS, Tian et al. 2019) of faces' boxes and keypoints."""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import torch
from torch import Tensor, nn

from lightmark.nets.mobilenet import conv_norm

STRIDES: Final = (8, 16, 32)
# Longer side, in network pixels, of a box whose log-size is 0 at each stride: about the middle of the sizes it detects.
BASES: Final = (20.0, 48.0, 128.0)
MULTIPLE: Final = STRIDES[-1]  # width and height of its pictures must be multiples of this
STEM, WIDTHS, NECK = 8, (16, 32, 64, 96), 32  # channels at strides 2, then 4, 8, 16 and 32, then of the heads' input
KEYPOINTS = 5  # eye centres, nose tip, mouth corners: `lightmark.detectors.keypoint_box.FACE`
PRIOR = 0.01  # share of cells that are faces' at the start (RetinaNet, Lin et al. 2017): else the first steps blow up


class Separable(nn.Module):
    """Depthwise convolution and 1×1, each with batch norm and ReLU; the input is added where the shapes agree.

    It is added before the last ReLU, as in a ResNet: onnxruntime then adds it inside the convolution.
    """

    def __init__(self, inputs: int, outputs: int, stride: int = 1, kernel: int = 3) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            conv_norm(inputs, inputs, kernel, nn.ReLU, stride, groups=inputs), conv_norm(inputs, outputs, 1, None)
        )
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) → (B, outputs, H / stride, W / stride)."""
        y: Tensor = self.layers(x)
        return nn.functional.relu(x + y if self.residual else y)


class CellOutputs(NamedTuple):
    """What the C cells predict: logits (B, C), boxes (B, C, 4) and keypoints (B, C, 5, 2), both in plane pixels."""

    logits: Tensor
    boxes: Tensor
    keypoints: Tensor


class FaceDetectorNet(nn.Module):
    """Planes (B, 3, H, W) from 0 to 255, H and W multiples of 32 → `CellOutputs`.

    C cells: those of the map at stride 8, row by row, then of strides 16 and 32. A cell predicts its box's centre as an
    offset from its own in strides, the logarithm of width and height over the stride's base, and the keypoints as
    offsets from the box's centre in means of its width and height, so that they do not depend on the face's size.
    """

    def __init__(self) -> None:
        super().__init__()
        second, third, fourth, fifth = WIDTHS
        self.quarter = nn.Sequential(
            conv_norm(3, STEM, 3, nn.ReLU, stride=2), Separable(STEM, second, 2), Separable(second, second)
        )
        self.eighth = nn.Sequential(Separable(second, third, 2), *(Separable(third, third) for _ in range(3)))
        self.sixteenth = nn.Sequential(
            Separable(third, fourth, 2, 5), *(Separable(fourth, fourth, kernel=5) for _ in range(3))
        )
        self.last = nn.Sequential(
            Separable(fourth, fifth, 2, 5), *(Separable(fifth, fifth, kernel=5) for _ in range(2))
        )
        self.lateral = nn.ModuleList(conv_norm(width, NECK, 1, None) for width in (third, fourth, fifth))
        self.merge = nn.ModuleList(Separable(NECK, NECK) for _ in STRIDES)
        answers = [nn.Conv2d(NECK, 5, 1) for _ in STRIDES]
        self.answer = nn.ModuleList(answers)
        for layer in answers:
            _start(layer)
        places = [nn.Conv2d(NECK, 2 * KEYPOINTS, 1) for _ in STRIDES]
        # Layers of their own: the keypoints are no linear function of the features that give the score.
        self.keypoints = nn.ModuleList(nn.Sequential(Separable(NECK, NECK, kernel=5), place) for place in places)
        for place in places:  # all in the middle of the box
            nn.init.normal_(place.weight, std=0.01)
            assert place.bias is not None
            nn.init.zeros_(place.bias)

    def forward(self, planes: Tensor) -> CellOutputs:
        """(B, 3, H, W) → (B, C), (B, C, 4), (B, C, 5, 2)."""
        eighth = self.eighth(self.quarter(planes))
        sixteenth = self.sixteenth(eighth)
        maps = [eighth, sixteenth, self.last(sixteenth)]
        merged: list[Tensor] = []
        for index in reversed(range(len(maps))):
            x = self.lateral[index](maps[index])
            if merged:
                x = x + nn.functional.interpolate(merged[-1], scale_factor=2.0, mode="nearest")
            merged.append(self.merge[index](nn.functional.relu(x)))
        by_level = list(zip(merged[::-1], self.answer, self.keypoints, STRIDES, BASES, strict=True))
        # All levels' cells side by side before any arithmetic: few operations, each of which costs time of its own.
        answers = torch.cat([answer(x).float().flatten(2) for x, answer, *_ in by_level], 2)
        offsets = torch.cat([places(x).float().flatten(2) for x, _, places, *_ in by_level], 2)
        cells = torch.cat([cell_geometry(x, stride, base) for x, _, _, stride, base in by_level], 2)
        middle = cells[:, :2] + answers[:, 1:3] * cells[:, 2:3]
        half = answers[:, 3:].clamp(max=4).exp() * cells[:, 3:]
        boxes = torch.cat([middle - half, middle + half], 1).transpose(1, 2)
        keypoints = offsets.reshape(offsets.shape[0], KEYPOINTS, 2, -1) * half.sum(1)[:, None, None] + middle[:, None]
        return CellOutputs(answers[:, 0], boxes, keypoints.permute(0, 3, 1, 2))


@torch.no_grad()
def _start(answer: nn.Conv2d) -> None:
    """A face nowhere to begin with, and of each stride's base size."""
    assert answer.bias is not None
    nn.init.normal_(answer.weight, std=0.01)
    answer.bias.zero_()
    answer.bias[0] = -math.log((1 - PRIOR) / PRIOR)


def cell_geometry(features: Tensor, stride: int, base: float) -> Tensor:
    """Of each cell of `features` (B, C, H, W): centre x and y in pixels, stride and half its base (1, 4, H · W).

    Sums of a constant map, not ranges over the map's height and width: onnxruntime takes 0.06 of 1.5 ms less.
    """
    steps = torch.full_like(features[:1, :1], stride, dtype=torch.float32)
    middles = torch.cat([steps.cumsum(3), steps.cumsum(2)], 1) - (stride + 1) / 2
    return torch.cat([middles, steps, torch.full_like(steps, base / 2)], 1).flatten(2)
