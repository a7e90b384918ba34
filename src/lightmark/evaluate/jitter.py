"""Robustness to box jitter: NME and failure rate with perturbed boxes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lightmark.data.normaliser import normalisers_of
from lightmark.data.sample import Sample
from lightmark.evaluate.predict import predict
from lightmark.evaluate.report.summary import JitterPoint
from lightmark.metrics import bootstrap_interval, nme
from lightmark.runtime.exported_model import CropModel


def box_jitter_curve(
    model: CropModel,
    samples: Sequence[Sample],
    levels: Sequence[float],
    threshold: float,
    seed: int = 0,
    batch: int = 32,
) -> tuple[JitterPoint, ...]:
    """NME and failure rate at each level of box jitter, relative to the box's size as in `jitter_boxes`.

    The random error of a face's box has the same direction at all levels. Raises what `predict` raises.
    """
    target = np.stack([sample.points for sample in samples])
    normaliser = normalisers_of(samples)
    points = []
    for level in sorted(set(levels)):
        errors = nme(predict(model, samples, batch, level, seed), target, normaliser)
        failures = bootstrap_interval(errors > threshold, seed=seed)
        points.append(JitterPoint(level, bootstrap_interval(errors, seed=seed), failures))
    return tuple(points)
