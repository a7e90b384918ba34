"""Objectives: unit_points and a batch to the loss and its named parts.

Beside the KD-Loss stand its parts (the same constants, without one teacher or both) and the plainest distillation, L1
to the teachers' mean, so that what each term is worth can be measured.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from lightmark.data.dataset import Batch
from lightmark.losses import PRESETS, Preset, kd_loss_parts, l1_loss, l2_loss, smooth_l1_loss, wing_loss

Parts = dict[str, Tensor]
Objective = Callable[[Tensor, Batch], Parts]


def _plain(loss: Callable[[Tensor, Tensor], Tensor]) -> Objective:
    return lambda prediction, batch: {"loss": loss(prediction, batch.points)}


def _distilled(preset: Preset, tough: bool = True, tolerant: bool = True) -> Objective:
    def objective(prediction: Tensor, batch: Batch) -> Parts:
        parts = kd_loss_parts(prediction, batch.points, batch.tough, batch.tolerant, preset)
        loss = PRESETS[preset].main_weight * parts.main
        loss = loss + parts.tough if tough else loss
        loss = loss + parts.tolerant if tolerant else loss
        return {"loss": loss, "main": parts.main, "tough": parts.tough, "tolerant": parts.tolerant}

    return objective


def _l1_to_teachers(prediction: Tensor, batch: Batch) -> Parts:
    middle = (batch.tough + batch.tolerant) / 2
    # As in the other objectives nothing is learnt of a missing point, though the teachers have one there.
    return {"loss": l1_loss(prediction, torch.where(batch.points.isnan(), batch.points, middle))}


DISTILLED: Mapping[str, Objective] = {
    "kd-figure": _distilled("figure"),
    "kd-released": _distilled("released"),
    "kd-figure-tough": _distilled("figure", tolerant=False),
    "kd-figure-tolerant": _distilled("figure", tough=False),
    "l1-teachers": _l1_to_teachers,
}
OBJECTIVES: Mapping[str, Objective] = {
    "l2": _plain(l2_loss),
    "l1": _plain(l1_loss),
    "smooth-l1": _plain(smooth_l1_loss),
    "wing": _plain(wing_loss),
    # Its knee is a constant, so it needs no teacher; the released form has its knee at D_Tol.
    "main-figure": _distilled("figure", tough=False, tolerant=False),
    **DISTILLED,
}
