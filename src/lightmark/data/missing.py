"""Missing points: how label files mark a point that nobody labelled, and which faces cannot be judged for them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lightmark.data.sample import Sample
from lightmark.errors import DataError
from lightmark.geometry import Array, Floats, labelled

# Both coordinates exactly so, in the file's own numbers. AFLW2000-3D and many annotation tools write -1, others leave
# the 0 that an array begins with. Of 9764 faces of 300W, 300W-LP, WFLW, HELEN, YouTube Faces and SCUT-FBP5500, no
# labelled point has these numbers.
MARKS = (-1.0, 0.0)


def missing_as_nan(points: Floats) -> Array:
    """Points (..., N, 2) in a file's own numbers, the unlabelled ones NaN in both coordinates.

    Unlabelled are `-1 -1`, `0 0` and what has a NaN; a single -1 or 0 is a coordinate like any other.

    >>> missing_as_nan(np.array([[-1.0, -1.0], [0.0, 0.0], [np.nan, 3.0], [-1.0, 0.0]])).tolist()
    [[nan, nan], [nan, nan], [nan, nan], [-1.0, 0.0]]
    """
    return np.where(is_marked(points)[..., None], np.nan, points)


def is_marked(points: Floats) -> NDArray[np.bool_]:
    """Which of points (..., N, 2) in a file's own numbers say that nobody labelled them (..., N)."""
    marked = np.isnan(points).any(axis=-1)
    for mark in MARKS:
        marked = marked | (points == mark).all(axis=-1)
    return np.asarray(marked)


def with_normaliser(samples: Sequence[Sample]) -> list[Sample]:
    """The faces of which both points are labelled by whose distance errors are divided; all are of one schema.

    An error over another length would not be of the same kind as the other faces', so faces without it are not judged.
    A schema without such points judges all. Raises `DataError` where none is left.
    """
    kept = [sample for sample in samples if labelled(sample.points[list(sample.schema.normaliser)]).all()]
    if samples and not kept:
        schema = samples[0].schema
        left, right = schema.normaliser  # which there are, or all faces were kept
        raise DataError(
            f"{samples[0].name}: of {len(samples)} faces to judge by, none has both point {left} and point {right} "
            f"labelled, by whose distance {schema.name} divides errors; pass a schema with another normaliser"
        )
    return kept
