"""Calibration of expected errors, and ROC of the confidence on face crops and negative crops."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightmark.data.crops.negatives import misplaced_matrix
from lightmark.data.sample import Sample, load_image
from lightmark.errors import SpecError
from lightmark.evaluate.predict import Found, run_crops
from lightmark.geometry import Array, matrix_scale
from lightmark.image import Picture, warp
from lightmark.metrics import (
    Interval,
    bootstrap_interval,
    labelled_mean,
    likelihood_gain,
    mean_spearman,
    point_errors,
    roc_auc,
)
from lightmark.runtime.exported_model import CropModel
from lightmark.spec import ModelSpec, spec_crop_matrix

BINS = 10
WRONG_A_FACE = 4  # a share of 1 % then rests on 28 crops for 300W's 689 test faces
TOLERATED = 0.01  # share of wrong crops that may pass
HALF = 0.5
WRONG_STREAM = 20  # keeps these crops apart from whatever else the seed draws


@dataclass(frozen=True)
class CalibrationBin:
    """`points` predicted points of like expected error: the mean of what was `expected`, and of the `actual` errors."""

    points: int
    expected: float
    actual: Interval


@dataclass(frozen=True)
class Calibration:
    """Expected against actual errors, both as shares of the crop's side; intervals are bootstrapped over faces.

    `ratio` is mean actual over mean expected error, `spearman` their rank correlation within a point as mean over the
    points, `gain` the `likelihood_gain` in nats a point; `bins` run from the smallest expected errors to the largest.
    """

    ratio: Interval
    spearman: float
    gain: Interval
    bins: tuple[CalibrationBin, ...]


@dataclass(frozen=True, eq=False)
class Presence:
    """Scores of `right` crops (F,), around the labels, and of `wrong` ones (W,), cut by `misplaced_matrix`.

    `right_lost` is the share of right crops that score no more than `threshold`, the score that no more than 1 % of
    the wrong ones exceed; `right_below_half` and `wrong_from_half` are the shares that a threshold of 0.5 gets wrong.
    """

    right: Array
    wrong: Array
    auc: float
    threshold: float
    right_lost: float
    right_below_half: float
    wrong_from_half: float


@dataclass(frozen=True, eq=False)
class Confidence:
    """What was measured of both."""

    calibration: Calibration
    presence: Presence


def measure_confidence(
    model: CropModel, samples: Sequence[Sample], found: Found, seed: int = 0, batch: int = 32
) -> Confidence:
    """Confidence of `model`, which has given `found` on the faces of `samples`; it is run on wrong crops only.

    Raises `SpecError` where `found` came from a model without confidence.
    """
    if found.errors is None or found.presence is None:
        raise SpecError("measure_confidence: the model gives points only; teach it with `lightmark confidence` first")
    truth = np.stack([sample.points for sample in samples])
    errors = point_errors(found.points, truth) / _crop_sides(model.spec, samples)[:, None]
    return Confidence(
        calibrate(found.errors, errors, seed),
        judge_presence(found.presence, wrong_scores(model, samples, seed, batch)),
    )


def calibrate(expected: Array, errors: Array, seed: int = 0, bins: int = BINS) -> Calibration:
    """Calibration of `expected` (F, N) to true `errors` (F, N), in `bins` of equally many points.

    Errors are NaN at missing points, which do not count.
    """
    there = ~np.isnan(errors)
    order = np.argsort(np.where(there, expected, np.inf), axis=None, kind="stable")[: there.sum()]
    parts = np.array_split(order, min(bins, order.size))
    return Calibration(
        ratio=_ratio_interval(labelled_mean(errors), labelled_mean(np.where(there, expected, np.nan)), seed),
        spearman=mean_spearman(expected, errors),
        gain=bootstrap_interval(likelihood_gain(expected, errors), seed=seed),
        bins=tuple(_bin(expected, errors, part, seed) for part in parts),
    )


def judge_presence(right: Array, wrong: Array) -> Presence:
    """What the scores of `right` (F,) and `wrong` (W,) crops say together."""
    passing = int(TOLERATED * len(wrong))
    threshold = float(np.sort(wrong)[len(wrong) - 1 - passing])
    return Presence(
        right=right,
        wrong=wrong,
        auc=roc_auc(right, wrong),
        threshold=threshold,
        right_lost=float((right <= threshold).mean()),
        right_below_half=float((right < HALF).mean()),
        wrong_from_half=float((wrong >= HALF).mean()),
    )


def wrong_scores(model: CropModel, samples: Sequence[Sample], seed: int = 0, batch: int = 32) -> Array:
    """Presence (W,) on `WRONG_A_FACE` wrong crops out of each face's own picture, as `misplaced_matrix` cuts them."""
    return np.asarray(run_crops(model, _wrong_crops(model.spec, samples, seed), batch).presence, dtype=np.float64)


def _wrong_crops(spec: ModelSpec, samples: Sequence[Sample], seed: int) -> Iterator[Picture]:
    for index, sample in enumerate(samples):
        picture, rng = load_image(sample), np.random.default_rng((seed, WRONG_STREAM, index))
        height, width = picture.shape[:2]
        for _ in range(WRONG_A_FACE):
            yield warp(picture, misplaced_matrix(sample.box, (height, width), spec, rng), spec.size)


def confidence_to_dict(confidence: Confidence) -> dict[str, Any]:
    """Plain numbers for JSON."""
    calibration, presence = confidence.calibration, confidence.presence
    return {
        "calibration": {
            "unit": "share of the crop's side",
            "actual_over_expected": calibration.ratio.to_dict(),
            "spearman_within_a_point": calibration.spearman,
            "likelihood_gain_nats_a_point": calibration.gain.to_dict(),
            "bins": [
                {"points": one.points, "expected": one.expected, "actual": one.actual.to_dict()}
                for one in calibration.bins
            ],
        },
        "presence": {
            "right_crops": len(presence.right),
            "wrong_crops": len(presence.wrong),
            "auc": presence.auc,
            "wrong_tolerated": TOLERATED,
            "threshold": presence.threshold,
            "right_lost": presence.right_lost,
            "right_below_half": presence.right_below_half,
            "wrong_from_half": presence.wrong_from_half,
        },
    }


def _crop_sides(spec: ModelSpec, samples: Sequence[Sample]) -> Array:
    """Side (F,) of each face's crop, px."""
    return np.array([spec.size / matrix_scale(spec_crop_matrix(spec, sample.box)) for sample in samples])


def _bin(expected: Array, errors: Array, members: NDArray[np.intp], seed: int) -> CalibrationBin:
    """The bin of the points `members`, indices into the flattened (F, N)."""
    inside = np.zeros(expected.shape, dtype=bool)
    inside.flat[members] = True
    actual = _ratio_interval(np.where(inside, errors, 0.0).sum(axis=1), inside.sum(axis=1).astype(np.float64), seed)
    return CalibrationBin(int(inside.sum()), float(expected[inside].mean()), actual)


def _ratio_interval(above: Array, below: Array, seed: int) -> Interval:
    """Interval of Σ above / Σ below over faces (F,), drawn in pairs."""
    whole = above.sum() / below.sum()

    def ratio(faces: Array) -> Array:
        drawn = faces.astype(np.intp)
        over, under = above[drawn].sum(axis=-1), below[drawn].sum(axis=-1)
        # A drawing may miss every face of a bin.
        return np.asarray(np.divide(over, under, out=np.full_like(over, whole), where=under > 0))

    return bootstrap_interval(np.arange(len(above)), ratio, seed=seed)
