"""Normalisers of the NME: distance of two labelled points, or the longer side of the face's box."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lightmark.data.sample import Sample
from lightmark.geometry import Array, longer_side
from lightmark.metrics import interocular


def normalisers_of(samples: Sequence[Sample]) -> Array:
    """Lengths (F,), in image pixels, that the errors of `samples`, all of one schema, are divided by.

    The distance of the two points that the schema names, NaN where one of them is missing; the longer side of the
    face's box, around which crops are cut, where it names none.
    """
    schema = samples[0].schema
    if schema.normaliser:
        return interocular(np.stack([sample.points for sample in samples]), schema)
    return np.array([longer_side(sample.box) for sample in samples])
