"""The curve of errors over box jitter."""

from __future__ import annotations

import numpy as np
import pytest

from lightmark.evaluate.jitter import box_jitter_curve
from lightmark.evaluate.predict import predict
from lightmark.metrics import interocular, nme
from lightmark.spec import ModelSpec


def test_levels_are_sorted_and_single(centroid_model, blob_samples) -> None:
    """Whatever order they come in, each level is one point of the curve."""
    curve = box_jitter_curve(centroid_model, blob_samples, [0.1, 0.0, 0.1], 0.1)
    assert [point.level for point in curve] == [0.0, 0.1]


def test_level_zero_is_the_plain_error(centroid_model, blob_samples) -> None:
    """The curve starts at the report's own number."""
    truth = np.stack([sample.points for sample in blob_samples])
    errors = nme(predict(centroid_model, blob_samples), truth, interocular(truth, centroid_model.spec.schema))
    (point,) = box_jitter_curve(centroid_model, blob_samples, [0.0], 0.1)
    assert point.nme.value == pytest.approx(errors.mean())


def test_a_model_that_looks_at_nothing_suffers(fixed_model, blob_samples) -> None:
    """Points at fixed places of the crop move with the perturbed box."""
    normalized_points = np.array([[0.3, 0.3], [0.5, 0.7], [0.7, 0.3]])
    model = fixed_model(ModelSpec(blob_samples[0].schema, size=32, crop_scale=2.0), normalized_points)
    curve = box_jitter_curve(model, blob_samples, [0.0, 0.2, 0.4], 0.1)
    values = [point.nme.value for point in curve]
    assert values == sorted(values)
    assert values[-1] > 2 * values[0]
