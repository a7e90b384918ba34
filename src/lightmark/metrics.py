"""Errors of landmarks and what they say of a set: NME, failure rate, AUC, error curve, intervals, paired tests.

Every error here is a fraction: 0.03 is 3 %. A face has one error; a set is summed up over faces, never over points.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lightmark.errors import DataError, SchemaError
from lightmark.geometry import labelled
from lightmark.schema import Schema, require_points

Array = NDArray[np.float64]
Floats = NDArray[np.floating[Any]]
Statistic = Callable[[Array], Array]  # values (…, F) to (…): one number for each drawing of faces

RESAMPLES = 2000  # the ends of a 95 % interval then move by about 2 % of its width from seed to seed
PERMUTATIONS = 10_000  # the smallest p-value that can be had is one over this plus one
SMALLEST_EXPECTED = 1e-9  # a perfect point has a likelihood all the same
AT_ONCE = 2_000_000  # values drawn at a time: 16 MB, whatever the number of faces


@dataclass(frozen=True)
class Interval:
    """A value and the interval (low, high) that holds it at `level`."""

    value: float
    low: float
    high: float
    level: float = 0.95

    @property
    def holds_zero(self) -> bool:
        """Whether zero lies in the interval, so that no difference is shown."""
        return self.low <= 0 <= self.high

    def to_dict(self) -> dict[str, float]:
        """Value and ends for JSON."""
        return {"value": self.value, "low": self.low, "high": self.high}


def point_errors(points: Floats, truth: Floats) -> Array:
    """Distance of each point (F, N, 2) from its truth (F, N, 2), as (F, N) in the unit of the points.

    NaN where the truth is missing (NaN). Raises `DataError` where the shapes differ, a face has no truth at all, or
    another coordinate is not finite.

    >>> point_errors(np.array([[[3.0, 4.0]]]), np.zeros((1, 1, 2)))
    array([[5.]])
    """
    points, truth = np.asarray(points, dtype=np.float64), np.asarray(truth, dtype=np.float64)
    if points.shape != truth.shape or truth.ndim != 3 or truth.shape[-1] != 2 or 0 in truth.shape:
        raise DataError(f"points {points.shape} and truth {truth.shape}: both need one shape (faces, points, 2)")
    _require_finite("points", points)
    there = labelled(truth)
    _require_finite("truth", np.where(there[..., None], truth, 0.0))
    if not there.any(axis=1).all():
        bare = np.flatnonzero(~there.any(axis=1))
        raise DataError(f"truth: no point is labelled in {bare.size} of {len(truth)} faces, first at index {bare[0]}")
    return np.asarray(np.linalg.norm(points - truth, axis=-1))


def interocular(truth: Floats, schema: Schema) -> Array:
    """Distance (F,) between the two points of `schema.normaliser` in truth (F, N, 2), the outer eye corners of a face.

    NaN where one of the two is missing: such a face has no error to compare, leave it out and say so.
    Raises `SchemaError` where the points do not fit the schema, or it names no two points.
    """
    truth = np.asarray(truth, dtype=np.float64)
    require_points(truth, schema, "interocular")
    if not schema.normaliser:
        raise SchemaError(f"interocular: {schema.name} names no two points; divide errors by the face's box instead")
    left, right = schema.normaliser
    return np.asarray(np.linalg.norm(truth[..., left, :] - truth[..., right, :], axis=-1))


def nme(points: Floats, truth: Floats, normaliser: ArrayLike) -> Array:
    """Mean distance of each face's labelled points from their truth over its normaliser (F,), as a fraction (F,).

    Raises `DataError` for shapes that do not match and for a normaliser that is zero, negative or not finite.

    >>> nme(np.array([[[3.0, 4.0], [0.0, 0.0]]]), np.zeros((1, 2, 2)), normaliser=[50.0])
    array([0.05])
    """
    errors = point_errors(points, truth)
    return labelled_mean(errors) / _require_normaliser(normaliser, len(errors))


def labelled_mean(errors: Floats) -> Array:
    """Mean (F,) of each face's `errors` (F, N), NaN at missing points, over its labelled ones; NaN where none is.

    >>> labelled_mean(np.array([[1.0, 3.0], [1.0, np.nan], [np.nan, np.nan]]))
    array([ 2.,  1., nan])
    """
    there = ~np.isnan(errors)
    count = there.sum(axis=1)
    total = np.where(there, errors, 0.0).sum(axis=1)
    return np.asarray(np.divide(total, count, out=np.full(len(errors), np.nan), where=count > 0))


def failure_rate(errors: ArrayLike, threshold: float) -> float:
    """Share of the errors (F,) strictly greater than `threshold`.

    >>> failure_rate([0.05, 0.10, 0.11, 0.20], threshold=0.10)
    0.5
    """
    return float((_require_values("failure_rate", errors) > _require_threshold(threshold)).mean())


def auc(errors: ArrayLike, threshold: float) -> float:
    """Area under the cumulative error curve up to `threshold`, over `threshold`: mean(max(0, 1 − e / threshold)).

    >>> auc([0.0, 0.05, 0.3], threshold=0.1)
    0.5
    """
    return float(np.maximum(0, 1 - _require_values("auc", errors) / _require_threshold(threshold)).mean())


def ced(errors: ArrayLike, thresholds: ArrayLike) -> Array:
    """Cumulative error distribution: for each threshold (T,), the share of the errors (F,) not greater than it."""
    ordered = np.sort(_require_values("ced", errors))
    return np.asarray(np.searchsorted(ordered, np.asarray(thresholds, dtype=np.float64), side="right") / len(ordered))


def percentile(errors: ArrayLike, share: float) -> float:
    """The error that `share` percent (0 to 100) of the errors (F,) do not exceed, linear between two faces."""
    if not 0 <= share <= 100:
        raise DataError(f"percentile: share {share}; needs percent from 0 to 100")
    return float(np.percentile(_require_values("percentile", errors), share))


def mean(values: Array) -> Array:
    """Mean of values (…, F) over faces, the statistic that papers quote."""
    return np.asarray(values.mean(axis=-1))


def bootstrap_interval(
    values: ArrayLike, statistic: Statistic = mean, resamples: int = RESAMPLES, seed: int = 0, level: float = 0.95
) -> Interval:
    """Percentile-bootstrap interval of `statistic` over values (F,), faces drawn with replacement (Efron 1979).

    `statistic` takes values (…, F) and works on the last axis. The same seed gives the same interval. Raises
    `DataError` for no values, values not finite, a level outside (0, 1).
    """
    array = _require_values("bootstrap_interval", values)
    if not 0 < level < 1:
        raise DataError(f"bootstrap_interval: level {level}; needs a share between 0 and 1, 0.95 say")
    rng = np.random.default_rng(seed)
    size = len(array)
    drawn = np.concatenate([
        statistic(array[rng.integers(0, size, (rows, size))]) for rows in _portions(_require_count(resamples), size)
    ])
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(statistic(array)), float(low), float(high), level)


def paired_bootstrap(
    a: ArrayLike, b: ArrayLike, resamples: int = RESAMPLES, seed: int = 0, level: float = 0.95
) -> Interval:
    """Interval of the mean of b − a over the same faces (F,): negative where `b` has the smaller errors."""
    return bootstrap_interval(_differences(a, b), mean, resamples, seed, level)


def sign_flip_p(a: ArrayLike, b: ArrayLike, permutations: int = PERMUTATIONS, seed: int = 0) -> float:
    """Two-sided p-value of the mean of b − a: were nothing different, each face's sign would be as likely either way.

    (1 + flips whose |mean| reaches the observed one) / (1 + permutations), so never zero (Phipson and Smyth 2010).
    """
    differences = _differences(a, b)
    # Flips that give the observed mean in another order of summation must count as reaching it.
    observed = abs(differences.mean()) * (1 - 1e-9)
    rng = np.random.default_rng(seed)
    size = len(differences)
    portions = _portions(_require_count(permutations), size)
    flipped = np.concatenate([rng.choice((-1.0, 1.0), (rows, size)) @ differences / size for rows in portions])
    return float((1 + (np.abs(flipped) >= observed).sum()) / (1 + permutations))


def spearman(a: ArrayLike, b: ArrayLike) -> float:
    """Spearman's rank correlation of two rows of values (M,); 0 where one of them is constant.

    >>> spearman([1, 2, 3], [10, 20, 90])
    1.0
    """
    _differences(a, b)  # for its checks
    first, second = (_ranks(_require_values("spearman", values)) for values in (a, b))
    spread = float(first.std() * second.std())
    return float(((first - first.mean()) * (second - second.mean())).mean()) / spread if spread else 0.0


def mean_spearman(expected: Floats, errors: Floats) -> float:
    """Spearman's correlation of `expected` with true errors (F, N), within each point over the faces, as mean.

    Missing points have NaN errors and are passed over, and so is a point that no face has.
    """
    pairs = [(guess[there], error[there]) for guess, error in zip(expected.T, errors.T, strict=True)
             if (there := ~np.isnan(error)).any()]
    return float(np.mean([spearman(*pair) for pair in pairs]))


def likelihood_gain(expected: Floats, errors: Floats) -> Array:
    """How much likelier each face's `errors` (F, N) are with `expected` (F, N) than with one constant a point.

    In nats a point, as mean over the points (F,). An error of length r is drawn with density ∝ exp(−2r / e) / e², whose
    mean is e (`lightmark.train.confidence`). The constant is the point's mean error over these very faces, the
    likeliest there is: it knows what `expected` had to foretell, so the gain is told too low rather than too high.
    Missing points have NaN errors and are passed over.

    >>> likelihood_gain(np.array([[1.0], [3.0]]), np.array([[1.0], [3.0]])).mean().round(4)
    np.float64(0.2877)
    """
    constant = labelled_mean(errors.T)[None]
    return labelled_mean(_laplace_nll(constant, errors) - _laplace_nll(expected, errors))


def _laplace_nll(expected: Floats, errors: Floats) -> Floats:
    expected = np.maximum(expected, SMALLEST_EXPECTED)
    return 2 * np.log(expected) + 2 * errors / expected


def roc_curve(positives: ArrayLike, negatives: ArrayLike) -> tuple[Array, Array]:
    """Shares of negatives (Q,) and of positives (P,) that reach each score there is, from the highest score down.

    Both rows (T,) begin at 0, where nothing is accepted, and end at 1.

    >>> roc_curve([0.9, 0.4], [0.1, 0.4])
    (array([0. , 0. , 0.5, 1. ]), array([0. , 0.5, 1. , 1. ]))
    """
    first, second = _require_values("positives", positives), _require_values("negatives", negatives)
    scores = np.unique(np.concatenate([first, second]))
    accepted, kept = (
        1 - np.searchsorted(np.sort(values), scores[::-1], side="left") / len(values) for values in (second, first)
    )
    return np.concatenate([[0.0], accepted]), np.concatenate([[0.0], kept])


def roc_auc(positives: ArrayLike, negatives: ArrayLike) -> float:
    """Area under the ROC curve: how often a positive's score (P,) is above a negative's (Q,), ties counting half.

    >>> roc_auc([0.9, 0.4], [0.1, 0.4])
    0.875
    """
    first, second = _require_values("positives", positives), _require_values("negatives", negatives)
    ranks = _ranks(np.concatenate([first, second]))
    below = float(ranks[: len(first)].sum()) - len(first) * (len(first) - 1) / 2
    return below / (len(first) * len(second))


def average_precision(scores: ArrayLike, hits: ArrayLike, faces: int) -> float:
    """Area under the curve of precision over recall, of finds with `scores` (M,), `hits` (M,) true where right.

    `faces` are to be found, 1 at least. Precision at a recall is the best one at it or beyond (as COCO counts it).

    >>> average_precision([0.9, 0.8, 0.3], [True, False, True], faces=2)
    0.8333333333333333
    """
    if faces < 1:
        raise DataError("average_precision: no face to find; needs at least 1")
    order = np.argsort(-np.asarray(scores, dtype=np.float64), kind="stable")
    right = np.asarray(hits, dtype=bool)[order]
    precision = np.cumsum(right) / np.arange(1, len(right) + 1)
    best = np.maximum.accumulate(precision[::-1])[::-1]
    return float(best[right].sum() / faces)


def _ranks(values: Array) -> Array:
    """Place of each value (M,) in their order, counted from 0; equal values share the mean of their places."""
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    first = np.cumsum(counts) - counts
    return np.asarray((first + (counts - 1) / 2)[places], dtype=np.float64)


def _portions(count: int, size: int) -> list[int]:
    """`count` drawings of `size` values in portions that fit `AT_ONCE`."""
    most = max(1, AT_ONCE // size)
    return [min(most, count - done) for done in range(0, count, most)]


def _differences(a: ArrayLike, b: ArrayLike) -> Array:
    first, second = _require_values("a", a), _require_values("b", b)
    if first.shape != second.shape:
        raise DataError(f"paired values: {len(first)} faces against {len(second)}; pairs need the same faces")
    return second - first


def _require_values(what: str, values: ArrayLike) -> Array:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or array.size == 0:
        raise DataError(f"{what}: got values of shape {array.shape}; needs one value a face, (F,), and a face")
    _require_finite(what, array)
    return array


def _require_finite(what: str, array: Floats) -> None:
    if not np.isfinite(array).all():
        faces = sorted({int(index[0]) for index in np.argwhere(~np.isfinite(array))})
        raise DataError(f"{what}: not finite for {len(faces)} of {len(array)} faces, first at index {faces[0]}")


def _require_threshold(threshold: float) -> float:
    if not (np.isfinite(threshold) and threshold > 0):
        raise DataError(f"threshold {threshold}; needs a positive fraction, 0.08 for 8 %")
    return threshold


def _require_count(count: int) -> int:
    if count < 1:
        raise DataError(f"resamples {count}; needs at least 1")
    return count


def _require_normaliser(normaliser: ArrayLike, faces: int) -> Array:
    array = np.asarray(normaliser, dtype=np.float64)
    if array.shape != (faces,):
        raise DataError(f"normaliser of shape {array.shape}; {faces} faces need one distance each, ({faces},)")
    bad = np.flatnonzero(~(np.isfinite(array) & (array > 0)))
    if bad.size:
        raise DataError(
            f"normaliser: {array[bad[0]]:g} at face {bad[0]} ({bad.size} such faces); needs a positive distance, "
            f"so the two normalising points of a face must differ"
        )
    return array
