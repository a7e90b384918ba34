"""Heads: from a backbone's maps at strides 16 and 32 to normalized_points (B, N, 2) and their expected errors."""

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
        self.seen_channels = channels[1]

    def start_at(self, mean: Tensor) -> None:
        """Make the untrained head predict normalized_points `mean` (N, 2)."""
        with torch.no_grad():
            self.linear.bias.copy_(mean.reshape(-1))
            self.linear.weight.mul_(0.1)

    def forward(self, fine: Tensor, coarse: Tensor) -> Tensor:
        """Maps (B, C16, H, W) and (B, C32, H/2, W/2) → normalized_points (B, N, 2)."""
        return self.forward_features(fine, coarse)[0]

    def forward_features(self, fine: Tensor, coarse: Tensor) -> tuple[Tensor, Tensor]:
        """normalized_points (B, N, 2), and the features of each (B, N, seen_channels): here the same for all points."""
        pooled = self.dropout(coarse.mean((2, 3)))
        with full_precision(pooled):
            pooled = pooled.float()
            normalized_points: Tensor = self.linear(pooled).unflatten(1, (-1, 2))
        return normalized_points, pooled[:, None].expand(-1, normalized_points.shape[1], -1)


def depthwise(channels: int) -> nn.Conv2d:
    """Depthwise 3×3 convolution: a cell sees its eight neighbours, each channel by itself."""
    return nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)


def separable(channels: int) -> nn.Sequential:
    """Depthwise 3×3, 1×1 and depthwise 3×3 convolutions: a cell sees two cells far, and the channels mix."""
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
    """Each point attends to the cells of the stride-16 map and reads from them where it lies.

    normalized_point = Σ_cells softmax(score) · (centre of the cell + the cell's offset): integral regression (Sun et
    al. 2018) with an offset a cell, so that 8×8 cells locate a point far more finely than a cell. `mixing` makes the
    layers, from their number of channels, in which neighbouring cells exchange what they see; their output is normed
    and added to their input.
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
        self.seen_channels = hidden + 2

    def start_at(self, mean: Tensor) -> None:
        """Make the untrained head predict near `mean` (N, 2), normalized: even attention, offsets from the centre."""
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
            told = torch.einsum("bnp,bncp->bnc", attention, offsets)
            return told + attention @ cell_centres(fine.shape[2], fine.shape[3], attention)

    def forward_features(self, fine: Tensor, coarse: Tensor) -> tuple[Tensor, Tensor]:
        """normalized_points (B, N, 2), and the features each point was regressed from, (B, N, seen_channels).

        That is the mean of the features under its attention, and the standard deviation (x, y) of where the cells
        under it say that the point lies: cells that disagree betray a doubtful point.
        """
        attention, offsets, x = self._attend(fine, coarse)
        with full_precision(fine):
            said = cell_centres(fine.shape[2], fine.shape[3], attention).T + offsets
            normalized_points = torch.einsum("bnp,bncp->bnc", attention, said)
            variance = torch.einsum("bnp,bncp->bnc", attention, (said - normalized_points[..., None]).square())
            features = torch.einsum("bnp,bfp->bnf", attention, x.float().flatten(2))
            return normalized_points, torch.cat([features, variance.clamp_min(1e-12).sqrt()], -1)

    def _attend(self, fine: Tensor, coarse: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Attention (B, N, HW), offsets (B, N, 2, HW) and the features (B, hidden, H, W) that both come from."""
        height, width = fine.shape[2:]
        up = nn.functional.interpolate(self.from_coarse(coarse), size=(height, width), mode="nearest")
        x = nn.functional.relu(self.norm(self.from_fine(fine) + up))
        x = self.dropout(nn.functional.relu(self.mix_norm(self.mix(x))) + x)
        attention: Tensor = self.scores(x).float().flatten(2).softmax(-1)
        offsets: Tensor = self.offsets(x).float().flatten(2).unflatten(1, (-1, 2))
        return attention, offsets, x


class ConfidenceHead(nn.Module):
    """How far off each point may be, and whether the crop holds a face, told from what the landmark head saw.

    A point's expected error is told from its own features and, by `face`, from those of the whole face: where a face is
    hard, all of its points are. Training drops out features (`keen` and `face`), since on faces that the network was
    trained on its errors tell little of what it saw. Trained on a finished network that is not changed by it
    (`train.confidence`).
    """

    def __init__(self, seen: int, coarse: int, points: int, hidden: int = 32, shared: int = 16) -> None:
        super().__init__()
        self.keen = nn.Dropout(0.2)
        self.describe = nn.Linear(seen, hidden)
        self.weight = nn.Parameter(torch.randn(points, hidden) * hidden**-0.5)
        self.bias = nn.Parameter(torch.full((points,), -4.0))  # e⁻⁴ of the crop: about what a good network errs
        self.face = nn.Sequential(
            nn.Dropout(0.7), nn.Linear(seen + coarse, shared), nn.ReLU(), nn.Linear(shared, points, bias=False)
        )
        nn.init.zeros_(self.face[-1].weight)  # type: ignore[arg-type]  # a Sequential's layers have no type
        self.presence = nn.Sequential(nn.Linear(seen + coarse, hidden), nn.ReLU(), nn.Linear(hidden, 1))

    def forward(self, seen: Tensor, coarse: Tensor) -> tuple[Tensor, Tensor]:
        """(B, N, seen) and the mean of the stride-32 map (B, C32) → log of the expected errors (B, N), logits (B,)."""
        pooled = pooled_features(seen, coarse)
        logits: Tensor = self.presence(pooled)[:, 0]
        return self.log_errors(seen, pooled).clamp(-9.0, 0.0), logits

    def log_errors(self, seen: Tensor, pooled: Tensor) -> Tensor:
        """(B, N, seen) and (B, seen + C32) → log of the expected errors (B, N), without bounds."""
        described = nn.functional.relu(self.describe(self.keen(seen)))
        told: Tensor = (described * self.weight).sum(-1) + self.face(pooled) + self.bias
        return told


def pooled_features(seen: Tensor, coarse: Tensor) -> Tensor:
    """What is known of a whole face (B, seen + C32), of what its points saw and the mean of the stride-32 map."""
    return torch.cat([seen.mean(1), coarse], -1)


def full_precision(like: Tensor) -> AbstractContextManager[object]:
    """Context without autocast, since bfloat16 would round points to 1/512 of the crop.

    Where autocast is off already nothing is entered, so that exported graphs hold no trace of it.
    """
    kind = like.device.type
    return torch.autocast(kind, enabled=False) if torch.is_autocast_enabled(kind) else nullcontext()


def cell_centres(height: int, width: int, like: Tensor) -> Tensor:
    """Centres (height · width, 2) of the cells of a map, as unit coordinates x, y, row by row."""
    ys = (torch.arange(height, device=like.device, dtype=like.dtype) + 0.5) / height
    xs = (torch.arange(width, device=like.device, dtype=like.dtype) + 0.5) / width
    grid_y, grid_x = torch.meshgrid(ys, xs, indexing="ij")
    return torch.stack([grid_x, grid_y], -1).flatten(0, 1)
