"""Losses against values worked out by hand and a slow scalar reference written from the published tables."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from lightmark.errors import ConfigError, SchemaError
from lightmark.losses import (
    FIGURE,
    PRESETS,
    RELEASED,
    SIGNED,
    Assistant,
    KDConstants,
    Preset,
    assistive_loss,
    assistive_of,
    assistive_weight,
    constants_of,
    kd_loss,
    kd_loss_parts,
    l1_loss,
    l2_loss,
    main_loss,
    smooth_l1_loss,
    wing_loss,
)

BOTH = pytest.mark.parametrize("preset", ["figure", "released"])

# Distances (D_Tou, D_Tol) of the two teachers in the tables below; βD is 0.16 and 0.196, and 0.03 and 0.06.
TEACHERS: dict[Preset, tuple[float, float]] = {"figure": (0.40, 0.49), "released": (0.20, 0.40)}


def figure_reference(d: float, d_tou: float, d_tol: float) -> tuple[float, float, float]:
    """Loss_Main and both ALosses of one coordinate, as the published curves have them."""
    main = d if d <= 0.5 else d * d + 0.25
    assistive = []
    for teacher in (d_tou, d_tol):
        if d > teacher:
            assistive.append(0.9 * (d - teacher))
        elif d > 0.4 * teacher:
            assistive.append(-0.45 * (teacher - d))
        elif d == 0:
            assistive.append(0.0)
        else:
            assistive.append(-0.45 * d / (0.4 * teacher) * (teacher - d))
    return main, assistive[0], assistive[1]


def released_reference(d: float, d_tou: float, d_tol: float) -> tuple[float, float, float]:
    """Loss_Main and both ALosses of one coordinate, as the released code has them."""
    main = 3 * d if d <= d_tol else d * d + 3 * d_tol - d_tol * d_tol
    assistive = []
    for teacher, positive, negative in ((d_tou, 1.9, 0.45), (d_tol, 1.8, 0.40)):
        if d > teacher:
            assistive.append(positive * (d - teacher))
        elif d > 0.15 * teacher:
            assistive.append(negative * (d - teacher))
        else:
            assistive.append(0.0)
    return main, assistive[0], assistive[1]


REFERENCES: dict[str, tuple[float, Callable[[float, float, float], tuple[float, float, float]]]] = {
    "figure": (2.5, figure_reference),
    "released": (2.0, released_reference),
}


def reference_parts(
    preset: str, prediction: Tensor, target: Tensor, tough: Tensor, tolerant: Tensor
) -> dict[str, float]:
    """Means over coordinates of the scalar reference, by a loop."""
    weight, reference = REFERENCES[preset]
    sums = [0.0, 0.0, 0.0]
    rows = list(zip(*(t.flatten().tolist() for t in (prediction, target, tough, tolerant)), strict=True))
    for p, gt, ac, sm in rows:
        for i, term in enumerate(reference(abs(p - gt), abs(ac - gt), abs(sm - gt))):
            sums[i] += term
    main, from_tough, from_tolerant = (total / len(rows) for total in sums)
    return {
        "total": weight * main + from_tough + from_tolerant,
        "main": main,
        "tough": from_tough,
        "tolerant": from_tolerant,
    }


def one(value: float) -> Tensor:
    """A single point (1, 1, 2), both coordinates `value`, in float64."""
    return torch.full((1, 1, 2), value, dtype=torch.float64)


def at(preset: Preset | KDConstants, d: float, d_tou: float, d_tol: float) -> Tensor:
    """KD-Loss of a student at distance `d` from a target at 0."""
    return kd_loss(one(d), one(0.0), one(d_tou), one(d_tol), preset)


def slope(preset: Preset | KDConstants, d: float, d_tou: float, d_tol: float) -> float:
    """Gradient of the KD-Loss with respect to the distance of the student."""
    prediction = one(d).requires_grad_()
    kd_loss(prediction, one(0.0), one(d_tou), one(d_tol), preset).backward()
    assert prediction.grad is not None
    return prediction.grad.sum().item()


def batch(seed: int = 0, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Random prediction, target, tough and tolerant points (8, 68, 2) over the crop and a little beyond."""
    generator = torch.Generator().manual_seed(seed)
    points = torch.rand((4, 8, 68, 2), generator=generator, dtype=torch.float64) * 1.4 - 0.2
    prediction, target, tough, tolerant = points.to(dtype)
    return prediction, target, tough, tolerant


coordinates = st.floats(-1.0, 2.0, width=32)


# The two presets against the reference


@BOTH
@given(p=coordinates, gt=coordinates, ac=coordinates, sm=coordinates)
@settings(deadline=None)
def test_any_coordinate_equals_the_reference(preset: Preset, p: float, gt: float, ac: float, sm: float) -> None:
    """Every named part of one coordinate agrees with the published table."""
    points = one(p), one(gt), one(ac), one(sm)
    parts, expected = kd_loss_parts(*points, preset), reference_parts(preset, *points)
    for name, value in expected.items():
        assert getattr(parts, name).item() == pytest.approx(value, abs=1e-9)


@BOTH
def test_kd_loss_is_the_mean_over_coordinates(preset: Preset) -> None:
    """A batch gives the mean of the scalar reference over all its coordinates."""
    points = batch()
    parts, expected = kd_loss_parts(*points, preset), reference_parts(preset, *points)
    for name, value in expected.items():
        assert getattr(parts, name).item() == pytest.approx(value, abs=1e-12)


@BOTH
def test_total_is_the_weighted_sum_of_the_parts(preset: Preset) -> None:
    """total = main_weight · main + tough + tolerant."""
    parts = kd_loss_parts(*batch(), preset)
    expected = PRESETS[preset].main_weight * parts.main + parts.tough + parts.tolerant
    torch.testing.assert_close(parts.total, expected)


@BOTH
def test_kd_loss_is_the_total_of_its_parts(preset: Preset) -> None:
    """The scalar for the optimiser is the total that the log shows."""
    assert torch.equal(kd_loss(*batch(), preset), kd_loss_parts(*batch(), preset).total)


@BOTH
def test_main_and_assistive_loss_are_the_named_parts(preset: Preset) -> None:
    """The building blocks called alone give the same numbers as `kd_loss_parts`."""
    prediction, target, tough, tolerant = batch()
    constants, parts = PRESETS[preset], kd_loss_parts(prediction, target, tough, tolerant, preset)
    assert torch.equal(main_loss(prediction, target, tolerant, constants), parts.main)
    assert torch.equal(assistive_loss(prediction, target, tough, constants.tough), parts.tough)
    assert torch.equal(assistive_loss(prediction, target, tolerant, constants.tolerant), parts.tolerant)


def perturbed_assistant(assistant: Assistant, field: str) -> Assistant:
    """The same teacher with one constant changed by a tenth, or the other low-influence rule."""
    if field == "low_influence":
        return replace(assistant, low_influence="zero" if assistant.low_influence == "ramp" else "ramp")
    return replace(assistant, **{field: getattr(assistant, field) * 1.1})


def perturbed(constants: KDConstants, field: str) -> KDConstants:
    """The same constants with one of them, "tough.beta" say, changed."""
    if "." in field:
        teacher, inner = field.split(".")
        changed: Any = perturbed_assistant(getattr(constants, teacher), inner)
        return replace(constants, **{teacher: changed})
    if field == "main_knee" and constants.main_knee is None:
        return replace(constants, main_knee=0.5)
    return replace(constants, **{field: getattr(constants, field) * 1.1})


EVERY_CONSTANT = [
    "main_weight",
    "main_slope",
    "main_knee",
    *(f"{t}.{f}" for t in ("tough", "tolerant") for f in ("positive", "negative", "beta", "low_influence")),
]


@BOTH
@pytest.mark.parametrize("field", EVERY_CONSTANT)
def test_the_reference_notices_every_changed_constant(preset: Preset, field: str) -> None:
    """No constant can be altered without leaving the published values."""
    points = batch()
    changed = kd_loss(*points, perturbed(PRESETS[preset], field)).item()
    assert abs(changed - reference_parts(preset, *points)["total"]) > 1e-4


# Values and gradients by hand, one for each region: (preset, d, value, slope)

BY_HAND: list[tuple[Preset, float, float, float]] = [
    ("figure", 0.08, 2.5 * 0.08 - 0.225 * 0.32 - 0.45 * (0.08 / 0.196) * 0.41, 2.5 + 0.225 + 0.45 * 0.08 / 0.196),
    ("figure", 0.18, 2.5 * 0.18 - 0.45 * 0.22 - 0.45 * (0.18 / 0.196) * 0.31, 2.5 + 0.45 + 0.45 * 0.18 / 0.196),
    ("figure", 0.30, 0.75 - 0.045 - 0.0855, 3.4),
    ("figure", 0.45, 2.5 * 0.45 + 0.9 * 0.05 - 0.45 * 0.04, 3.85),
    ("figure", 0.495, 1.2375 + 0.0855 + 0.0045, 4.3),
    ("figure", 0.60, 1.525 + 0.18 + 0.099, 3.0 + 1.8),
    ("released", 0.02, 0.12, 6.0),
    ("released", 0.05, 0.30 - 0.0675, 6.45),
    ("released", 0.10, 0.60 - 0.045 - 0.12, 6.85),
    ("released", 0.30, 1.80 + 0.19 - 0.04, 8.3),
    ("released", 0.50, 2 * (0.25 + 1.2 - 0.16) + 0.57 + 0.18, 2.0 + 3.7),
]


@pytest.mark.parametrize(("preset", "d", "value", "_slope"), BY_HAND)
def test_value_by_hand_in_every_region(preset: Preset, d: float, value: float, _slope: float) -> None:
    """Each region between two boundaries holds the value worked out on paper."""
    assert at(preset, d, *TEACHERS[preset]).item() == pytest.approx(value, abs=1e-12)


@pytest.mark.parametrize(("preset", "d", "_value", "expected"), BY_HAND)
def test_gradient_by_hand_in_every_region(preset: Preset, d: float, _value: float, expected: float) -> None:
    """Each region has the slope worked out on paper; on the figure ramp a teacher adds 0.45 · d/(βD)."""
    assert slope(preset, d, *TEACHERS[preset]) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(("preset", "d", "_value", "expected"), BY_HAND)
def test_gradient_turns_round_left_of_the_truth(preset: Preset, d: float, _value: float, expected: float) -> None:
    """A student on the negative side is pulled up as hard as one on the positive side is pulled down."""
    assert slope(preset, -d, *TEACHERS[preset]) == pytest.approx(-expected, abs=1e-12)


# Jumps at every boundary: (preset, d, jump of the value, jump of the slope)

BOUNDARIES: list[tuple[Preset, float, float, float]] = [
    ("figure", 0.16, 0.0, 0.0),  # β·D_Tou
    ("figure", 0.196, 0.0, 0.0),  # β·D_Tol
    ("figure", 0.40, 0.0, 0.45),  # D_Tou: 0.45 becomes 0.9
    ("figure", 0.49, 0.0, 0.45),  # D_Tol
    ("figure", 0.50, 0.0, 0.0),  # the knee: slope 1 meets 2d
    ("released", 0.03, -0.45 * 0.17, 0.45),  # β·D_Tou
    ("released", 0.06, -0.40 * 0.34, 0.40),  # β·D_Tol
    ("released", 0.20, 0.0, 1.9 - 0.45),  # D_Tou
    ("released", 0.40, 0.0, (2 * 2 * 0.40 - 2 * 3) + (1.8 - 0.40)),  # D_Tol, the knee as well
]


@pytest.mark.parametrize(("preset", "d", "jump", "_slope_jump"), BOUNDARIES)
def test_value_across_every_boundary(preset: Preset, d: float, jump: float, _slope_jump: float) -> None:
    """The value is continuous but for the released form's jump of ω(1 − β)D at βD."""
    below, above = (at(preset, d + side, *TEACHERS[preset]).item() for side in (-1e-9, 1e-9))
    assert above - below == pytest.approx(jump, abs=1e-7)


@pytest.mark.parametrize(("preset", "d", "_jump", "slope_jump"), BOUNDARIES)
def test_gradient_across_every_boundary(preset: Preset, d: float, _jump: float, slope_jump: float) -> None:
    """The gradient jumps by the change of ω, and in the released form by Loss_Main's fall at the knee."""
    below, above = (slope(preset, d + side, *TEACHERS[preset]) for side in (-1e-9, 1e-9))
    assert above - below == pytest.approx(slope_jump, abs=1e-7)


def test_released_slope_falls_beyond_the_tolerant_teacher() -> None:
    """With D_Tou = 0.01 and D_Tol = 0.02 the slope is 8.3 just below D_Tol and 3.8 just above it."""
    below, above = (slope("released", d, 0.01, 0.02) for d in (0.02 - 1e-9, 0.02 + 1e-9))
    assert below == pytest.approx(8.3, abs=1e-6)
    assert above == pytest.approx(4 * 0.02 + 1.9 + 1.8, abs=1e-6)
    assert round(above, 1) == 3.8


def test_figure_slope_never_falls_with_distance() -> None:
    """In the figure form a larger error never gets less gradient."""
    slopes = [slope("figure", i / 500, *TEACHERS["figure"]) for i in range(1, 500) if i not in (200, 245)]
    assert slopes == sorted(slopes)


def test_a_distance_on_the_low_end_belongs_to_low_influence() -> None:
    """d = βD is still low influence: in the released form its ALoss is 0."""
    teacher = one(0.4)
    assert torch.equal(assistive_of(RELEASED.tough.beta * teacher, teacher, RELEASED.tough), one(0.0))


@BOTH
def test_a_distance_on_the_teacher_belongs_to_the_negative_assistant(preset: Preset) -> None:
    """At d = D the negative weight is used."""
    tough = PRESETS[preset].tough
    assert torch.equal(assistive_weight(one(0.4), one(0.4), tough), one(tough.negative))


def test_a_distance_on_the_knee_belongs_to_the_small_branch() -> None:
    """At d = t the released Loss_Main still has slope 3."""
    prediction = one(0.02).requires_grad_()
    main_loss(prediction, one(0.0), one(0.02), RELEASED).backward()
    assert prediction.grad is not None
    assert prediction.grad.sum().item() == pytest.approx(3.0)


@BOTH
def test_a_student_on_a_teacher_gets_no_assistance(preset: Preset) -> None:
    """The assistive loss is 0 at d = D."""
    constants = PRESETS[preset]
    assert assistive_loss(one(0.3), one(0.0), one(0.3), constants.tough).item() == 0.0


# Gradients: where they are the slope of the value, where not, and where none flows


def test_on_the_figure_ramp_the_gradient_is_not_the_slope_of_the_value() -> None:
    """ω is held fixed: at d = βD/2 the gradient is 0.225, the value's slope −0.45·(D − 2d)/(βD)."""
    teacher, d = 0.4, 0.08
    prediction = one(d).requires_grad_()
    assistive_loss(prediction, one(0.0), one(teacher), FIGURE.tough).backward()
    assert prediction.grad is not None
    lower, upper = (assistive_loss(one(d + s), one(0.0), one(teacher), FIGURE.tough).item() for s in (-1e-6, 1e-6))
    assert prediction.grad.sum().item() == pytest.approx(0.225)
    assert (upper - lower) / 2e-6 == pytest.approx(-0.45 * (teacher - 2 * d) / (0.4 * teacher), abs=1e-6)


OFF_THE_RAMP = [(preset, d) for preset, d, _, _ in BY_HAND if preset == "released" or d > 0.196]


@pytest.mark.parametrize(("preset", "d"), OFF_THE_RAMP)
def test_gradcheck_away_from_ramp_and_kinks(preset: Preset, d: float) -> None:
    """Elsewhere the gradient is the slope of the value, by finite differences."""
    d_tou, d_tol = TEACHERS[preset]
    prediction = one(d).requires_grad_()
    assert torch.autograd.gradcheck(lambda p: kd_loss(p, one(0.0), one(d_tou), one(d_tol), preset), prediction)


@BOTH
def test_no_gradient_reaches_the_teachers(preset: Preset) -> None:
    """Both teachers stay frozen even where their points ask for a gradient."""
    prediction, target, tough, tolerant = (points.requires_grad_() for points in batch())
    gradients = torch.autograd.grad(
        kd_loss(prediction, target, tough, tolerant, preset), (prediction, tough, tolerant), allow_unused=True
    )
    assert gradients[0] is not None
    assert gradients[1:] == (None, None)


@BOTH
def test_a_perfect_student_of_perfect_teachers_has_no_loss_and_no_gradient(preset: Preset) -> None:
    """At d = D = 0 loss and gradient are 0 instead of NaN."""
    prediction = one(0.5).requires_grad_()
    loss = kd_loss(prediction, one(0.5), one(0.5), one(0.5), preset)
    loss.backward()
    assert prediction.grad is not None
    assert loss.item() == 0.0
    assert torch.equal(prediction.grad, one(0.0))


# Symmetries


@BOTH
def test_a_teacher_on_the_other_side_of_the_truth_gives_the_same_loss(preset: Preset) -> None:
    """Only distances matter: the teacher's point is mirrored to the student's side."""
    prediction, target, tough, tolerant = batch()
    mirrored = kd_loss(prediction, target, 2 * target - tough, 2 * target - tolerant, preset)
    torch.testing.assert_close(mirrored, kd_loss(prediction, target, tough, tolerant, preset))


@BOTH
def test_mirroring_the_picture_keeps_the_loss(preset: Preset) -> None:
    """x → 1 − x of all four point sets changes no distance."""
    points = batch()
    torch.testing.assert_close(kd_loss(*(1 - p for p in points), preset), kd_loss(*points, preset))


# Precision, shapes, constants


@BOTH
def test_bfloat16_points_are_computed_in_float32(preset: Preset) -> None:
    """Half precision in gives the float32 loss of the same rounded points."""
    half = batch(dtype=torch.bfloat16)
    loss = kd_loss(*half, preset)
    assert loss.dtype == torch.float32
    assert torch.equal(loss, kd_loss(*(points.float() for points in half), preset))


def test_a_bfloat16_prediction_takes_a_float32_target() -> None:
    """A student under autocast is compared with labels kept in float32."""
    prediction, target, tough, tolerant = batch(dtype=torch.float32)
    assert kd_loss(prediction.bfloat16(), target, tough, tolerant).dtype == torch.float32


LOSSES: list[Callable[[Tensor, Tensor], Tensor]] = [
    l2_loss,
    l1_loss,
    smooth_l1_loss,
    wing_loss,
    lambda prediction, target: kd_loss(prediction, target, target, target),
    lambda prediction, target: kd_loss(prediction, prediction, prediction, target),
    lambda prediction, target: assistive_loss(prediction, target, prediction, FIGURE.tough),
]
EVERY_LOSS = pytest.mark.parametrize("loss", LOSSES)


@EVERY_LOSS
def test_different_shapes_are_refused(loss: Callable[[Tensor, Tensor], Tensor]) -> None:
    """98 points against 68 never broadcast, and both shapes are named."""
    with pytest.raises(SchemaError, match=r"\(2, 98, 2\).*\(2, 68, 2\).*must be alike"):
        loss(torch.zeros(2, 98, 2), torch.zeros(2, 68, 2))


@EVERY_LOSS
@pytest.mark.parametrize("shape", [(2, 136), (68, 2), (2, 68, 3), (0, 68, 2), (2, 0, 2)])
def test_points_of_another_form_are_refused(loss: Callable[[Tensor, Tensor], Tensor], shape: tuple[int, ...]) -> None:
    """Flat, unbatched, three-dimensional and empty points are no (B, N, 2)."""
    with pytest.raises(SchemaError, match=r"needs \(B, N, 2\) with at least one point"):
        loss(torch.zeros(shape), torch.zeros(shape))


def test_an_unknown_preset_is_refused_with_the_known_ones() -> None:
    """The error has the unknown name and the known ones."""
    with pytest.raises(ConfigError, match="'paper'; known: figure, released, signed"):
        kd_loss(*batch(), "paper")  # type: ignore[arg-type]  # the refusal of a wrong literal is what is tested


def test_constants_of_your_own_pass_through() -> None:
    """An ablation is `dataclasses.replace` on a preset."""
    own = replace(FIGURE, main_weight=1.0)
    assert constants_of(own) is own


def test_an_impossible_beta_is_refused() -> None:
    """βD beyond D would leave no negative assistant."""
    with pytest.raises(ConfigError, match=r"beta 1\.5"):
        replace(FIGURE.tough, beta=1.5)


def test_an_unknown_low_influence_is_refused() -> None:
    """A misspelt rule is named beside the known ones."""
    with pytest.raises(ConfigError, match="'linear'; known: 'ramp', 'zero'"):
        replace(FIGURE.tough, low_influence="linear")


# Plain losses by hand: one coordinate off by 0.5, one exact


def off_by_half() -> tuple[Tensor, Tensor]:
    """Prediction and target (1, 1, 2) that differ by 0.5 in x and not in y."""
    return torch.tensor([[[0.75, 0.25]]]), torch.tensor([[[0.25, 0.25]]])


def test_l2_is_the_mean_square() -> None:
    """The loss is (0.25 + 0) / 2."""
    assert l2_loss(*off_by_half()).item() == 0.125


def test_l1_is_the_mean_distance() -> None:
    """The loss is (0.5 + 0) / 2."""
    assert l1_loss(*off_by_half()).item() == 0.25


def test_smooth_l1_is_linear_beyond_beta() -> None:
    """The loss is (0.5 − 0.1/2) / 2 beyond β = 0.1."""
    assert smooth_l1_loss(*off_by_half(), beta=0.1).item() == pytest.approx(0.225)


def test_smooth_l1_is_square_below_beta() -> None:
    """The loss is 0.25 / (2·1) / 2 below β = 1."""
    assert smooth_l1_loss(*off_by_half(), beta=1.0).item() == pytest.approx(0.0625)


def test_wing_is_logarithmic_below_w() -> None:
    """ln(1 + 0.5/0.25) = ln 3 with w = 1 and ε = 0.25, over two coordinates."""
    assert wing_loss(*off_by_half(), w=1.0, epsilon=0.25).item() == pytest.approx(math.log(3) / 2)


def test_wing_is_linear_beyond_w() -> None:
    """0.5 − 0.1 + 0.1·ln 3 with w = 0.1 and ε = 0.05, over two coordinates."""
    assert wing_loss(*off_by_half(), w=0.1, epsilon=0.05).item() == pytest.approx((0.4 + 0.1 * math.log(3)) / 2)


def test_wing_is_continuous_at_w() -> None:
    """Both branches meet at |x| = w."""
    below, above = (wing_loss(one(0.2 + side), one(0.0), w=0.2).item() for side in (-1e-9, 1e-9))
    assert above == pytest.approx(below, abs=1e-7)


def test_wing_scales_with_its_unit() -> None:
    """In pixels of a 64-pixel crop, with w = 10 and ε = 2, it is 64 times the default in unit coordinates."""
    prediction, target, _, _ = batch()
    torch.testing.assert_close(
        wing_loss(64 * prediction, 64 * target, w=10.0, epsilon=2.0), 64 * wing_loss(prediction, target)
    )


def test_wing_gradcheck() -> None:
    """The gradient is the slope of the value on both branches."""
    prediction = torch.tensor([[[0.05, 0.4]]], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda p: wing_loss(p, torch.zeros_like(p)), prediction)


@pytest.mark.parametrize("constants", [{"w": 0.0}, {"epsilon": -1.0}, {"w": math.nan}])
def test_wing_constants_must_be_positive(constants: dict[str, float]) -> None:
    """A w or ε of zero, below or not a number is refused by name."""
    with pytest.raises(ConfigError, match=f"wing_loss: {next(iter(constants))}"):
        wing_loss(*off_by_half(), **constants)


def test_smooth_l1_beta_must_be_positive() -> None:
    """β = 0, which would be L1, raises an error."""
    with pytest.raises(ConfigError, match="smooth_l1_loss: beta"):
        smooth_l1_loss(*off_by_half(), beta=0.0)


LOSSES: dict[str, Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]] = {
    "l2": lambda prediction, target, *_: l2_loss(prediction, target),
    "l1": lambda prediction, target, *_: l1_loss(prediction, target),
    "smooth-l1": lambda prediction, target, *_: smooth_l1_loss(prediction, target),
    "wing": lambda prediction, target, *_: wing_loss(prediction, target),
    "figure": lambda *points: kd_loss(*points, "figure"),
    "released": lambda *points: kd_loss(*points, "released"),
}


@pytest.mark.parametrize("name", LOSSES)
def test_missing_points_count_for_nothing(name: str) -> None:
    """The loss is that of the labelled points alone, laid side by side, and so is its gradient; elsewhere that is 0."""
    points = batch()
    there = torch.rand(8, 68, generator=torch.Generator().manual_seed(1)) < 0.7
    prediction = points[0].clone().requires_grad_()
    loss = LOSSES[name](prediction, torch.where(there[..., None], points[1], torch.nan), *points[2:])
    loss.backward()
    alone = [one[there][None].clone() for one in points]
    alone[0].requires_grad_()
    expected = LOSSES[name](alone[0], *alone[1:])
    expected.backward()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-12)
    assert prediction.grad is not None
    assert alone[0].grad is not None
    assert torch.allclose(prediction.grad[there], alone[0].grad[0], rtol=1e-12)
    assert not prediction.grad[~there].any()


@pytest.mark.parametrize("name", LOSSES)
def test_half_a_nan_is_a_missing_point(name: str) -> None:
    """A point with one NaN is missing in both coordinates."""
    points = batch()
    whole, half = points[1].clone(), points[1].clone()
    whole[0, 0], half[0, 0, 1] = torch.nan, torch.nan
    losses = [LOSSES[name](points[0], target, *points[2:]) for target in (whole, half)]
    assert torch.equal(*losses)


def test_a_loss_without_missing_points_is_torchs_to_the_bit() -> None:
    """Nothing that was trained before is trained differently now."""
    prediction, target, *_ = batch(dtype=torch.float32)
    prediction.requires_grad_()
    for ours, plain in ((l1_loss, F.l1_loss), (l2_loss, F.mse_loss)):
        values = [ours(prediction, target), plain(prediction, target)]
        gradients = [torch.autograd.grad(value, prediction)[0] for value in values]
        assert torch.equal(*values)
        assert torch.equal(*gradients)


def test_a_batch_without_any_label_has_no_loss() -> None:
    """It is 0, and gives no gradient, rather than a division by 0."""
    prediction = torch.rand(2, 5, 2).requires_grad_()
    loss = l1_loss(prediction, torch.full((2, 5, 2), torch.nan))
    loss.backward()
    assert prediction.grad is not None
    assert loss.item() == 0 == prediction.grad.abs().sum().item()


def gradient_of(loss: Callable[[Tensor], Tensor], prediction: Tensor) -> Tensor:
    """Gradient of `loss` at `prediction`, of the sum over coordinates instead of the mean."""
    leaf = prediction.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(loss(leaf) * leaf.numel(), leaf)
    return gradient


def noisy_points(seed: int, spread: float = 0.05) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Prediction, target and both teachers' points (8, 68, 2), errors of up to `spread`."""
    generator = torch.Generator().manual_seed(seed)
    target = torch.rand(8, 68, 2, generator=generator, dtype=torch.float64)
    errors = spread * (2 * torch.rand(3, 8, 68, 2, generator=generator, dtype=torch.float64) - 1)
    prediction, tough, tolerant = (target + error for error in errors)
    return prediction, target, tough, tolerant


@pytest.mark.parametrize("seed", range(5))
def test_figure_gradient_is_a_weighted_l1_gradient(seed: int) -> None:
    """Below half a crop the figure preset only weighs L1's gradient, by 2.5 to 4.3 a coordinate."""
    prediction, target, tough, tolerant = noisy_points(seed, spread=0.49)
    distilled = gradient_of(lambda points: kd_loss(points, target, tough, tolerant, "figure"), prediction)
    weight = distilled / gradient_of(lambda points: l1_loss(points, target), prediction)
    assert weight.min() >= 2.5
    assert weight.max() <= 4.3 + 1e-12
    assert weight.max() - weight.min() > 1.5  # the weights do differ, so the bounds are no accident


@BOTH
def test_kd_gradient_ignores_the_side_of_the_teachers_error(preset: Preset) -> None:
    """Teachers that err equally far to the other side give the same loss and the same gradient."""
    prediction, target, tough, tolerant = noisy_points(0)
    mirrored = (2 * target - tough, 2 * target - tolerant)
    assert (mirrored[0] - tough).abs().max() > 0.05
    own, other = (
        gradient_of(lambda points, teachers=teachers: kd_loss(points, target, *teachers, preset), prediction)
        for teachers in ((tough, tolerant), mirrored)
    )
    torch.testing.assert_close(own, other)


def test_figure_gradient_cannot_leave_the_l1_direction() -> None:
    """Its cosine to L1's gradient is at least 2·√(a·b)/(a + b), a = 2.5, b = 4.3; teachers that reach it exist."""
    bound = 2 * math.sqrt(2.5 * 4.3) / (2.5 + 4.3)
    assert bound == pytest.approx(0.9643, abs=1e-4)
    target = torch.zeros(1, 34, 2, dtype=torch.float64)
    prediction = torch.full_like(target, 0.1)
    # 43 of 68 coordinates with far teachers, whose weight is nearly 2.5, and 25 with perfect ones, whose weight is 4.3.
    teacher = torch.full((68,), 1e6, dtype=torch.float64)
    teacher[:25] = 0.0
    teacher = teacher.reshape(1, 34, 2)
    worst = gradient_of(lambda points: kd_loss(points, target, teacher, teacher, "figure"), prediction)
    plain = gradient_of(lambda points: l1_loss(points, target), prediction)
    assert F.cosine_similarity(worst.flatten(), plain.flatten(), dim=0) == pytest.approx(bound, abs=1e-5)
    for seed in range(5):
        prediction, target, tough, tolerant = noisy_points(seed)
        found = gradient_of(
            lambda points, given=(target, tough, tolerant): kd_loss(points, *given, "figure"), prediction
        )
        plain = gradient_of(lambda points, target=target: l1_loss(points, target), prediction)
        assert F.cosine_similarity(found.flatten(), plain.flatten(), dim=0) >= bound


# Signed: a teacher has a side

# d along the teacher's side, its value at D = 0.4 with ω(d) · |d − D|, and the gradient ω · sign(d − D).
SIGNED_ASSISTANT = [
    (0.50, 0.9 * 0.10, 0.9),
    (0.20, 0.45 * 0.20, -0.45),
    (0.08, 0.225 * 0.32, -0.225),
    (-0.08, 0.9 * 0.48, -0.9),
    (-0.50, 0.9 * 0.90, -0.9),
]


@pytest.mark.parametrize("side", [1, -1])
@pytest.mark.parametrize(("d", "value", "gradient"), SIGNED_ASSISTANT)
def test_signed_assistant_by_hand_on_both_sides(d: float, value: float, gradient: float, side: int) -> None:
    """A prediction on the other side of the target is worse than the teacher, however near it is."""
    prediction = one(side * d).requires_grad_()
    loss = assistive_loss(prediction, one(0.0), one(side * 0.4), SIGNED.tough)
    loss.backward()
    assert prediction.grad is not None
    assert loss.item() == pytest.approx(value)
    assert prediction.grad.sum().item() == pytest.approx(side * gradient)


@pytest.mark.parametrize("d", [-0.3, 0.3])
def test_signed_teacher_on_the_truth_has_no_side(d: float) -> None:
    """A perfect teacher's assistant pulls to the target from both sides alike."""
    assert at("signed", d, 0.0, 0.0).item() == pytest.approx((1 + 0.9 + 0.9) * abs(d))


def test_signed_gradient_is_larger_where_the_teachers_are_not() -> None:
    """The gradient depends on the side of the teachers' error, and its only minimum on each face is the label."""
    prediction, target, tough, tolerant = noisy_points(0)
    tolerant = target + (tolerant - target).abs() * (tough - target).sign()  # both on one side
    weight = gradient_of(lambda points: kd_loss(points, target, tough, tolerant, "signed"), prediction)
    weight = weight * (prediction - target).sign()
    away = (prediction - target).sign() != (tough - target).sign()
    torch.testing.assert_close(weight[away], torch.full_like(weight[away], 2.8))
    nearer = ~away & ((prediction - target).abs() < torch.minimum((tough - target).abs(), (tolerant - target).abs()))
    assert nearer.any()
    assert 0.1 - 1e-12 <= weight[nearer].min() < weight[nearer].max() < 1


def best_constant(loss: Callable[[Tensor, Tensor], Tensor], labels: Tensor) -> float:
    """Coordinate at which the gradient of `loss` over all `labels` (F,) turns round: where a training comes to rest.

    The value is no guide, since it jumps where ω does.
    """
    target = labels[:, None, None].expand(-1, 1, 2)
    candidates = labels.unique()
    gradients = [
        gradient_of(lambda points: loss(points, target), torch.full_like(target, float(c)))[..., 0].sum()
        for c in candidates
    ]
    return float(candidates[int(torch.stack(gradients).abs().argmin())])


# Labels of one coordinate, spread evenly over 8 % of the crop, and a teacher 1 % beside their median.
NOISY_LABELS = torch.linspace(-0.05, 0.03, 161, dtype=torch.float64)


def towards_teacher(preset: Preset) -> float:
    """Share of the way from the labels' median to the teacher on which a student comes to rest."""

    def loss(points: Tensor, target: Tensor) -> Tensor:
        return kd_loss(points, target, torch.zeros_like(target), torch.zeros_like(target), preset)

    plain = best_constant(l1_loss, NOISY_LABELS)
    assert plain == pytest.approx(-0.01, abs=5e-4)
    return 1 - best_constant(loss, NOISY_LABELS) / plain


def test_a_teacher_moves_the_student_among_noisy_labels() -> None:
    """A face's weight is large where its label lies near the teacher: the figure form goes half the way, signed all."""
    assert towards_teacher("figure") == pytest.approx(0.45, abs=0.05)
    assert towards_teacher("signed") == pytest.approx(1.0, abs=0.05)


@pytest.mark.parametrize(("preset", "least", "most"), [("figure", 2.5, 4.3), ("signed", 0.1, 2.8)])
def test_how_far_a_teacher_can_move_the_student(preset: Preset, least: float, most: float) -> None:
    """However far away it is, not beyond the quantile of the labels that the weights' bounds allow."""
    low, high = (float(NOISY_LABELS.quantile(q / (least + most))) for q in (least, most))
    for teacher in (-10.0, -0.1, -0.03, 0.0, 0.02, 0.1, 10.0):
        rest = best_constant(
            lambda points, target, t=teacher: kd_loss(
                points, target, torch.full_like(target, t), torch.full_like(target, t), preset
            ),
            NOISY_LABELS,
        )
        assert low - 5e-4 <= rest <= high + 5e-4


@pytest.mark.parametrize("beta", [0.0, 1.0])
def test_a_beta_at_the_end_of_its_range_is_taken(beta: float) -> None:
    """All low influence up to the teacher, or none but at the target itself: the ramp then has no length."""
    assistant = replace(FIGURE.tough, beta=beta)
    weight = assistive_weight(torch.tensor([0.0, 0.5, 1.0, 1.1]), torch.ones(4), assistant)
    torch.testing.assert_close(weight, torch.tensor([0.0, -0.45 if beta == 0 else -0.225, -0.45, 0.9]))


def test_a_perfect_teacher_has_no_ramp() -> None:
    """A student as perfect gets no weight from it, one beside it the positive one."""
    weight = assistive_weight(torch.tensor([0.0, 0.1]), torch.zeros(2), FIGURE.tough)
    assert weight.tolist() == pytest.approx([0.0, 0.9])


def test_the_figure_is_the_preset_without_another() -> None:
    """"figure" is the default preset of the loss and of its parts."""
    points = batch()
    assert kd_loss_parts(*points).total == kd_loss(*points) == kd_loss(*points, "figure")


def test_the_share_of_labelled_points_is_exact_for_a_float64_prediction() -> None:
    """Whatever the labels' precision: two of three points of a batch are labelled."""
    prediction = torch.full((1, 3, 2), 0.75, dtype=torch.float64)
    target = torch.tensor([[[0.25, 0.25], [0.25, 0.25], [torch.nan, 0.25]]], dtype=torch.float32)
    assert float(l1_loss(prediction, target)) == pytest.approx(0.5, rel=1e-14)


def test_shapes_that_differ_are_all_named() -> None:
    """The prediction's, and those of target and teachers."""
    good, other = torch.zeros(1, 3, 2), torch.zeros(1, 4, 2)
    with pytest.raises(SchemaError, match=r"prediction \(1, 3, 2\) against \(1, 3, 2\), \(1, 4, 2\); all must"):
        assistive_loss(good, good, other, FIGURE.tough)
