"""Judgement of expected errors, confidences and detections: rank correlation, likelihood, ROC, average precision."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from lightmark.errors import DataError
from lightmark.metrics import Array, Floats, labelled_mean, require_pairs, require_values

SMALLEST_EXPECTED = 1e-9  # keeps the likelihood of an expected error of 0 finite


def spearman(a: ArrayLike, b: ArrayLike) -> float:
    """Spearman's rank correlation of `a` (M,) and `b` (M,); 0 if one of them is constant.

    >>> spearman([1, 2, 3], [10, 20, 90])
    1.0
    """
    first, second = map(_ranks, require_pairs(a, b))
    spread = float(first.std() * second.std())
    return float(((first - first.mean()) * (second - second.mean())).mean()) / spread if spread else 0.0


def mean_spearman(expected: Floats, errors: Floats) -> float:
    """Spearman's correlation over faces of `expected` and true `errors` (F, N), averaged over the points.

    Missing points have NaN errors and are ignored, as is a point that is missing in all faces.
    """
    pairs = [(predicted[mask], error[mask]) for predicted, error in zip(expected.T, errors.T, strict=True)
             if (mask := ~np.isnan(error)).any()]
    return float(np.mean([spearman(*pair) for pair in pairs]))


def likelihood_gain(expected: Floats, errors: Floats) -> Array:
    """Gain in log-likelihood (F,) of `errors` (F, N) under `expected` errors (F, N) over one constant for each point.

    In nats, averaged over the points of a face. The density of an error of length r is ∝ exp(−2r / e) / e², whose mean
    is e (`lightmark.train.confidence`). The constant is the point's mean error over these same faces, the
    maximum-likelihood estimate: it is fitted to the errors that `expected` predicts, so the gain is rather
    underestimated. Missing points have NaN errors and are ignored.

    >>> likelihood_gain(np.array([[1.0], [3.0]]), np.array([[1.0], [3.0]])).mean().round(4)
    np.float64(0.2877)
    """
    constant = labelled_mean(errors.T)[None]
    return labelled_mean(_laplace_nll(constant, errors) - _laplace_nll(expected, errors))


def _laplace_nll(expected: Floats, errors: Floats) -> Floats:
    """Negative log-likelihood of `errors` under `expected` errors, up to a constant; see `likelihood_gain`."""
    expected = np.maximum(expected, SMALLEST_EXPECTED)
    return 2 * np.log(expected) + 2 * errors / expected


def roc_curve(positives: ArrayLike, negatives: ArrayLike) -> tuple[Array, Array]:
    """ROC curve: false positive rate (T,) and true positive rate (T,) at each score, from the highest score down.

    `positives` (P,) and `negatives` (Q,) are the scores of the two classes. Both rates begin at 0 and end at 1.

    >>> roc_curve([0.9, 0.4], [0.1, 0.4])
    (array([0. , 0. , 0.5, 1. ]), array([0. , 0.5, 1. , 1. ]))
    """
    first, second = require_values("positives", positives), require_values("negatives", negatives)
    scores = np.unique(np.concatenate([first, second]))
    false_rate, true_rate = (
        1 - np.searchsorted(np.sort(values), scores[::-1], side="left") / len(values) for values in (second, first)
    )
    return np.concatenate([[0.0], false_rate]), np.concatenate([[0.0], true_rate])


def roc_auc(positives: ArrayLike, negatives: ArrayLike) -> float:
    """Area under the ROC curve: the probability that a score of `positives` (P,) exceeds one of `negatives` (Q,).

    Ties count half (Mann-Whitney U statistic).

    >>> roc_auc([0.9, 0.4], [0.1, 0.4])
    0.875
    """
    first, second = require_values("positives", positives), require_values("negatives", negatives)
    ranks = _ranks(np.concatenate([first, second]))
    below = float(ranks[: len(first)].sum()) - len(first) * (len(first) - 1) / 2
    return below / (len(first) * len(second))


def average_precision(scores: ArrayLike, hits: ArrayLike, faces: int) -> float:
    """Average precision, AP: area under the precision-recall curve of detections with `scores` (M,).

    `hits` (M,) is true for true positives; `faces`, at least 1, is the number of labelled faces. Precision is
    interpolated: the precision at a recall is the largest at this or a higher recall, as in COCO.

    >>> average_precision([0.9, 0.8, 0.3], [True, False, True], faces=2)
    0.8333333333333333
    """
    if faces < 1:
        raise DataError("average_precision: no labelled face; needs at least 1")
    order = np.argsort(-np.asarray(scores, dtype=np.float64), kind="stable")
    right = np.asarray(hits, dtype=bool)[order]
    precision = np.cumsum(right) / np.arange(1, len(right) + 1)
    best = np.maximum.accumulate(precision[::-1])[::-1]
    return float(best[right].sum() / faces)


def _ranks(values: Array) -> Array:
    """Ranks of `values` (M,) from 0; ties share the mean of their ranks."""
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    first = np.cumsum(counts) - counts
    return np.asarray((first + (counts - 1) / 2)[places], dtype=np.float64)
