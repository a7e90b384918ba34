"""Metrics against values worked out by hand and slow independent references."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr

from lightmark import metrics
from lightmark.errors import DataError, SchemaError
from lightmark.metrics import (
    Interval,
    auc,
    bootstrap_interval,
    ced,
    failure_rate,
    interocular,
    labelled_mean,
    nme,
    paired_bootstrap,
    percentile,
    point_errors,
    sign_flip_p,
)
from lightmark.schema import COFW29, IBUG68, WFLW98, plain_schema
from lightmark.scores import average_precision, likelihood_gain, mean_spearman, roc_auc, roc_curve, spearman

errors_lists = st.lists(st.floats(0, 1), min_size=1, max_size=40)
thresholds = st.floats(0.01, 0.5)


def faces(count: int = 3, points: int = 4, seed: int = 0) -> np.ndarray:
    """Random points (F, N, 2)."""
    return np.random.default_rng(seed).uniform(0, 100, (count, points, 2))


def slow_nme(points: np.ndarray, target: np.ndarray, normaliser: np.ndarray) -> list[float]:
    """NME a face, by loops."""
    result = []
    for face, labels, distance in zip(points, target, normaliser, strict=True):
        total = 0.0
        for (x, y), (u, v) in zip(face, labels, strict=True):
            total += math.hypot(x - u, y - v)
        result.append(total / len(labels) / distance)
    return result


def test_point_errors_are_distances() -> None:
    """A point 3 right and 4 down of its target is 5 away."""
    target = np.array([[[1.0, 2.0], [1.0, 2.0]]])
    assert point_errors(np.array([[[4.0, 6.0], [1.0, 2.0]]]), target).tolist() == [[5.0, 0.0]]


def test_nme_by_hand() -> None:
    """Distances 5 and 0 over an eye distance of 50 are 5 %."""
    assert nme(np.array([[[3.0, 4.0], [0.0, 0.0]]]), np.zeros((1, 2, 2)), [50.0]) == pytest.approx([0.05])


def test_nme_agrees_with_the_slow_reference() -> None:
    """The vectorised mean equals loops over faces and points."""
    points, target, normaliser = faces(seed=1), faces(seed=2), np.array([10.0, 20.0, 30.0])
    assert nme(points, target, normaliser) == pytest.approx(slow_nme(points, target, normaliser), rel=1e-12)


def test_nme_gives_one_value_a_face() -> None:
    """A face's error does not depend on the faces beside it."""
    points, target = faces(seed=1), faces(seed=2)
    assert nme(points, target, np.ones(3))[1] == nme(points[1:2], target[1:2], np.ones(1))[0]


def test_nme_of_a_scaled_face_is_the_same() -> None:
    """Enlarging picture, prediction and normaliser alike changes nothing."""
    points, target, normaliser = faces(seed=1), faces(seed=2), np.array([10.0, 20.0, 30.0])
    assert nme(4 * points, 4 * target, 4 * normaliser) == pytest.approx(nme(points, target, normaliser))


@pytest.mark.parametrize(("schema", "corners"), [(IBUG68, (36, 45)), (WFLW98, (60, 72)), (COFW29, (8, 9))])
def test_interocular_uses_the_outer_eye_corners(schema, corners) -> None:
    """The normaliser is the distance of the published pair of corners."""
    target = np.zeros((1, schema.size, 2))
    target[0, corners[0]], target[0, corners[1]] = (10, 20), (40, 60)
    assert interocular(target, schema).tolist() == [50.0]


def test_interocular_refuses_points_of_another_schema() -> None:
    """97 points are no WFLW face."""
    with pytest.raises(SchemaError, match=r"\(1, 97, 2\), wflw98 needs \(\.\.\., 98, 2\)"):
        interocular(np.zeros((1, 97, 2)), WFLW98)


@pytest.mark.parametrize("bad", [0.0, -1.0, np.nan, np.inf])
def test_nme_refuses_a_normaliser_that_divides_by_nothing(bad: float) -> None:
    """A zero, negative or missing eye distance names the face."""
    with pytest.raises(DataError, match=r"face 1 .*positive distance"):
        nme(faces(), faces(), [1.0, bad, 1.0])


def test_nme_refuses_one_normaliser_for_all() -> None:
    """A normaliser belongs to one face each."""
    with pytest.raises(DataError, match=r"shape \(1,\); 3 faces need one distance each"):
        nme(faces(), faces(), [1.0])


def test_interocular_of_one_point_twice_is_refused_by_nme() -> None:
    """Coinciding eye corners surface as a bad normaliser, not as infinity."""
    target = np.zeros((1, 2, 2))
    with pytest.raises(DataError, match="two normalising points of a face must differ"):
        nme(target, target, interocular(target, plain_schema(2)))


@pytest.mark.parametrize("shape", [(3, 5, 2), (2, 4, 2), (3, 4, 3)])
def test_point_errors_refuse_shapes_that_differ(shape: tuple[int, ...]) -> None:
    """Broadcasting a wrong shape would give a wrong number in silence."""
    with pytest.raises(DataError, match="one shape"):
        point_errors(np.zeros(shape), faces())


def test_point_errors_refuse_flat_points() -> None:
    """Interleaved coordinates (F, 2N) are not points."""
    with pytest.raises(DataError, match="one shape"):
        point_errors(np.zeros((3, 8)), np.zeros((3, 8)))


def test_point_errors_name_the_face_that_is_not_finite() -> None:
    """One NaN is reported with its face, not averaged in."""
    points = faces()
    points[2, 0, 0] = np.nan
    with pytest.raises(DataError, match="points: not finite for 1 of 3 faces, first at index 2"):
        point_errors(points, faces())


def test_missing_points_are_left_out_of_the_mean() -> None:
    """A face's error is the mean over its labelled points, whatever was predicted for the others."""
    points, target = faces(), faces() + 1
    target[1, 2:] = np.nan
    points[1, 3] = 1e6
    errors = point_errors(points, target)
    assert np.isnan(errors[1, 2:]).all()
    np.testing.assert_allclose(nme(points, target, [1.0, 2.0, 1.0]), np.sqrt(2) / [1, 2, 1])


def test_a_face_without_labels_is_named() -> None:
    """It has no error, not the error 0; an infinite label is broken, not missing."""
    target = faces()
    target[1] = np.nan
    with pytest.raises(DataError, match="no point is labelled in 1 of 3 faces, first at index 1"):
        point_errors(faces(), target)
    target[1] = np.inf
    with pytest.raises(DataError, match="target: not finite for 1 of 3 faces, first at index 1"):
        point_errors(faces(), target)


def test_a_missing_normaliser_is_no_number() -> None:
    """A distance to a missing corner is NaN, which `nme` refuses."""
    target = np.random.default_rng(0).uniform(0, 100, (2, 68, 2))
    target[1, 45] = np.nan
    assert np.isnan(interocular(target, IBUG68)).tolist() == [False, True]
    with pytest.raises(DataError, match="normaliser: nan at face 1"):
        nme(target[:, :1], target[:, :1], interocular(target, IBUG68))


def test_rank_and_likelihood_pass_missing_points_over() -> None:
    """They are those of the labelled points of each column."""
    rng = np.random.default_rng(0)
    errors, expected = rng.uniform(0.5, 1, (6, 3)), rng.uniform(0.5, 1, (6, 3))
    lacking = errors.copy()
    lacking[4:, 0] = np.nan
    columns = [spearman(expected[:4, 0], errors[:4, 0]), *(spearman(expected[:, i], errors[:, i]) for i in (1, 2))]
    assert mean_spearman(expected, lacking) == pytest.approx(np.mean(columns))
    gains = [likelihood_gain(expected[:4, :1], errors[:4, :1]), likelihood_gain(expected[:, 1:], errors[:, 1:])]
    np.testing.assert_allclose(likelihood_gain(expected, lacking)[:4], (gains[0] + 2 * gains[1][:4]) / 3)
    np.testing.assert_allclose(likelihood_gain(expected, lacking)[4:], gains[1][4:])


def test_failure_rate_is_strict() -> None:
    """An error equal to the threshold is no failure."""
    assert failure_rate([0.08, 0.0800001, 0.01, 0.2], 0.08) == 0.5


def test_auc_by_hand() -> None:
    """Errors 0, half of and beyond the threshold give 1, ½ and 0."""
    assert auc([0.0, 0.04, 0.2], 0.08) == pytest.approx(0.5)


@given(errors_lists, thresholds)
def test_auc_is_the_area_under_the_error_curve(errors: list[float], threshold: float) -> None:
    """The closed form equals the step curve summed piece by piece."""
    steps = [0.0, *sorted(e for e in errors if e < threshold), threshold]
    heights = [sum(e <= left for e in errors) / len(errors) for left in steps[:-1]]
    area = sum((right - left) * height for (left, right), height in zip(pairwise(steps), heights, strict=True))
    assert auc(errors, threshold) == pytest.approx(area / threshold, abs=1e-9)


@given(errors_lists, thresholds)
def test_failure_rate_and_curve_sum_to_one(errors: list[float], threshold: float) -> None:
    """Every face is either within the threshold or a failure."""
    assert failure_rate(errors, threshold) + ced(errors, [threshold])[0] == pytest.approx(1)


@given(errors_lists)
def test_ced_agrees_with_counting(errors: list[float]) -> None:
    """Each height of the curve is a count of faces."""
    at = np.linspace(0, 1, 11)
    assert ced(errors, at).tolist() == [sum(e <= x for e in errors) / len(errors) for x in at]


def test_percentile_by_hand() -> None:
    """Of five ordered errors the middle one is the median."""
    assert percentile([0.5, 0.1, 0.3, 0.2, 0.4], 50) == 0.3


def test_percentile_refuses_more_than_all() -> None:
    """Shares are percent from 0 to 100."""
    with pytest.raises(DataError, match="from 0 to 100"):
        percentile([0.1], 101)


@pytest.mark.parametrize("threshold", [0.0, -0.1, math.nan, math.inf])
@pytest.mark.parametrize("metric", [auc, failure_rate])
def test_thresholds_are_positive(metric, threshold: float) -> None:
    """A threshold that is not positive is refused."""
    with pytest.raises(DataError, match="positive fraction"):
        metric([0.1], threshold)


@pytest.mark.parametrize("metric", [auc, failure_rate])
def test_no_faces_have_no_summary(metric) -> None:
    """An empty set is an error, not NaN."""
    with pytest.raises(DataError, match="and a face"):
        metric([], 0.1)


def test_bootstrap_interval_repeats_with_its_seed() -> None:
    """The same seed gives the same interval, another seed another."""
    values = np.random.default_rng(0).normal(size=50)
    assert bootstrap_interval(values, seed=3) == bootstrap_interval(values, seed=3)
    assert bootstrap_interval(values, seed=3) != bootstrap_interval(values, seed=4)


def test_bootstrap_interval_of_the_mean_is_near_the_normal_one() -> None:
    """For many normal values the interval is the mean ± 1.96 standard errors."""
    values = np.random.default_rng(0).normal(5, 1, 900)
    interval = bootstrap_interval(values, resamples=4000)
    half = 1.96 * values.std() / 30
    assert (interval.low, interval.high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.1 * half)


def test_bootstrap_interval_takes_any_statistic() -> None:
    """A median has an interval too."""
    interval = bootstrap_interval([1.0, 2.0, 3.0, 4.0, 100.0], lambda v: np.median(v, axis=-1), resamples=200)
    assert interval.value == 3.0
    assert interval.low <= 3.0 <= interval.high


def test_bootstrap_interval_does_not_depend_on_chunks(monkeypatch) -> None:
    """Drawing a few faces at a time gives the interval of drawing all at once."""
    values = np.random.default_rng(0).normal(size=50)
    whole = bootstrap_interval(values, resamples=101)
    monkeypatch.setattr("lightmark.metrics.MAX_CHUNK", 320)
    assert bootstrap_interval(values, resamples=101) == whole


def test_bootstrap_interval_agrees_with_the_slow_reference() -> None:
    """The interval is that of means of faces drawn one by one by the same generator."""
    values, rng = np.random.default_rng(1).normal(size=7), np.random.default_rng(0)
    means = sorted(sum(values[i] for i in rng.integers(0, 7, 7)) / 7 for _ in range(201))
    interval = bootstrap_interval(values, resamples=201, level=0.9)
    assert (interval.low, interval.high) == pytest.approx((means[10], means[190]))


def test_bootstrap_interval_of_one_face_has_no_width() -> None:
    """A single face can only be drawn as itself."""
    assert bootstrap_interval([0.25], resamples=10) == Interval(0.25, 0.25, 0.25)


@pytest.mark.parametrize("level", [0.0, 1.0, 95])
def test_bootstrap_interval_refuses_a_level_in_percent(level: float) -> None:
    """Levels are shares."""
    with pytest.raises(DataError, match=r"0\.95 say"):
        bootstrap_interval([0.1, 0.2], level=level)


def test_bootstrap_needs_a_resample() -> None:
    """No draws give no interval."""
    with pytest.raises(DataError, match="resamples 0"):
        bootstrap_interval([0.1, 0.2], resamples=0)


def test_paired_bootstrap_is_the_interval_of_the_differences() -> None:
    """Pairing looks at b − a face by face, so noise that both share does not widen it."""
    a = np.random.default_rng(0).uniform(0, 1, 40)
    interval = paired_bootstrap(a, a - 0.01)
    assert (interval.value, interval.low, interval.high) == pytest.approx((-0.01, -0.01, -0.01))
    assert not interval.holds_zero


def test_paired_bootstrap_refuses_other_faces() -> None:
    """Pairs need as many values on each side."""
    with pytest.raises(DataError, match="2 faces against 3"):
        paired_bootstrap([0.1, 0.2], [0.1, 0.2, 0.3])


def test_sign_flip_p_by_enumeration() -> None:
    """Six differences, all of one sign: 2 of the 64 flips reach the mean."""
    p = sign_flip_p(np.zeros(6), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0], permutations=20_000)
    assert p == pytest.approx(2 / 64, abs=0.005)


def test_sign_flip_p_of_equal_runs_is_one() -> None:
    """No difference at all is no evidence at all."""
    assert sign_flip_p([0.1, 0.2], [0.1, 0.2], permutations=100) == 1.0


def test_sign_flip_p_is_never_zero() -> None:
    """A clear difference gives one over the number of permutations plus one."""
    assert sign_flip_p(np.zeros(60), np.ones(60), permutations=99) == pytest.approx(0.01)


def test_sign_flip_p_is_uniform_where_nothing_differs() -> None:
    """About 5 % of true nulls fall below 0.05."""
    rng = np.random.default_rng(0)
    low = [sign_flip_p(np.zeros(20), rng.normal(size=20), permutations=199, seed=i) <= 0.05 for i in range(400)]
    assert 0.02 < np.mean(low) < 0.09


values_with_ties = st.lists(st.integers(0, 6).map(float), min_size=2, max_size=30)


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=2, max_size=30))
def test_spearman_is_scipys(pairs):
    """With ties as without; a constant row has no order, so no correlation."""
    a, b = ([float(pair[i]) for pair in pairs] for i in (0, 1))
    want = 0.0 if len(set(a)) == 1 or len(set(b)) == 1 else spearmanr(a, b).statistic
    assert spearman(a, b) == pytest.approx(want, abs=1e-9)


@given(values_with_ties, values_with_ties)
def test_roc_auc_counts_pairs(positives, negatives):
    """The share of pairs in the right order, a tie counting half."""
    wins = [(p > n) + 0.5 * (p == n) for p in positives for n in negatives]
    assert roc_auc(positives, negatives) == pytest.approx(sum(wins) / len(wins))


def test_rank_measures_refuse_rows_that_do_not_pair():
    """Lengths must agree, and values be finite."""
    with pytest.raises(DataError, match="2 faces against 3"):
        spearman([1, 2], [1, 2, 3])
    with pytest.raises(DataError, match="negatives: not finite"):
        roc_auc([1.0], [math.nan])


def test_mean_spearman_is_within_a_point() -> None:
    """Differences between points do not count, only the order of the faces within each point."""
    errors = np.array([[1.0, 10.0], [2.0, 20.0], [3.0, 30.0]])
    assert mean_spearman(errors, errors) == pytest.approx(1)
    assert mean_spearman(np.array([[3.0, 10.0], [2.0, 20.0], [1.0, 30.0]]), errors) == pytest.approx(0)
    assert mean_spearman(np.tile([1.0, 10.0], (3, 1)), errors) == 0


def test_likelihood_gain_is_that_of_the_density() -> None:
    """log of 2 / (π e²) · exp(−2r / e) under what is expected, less that under the points' means."""
    rng = np.random.default_rng(0)
    expected, errors = rng.uniform(0.1, 1, (2, 5, 3))

    def log_density(e: np.ndarray) -> np.ndarray:
        return np.log(2 / (np.pi * e**2) * np.exp(-2 * errors / e))

    want = (log_density(expected) - log_density(errors.mean(axis=0))).mean(axis=1)
    np.testing.assert_allclose(likelihood_gain(expected, errors), want)


def test_likelihood_gain_of_perfect_points_is_finite() -> None:
    """Errors of zero are no infinite likelihood."""
    assert np.isfinite(likelihood_gain(np.full((2, 3), 0.1), np.zeros((2, 3)))).all()


@given(st.lists(st.integers(0, 5), min_size=1, max_size=12), st.lists(st.integers(0, 5), min_size=1, max_size=12))
def test_roc_curve_encloses_the_auc(positives, negatives) -> None:
    """The area under its corners, ties joined by straight lines, is `roc_auc`; it runs from 0 to 1."""
    accepted, kept = roc_curve(positives, negatives)
    assert (accepted[0], kept[0], accepted[-1], kept[-1]) == (0, 0, 1, 1)
    assert np.trapezoid(kept, accepted) == pytest.approx(roc_auc(positives, negatives))


@pytest.mark.parametrize("shape", [(3, 4, 3), (3, 4, 1), (0, 4, 2), (3, 0, 2), (4, 2), (1, 3, 4, 2)])
def test_point_errors_refuse_what_is_no_set_of_faces(shape: tuple[int, ...]) -> None:
    """Also where prediction and target are alike."""
    with pytest.raises(DataError, match=r"both need one shape \(faces, points, 2\)"):
        point_errors(np.zeros(shape), np.zeros(shape))


def test_interocular_is_computed_in_float64() -> None:
    """For labels in float32, too, and for a single face."""
    target = faces(2, 68).astype(np.float32)
    distances = interocular(target, IBUG68)
    assert distances.dtype == np.float64
    np.testing.assert_array_equal(distances, interocular(target.astype(np.float64), IBUG68))
    assert interocular(target[1], IBUG68) == distances[1]


def test_labelled_mean_of_a_face_without_labels_is_no_number() -> None:
    """And that of the others is over their labelled points."""
    errors = np.array([[1.0, 3.0], [5.0, np.nan], [np.nan, np.nan]])
    np.testing.assert_array_equal(labelled_mean(errors), [2.0, 5.0, np.nan])


@pytest.mark.parametrize(
    ("name", "metric"),
    [
        ("failure_rate", lambda values: failure_rate(values, 0.1)),
        ("auc", lambda values: auc(values, 0.1)),
        ("ced", lambda values: ced(values, [0.1])),
        ("percentile", lambda values: percentile(values, 50)),
        ("bootstrap_interval", bootstrap_interval),
        ("positives", lambda values: roc_auc(values, [1.0])),
        ("negatives", lambda values: roc_auc([1.0], values)),
        ("positives", lambda values: roc_curve(values, [1.0])),
        ("negatives", lambda values: roc_curve([1.0], values)),
        ("a", lambda values: spearman(values, [1.0])),
        ("b", lambda values: spearman([1.0], values)),
    ],
)
def test_errors_name_the_values_that_are_broken(name: str, metric) -> None:
    """A caller of several metrics sees which one refused them."""
    for broken in ([], [0.1, np.nan]):
        with pytest.raises(DataError, match=f"^{name}: "):
            metric(broken)


def test_interocular_names_itself_to_points_of_another_schema() -> None:
    """The message begins with the caller's name."""
    with pytest.raises(SchemaError, match=r"^interocular: "):
        interocular(faces(2, 67), IBUG68)


@pytest.mark.parametrize(("share", "error"), [(0, 1.0), (0.5, 1.01), (50, 2.0), (100, 3.0)])
def test_percentiles_run_from_the_least_to_the_largest_error(share: float, error: float) -> None:
    """Both ends included; half a percent is a share like any other."""
    assert percentile([3.0, 1.0, 2.0], share) == pytest.approx(error)


@pytest.mark.parametrize("share", [-1, 100.5])
def test_a_share_beyond_the_ends_is_refused(share: float) -> None:
    """On either side."""
    with pytest.raises(DataError, match="needs percent from 0 to 100"):
        percentile([1.0, 2.0], share)


def test_an_interval_carries_its_level() -> None:
    """The one that was asked for, also of a paired bootstrap; a lower level gives a narrower interval."""
    values = np.random.default_rng(0).normal(size=50)
    found = [bootstrap_interval(values, level=0.5), paired_bootstrap(np.zeros(50), values, level=0.5)]
    assert [interval.level for interval in found] == [0.5, 0.5]
    assert bootstrap_interval(values).level == 0.95
    assert found[1].high - found[1].low < 0.6 * (bootstrap_interval(values).high - bootstrap_interval(values).low)


def test_drawings_hang_on_the_seed_alone() -> None:
    """Which is 0 unless another is given."""
    a, b = np.random.default_rng(0).normal(size=(2, 30))
    assert paired_bootstrap(a, b) == paired_bootstrap(a, b, seed=0) != paired_bootstrap(a, b, seed=1)
    values = [sign_flip_p(a, b, 2000), sign_flip_p(a, b, 2000, seed=0), sign_flip_p(a, b, 2000, seed=1)]
    assert values[0] == values[1] != values[2]
    assert [sign_flip_p(a, b, 2000, seed=4) for _ in range(3)] == [sign_flip_p(a, b, 2000, seed=4)] * 3
    assert paired_bootstrap(a, b, seed=4) == paired_bootstrap(a, b, seed=4)


def test_one_resample_is_enough_to_ask_for() -> None:
    """The interval is then that one value."""
    interval = bootstrap_interval([1.0, 2.0, 4.0], resamples=1)
    assert interval.low == interval.high
    assert sign_flip_p([1.0, 2.0], [2.0, 4.0], permutations=1) in (0.5, 1.0)


def test_a_set_larger_than_a_portion_is_drawn_once_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory never holds more drawings than one of them needs."""
    monkeypatch.setattr(metrics, "MAX_CHUNK", 4)
    drawn = []
    bootstrap_interval(np.arange(5.0), lambda values: drawn.append(len(values)) or values.mean(axis=-1), resamples=3)
    assert drawn[:3] == [1, 1, 1]


def test_mean_spearman_needs_as_many_points_on_both_sides() -> None:
    """A point without a partner is no point to leave out."""
    with pytest.raises(ValueError, match="zip"):
        mean_spearman(np.ones((4, 3)), np.ones((4, 2)))


def test_an_interval_as_json() -> None:
    """Value and ends by their names."""
    assert Interval(0.5, 0.25, 0.75).to_dict() == {"value": 0.5, "low": 0.25, "high": 0.75}


def slow_average_precision(scores: list[float], hits: list[bool], faces: int) -> float:
    """Precision is interpolated: at each hit the largest at the same or a higher recall, summed over the faces."""
    order = sorted(range(len(scores)), key=lambda i: -scores[i])
    right = [hits[i] for i in order]
    at = [sum(right[: n + 1]) / (n + 1) for n in range(len(right))]
    return sum(max(at[n:]) for n in range(len(right)) if right[n]) / faces


@given(st.lists(st.tuples(st.integers(0, 10_000), st.booleans()), max_size=12, unique_by=lambda find: find[0]))
def test_average_precision_is_the_slow_reference(finds: list[tuple[int, bool]]) -> None:
    """The order of the detections does not matter."""
    scores, hits = [score / 10_000 for score, _ in finds], [hit for _, hit in finds]
    count = max(1, sum(hits)) + 1
    assert average_precision(scores, hits, count) == pytest.approx(slow_average_precision(scores, hits, count))


def test_finds_of_one_score_count_in_their_order() -> None:
    """Two alternating scores of a hundred detections each; integer scores are accepted."""
    scores = np.tile([0.2, 0.8], 100)
    hits = np.random.default_rng(0).random(200) < np.linspace(1, 0, 200)
    slow = slow_average_precision(scores.tolist(), hits.tolist(), 150)
    assert average_precision(scores, hits, 150) == pytest.approx(slow, rel=1e-12)
    assert average_precision(np.array([1, 0], np.uint8), [True, False], faces=1) == 1.0


def test_errors_are_judged_in_float64() -> None:
    """A tenth in float32 lies above a tenth."""
    assert failure_rate(np.array([0.1], np.float32), 0.1) == 1.0


def test_average_precision_at_its_ends() -> None:
    """All found first is 1, nothing found 0; of equal scores the first given counts first; it needs a face to find."""
    assert average_precision([0.9, 0.8, 0.1], [True, True, False], faces=2) == 1.0
    assert average_precision([], [], faces=1) == 0.0
    assert average_precision([0.5] * 40, [True] + [False] * 39, faces=1) == 1.0
    with pytest.raises(DataError, match=r"^average_precision: no labelled face; needs at least 1$"):
        average_precision([0.9], [True], faces=0)
