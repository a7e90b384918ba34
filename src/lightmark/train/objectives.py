"""Training objectives: from predicted normalized_points and a batch to the loss and its named parts.

Beside the KD-Loss there are objectives that measure the value of each of its terms (the ablation): parts of it (same
constants, without one teacher or both); controls with uninformative teachers ("shuffled": the teachers' errors on
another face of the batch) or with perfect ones; and plain distillation: L1 to a teacher's point, to the mean of both
teachers, or to the midpoint of label and Tough-Teacher.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from lightmark.data.crops.dataset import Batch
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


_FIGURE = _distilled("figure")


def _with_errors_of_other_faces(batch: Batch) -> Batch:
    """`batch` whose teachers have, on each face, the error vectors of the face before it."""

    def elsewhere(teacher: Tensor) -> Tensor:
        # Where the other face's label is missing, its teachers' error is unknown and taken as zero.
        return batch.points + (teacher - batch.points).nan_to_num(0.0).roll(1, 0)

    return batch._replace(tough=elsewhere(batch.tough), tolerant=elsewhere(batch.tolerant))


def _without_errors(batch: Batch) -> Batch:
    return batch._replace(tough=batch.points, tolerant=batch.points)


def _l1_to(target: Callable[[Batch], Tensor]) -> Objective:
    def objective(prediction: Tensor, batch: Batch) -> Parts:
        # No loss at a missing label, as in the other objectives, although the teachers predict a point there.
        return {"loss": l1_loss(prediction, torch.where(batch.points.isnan(), batch.points, target(batch)))}

    return objective


DISTILLED: Mapping[str, Objective] = {
    "kd-figure": _distilled("figure"),
    "kd-released": _distilled("released"),
    "kd-signed": _distilled("signed"),
    "kd-figure-tough": _distilled("figure", tolerant=False),
    "kd-figure-tolerant": _distilled("figure", tough=False),
    "kd-figure-shuffled": lambda prediction, batch: _FIGURE(prediction, _with_errors_of_other_faces(batch)),
    "l1-teachers": _l1_to(lambda batch: (batch.tough + batch.tolerant) / 2),
    "l1-tough": _l1_to(lambda batch: batch.tough),
    "l1-half-tough": _l1_to(lambda batch: (batch.points + batch.tough) / 2),
}
OBJECTIVES: Mapping[str, Objective] = {
    "l2": _plain(l2_loss),
    "l1": _plain(l1_loss),
    "smooth-l1": _plain(smooth_l1_loss),
    "wing": _plain(wing_loss),
    # The knee of the figure's Loss_Main is a constant, so it needs no teacher; the released one lies at D_Tol.
    "main-figure": _distilled("figure", tough=False, tolerant=False),
    "kd-figure-perfect": lambda prediction, batch: _FIGURE(prediction, _without_errors(batch)),
    **DISTILLED,
}
