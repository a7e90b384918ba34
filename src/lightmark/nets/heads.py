"""Heads: normalized_points (B, N, 2), expected errors and confidence from feature maps at strides 16 and 32."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn


class PoolingHead(nn.Module):
    """The paper's head: global average pooling of the stride-32 map, dropout, one linear layer to 2N numbers."""

    def __init__(self, channels: tuple[int, int], points: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(channels[1], 2 * points)
        self.feature_channels = channels[1]

    def initialise_at(self, mean: Tensor) -> None:
        """Initialise the head to predict normalized_points near `mean` (N, 2)."""
        with torch.no_grad():
            self.linear.bias.copy_(mean.reshape(-1))
            self.linear.weight.mul_(0.1)

    def forward(self, fine: Tensor, coarse: Tensor) -> Tensor:
        """Maps (B, C16, H, W) and (B, C32, H/2, W/2) → normalized_points (B, N, 2)."""
        return self.forward_features(fine, coarse)[0]

    def forward_features(self, fine: Tensor, coarse: Tensor) -> tuple[Tensor, Tensor]:
        """normalized_points (B, N, 2) and features (B, N, feature_channels), which here are the same for all points."""
        pooled = self.dropout(coarse.mean((2, 3)))
        with full_precision(pooled):
            pooled = pooled.float()
            normalized_points: Tensor = self.linear(pooled).unflatten(1, (-1, 2))
        return normalized_points, pooled[:, None].expand(-1, normalized_points.shape[1], -1)


def depthwise(channels: int) -> nn.Conv2d:
    """Depthwise 3×3 convolution: receptive field of 3×3 cells, channels are not mixed."""
    return nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)


def separable(channels: int) -> nn.Sequential:
    """Depthwise 3×3, 1×1 and depthwise 3×3 convolutions: receptive field of 5×5 cells, channels are mixed."""
    return nn.Sequential(
        depthwise(channels),
        nn.BatchNorm2d(channels),
        nn.ReLU(),
        nn.Conv2d(channels, channels, 1, bias=False),
        nn.BatchNorm2d(channels),
        nn.ReLU(),
        depthwise(channels),
    )


class SpatialHead(nn.Module):
    """Spatial head: each point is an attention-weighted mean of the votes of the cells of the stride-16 map.

    normalized_point = Σ_cells softmax(score) · (centre of the cell + the cell's offset): integral regression (Sun et
    al. 2018) with a regressed offset per cell, so that a map of 8×8 cells resolves a fraction of a cell. `mixing` makes
    the layers between neighbouring cells from their number of channels; they have batch norm and a shortcut.
    """

    def __init__(
        self,
        channels: tuple[int, int],
        points: int,
        hidden: int = 128,
        dropout: float = 0.0,
        mixing: Callable[[int], nn.Module] = depthwise,
    ) -> None:
        super().__init__()
        self.from_fine = nn.Conv2d(channels[0], hidden, 1, bias=False)
        self.from_coarse = nn.Conv2d(channels[1], hidden, 1, bias=False)
        self.norm = nn.BatchNorm2d(hidden)
        self.mix = mixing(hidden)
        self.mix_norm = nn.BatchNorm2d(hidden)
        self.dropout = nn.Dropout2d(dropout)
        self.scores = nn.Conv2d(hidden, points, 1)
        self.offsets = nn.Conv2d(hidden, 2 * points, 1)
        self.feature_channels = hidden + 2

    def initialise_at(self, mean: Tensor) -> None:
        """Initialise the head to predict normalized_points near `mean` (N, 2): uniform attention, constant offsets."""
        assert self.scores.bias is not None
        assert self.offsets.bias is not None
        with torch.no_grad():
            self.scores.weight.mul_(0.1)
            self.offsets.weight.mul_(0.1)
            self.scores.bias.zero_()
            self.offsets.bias.copy_((mean - 0.5).reshape(-1))

    def forward(self, fine: Tensor, coarse: Tensor) -> Tensor:
        """Maps (B, C16, H, W) and (B, C32, H/2, W/2) → normalized_points (B, N, 2)."""
        attention, offsets, _ = self._attend(fine, coarse)
        with full_precision(fine):
            offset = weighted_mean(attention, offsets)
            return offset + attention @ cell_centres(fine.shape[2], fine.shape[3], attention)

    def forward_features(self, fine: Tensor, coarse: Tensor) -> tuple[Tensor, Tensor]:
        """normalized_points (B, N, 2) and the features each point was regressed from (B, N, feature_channels).

        The features are the attention-weighted mean of the cells' features, and the weighted standard deviation (x, y)
        of their votes: it is large where the cells disagree, which goes with a large error of the point.
        """
        attention, offsets, x = self._attend(fine, coarse)
        with full_precision(fine):
            votes = cell_centres(fine.shape[2], fine.shape[3], attention).T + offsets
            normalized_points = weighted_mean(attention, votes)
            variance = weighted_mean(attention, (votes - normalized_points[..., None]).square())
            features = attention @ x.float().flatten(2).transpose(1, 2)
            return normalized_points, torch.cat([features, variance.clamp_min(1e-12).sqrt()], -1)

    def _attend(self, fine: Tensor, coarse: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Attention (B, N, HW), offsets (B, N, 2, HW) and the features of both (B, hidden, H, W)."""
        height, width = fine.shape[2:]
        up = nn.functional.interpolate(self.from_coarse(coarse), size=(height, width), mode="nearest")
        x = nn.functional.relu(self.norm(self.from_fine(fine) + up))
        x = self.dropout(nn.functional.relu(self.mix_norm(self.mix(x))) + x)
        attention: Tensor = self.scores(x).float().flatten(2).softmax(-1)
        offsets: Tensor = self.offsets(x).float().flatten(2).unflatten(1, (-1, 2))
        return attention, offsets, x


def weighted_mean(weights: Tensor, votes: Tensor) -> Tensor:
    """Σ_cells weights (B, N, cells) · votes (B, N, 2, cells) → (B, N, 2).

    As product and sum: onnxruntime takes six times as long for the einsum that says the same.
    """
    return (weights[:, :, None] * votes).sum(-1)


class ConfidenceHead(nn.Module):
    """Expected error of each point and confidence that the crop shows a face, from the landmark head's features.

    The expected error of a point depends on its own features and, through `face`, on the pooled features of all points,
    since the points of a difficult face err together. Both have strong dropout: on the network's own training faces the
    features predict little of the errors, and without dropout the head overfits (lab notes, 2026-11-21). The head is
    trained on a finished, frozen network (`train.confidence`). `features` and `coarse` are the numbers of channels of
    its inputs.
    """

    def __init__(self, features: int, coarse: int, points: int, hidden: int = 32, shared: int = 16) -> None:
        super().__init__()
        self.dropout = nn.Dropout(0.2)
        self.describe = nn.Linear(features, hidden)
        self.weight = nn.Parameter(torch.randn(points, hidden) * hidden**-0.5)
        self.bias = nn.Parameter(torch.full((points,), -4.0))  # e⁻⁴, 2 % of the crop's side: a good network's error
        self.face = nn.Sequential(
            nn.Dropout(0.7), nn.Linear(features + coarse, shared), nn.ReLU(), nn.Linear(shared, points, bias=False)
        )
        nn.init.zeros_(self.face[-1].weight)  # type: ignore[arg-type]  # a Sequential's layers have no type
        self.logit = nn.Sequential(nn.Linear(features + coarse, hidden), nn.ReLU(), nn.Linear(hidden, 1))

    def forward(self, by_point: Tensor, coarse: Tensor) -> tuple[Tensor, Tensor]:
        """Features of the points (B, N, C), mean stride-32 map (B, C32) → log expected errors (B, N), logits (B,)."""
        pooled = pooled_features(by_point, coarse)
        logits: Tensor = self.logit(pooled)[:, 0]
        return self.log_errors(by_point, pooled).clamp(-9.0, 0.0), logits

    def log_errors(self, by_point: Tensor, pooled: Tensor) -> Tensor:
        """Features of the points (B, N, C), pooled features (B, C + C32) → log expected errors (B, N), not clamped."""
        described = nn.functional.relu(self.describe(self.dropout(by_point)))
        log_errors: Tensor = (described * self.weight).sum(-1) + self.face(pooled) + self.bias
        return log_errors


def pooled_features(by_point: Tensor, coarse: Tensor) -> Tensor:
    """Pooled features (B, C + C32): mean of the points' features (B, N, C) and of the stride-32 map."""
    return torch.cat([by_point.mean(1), coarse], -1)


def full_precision(like: Tensor) -> AbstractContextManager[object]:
    """Context that turns autocast off, since bfloat16 would round points to 1/512 of the crop's side.

    A null context if autocast is off already, so that exported graphs have no trace of it.
    """
    kind = like.device.type
    return torch.autocast(kind, enabled=False) if torch.is_autocast_enabled(kind) else nullcontext()


def cell_centres(height: int, width: int, like: Tensor) -> Tensor:
    """Centres (height · width, 2) of the cells of a map as normalized_points, row by row."""
    ys = (torch.arange(height, device=like.device, dtype=like.dtype) + 0.5) / height
    xs = (torch.arange(width, device=like.device, dtype=like.dtype) + 0.5) / width
    grid_y, grid_x = torch.meshgrid(ys, xs, indexing="ij")
    return torch.stack([grid_x, grid_y], -1).flatten(0, 1)
