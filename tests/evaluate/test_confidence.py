"""Tests of the evaluation of confidence: calibration of expected errors, ROC on face and negative crops."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from lightmark.errors import SpecError
from lightmark.evaluate.confidence import (
    NEGATIVES_PER_FACE,
    calibrate,
    measure_confidence,
    measure_roc,
    negative_confidence,
)
from lightmark.evaluate.predict import FaceOutputs, predict_outputs
from lightmark.schema import Schema
from lightmark.spec import ModelSpec, Outputs


def drawn(expected: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Errors whose density over the plane is ∝ exp(−2r / e), of mean e."""
    return expected * rng.gamma(2.0, 0.5, expected.shape)


class ConfidentModel:
    """Puts every point into the middle, expects an error of a tenth, and takes bright crops for faces."""

    def __init__(self, schema: Schema) -> None:
        self.spec = ModelSpec(schema, size=64, crop_scale=2.0, confidence=True)
        self.crops = 0

    def __call__(self, crops: np.ndarray) -> np.ndarray:
        """normalized_points (B, 3, 2)."""
        return self.outputs(crops).normalized_points

    def outputs(self, crops: np.ndarray) -> Outputs:
        """All three outputs of crops (B, S, S, 3)."""
        self.crops += len(crops)
        brightness = crops.mean(axis=(1, 2, 3)) / 255
        return Outputs(np.full((len(crops), 3, 2), 0.5), np.full((len(crops), 3), 0.1), brightness)


@pytest.fixture
def model(blob_samples) -> ConfidentModel:
    """A confident model of the blob faces."""
    return ConfidentModel(blob_samples[0].schema)


def test_expected_errors_that_are_true_have_a_ratio_of_one() -> None:
    """And lie on the diagonal, bin by bin, and rank as the errors do as far as chance allows."""
    rng = np.random.default_rng(0)
    expected = np.exp(rng.normal(-4, 0.7, (800, 6)))
    found = calibrate(expected, drawn(expected, rng))
    assert found.ratio.low < 1 < found.ratio.high
    assert found.spearman > 0.5
    assert found.gain.low > 0.2
    for one in found.bins:
        assert one.actual.value == pytest.approx(one.expected, rel=0.15)


def test_errors_twice_as_large_as_expected_have_a_ratio_of_two() -> None:
    """Too much trust is a ratio above one, in every bin."""
    expected = np.linspace(0.01, 0.05, 60).reshape(20, 3)
    found = calibrate(expected, 2 * expected)
    assert found.ratio.value == pytest.approx(2)
    assert [one.actual.value / one.expected for one in found.bins] == pytest.approx([2] * 10)
    assert found.spearman == pytest.approx(1)


def test_bins_hold_equally_many_points_from_small_to_large() -> None:
    """Ten bins of six points; fewer points than bins are a bin each."""
    expected = np.random.default_rng(0).uniform(0.01, 0.05, (20, 3))
    bins = calibrate(expected, expected).bins
    assert [one.points for one in bins] == [6] * 10
    assert [one.expected for one in bins] == sorted(one.expected for one in bins)
    assert len(calibrate(expected[:2], expected[:2]).bins) == 6


def test_missing_points_are_in_no_bin() -> None:
    """Calibration is that of the labelled points, whatever is expected of the others."""
    expected = np.random.default_rng(0).uniform(0.01, 0.05, (20, 3))
    errors = 2 * expected
    errors[3, 1], errors[7, 2] = np.nan, np.nan
    wild = np.where(np.isnan(errors), 99.0, expected)
    found = calibrate(wild, errors)
    assert found.ratio.value == pytest.approx(2)
    assert sum(one.points for one in found.bins) == 58
    assert [one.actual.value / one.expected for one in found.bins] == pytest.approx([2] * 10)
    assert found.spearman == pytest.approx(1)


def test_one_constant_a_point_gains_nothing() -> None:
    """The best constants are the mean errors, and a model that gives just these is worth no more."""
    errors = np.random.default_rng(0).uniform(0.01, 0.05, (30, 4))
    constant = np.broadcast_to(errors.mean(axis=0), errors.shape)
    assert calibrate(constant, errors).gain.value == pytest.approx(0)
    assert calibrate(1.5 * constant, errors).gain.value < 0


def test_perfect_confidence_misses_no_face() -> None:
    """Separate scores: area 1, no face missed, no false positive at 0.5."""
    found = measure_roc(np.array([0.7, 0.9]), np.linspace(0, 0.4, 200))
    assert (found.auc, found.missed, found.missed_at_half, found.false_positives_at_half) == (1, 0, 0, 0)


def test_one_negative_crop_in_a_hundred_may_exceed_the_threshold() -> None:
    """Two of 200 negative crops exceed the threshold; a face with the confidence of a negative crop is lost."""
    wrong = np.arange(200) / 200
    found = measure_roc(np.array([0.1, 0.985, 0.99, 1.0]), wrong)
    assert found.threshold == pytest.approx(0.985)
    assert (wrong > found.threshold).sum() == 2
    assert found.missed == 0.5
    assert (found.missed_at_half, found.false_positives_at_half) == (0.25, 0.5)


def test_no_negative_crop_of_few_exceeds_the_threshold() -> None:
    """One of forty would be more than 1 %."""
    assert measure_roc(np.array([0.5]), np.arange(40) / 40).threshold == pytest.approx(39 / 40)


def test_errors_are_shares_of_the_crop(model, blob_samples) -> None:
    """A point off by as much as was expected, a tenth of its own crop, gives a ratio of one, whatever the size."""
    sides = [2.0 * max(sample.box[2:] - sample.box[:2]) for sample in blob_samples]
    points = [sample.points + np.array([0.1 * side, 0]) for sample, side in zip(blob_samples, sides, strict=True)]
    found = FaceOutputs(np.stack(points), np.full((12, 3), 0.1), np.full(12, 0.9))
    assert measure_confidence(model, blob_samples, found).calibration.ratio.value == pytest.approx(1)


def test_the_model_is_run_on_negative_crops_only(model, blob_samples) -> None:
    """The faces themselves have been looked at already."""
    found = predict_outputs(model, blob_samples)
    assert model.crops == 12
    confidence = measure_confidence(model, blob_samples, found)
    assert model.crops == 12 + 12 * NEGATIVES_PER_FACE
    assert (len(confidence.roc.faces), len(confidence.roc.negatives)) == (12, 12 * NEGATIVES_PER_FACE)


def test_negative_crops_depend_on_the_seed_alone(model, blob_samples) -> None:
    """Neither on the batch nor on the faces before."""
    whole = negative_confidence(model, blob_samples, seed=3)
    np.testing.assert_array_equal(negative_confidence(model, blob_samples, seed=3, batch=5), whole)
    np.testing.assert_array_equal(negative_confidence(model, blob_samples[:4], seed=3), whole[: 4 * NEGATIVES_PER_FACE])
    assert (negative_confidence(model, blob_samples, seed=4) != whole).any()


def test_a_model_without_confidence_is_refused(blob_samples, centroid_model) -> None:
    """The error names the command that trains a confidence head."""
    found = predict_outputs(centroid_model, blob_samples)
    assert (found.expected_error, found.confidence) == (None, None)
    with pytest.raises(SpecError, match=r"gives points only; `lightmark confidence` trains the rest"):
        measure_confidence(centroid_model, blob_samples, found)


def test_a_drawing_without_a_bin_is_no_crash() -> None:
    """Where all points of a bin are one face's, many a resample has none of them."""
    expected = np.array([[0.01] * 5, [0.02] * 5, [0.03] * 5, [0.04] * 5])
    found = calibrate(expected, expected, bins=4)
    assert all(np.isfinite([one.actual.low, one.actual.high]).all() for one in found.bins)


def test_the_same_points_come_with_confidence_and_without(model, blob_samples) -> None:
    """A model that promises no confidence is only called, and its points are the same."""
    points = predict_outputs(model, blob_samples).points
    model.spec = replace(model.spec, confidence=False)
    np.testing.assert_array_equal(predict_outputs(model, blob_samples).points, points)
