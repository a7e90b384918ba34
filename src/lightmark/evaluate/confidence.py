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
from lightmark.evaluate.predict import FaceOutputs, run_crops
from lightmark.geometry import Array, matrix_scale
from lightmark.image import Picture, warp
from lightmark.metrics import Interval, bootstrap_interval, labelled_mean, point_errors
from lightmark.runtime.exported_model import CropModel
from lightmark.scores import likelihood_gain, mean_spearman, roc_auc
from lightmark.spec import ModelSpec, spec_crop_matrix

BINS = 10
NEGATIVES_PER_FACE = 4  # 1 % of the negative crops of 300W's 689 test faces are then 28
FALSE_POSITIVE_RATE = 0.01  # at the threshold
HALF = 0.5
NEGATIVE_STREAM = 20  # random stream of the negative crops, independent of others with the same seed


@dataclass(frozen=True)
class CalibrationBin:
    """Bin of `points` predicted points with similar expected errors: means of the `expected` and `actual` errors."""

    points: int
    expected: float
    actual: Interval


@dataclass(frozen=True)
class Calibration:
    """Calibration of expected errors, relative to the crop's side; intervals are bootstrapped over faces.

    `ratio` is mean actual over mean expected error, `spearman` their rank correlation over faces, averaged over the
    points, `gain` the `likelihood_gain` in nats per point; `bins` are sorted by expected error.
    """

    ratio: Interval
    spearman: float
    gain: Interval
    bins: tuple[CalibrationBin, ...]


@dataclass(frozen=True, eq=False)
class ConfidenceRoc:
    """Confidence of face crops `faces` (F,) and of `negatives` (W,), the negative crops of `misplaced_matrix`.

    `threshold` is the confidence that at most `FALSE_POSITIVE_RATE` of the negative crops exceed, `missed` the share of
    face crops that do not exceed it; `missed_at_half` and `false_positives_at_half` are rates at a threshold of 0.5.
    """

    faces: Array
    negatives: Array
    auc: float
    threshold: float
    missed: float
    missed_at_half: float
    false_positives_at_half: float


@dataclass(frozen=True, eq=False)
class Confidence:
    """Evaluation of expected errors (`calibration`) and of the confidence that a crop shows a face (`roc`)."""

    calibration: Calibration
    roc: ConfidenceRoc


def measure_confidence(
    model: CropModel, samples: Sequence[Sample], outputs: FaceOutputs, seed: int = 0, batch: int = 32
) -> Confidence:
    """Evaluate the confidence of `model` from its `outputs` on the faces of `samples`; runs it on negative crops only.

    Raises `SpecError` for outputs of a model without confidence.
    """
    if outputs.expected_error is None or outputs.confidence is None:
        raise SpecError("measure_confidence: the model gives points only; `lightmark confidence` trains the rest")
    target = np.stack([sample.points for sample in samples])
    errors = point_errors(outputs.points, target) / _crop_sides(model.spec, samples)[:, None]
    return Confidence(
        calibrate(outputs.expected_error, errors, seed),
        measure_roc(outputs.confidence, negative_confidence(model, samples, seed, batch)),
    )


def calibrate(expected: Array, errors: Array, seed: int = 0, bins: int = BINS) -> Calibration:
    """Calibration of `expected` (F, N) against actual `errors` (F, N), in `bins` with the same number of points.

    Missing points have NaN errors and are ignored.
    """
    mask = ~np.isnan(errors)
    order = np.argsort(np.where(mask, expected, np.inf), axis=None, kind="stable")[: mask.sum()]
    parts = np.array_split(order, min(bins, order.size))
    return Calibration(
        ratio=_ratio_interval(labelled_mean(errors), labelled_mean(np.where(mask, expected, np.nan)), seed),
        spearman=mean_spearman(expected, errors),
        gain=bootstrap_interval(likelihood_gain(expected, errors), seed=seed),
        bins=tuple(_bin(expected, errors, part, seed) for part in parts),
    )


def measure_roc(faces: Array, negatives: Array) -> ConfidenceRoc:
    """ROC of the confidence of face crops `faces` (F,) and negative crops `negatives` (W,)."""
    false_positives = int(FALSE_POSITIVE_RATE * len(negatives))
    threshold = float(np.sort(negatives)[len(negatives) - 1 - false_positives])
    return ConfidenceRoc(
        faces=faces,
        negatives=negatives,
        auc=roc_auc(faces, negatives),
        threshold=threshold,
        missed=float((faces <= threshold).mean()),
        missed_at_half=float((faces < HALF).mean()),
        false_positives_at_half=float((negatives >= HALF).mean()),
    )


def negative_confidence(model: CropModel, samples: Sequence[Sample], seed: int = 0, batch: int = 32) -> Array:
    """Confidence (W,) of `NEGATIVES_PER_FACE` misplaced crops from the picture of each face."""
    return np.asarray(run_crops(model, _negative_crops(model.spec, samples, seed), batch).confidence, dtype=np.float64)


def _negative_crops(spec: ModelSpec, samples: Sequence[Sample], seed: int) -> Iterator[Picture]:
    for index, sample in enumerate(samples):
        picture, rng = load_image(sample), np.random.default_rng((seed, NEGATIVE_STREAM, index))
        height, width = picture.shape[:2]
        for _ in range(NEGATIVES_PER_FACE):
            yield warp(picture, misplaced_matrix(sample.box, (height, width), spec, rng), spec.size)


def confidence_to_dict(confidence: Confidence) -> dict[str, Any]:
    """JSON-ready dict of the metrics."""
    calibration, roc = confidence.calibration, confidence.roc
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
        "roc": {
            "face_crops": len(roc.faces),
            "negative_crops": len(roc.negatives),
            "auc": roc.auc,
            "false_positive_rate": FALSE_POSITIVE_RATE,
            "threshold": roc.threshold,
            "missed": roc.missed,
            "missed_at_half": roc.missed_at_half,
            "false_positives_at_half": roc.false_positives_at_half,
        },
    }


def _crop_sides(spec: ModelSpec, samples: Sequence[Sample]) -> Array:
    """Side (F,) of each face's crop in image pixels."""
    return np.array([spec.size / matrix_scale(spec_crop_matrix(spec, sample.box)) for sample in samples])


def _bin(expected: Array, errors: Array, members: NDArray[np.intp], seed: int) -> CalibrationBin:
    """Bin of the points with the indices `members` in the flattened (F, N)."""
    inside = np.zeros(expected.shape, dtype=bool)
    inside.flat[members] = True
    actual = _ratio_interval(np.where(inside, errors, 0.0).sum(axis=1), inside.sum(axis=1).astype(np.float64), seed)
    return CalibrationBin(int(inside.sum()), float(expected[inside].mean()), actual)


def _ratio_interval(above: Array, below: Array, seed: int) -> Interval:
    """Bootstrap interval of Σ above / Σ below over faces (F,), resampled in pairs."""
    total = above.sum() / below.sum()

    def ratio(faces: Array) -> Array:
        resampled = faces.astype(np.intp)
        over, under = above[resampled].sum(axis=-1), below[resampled].sum(axis=-1)
        # A resample may have no face of the bin.
        return np.asarray(np.divide(over, under, out=np.full_like(over, total), where=under > 0))

    return bootstrap_interval(np.arange(len(above)), ratio, seed=seed)
