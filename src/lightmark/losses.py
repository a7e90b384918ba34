"""Losses on normalized_points: L1, L2, smooth L1, wing, and the KD-Loss with two teachers in three forms.

Every loss takes normalized_points (B, N, 2) and returns a scalar, the mean over the coordinates of all labelled points.
A point whose target has a NaN is missing: it adds neither loss nor gradient, whatever prediction and teachers are
there. Half-precision tensors are computed in float32. Different shapes raise `SchemaError`, invalid constants
`ConfigError`.

KD-Loss: A. Pourramezan Fard, M. H. Mahoor, "Facial Landmark Points Detection Using Knowledge Distillation-Based Neural
Networks", CVIU 215:103316 (2022), arXiv 2111.07047. The figures of the paper and its released code differ, so both
forms are here. Both use only the size of a teacher's error; the signed form, our own, also uses its direction
(docs/distillation.md).
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
    """Weights ω of one teacher's assistive loss, by region of the prediction's distance d from the target.

    With D the teacher's distance from the target, ω is `positive` where d > D, `negative` where βD < d ≤ D, and given
    by `low_influence` where d ≤ βD: "ramp" grows linearly from 0 at d = 0 to `negative` at d = βD; "zero" is 0, so that
    the loss jumps at βD. With `signed`, d is positive on the teacher's side of the target and negative on the other
    side, where ω is `positive`, too. For d < D, a `negative` above 0 pulls the prediction back to the teacher; one
    below 0 pushes it on to the target.
    """

    positive: float
    negative: float
    beta: float
    low_influence: LowInfluence
    signed: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.beta <= 1:
            raise ConfigError(f"Assistant: beta {self.beta}; needs a share of the teacher's distance, 0 to 1")
        if self.low_influence not in ("ramp", "zero"):
            raise ConfigError(f"Assistant: low_influence {self.low_influence!r}; known: 'ramp', 'zero'")


@dataclass(frozen=True)
class KDConstants:
    """Constants of one form of the KD-Loss, main_weight · Loss_Main + ALoss_Tou + ALoss_Tol.

    Loss_Main is main_slope · d up to `main_knee` and d² + main_slope · knee − knee² beyond it. The knee is a distance
    in normalized_points; None stands for the Tolerant-Teacher's distance D_Tol.
    """

    main_weight: float
    main_slope: float
    main_knee: float | None
    tough: Assistant
    tolerant: Assistant


# Read off the paper's figures: Loss_Main is d up to 0.5, then d² + 0.25 (which is d² + knee − knee²).
FIGURE = KDConstants(
    main_weight=2.5,
    main_slope=1.0,
    main_knee=0.5,
    tough=Assistant(positive=0.9, negative=-0.45, beta=0.4, low_influence="ramp"),
    tolerant=Assistant(positive=0.9, negative=-0.45, beta=0.4, low_influence="ramp"),
)
# From the authors' released code: Loss_Main is 3·d up to t = D_Tol, then d² + 3t − t².
RELEASED = KDConstants(
    main_weight=2.0,
    main_slope=3.0,
    main_knee=None,
    tough=Assistant(positive=1.9, negative=-0.45, beta=0.15, low_influence="zero"),
    tolerant=Assistant(positive=1.8, negative=-0.40, beta=0.15, low_influence="zero"),
)
# Not in the paper. A teacher assists only on its own side of the target, and attracts the student where the published
# forms repel it. The total slopes of the two sides, 2.8 and 0.1 to 1, differ enough to move the optimum among noisy
# labels; those of the figure, all between 2.5 and 4.3, hardly do (docs/distillation.md).
_ATTRACTING = Assistant(positive=0.9, negative=0.45, beta=0.4, low_influence="ramp", signed=True)
SIGNED = KDConstants(main_weight=1.0, main_slope=1.0, main_knee=0.5, tough=_ATTRACTING, tolerant=_ATTRACTING)
PRESETS: Mapping[Preset, KDConstants] = {"figure": FIGURE, "released": RELEASED, "signed": SIGNED}


@dataclass(frozen=True)
class KDParts:
    """Terms of the KD-Loss of one batch, scalars: total = main_weight · main + tough + tolerant."""

    total: Tensor
    main: Tensor
    tough: Tensor
    tolerant: Tensor


def l2_loss(prediction: Tensor, target: Tensor) -> Tensor:
    """Mean squared difference of the coordinates."""
    (prediction, target), share = _comparable(prediction, target)
    return F.mse_loss(prediction, target) / share


def l1_loss(prediction: Tensor, target: Tensor) -> Tensor:
    """Mean absolute difference of the coordinates."""
    (prediction, target), share = _comparable(prediction, target)
    return F.l1_loss(prediction, target) / share


def smooth_l1_loss(prediction: Tensor, target: Tensor, beta: float = 1 / 64) -> Tensor:
    """Smooth L1: mean over coordinates of x² / (2β) where |x| < β, else |x| − β/2.

    Girshick, "Fast R-CNN", ICCV 2015, scaled to slope 1. β is in normalized_points; the default is one pixel of a
    64-pixel crop. Raises `ConfigError` unless β > 0.
    """
    _require_positive("smooth_l1_loss", beta=beta)
    (prediction, target), share = _comparable(prediction, target)
    return F.smooth_l1_loss(prediction, target, beta=beta) / share


def wing_loss(prediction: Tensor, target: Tensor, w: float = 10 / 64, epsilon: float = 2 / 64) -> Tensor:
    """Wing loss: mean over coordinates of w · ln(1 + |x|/ε) where |x| < w, else |x| − w + w · ln(1 + w/ε).

    Feng et al., "Wing Loss for Robust Facial Landmark Localisation with CNNs", CVPR 2018. `w` and `epsilon` are in
    normalized_points; the defaults are the paper's 10 and 2 pixels of its 64-pixel input. The loss is homogeneous in x,
    w and ε, so it is the paper's loss divided by 64. Raises `ConfigError` unless both are positive.
    """
    _require_positive("wing_loss", w=w, epsilon=epsilon)
    (prediction, target), share = _comparable(prediction, target)
    x = (prediction - target).abs()
    offset = w * math.log1p(w / epsilon) - w
    return torch.where(x < w, w * torch.log1p(x / epsilon), x + offset).mean() / share


def kd_loss(
    prediction: Tensor, target: Tensor, tough: Tensor, tolerant: Tensor, preset: Preset | KDConstants = "figure"
) -> Tensor:
    """KD-Loss of a student's prediction, given the target and both teachers' points; terms as in `kd_loss_parts`."""
    return kd_loss_parts(prediction, target, tough, tolerant, preset).total


def kd_loss_parts(
    prediction: Tensor, target: Tensor, tough: Tensor, tolerant: Tensor, preset: Preset | KDConstants = "figure"
) -> KDParts:
    """KD-Loss and its named terms: main_weight · Loss_Main + ALoss_Tou + ALoss_Tol.

    `preset` is a key of `PRESETS` or a `KDConstants`. No gradient flows into the teachers. Raises `ConfigError` for an
    unknown preset.
    """
    constants = constants_of(preset)
    main = main_loss(prediction, target, tolerant, constants)
    from_tough = assistive_loss(prediction, target, tough, constants.tough)
    from_tolerant = assistive_loss(prediction, target, tolerant, constants.tolerant)
    return KDParts(constants.main_weight * main + from_tough + from_tolerant, main, from_tough, from_tolerant)


def constants_of(preset: Preset | KDConstants) -> KDConstants:
    """Constants of a named preset; a `KDConstants` is returned as it is. Raises `ConfigError` for an unknown name."""
    if isinstance(preset, KDConstants):
        return preset
    if preset not in PRESETS:
        raise ConfigError(f"no KD-Loss preset {preset!r}; known: {', '.join(PRESETS)}, or pass your own KDConstants")
    return PRESETS[preset]


def main_loss(prediction: Tensor, target: Tensor, tolerant: Tensor, constants: KDConstants) -> Tensor:
    """Loss_Main of the student's error, unweighted; `tolerant` is used only where `main_knee` is None."""
    (prediction, target, tolerant), share = _comparable(prediction, target, tolerant)
    return main_of(_distance(prediction, target), _distance(tolerant, target), constants).mean() / share


def assistive_loss(prediction: Tensor, target: Tensor, teacher: Tensor, assistant: Assistant) -> Tensor:
    """Assistive loss ALoss of one teacher: mean over coordinates of ω(d) · |d − D|.

    d = |prediction − target| and D = |teacher − target|. Since d has no sign, |d − D| is the distance to the teacher's
    coordinate mirrored to the prediction's side of the target; for a `signed` assistant it is the distance to the
    coordinate itself. The loss is negative where d < D and the weight there is negative.
    """
    (prediction, target, teacher), share = _comparable(prediction, target, teacher)
    if assistant.signed:
        # A teacher exactly on the target has no side: the unsigned distance is used there.
        side = torch.where(teacher > target, 1.0, -1.0).detach()
        distance = torch.where(teacher == target, _distance(prediction, target), (prediction - target) * side)
    else:
        distance = _distance(prediction, target)
    return assistive_of(distance, _distance(teacher, target), assistant).mean() / share


def main_of(distance: Tensor, tolerant_distance: Tensor, constants: KDConstants) -> Tensor:
    """Loss_Main of each distance d: slope · d where d ≤ knee, else d² + slope · knee − knee²."""
    slope = constants.main_slope
    knee = tolerant_distance.detach() if constants.main_knee is None else constants.main_knee
    return torch.where(distance <= knee, slope * distance, distance.square() + knee * (slope - knee))


def assistive_of(distance: Tensor, teacher_distance: Tensor, assistant: Assistant) -> Tensor:
    """ALoss of each distance d (signed ones may be negative): ω(d) · |d − D|, without gradient through ω and D.

    The gradient on the ramp is therefore ω, not the derivative of the value: so it is continuous at d = βD.
    """
    teacher_distance = teacher_distance.detach()
    omega = assistive_weight(distance.detach(), teacher_distance, assistant)
    return omega * (distance - teacher_distance).abs()


def assistive_weight(distance: Tensor, teacher_distance: Tensor, assistant: Assistant) -> Tensor:
    """Weight ω of each distance, by the three regions of `Assistant`."""
    low_end = assistant.beta * teacher_distance
    if assistant.low_influence == "ramp":
        # Clamped to 1 beyond βD: the same expression then covers the second region, and a ramp of length 0.
        share = torch.where(distance > 0, distance / low_end, 0.0).clamp(max=1.0)
    else:
        share = (distance > low_end).to(distance.dtype)
    worse = (distance > teacher_distance) | (distance < 0)
    return torch.where(worse, assistant.positive, assistant.negative * share)


def _distance(points: Tensor, target: Tensor) -> Tensor:
    """Absolute difference of each coordinate."""
    return (points - target).abs()


def labelled_points(target: Tensor) -> Tensor:
    """Mask (B, N) of the labelled points of `target` (B, N, 2); `lightmark.geometry.labelled` for tensors."""
    return ~target.isnan().any(dim=-1)


def _comparable(prediction: Tensor, target: Tensor, *teachers: Tensor) -> tuple[list[Tensor], Tensor]:
    """Tensors in at least float32 with zeros at missing points, and the share of labelled points.

    The mean over all coordinates divided by that share is the mean over the labelled ones. If no point is missing, the
    share is 1 and the mean is unchanged, bit for bit. Raises `SchemaError` unless all tensors have the same shape
    (B, N, 2), not empty.
    """
    shapes = [tuple(tensor.shape) for tensor in (prediction, target, *teachers)]
    if len(set(shapes)) > 1:
        raise SchemaError(f"loss: prediction {shapes[0]} against {', '.join(map(str, shapes[1:]))}; all must be alike")
    if prediction.ndim != 3 or prediction.shape[2] != 2 or prediction.numel() == 0:
        raise SchemaError(f"loss: points of shape {shapes[0]}; needs (B, N, 2) with at least one point")
    mask = labelled_points(target)
    wide = [tensor.to(torch.promote_types(tensor.dtype, torch.float32)) for tensor in (prediction, target, *teachers)]
    share = mask.sum().clamp(min=1).to(wide[0].dtype) / mask.numel()
    # Masked by `where`, not by a factor of 0: the gradient of 0 · NaN is NaN.
    return [torch.where(mask[..., None], tensor, 0.0) for tensor in wide], share


def _require_positive(where: str, **constants: float) -> None:
    for name, value in constants.items():
        if not value > 0:
            raise ConfigError(f"{where}: {name} {value}; needs a positive length in normalized_points")
