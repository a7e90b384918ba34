"""Missing points: unlabelled points in label files, and faces without a normaliser."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lightmark.data.sample import Sample
from lightmark.errors import DataError
from lightmark.geometry import Array, Floats, labelled

# Values of both coordinates of an unlabelled point, in the file's own numbers. AFLW2000-3D and many annotation tools
# write -1, others leave the 0 that an array begins with. Of 9764 faces of 300W, 300W-LP, WFLW, HELEN, YouTube Faces and
# SCUT-FBP5500, no labelled point has these values.
UNLABELLED = (-1.0, 0.0)


def missing_as_nan(points: Floats) -> Array:
    """Points (..., N, 2) in a file's own numbers, with unlabelled points as NaN in both coordinates.

    Unlabelled are `-1 -1`, `0 0` and what has a NaN; a single -1 or 0 is a coordinate like any other.

    >>> missing_as_nan(np.array([[-1.0, -1.0], [0.0, 0.0], [np.nan, 3.0], [-1.0, 0.0]])).tolist()
    [[nan, nan], [nan, nan], [nan, nan], [-1.0, 0.0]]
    """
    return np.where(is_unlabelled(points)[..., None], np.nan, points)


def is_unlabelled(points: Floats) -> NDArray[np.bool_]:
    """Mask (..., N) of the unlabelled points among points (..., N, 2) in a file's own numbers."""
    unlabelled = np.isnan(points).any(axis=-1)
    for value in UNLABELLED:
        unlabelled = unlabelled | (points == value).all(axis=-1)
    return np.asarray(unlabelled)


def with_normaliser(samples: Sequence[Sample]) -> list[Sample]:
    """Faces whose two normaliser points are both labelled; all samples are of one schema.

    Faces without them are dropped from the evaluation, since errors over another length are not comparable. A schema
    without normaliser points drops none. Raises `DataError` where no face is left.
    """
    usable = [sample for sample in samples if labelled(sample.points[list(sample.schema.normaliser)]).all()]
    if samples and not usable:
        schema = samples[0].schema
        left, right = schema.normaliser  # not empty: without normaliser points all faces are usable
        raise DataError(
            f"{samples[0].name}: of {len(samples)} faces to judge by, none has both point {left} and point {right} "
            f"labelled, by whose distance {schema.name} divides errors; pass a schema with another normaliser"
        )
    return usable
