"""Landmark metrics: NME, failure rate, AUC, CED, bootstrap intervals and paired tests.

Errors are fractions: 0.03 is 3 %. Each face has one error, and statistics are over faces, never over points, since the
errors of the points of one face are not independent.
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
Statistic = Callable[[Array], Array]  # values (…, F) to (…): one number per resample

RESAMPLES = 2000  # the ends of a 95 % interval then vary by about 2 % of its width from seed to seed
PERMUTATIONS = 10_000  # the smallest possible p-value is 1 / (PERMUTATIONS + 1)
MAX_CHUNK = 2_000_000  # values resampled at a time: 16 MB, independent of the number of faces


@dataclass(frozen=True)
class Interval:
    """A statistic and its confidence interval (low, high) at `level`."""

    value: float
    low: float
    high: float
    level: float = 0.95

    @property
    def holds_zero(self) -> bool:
        """Whether zero lies in the interval: the difference is not significant."""
        return self.low <= 0 <= self.high

    def to_dict(self) -> dict[str, float]:
        """JSON-ready dict of value, low and high."""
        return {"value": self.value, "low": self.low, "high": self.high}


def point_errors(points: Floats, target: Floats) -> Array:
    """Distance (F, N) of each of `points` (F, N, 2) from its label in `target` (F, N, 2), in the unit of the points.

    NaN where the label is missing (NaN). Raises `DataError` if the shapes differ, a face has no labelled point, or
    another coordinate is not finite.

    >>> point_errors(np.array([[[3.0, 4.0]]]), np.zeros((1, 1, 2)))
    array([[5.]])
    """
    points, target = np.asarray(points, dtype=np.float64), np.asarray(target, dtype=np.float64)
    if points.shape != target.shape or target.ndim != 3 or target.shape[-1] != 2 or 0 in target.shape:
        raise DataError(f"points {points.shape} and target {target.shape}: both need one shape (faces, points, 2)")
    _require_finite("points", points)
    mask = labelled(target)
    _require_finite("target", np.where(mask[..., None], target, 0.0))
    if not mask.any(axis=1).all():
        bare = np.flatnonzero(~mask.any(axis=1))
        raise DataError(f"target: no point is labelled in {bare.size} of {len(target)} faces, first at index {bare[0]}")
    return np.asarray(np.linalg.norm(points - target, axis=-1))


def interocular(target: Floats, schema: Schema) -> Array:
    """Inter-ocular distance (F,) in `target` (F, N, 2): between the outer eye corners, `schema.normaliser`.

    NaN where one of the two is missing: such a face has no NME; exclude it and report the number of excluded faces.
    Raises `SchemaError` for points of another shape, or a schema without a pair of normalising points.
    """
    target = np.asarray(target, dtype=np.float64)
    require_points(target, schema, "interocular")
    if not schema.normaliser:
        raise SchemaError(f"interocular: {schema.name} names no two points; divide errors by the face's box instead")
    left, right = schema.normaliser
    return np.asarray(np.linalg.norm(target[..., left, :] - target[..., right, :], axis=-1))


def nme(points: Floats, target: Floats, normaliser: ArrayLike) -> Array:
    """Normalised mean error (F,) of each face: mean `point_errors` over its labelled points, over `normaliser` (F,).

    Raises `DataError` for different shapes, and for a normaliser that is not positive and finite.

    >>> nme(np.array([[[3.0, 4.0], [0.0, 0.0]]]), np.zeros((1, 2, 2)), normaliser=[50.0])
    array([0.05])
    """
    errors = point_errors(points, target)
    return labelled_mean(errors) / _require_normaliser(normaliser, len(errors))


def labelled_mean(errors: Floats) -> Array:
    """Mean (F,) over the labelled points of `errors` (F, N), which are NaN at missing points; NaN if all are missing.

    >>> labelled_mean(np.array([[1.0, 3.0], [1.0, np.nan], [np.nan, np.nan]]))
    array([ 2.,  1., nan])
    """
    mask = ~np.isnan(errors)
    count = mask.sum(axis=1)
    total = np.where(mask, errors, 0.0).sum(axis=1)
    return np.asarray(np.divide(total, count, out=np.full(len(errors), np.nan), where=count > 0))


def failure_rate(errors: ArrayLike, threshold: float) -> float:
    """Failure rate: share of the `errors` (F,) strictly greater than `threshold`.

    >>> failure_rate([0.05, 0.10, 0.11, 0.20], threshold=0.10)
    0.5
    """
    return float((require_values("failure_rate", errors) > _require_threshold(threshold)).mean())


def auc(errors: ArrayLike, threshold: float) -> float:
    """Area under the CED up to `threshold`, divided by `threshold`: mean(max(0, 1 − error / threshold)).

    >>> auc([0.0, 0.05, 0.3], threshold=0.1)
    0.5
    """
    return float(np.maximum(0, 1 - require_values("auc", errors) / _require_threshold(threshold)).mean())


def ced(errors: ArrayLike, thresholds: ArrayLike) -> Array:
    """Cumulative error distribution, CED (T,): share of `errors` (F,) not greater than each of `thresholds` (T,)."""
    ordered = np.sort(require_values("ced", errors))
    return np.asarray(np.searchsorted(ordered, np.asarray(thresholds, dtype=np.float64), side="right") / len(ordered))


def percentile(errors: ArrayLike, share: float) -> float:
    """Percentile of the `errors` (F,) at `share` percent (0 to 100), linearly interpolated."""
    if not 0 <= share <= 100:
        raise DataError(f"percentile: share {share}; needs percent from 0 to 100")
    return float(np.percentile(require_values("percentile", errors), share))


def mean(values: Array) -> Array:
    """Mean of values (…, F) over faces, the statistic that papers report."""
    return np.asarray(values.mean(axis=-1))


def bootstrap_interval(
    values: ArrayLike, statistic: Statistic = mean, resamples: int = RESAMPLES, seed: int = 0, level: float = 0.95
) -> Interval:
    """Percentile bootstrap interval of `statistic` of `values` (F,), resampling faces with replacement (Efron 1979).

    `statistic` takes values (…, F) and reduces the last axis. The same seed gives the same interval. Raises `DataError`
    for no values, values that are not finite, or a level outside (0, 1).
    """
    array = require_values("bootstrap_interval", values)
    if not 0 < level < 1:
        raise DataError(f"bootstrap_interval: level {level}; needs a share between 0 and 1, 0.95 say")
    rng = np.random.default_rng(seed)
    size = len(array)
    drawn = np.concatenate([
        statistic(array[rng.integers(0, size, (rows, size))]) for rows in _chunks(_require_count(resamples), size)
    ])
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(statistic(array)), float(low), float(high), level)


def paired_bootstrap(
    a: ArrayLike, b: ArrayLike, resamples: int = RESAMPLES, seed: int = 0, level: float = 0.95
) -> Interval:
    """Bootstrap interval of the mean of b − a over the same faces (F,): negative if `b` has the smaller errors."""
    return bootstrap_interval(_differences(a, b), mean, resamples, seed, level)


def sign_flip_p(a: ArrayLike, b: ArrayLike, permutations: int = PERMUTATIONS, seed: int = 0) -> float:
    """Two-sided p-value of the paired sign-flip permutation test of the mean of b − a over the same faces (F,).

    Under the null hypothesis both signs of each face's difference are equally likely. p = (1 + permutations whose
    |mean| is at least the observed one) / (1 + permutations), so it is never zero (Phipson and Smyth 2010).
    """
    differences = _differences(a, b)
    # The tolerance counts permutations that equal the observed mean up to the rounding of another summation order.
    observed = abs(differences.mean()) * (1 - 1e-9)
    rng = np.random.default_rng(seed)
    size = len(differences)
    chunks = _chunks(_require_count(permutations), size)
    flipped = np.concatenate([rng.choice((-1.0, 1.0), (rows, size)) @ differences / size for rows in chunks])
    return float((1 + (np.abs(flipped) >= observed).sum()) / (1 + permutations))


def _chunks(count: int, size: int) -> list[int]:
    """Sizes of the chunks of `count` resamples of `size` values, so that each fits `MAX_CHUNK`."""
    most = max(1, MAX_CHUNK // size)
    return [min(most, count - done) for done in range(0, count, most)]


def _differences(a: ArrayLike, b: ArrayLike) -> Array:
    """b − a of two rows of values (F,) over the same faces."""
    first, second = require_pairs(a, b)
    return second - first


def require_pairs(a: ArrayLike, b: ArrayLike) -> tuple[Array, Array]:
    """`a` and `b` as arrays (F,); raises `DataError` as `require_values`, and for numbers of faces that differ."""
    first, second = require_values("a", a), require_values("b", b)
    if first.shape != second.shape:
        raise DataError(f"paired values: {len(first)} faces against {len(second)}; pairs need the same faces")
    return first, second


def require_values(what: str, values: ArrayLike) -> Array:
    """`values` as an array (F,); raises `DataError` naming `what` for no values and ones that are not finite."""
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
