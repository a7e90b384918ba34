"""Objectives: unit_points and a batch to the loss and its named parts."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import Tensor

from lightmark.data.dataset import Batch
from lightmark.losses import Preset, kd_loss_parts, l1_loss, l2_loss, smooth_l1_loss, wing_loss

Parts = dict[str, Tensor]
Objective = Callable[[Tensor, Batch], Parts]


def _plain(loss: Callable[[Tensor, Tensor], Tensor]) -> Objective:
    return lambda prediction, batch: {"loss": loss(prediction, batch.points)}


def _distilled(preset: Preset) -> Objective:
    def objective(prediction: Tensor, batch: Batch) -> Parts:
        parts = kd_loss_parts(prediction, batch.points, batch.tough, batch.tolerant, preset)
        return {"loss": parts.total, "main": parts.main, "tough": parts.tough, "tolerant": parts.tolerant}

    return objective


OBJECTIVES: Mapping[str, Objective] = {
    "l2": _plain(l2_loss),
    "l1": _plain(l1_loss),
    "smooth-l1": _plain(smooth_l1_loss),
    "wing": _plain(wing_loss),
    "kd-figure": _distilled("figure"),
    "kd-released": _distilled("released"),
}
DISTILLED = frozenset({"kd-figure", "kd-released"})
