"""The shape model against a slow eigenvector reference, by hand on tiny shapes, and on real faces."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lightmark import shape
from lightmark.data.formats.pts import read_pts_tree
from lightmark.data.sample import Sample
from lightmark.errors import ConfigError, DataError, SchemaError
from lightmark.geometry import Array, crop_matrix, tight_box, to_normalized, transform
from lightmark.metrics import interocular, nme
from lightmark.schema import IBUG68
from lightmark.shape import Align, ShapeModel, fit, soften

BOTH = pytest.mark.parametrize("align", ["none", "procrustes"])


def faces(count: int = 60, points: int = 7, seed: int = 0) -> Array:
    """Shapes (F, N, 2): one fixed shape, three strong ways to deform it, and a little noise."""
    rng = np.random.default_rng(seed)
    base, ways = rng.uniform(0.1, 0.9, (points, 2)), rng.normal(size=(3, points, 2))
    weights = rng.normal(size=(count, 3)) * [0.05, 0.03, 0.01]
    return base + np.einsum("fm,mnc->fnc", weights, ways) + rng.normal(scale=1e-3, size=(count, points, 2))


def similarity(seed: int) -> Array:
    """A random similarity (2, 3) without reflection."""
    rng = np.random.default_rng(seed)
    angle, scale = rng.uniform(-np.pi, np.pi), rng.uniform(0.3, 3.0)
    cos, sin = scale * np.cos(angle), scale * np.sin(angle)
    return np.array([[cos, -sin, rng.uniform(-5, 5)], [sin, cos, rng.uniform(-5, 5)]])


def slow_soften(train: Array, shapes: Array, variance: float) -> tuple[int, Array]:
    """Number of components and unaligned Soft-landmarks, from the covariance matrix and by loops."""
    rows = train.reshape(len(train), -1)
    mean = rows.mean(axis=0)
    values, vectors = np.linalg.eigh(np.cov(rows, rowvar=False))
    order = np.argsort(values)[::-1]
    kept, held = 0, 0.0
    while held < variance * values.sum():
        held += values[order[kept]]
        kept += 1
    result = []
    for row in shapes.reshape(len(shapes), -1):
        soft = mean.copy()
        for i in order[:kept]:
            bound = 3 * np.sqrt(values[i])
            soft += vectors[:, i] * min(max(float(vectors[:, i] @ (row - mean)), -bound), bound)
        result.append(soft.reshape(-1, 2))
    return kept, np.stack(result)


def line_model(align: Align = "none") -> ShapeModel:
    """Two points at (0, 0) and (1, 0); the only mode lifts both, with a standard deviation of 0.1."""
    modes = np.array([[[0.0, 1.0], [0.0, 1.0]]]) / np.sqrt(2)
    return ShapeModel(np.array([[0.0, 0.0], [1.0, 0.0]]), modes, np.array([0.01]), align, 1.0)


# Fit


@pytest.mark.parametrize("variance", [0.3, 0.5, 0.8, 0.9, 0.95, 0.99, 0.999])
def test_fit_and_soften_equal_the_reference(variance: float) -> None:
    """Components and soft shapes are those of the covariance matrix's eigenvectors."""
    train, others = faces(), faces(seed=1) * 1.3
    count, soft = slow_soften(train, others, variance)
    model = fit(train, variance)
    assert len(model.variances) == count
    np.testing.assert_allclose(soften(model, others), soft, atol=1e-9)


@BOTH
@pytest.mark.parametrize("variance", [0.5, 0.9, 0.99])
def test_fit_keeps_the_fewest_modes_that_hold_the_share(align: Align, variance: float) -> None:
    """The share is reached, and not without the last mode."""
    model, whole = fit(faces(), variance, align), fit(faces(), 1.0, align)
    share_without_last = whole.variances[: len(model.variances) - 1].sum() / whole.variances.sum()
    assert share_without_last < variance <= model.explained


@BOTH
def test_explained_is_the_share_of_the_variances(align: Align) -> None:
    """`explained` is the kept variance over all variance."""
    model, whole = fit(faces(), 0.9, align), fit(faces(), 1.0, align)
    assert model.explained == pytest.approx(model.variances.sum() / whole.variances.sum())


@BOTH
def test_modes_are_orthonormal_and_sorted(align: Align) -> None:
    """Vᵀ·V is the identity, and the strongest mode comes first."""
    model = fit(faces(), 0.999, align)
    flat = model.modes.reshape(len(model.modes), -1)
    np.testing.assert_allclose(flat @ flat.T, np.eye(len(flat)), atol=1e-12)
    assert (np.diff(model.variances) <= 0).all()


def test_variances_are_those_of_the_projections() -> None:
    """λ_i is the variance of the training shapes' b_i."""
    train = faces()
    model = fit(train, 0.99)
    weights = np.einsum("mnc,fnc->fm", model.modes, train - model.mean)
    np.testing.assert_allclose(weights.var(axis=0, ddof=1), model.variances)


def test_a_single_point_is_a_shape() -> None:
    """Its mean has no extent, and where it lies varies."""
    shapes = np.random.default_rng(0).random((6, 1, 2))
    np.testing.assert_allclose(fit(shapes).mean, shapes.mean(axis=0))


@BOTH
def test_two_shapes_make_a_model_of_one_mode(align: Align) -> None:
    """The smallest training set has one direction."""
    assert len(fit(faces(2), 0.999, align).modes) == 1


def test_procrustes_leaves_no_mode_that_moves_turns_or_scales_the_mean() -> None:
    """All modes are orthogonal to the four similarities of the mean."""
    model = fit(faces(), 0.999, "procrustes")
    centred = model.mean - model.mean.mean(axis=0)
    turned = centred @ np.array([[0.0, 1.0], [-1.0, 0.0]])
    right, down = np.broadcast_to([1.0, 0.0], centred.shape), np.broadcast_to([0.0, 1.0], centred.shape)
    for motion in (centred, turned, right, down):
        np.testing.assert_allclose(np.einsum("mnc,nc->m", model.modes, motion), 0, atol=1e-7)


def test_procrustes_forgets_where_each_training_shape_lay() -> None:
    """Training shapes each moved by a similarity of its own give the same variances, but for the model's own size."""
    train = faces()
    moved = np.stack([transform(similarity(i), face) for i, face in enumerate(train)])
    plain, other = fit(train, 0.99, "procrustes"), fit(moved, 0.99, "procrustes")
    size = [np.square(model.mean - model.mean.mean(axis=0)).sum() for model in (plain, other)]
    np.testing.assert_allclose(other.variances / size[1], plain.variances / size[0], rtol=1e-6)


# Soften


def test_soften_keeps_every_training_shape_at_full_variance() -> None:
    """With variance = 1.0 nothing is lost but what lies beyond 3σ."""
    train = faces()
    model = fit(train, 1.0)
    weights = np.einsum("mnc,fnc->fm", model.modes, train - model.mean)
    inside = (np.abs(weights) < 3 * np.sqrt(model.variances)).all(axis=1)
    assert inside.sum() > 40
    np.testing.assert_allclose(soften(model, train)[inside], train[inside], atol=1e-7)


@BOTH
def test_the_mean_is_its_own_soft_shape(align: Align) -> None:
    """The Soft-landmarks of the mean shape are the mean shape."""
    model = fit(faces(), 0.9, align)
    np.testing.assert_allclose(soften(model, model.mean), model.mean, atol=1e-9)


@pytest.mark.parametrize(("lift", "kept"), [(2.9, 2.9), (3.1, 3.0), (50.0, 3.0), (-2.9, -2.9), (-50.0, -3.0)])
def test_each_weight_is_clipped_to_three_deviations(lift: float, kept: float) -> None:
    """A shape within ±3σ of a mode stays, one beyond is brought back to it."""
    model = line_model()
    soft = soften(model, model.mean + lift * 0.1 * model.modes[0])
    np.testing.assert_allclose(soft, model.mean + kept * 0.1 * model.modes[0], atol=1e-12)


def test_soften_drops_what_no_mode_describes() -> None:
    """One point lifted by 0.2 is half of both lifted by 0.1."""
    soft = soften(line_model(), np.array([[0.0, 0.2], [1.0, 0.0]]))
    np.testing.assert_allclose(soft, [[0.0, 0.1], [1.0, 0.1]], atol=1e-12)


@BOTH
def test_softening_twice_changes_nothing_more(align: Align) -> None:
    """A soft shape is already one that the model allows."""
    model = fit(faces(), 0.8, align)
    once = soften(model, faces(seed=1))
    np.testing.assert_allclose(soften(model, once), once, atol=1e-9)


@given(seed=st.integers(0, 10_000))
@settings(max_examples=30, deadline=None)
def test_procrustes_softening_commutes_with_any_similarity(seed: int) -> None:
    """A moved, turned and enlarged face has the moved, turned and enlarged soft shape."""
    model, matrix, face = fit(faces(), 0.8, "procrustes"), similarity(seed), faces()[0]
    expected = transform(matrix, soften(model, face))
    np.testing.assert_allclose(soften(model, transform(matrix, face)), expected, atol=1e-8)


def test_without_alignment_a_moved_face_is_another_shape() -> None:
    """The unaligned model knows where in the crop a face lies."""
    model = fit(faces(), 0.8)
    moved = soften(model, model.mean + 1.0)
    assert np.abs(moved - (model.mean + 1.0)).max() > 0.5


@BOTH
def test_a_mirrored_face_has_the_mirrored_soft_shape(align: Align) -> None:
    """A model fitted on faces and their mirror images treats both sides alike."""
    permutation = np.array([1, 0, 2, 4, 3, 6, 5])

    def mirror(shapes: Array) -> Array:
        return (shapes * [-1, 1] + [1, 0])[..., permutation, :]

    model = fit(np.concatenate([faces(), mirror(faces())]), 0.9, align)
    others = faces(seed=1)
    np.testing.assert_allclose(soften(model, mirror(others)), mirror(soften(model, others)), atol=1e-7)


@BOTH
@pytest.mark.parametrize("leading", [(), (1,), (6,), (2, 3)])
def test_soften_keeps_the_leading_shape(align: Align, leading: tuple[int, ...]) -> None:
    """One face, a list or a grid of faces go in and come out alike."""
    model, stack = fit(faces(), 0.9, align), faces(6)
    count = int(np.prod(leading, dtype=int))
    soft = soften(model, stack[:count].reshape(*leading, 7, 2))
    np.testing.assert_allclose(soft.reshape(count, 7, 2), soften(model, stack)[:count], atol=1e-12)
    assert soft.shape == (*leading, 7, 2)


@BOTH
def test_soften_leaves_its_argument_alone(align: Align) -> None:
    """The hard shapes are still there afterwards."""
    shapes = faces()
    soften(fit(shapes, 0.5, align), shapes)
    np.testing.assert_array_equal(shapes, faces())


def test_float32_shapes_are_softened_in_float64() -> None:
    """Labels kept in float32 lose nothing more."""
    assert soften(fit(faces()), faces().astype(np.float32)).dtype == np.float64


# Refusals


@pytest.mark.parametrize("variance", [0.0, -0.1, 1.01, 90.0, float("nan")])
def test_a_share_outside_zero_to_one_is_refused(variance: float) -> None:
    """A variance in percent is refused."""
    with pytest.raises(ConfigError, match=r"needs a share above 0 and up to 1, 0\.9 say"):
        fit(faces(), variance)


def test_an_unknown_alignment_is_refused_with_the_known_ones() -> None:
    """The error has the unknown name and the known ones."""
    with pytest.raises(ConfigError, match="align 'affine'; known: none, procrustes"):
        fit(faces(), 0.9, "affine")  # type: ignore[arg-type]  # the refusal of a wrong literal is what is tested


def test_a_single_shape_is_refused() -> None:
    """A single shape is refused, since it has no variance."""
    with pytest.raises(DataError, match="1 of 1 shapes have all their points; variance needs two"):
        fit(faces(1))


@BOTH
def test_shapes_all_alike_are_refused(align: Align) -> None:
    """Copies of one face have no variance either."""
    with pytest.raises(DataError, match="all 5 shapes are alike"):
        fit(np.repeat(faces(1), 5, axis=0), 0.9, align)


@pytest.mark.parametrize("form", [(60, 14), (7, 2), (0, 7, 2), (3, 0, 2), (3, 7, 3)])
def test_fit_refuses_shapes_of_another_form(form: tuple[int, ...]) -> None:
    """Flat, single, empty and three-dimensional shapes are no (F, N, 2)."""
    with pytest.raises(SchemaError, match=r"needs \(F, N, 2\) with at least one point"):
        fit(np.zeros(form))


def test_shapes_that_are_not_finite_are_refused_by_number() -> None:
    """The first broken face is named, and so is one without any point."""
    shapes = faces()
    shapes[3, 2, 1] = np.inf
    shapes[5] = np.nan
    with pytest.raises(DataError, match="2 of 60 shapes, the first 3, are not finite"):
        fit(shapes)


@BOTH
def test_a_model_is_fitted_on_whole_shapes(align: Align) -> None:
    """Shapes with missing points leave it as it is without them."""
    lacking = faces()
    lacking[::7, 2] = np.nan
    whole = np.delete(faces(), np.arange(0, 60, 7), axis=0)
    assert np.array_equal(fit(lacking, 0.9, align).modes, fit(whole, 0.9, align).modes)


@BOTH
def test_missing_points_leave_the_soft_ones_where_they_were(align: Align) -> None:
    """A shape that the model holds exactly is fitted from part of its points alone; what is missing stays missing."""
    model = fit(faces(), 0.9, align)
    shape = soften(model, faces(1, seed=5))
    if align == "procrustes":
        shape = transform(similarity(2), shape[0])[None]
    lacking = shape.copy()
    lacking[0, [1, 4]] = np.nan
    soft = soften(model, lacking)
    assert np.isnan(soft[0, [1, 4]]).all()
    kept = [0, 2, 3, 5, 6]
    # Without all points the pose is laid on another part of the mean, so with Procrustes the fit is near, not exact.
    np.testing.assert_allclose(soft[0, kept], shape[0, kept], atol=1e-9 if align == "none" else 0.02 * np.ptp(shape))


def test_least_squares_on_the_labelled_points_is_numpys() -> None:
    """Weights of a shape off the model are those of `lstsq` on the labelled rows, then clipped."""
    model = fit(faces(), 0.9)
    shape = faces(1, seed=9)[0] + 0.01 * np.random.default_rng(0).normal(size=(7, 2))
    shape[3] = np.nan
    rows = np.delete(model.modes, 3, axis=1).reshape(len(model.modes), -1).T
    weights = np.linalg.pinv(rows) @ np.delete(shape - model.mean, 3, axis=0).ravel()
    bound = 3 * np.sqrt(model.variances)
    expected = model.mean + np.einsum("m,mnc->nc", np.clip(weights, -bound, bound), model.modes)
    np.testing.assert_allclose(np.delete(soften(model, shape), 3, axis=0), np.delete(expected, 3, axis=0))


def test_a_shape_with_a_single_point_is_still_softened() -> None:
    """Many weights fit one point: the smallest are taken, so that nothing is made up."""
    shape = np.full((7, 2), np.nan)
    shape[2] = fit(faces()).mean[2]
    np.testing.assert_allclose(soften(fit(faces()), shape)[2], shape[2])


def test_soften_refuses_shapes_that_are_not_finite() -> None:
    """A face that is not finite is an error."""
    with pytest.raises(DataError, match="1 of 1 shapes, the first 0, are not finite"):
        soften(fit(faces()), np.full((7, 2), np.inf))


def test_soften_refuses_another_number_of_points() -> None:
    """A model of 7 points cannot soften 6."""
    with pytest.raises(SchemaError, match=r"\(60, 6, 2\), this shape model needs \(..., 7, 2\)"):
        soften(fit(faces()), faces(points=6))


def test_procrustes_refuses_a_shape_without_size() -> None:
    """Points that all coincide cannot be aligned, and the face is named."""
    shapes = faces()
    shapes[4] = 0.5
    with pytest.raises(DataError, match="all points of shape 4 coincide"):
        fit(shapes, 0.9, "procrustes")


def test_procrustes_reports_that_it_does_not_converge(monkeypatch: pytest.MonkeyPatch) -> None:
    """An alignment that does not converge raises an error instead of returning a model."""
    monkeypatch.setattr(shape, "MAX_ITERATIONS", 2)
    with pytest.raises(DataError, match="has not converged in 2 iterations; are all shapes faces"):
        fit(np.random.default_rng(0).normal(size=(50, 7, 2)), 0.9, "procrustes")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mean": np.array(1.0)}, r"needs \(N, 2\) and \(M, N, 2\)"),
        ({"modes": np.array(1.0)}, r"needs \(N, 2\) and \(M, N, 2\)"),
        ({"mean": np.zeros((0, 2)), "modes": np.zeros((1, 0, 2))}, r"needs \(N, 2\) and \(M, N, 2\)"),
        ({"mean": np.zeros(4)}, r"needs \(N, 2\) and \(M, N, 2\)"),
        ({"modes": np.zeros((1, 3, 2))}, r"needs \(N, 2\) and \(M, N, 2\)"),
        ({"modes": np.zeros((0, 2, 2)), "variances": np.zeros(0)}, r"needs \(N, 2\) and \(M, N, 2\)"),
        ({"variances": np.zeros(2)}, "needs one a mode"),
        ({"variances": np.array([np.nan])}, "not finite"),
        ({"variances": np.array([-1.0])}, "must not be negative"),
        ({"explained": 1.5}, r"lies in \(0, 1\]"),
    ],
)
def test_a_model_that_contradicts_itself_is_refused(change: dict[str, object], message: str) -> None:
    """Parts that do not fit one another never make a model."""
    model = line_model()
    parts = {name: getattr(model, name) for name in ("mean", "modes", "variances", "align", "explained")}
    with pytest.raises(DataError, match=message):
        ShapeModel(**(parts | change))


def test_a_mode_without_variance_is_a_mode() -> None:
    """Shapes on a plane have some; soft shapes do not move along it."""
    modes = np.array([[[0.0, 1.0], [0.0, 1.0]], [[1.0, 0.0], [1.0, 0.0]]]) / np.sqrt(2)
    model = ShapeModel(np.array([[0.0, 0.0], [1.0, 0.0]]), modes, np.array([0.01, 0.0]), "none", 1.0)
    soft = soften(model, model.mean + np.array([0.3, 0.1]))
    np.testing.assert_allclose(soft, model.mean + np.array([0.0, 0.1]), atol=1e-12)


@BOTH
def test_shapes_with_missing_points_are_softened_each_for_itself(align: Align) -> None:
    """In a batch of complete faces and of faces that lack different points."""
    shapes = faces(5)
    shapes[1, 3], shapes[4, :2] = np.nan, np.nan
    model = fit(faces(), 0.9, align)
    for stacked, alone in zip(soften(model, shapes), shapes, strict=True):
        np.testing.assert_allclose(stacked, soften(model, alone), atol=1e-9)


def test_softening_by_procrustes_refuses_a_shape_without_size() -> None:
    """It cannot be laid on the mean; without alignment it is a shape like any other."""
    shapes = faces(3)
    shapes[2] = 0.5
    with pytest.raises(DataError, match="all points of shape 2 coincide"):
        soften(fit(faces(), 0.9, "procrustes"), shapes)
    assert np.isfinite(soften(fit(faces(), 0.9), shapes)).all()


def test_the_mean_of_each_point_is_over_the_shapes_that_have_it() -> None:
    """A point that none has is named, with how many there are."""
    shapes = np.array([[[1.0, 2], [3, 4]], [[3.0, 6], [np.nan, np.nan]], [[5.0, 1], [7, np.nan]]])
    np.testing.assert_allclose(shape.mean_labelled(shapes, "two", "faces"), [[3, 3], [3, 4]])
    shapes[0, 1] = np.nan
    with pytest.raises(DataError, match=r"^point 1 of two is labelled in none of 3 faces \(1 such points\); use a"):
        shape.mean_labelled(shapes, "two", "faces")


# Real faces: the 689 test shapes of 300W

SHARES = (0.80, 0.85, 0.90, 0.95, 0.97, 0.99)


@pytest.fixture(scope="module")
def full_set(real_data: Path) -> Array:
    """Image points (689, 68, 2) of the full test set."""
    samples: list[Sample] = [s for s in read_pts_tree(real_data / "300w") if "full" in s.subsets]
    return np.stack([sample.points for sample in samples])


def softened(shapes: Array, align: Align = "none") -> tuple[list[int], list[float]]:
    """Kept components and NME(soft, hard) in %, for each of SHARES."""
    models = [fit(shapes, share, align) for share in SHARES]
    errors = [100 * nme(soften(model, shapes), shapes, interocular(shapes, IBUG68)).mean() for model in models]
    return [len(model.modes) for model in models], errors


def square_crops_with_margin(points: Array, margins: Array) -> Array:
    """Points in a square crop with its corner at the tight box's, enlarged by `margins` (F,) image pixels a side."""
    boxes = tight_box(points)
    extents = (boxes[:, 2:] - boxes[:, :2]).max(axis=1)
    corners = boxes[:, :2] - margins[:, None]
    return (points - corners[:, None]) / (extents + 2 * margins)[:, None, None]


def test_published_component_counts_of_the_test_faces(full_set: Array) -> None:
    """Square crops with the released random margin of 5–20 px keep 3, 3, 4, 6, 10 and 20 components."""
    margins = np.random.default_rng(0).uniform(5, 20, len(full_set))
    counts, _ = softened(square_crops_with_margin(full_set, margins))
    assert counts == [3, 3, 4, 6, 10, 20]


def test_published_softness_of_the_test_faces(full_set: Array) -> None:
    """In the same crops NME(soft, hard) is 7.6, 5.9, 4.5, 3.5 and 2.2 % to within 0.4, as margins differ."""
    margins = np.random.default_rng(0).uniform(5, 20, len(full_set))
    _, errors = softened(square_crops_with_margin(full_set, margins))
    np.testing.assert_allclose(errors[1:], [7.6, 5.9, 4.5, 3.5, 2.2], atol=0.4)


def upright_crops(points: Array) -> Array:
    """normalized_points in Lightmark's own upright crop, 1.25 times the tight box's longer side."""
    return np.stack([to_normalized(transform(crop_matrix(tight_box(face), 128, 1.25), face), 128) for face in points])


def test_softness_in_the_crop_that_lightmark_trains_in(full_set: Array) -> None:
    """A centred crop hides part of the variance: 90 % is 4 components and an NME of 5.5 %."""
    counts, errors = softened(upright_crops(full_set))
    assert counts == [2, 3, 4, 6, 10, 21]
    np.testing.assert_allclose(errors, [8.07, 6.44, 5.51, 4.30, 3.31, 2.11], atol=0.01)


def test_aligned_shapes_need_more_modes_for_the_same_share(full_set: Array) -> None:
    """With Procrustes 90 % is 8 components and an NME of 3.0 %, since pose no longer counts as variance."""
    counts, errors = softened(upright_crops(full_set), "procrustes")
    assert counts == [4, 5, 8, 14, 21, 39]
    np.testing.assert_allclose(errors, [3.93, 3.67, 3.01, 2.24, 1.74, 1.03], atol=0.01)
