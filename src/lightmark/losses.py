"""Losses on normalized_points: the plain ones, and the two-teacher KD-Loss in its two published forms and a signed one.

Every function takes tensors (B, N, 2) in unit coordinates, (crop + 0.5) / size, and returns a scalar: the mean over the
coordinates of all labelled points. A point whose truth has a NaN is missing: it adds nothing, wherever prediction and
teachers put it, and gives no gradient. Half-precision tensors are computed in float32. Shapes that differ raise
`SchemaError`, constants that make no sense `ConfigError`.

KD-Loss: A. Pourramezan Fard, M. H. Mahoor, "Facial Landmark Points Detection Using Knowledge Distillation-Based Neural
Networks", CVIU 215:103316 (2022), arXiv 2111.07047. Its figures and its released code differ, so both are here. Both
know only how far a teacher errs; the signed form, which is ours, also knows on which side (docs/distillation.md).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from lightmark.errors import ConfigError, SchemaError

Preset = Literal["figure", "released", "signed"]
LowInfluence = Literal["ramp", "zero"]


@dataclass(frozen=True)
class Assistant:
    """One teacher's weights ω: `positive` where d > D, `negative` where βD < d ≤ D, `low_influence` where d ≤ βD.

    d is the prediction's and D the teacher's distance from the truth. "ramp" grows linearly from 0 at d = 0 to
    `negative` at d = βD; "zero" is 0, so that the loss jumps at βD. `signed` counts d along the direction from the
    truth to the teacher: below 0 on the other side, where the prediction is farther from the teacher than the truth is,
    and ω is `positive`, too. A `negative` above 0 holds a prediction that is nearer than the teacher, below 0 it pushes
    it on to the truth.
    """

    positive: float
    negative: float
    beta: float
    low_influence: LowInfluence
    signed: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.beta <= 1:
            raise ConfigError(f"Assistant: beta {self.beta}; a share of the teacher's distance lies between 0 and 1")
        if self.low_influence not in ("ramp", "zero"):
            raise ConfigError(f"Assistant: low_influence {self.low_influence!r}; known: 'ramp', 'zero'")


@dataclass(frozen=True)
class KDConstants:
    """Every constant of one form of the KD-Loss, main_weight · Loss_Main + ALoss_Tou + ALoss_Tol.

    Loss_Main is main_slope · d up to `main_knee`, d² + main_slope · knee − knee² beyond. The knee is a distance in unit
    coordinates; None stands for the Tolerant-Teacher's distance D_Tol.
    """

    main_weight: float
    main_slope: float
    main_knee: float | None
    tough: Assistant
    tolerant: Assistant


# Measured on the published curves: Loss_Main is d up to 0.5, then d² + 0.25 (which is d² + knee − knee²).
FIGURE = KDConstants(
    main_weight=2.5,
    main_slope=1.0,
    main_knee=0.5,
    tough=Assistant(positive=0.9, negative=-0.45, beta=0.4, low_influence="ramp"),
    tolerant=Assistant(positive=0.9, negative=-0.45, beta=0.4, low_influence="ramp"),
)
# Read in the authors' code: Loss_Main is 3·d up to t = D_Tol, then d² + 3t − t².
RELEASED = KDConstants(
    main_weight=2.0,
    main_slope=3.0,
    main_knee=None,
    tough=Assistant(positive=1.9, negative=-0.45, beta=0.15, low_influence="zero"),
    tolerant=Assistant(positive=1.8, negative=-0.40, beta=0.15, low_influence="zero"),
)
# Not in the paper: a teacher assists on its own side of the truth, and holds the student where the published forms push
# it off. The weights of both sides, 2.8 and 0.1 to 1, lie far enough apart to move a student among noisy labels; the
# figure's, all between 2.5 and 4.3, hardly do (docs/distillation.md).
_HOLDING = Assistant(positive=0.9, negative=0.45, beta=0.4, low_influence="ramp", signed=True)
SIGNED = KDConstants(main_weight=1.0, main_slope=1.0, main_knee=0.5, tough=_HOLDING, tolerant=_HOLDING)
PRESETS: Mapping[Preset, KDConstants] = {"figure": FIGURE, "released": RELEASED, "signed": SIGNED}


@dataclass(frozen=True)
class KDParts:
    """Scalars of one batch: total = main_weight · main + tough + tolerant."""

    total: Tensor
    main: Tensor
    tough: Tensor
    tolerant: Tensor


def l2_loss(prediction: Tensor, truth: Tensor) -> Tensor:
    """Mean squared difference of a coordinate."""
    (prediction, truth), share = _comparable(prediction, truth)
    return F.mse_loss(prediction, truth) / share


def l1_loss(prediction: Tensor, truth: Tensor) -> Tensor:
    """Mean absolute difference of a coordinate."""
    (prediction, truth), share = _comparable(prediction, truth)
    return F.l1_loss(prediction, truth) / share


def smooth_l1_loss(prediction: Tensor, truth: Tensor, beta: float = 1 / 64) -> Tensor:
    """Mean over coordinates of x² / (2β) where |x| < β, else |x| − β/2 (Girshick 2015, scaled to slope 1).

    β is in unit coordinates; the default is one pixel of a 64-pixel crop. Raises `ConfigError` unless β > 0.
    """
    _require_positive("smooth_l1_loss", beta=beta)
    (prediction, truth), share = _comparable(prediction, truth)
    return F.smooth_l1_loss(prediction, truth, beta=beta) / share


def wing_loss(prediction: Tensor, truth: Tensor, w: float = 10 / 64, epsilon: float = 2 / 64) -> Tensor:
    """Mean over coordinates of w · ln(1 + |x|/ε) where |x| < w, else |x| − w + w · ln(1 + w/ε).

    Feng et al., "Wing Loss for Robust Facial Landmark Localisation with CNNs", CVPR 2018. `w` and `epsilon` are in unit
    coordinates; the defaults are the paper's 10 and 2, read as pixels of its 64-pixel input. Scaling x, w and ε alike
    scales the loss alike, so this is the pixel loss divided by 64. Raises `ConfigError` unless both are positive.
    """
    _require_positive("wing_loss", w=w, epsilon=epsilon)
    (prediction, truth), share = _comparable(prediction, truth)
    x = (prediction - truth).abs()
    offset = w * math.log1p(w / epsilon) - w
    return torch.where(x < w, w * torch.log1p(x / epsilon), x + offset).mean() / share


def kd_loss(
    prediction: Tensor, truth: Tensor, tough: Tensor, tolerant: Tensor, preset: Preset | KDConstants = "figure"
) -> Tensor:
    """KD-Loss of student points against the truth and both teachers' points; see `kd_loss_parts` for its terms."""
    return kd_loss_parts(prediction, truth, tough, tolerant, preset).total


def kd_loss_parts(
    prediction: Tensor, truth: Tensor, tough: Tensor, tolerant: Tensor, preset: Preset | KDConstants = "figure"
) -> KDParts:
    """KD-Loss and its named terms: main_weight · Loss_Main + ALoss_Tou + ALoss_Tol.

    `preset` is a key of `PRESETS` or constants of your own. No gradient reaches the teachers. Raises `ConfigError` for
    an unknown preset.
    """
    constants = constants_of(preset)
    main = main_loss(prediction, truth, tolerant, constants)
    from_tough = assistive_loss(prediction, truth, tough, constants.tough)
    from_tolerant = assistive_loss(prediction, truth, tolerant, constants.tolerant)
    return KDParts(constants.main_weight * main + from_tough + from_tolerant, main, from_tough, from_tolerant)


def constants_of(preset: Preset | KDConstants) -> KDConstants:
    """Constants of a named preset, or the given ones; raises `ConfigError` naming the known presets."""
    if isinstance(preset, KDConstants):
        return preset
    if preset not in PRESETS:
        raise ConfigError(f"no KD-Loss preset {preset!r}; known: {', '.join(PRESETS)}, or pass your own KDConstants")
    return PRESETS[preset]


def main_loss(prediction: Tensor, truth: Tensor, tolerant: Tensor, constants: KDConstants) -> Tensor:
    """Loss_Main: the student's own error, unweighted; `tolerant` matters only where the knee is its distance."""
    (prediction, truth, tolerant), share = _comparable(prediction, truth, tolerant)
    return main_of(_distance(prediction, truth), _distance(tolerant, truth), constants).mean() / share


def assistive_loss(prediction: Tensor, truth: Tensor, teacher: Tensor, assistant: Assistant) -> Tensor:
    """ALoss of one teacher, ω(d) · |d − D|, with d = |prediction − truth| and D = |teacher − truth| a coordinate.

    This is the distance to the teacher's coordinate, mirrored to the prediction's side of the truth; where the
    assistant is `signed`, the distance to the coordinate itself. Negative where the student is nearer to the truth than
    the teacher and the weight there is.
    """
    (prediction, truth, teacher), share = _comparable(prediction, truth, teacher)
    if assistant.signed:
        # A teacher on the truth has no side: there a distance is one away from it, as the unsigned one.
        side = torch.where(teacher > truth, 1.0, -1.0).detach()
        distance = torch.where(teacher == truth, _distance(prediction, truth), (prediction - truth) * side)
    else:
        distance = _distance(prediction, truth)
    return assistive_of(distance, _distance(teacher, truth), assistant).mean() / share


def main_of(distance: Tensor, tolerant_distance: Tensor, constants: KDConstants) -> Tensor:
    """Loss_Main of each distance d: slope · d where d ≤ knee, else d² + slope · knee − knee²."""
    slope = constants.main_slope
    knee = tolerant_distance.detach() if constants.main_knee is None else constants.main_knee
    return torch.where(distance <= knee, slope * distance, distance.square() + knee * (slope - knee))


def assistive_of(distance: Tensor, teacher_distance: Tensor, assistant: Assistant) -> Tensor:
    """ALoss of each distance d, below 0 if signed: ω(d) · |d − D|, with no gradient through ω or D.

    On the ramp the gradient is therefore ω alone and not the slope of the value: it stays continuous at d = βD.
    """
    teacher_distance = teacher_distance.detach()
    omega = assistive_weight(distance.detach(), teacher_distance, assistant)
    return omega * (distance - teacher_distance).abs()


def assistive_weight(distance: Tensor, teacher_distance: Tensor, assistant: Assistant) -> Tensor:
    """Weight ω of each distance: the three regions of `Assistant`."""
    low_end = assistant.beta * teacher_distance
    if assistant.low_influence == "ramp":
        # Beyond βD the share is cut to 1, which is the negative assistant itself, also where the ramp has no length.
        share = torch.where(distance > 0, distance / low_end, 0.0).clamp(max=1.0)
    else:
        share = (distance > low_end).to(distance.dtype)
    worse = (distance > teacher_distance) | (distance < 0)
    return torch.where(worse, assistant.positive, assistant.negative * share)


def _distance(points: Tensor, truth: Tensor) -> Tensor:
    return (points - truth).abs()


def labelled_points(truth: Tensor) -> Tensor:
    """Which points of `truth` (B, N, 2) are labelled, bool (B, N): the torch twin of `lightmark.geometry.labelled`."""
    return ~truth.isnan().any(dim=-1)


def _comparable(prediction: Tensor, truth: Tensor, *teachers: Tensor) -> tuple[list[Tensor], Tensor]:
    """All tensors in at least float32, without distance at missing points, and the share of points that is labelled.

    A mean over all coordinates divided by that share is the mean over the labelled ones; the share of a batch in which
    none is missing is 1, and the mean stays as it is, bit for bit. Raises `SchemaError` unless all tensors are (B, N,
    2) alike and not empty.
    """
    shapes = [tuple(tensor.shape) for tensor in (prediction, truth, *teachers)]
    if len(set(shapes)) > 1:
        raise SchemaError(f"loss: prediction {shapes[0]} against {', '.join(map(str, shapes[1:]))}; all must be alike")
    if prediction.ndim != 3 or prediction.shape[2] != 2 or prediction.numel() == 0:
        raise SchemaError(f"loss: points of shape {shapes[0]}; needs (B, N, 2) with at least one point")
    there = labelled_points(truth)
    wide = [tensor.to(torch.promote_types(tensor.dtype, torch.float32)) for tensor in (prediction, truth, *teachers)]
    share = there.sum().clamp(min=1).to(wide[0].dtype) / there.numel()
    # Zeros in place of missing points, in all alike: a factor of 0 behind a NaN would still be NaN in the gradient.
    return [torch.where(there[..., None], tensor, 0.0) for tensor in wide], share


def _require_positive(where: str, **constants: float) -> None:
    for name, value in constants.items():
        if not value > 0:
            raise ConfigError(f"{where}: {name} {value}; needs a positive length in unit coordinates")
