"""Conversion of landmarks to other schemes: 68 and 98 points to 51, 29 and the five of recognition models."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from lightmark.errors import SchemaError
from lightmark.geometry import Array, Floats
from lightmark.schema import COFW29, IBUG68, SCHEMAS, WFLW98, Schema, mirror_permutation, require_points

Rows = Mapping[int, Mapping[int, float]]  # weights of source points, by point

INNER = IBUG68.inner
IBUG51 = Schema(
    name="ibug51",
    mirror=tuple(INNER.index(IBUG68.mirror[index]) for index in INNER),
    normaliser=(INNER.index(36), INNER.index(45)),
    groups={name: tuple(map(INNER.index, group)) for name, group in IBUG68.groups.items() if name != "jaw"},
    edges=tuple((INNER.index(a), INNER.index(b)) for a, b in IBUG68.edges if a in INNER and b in INNER),
)
FIVE = Schema(
    name="five",
    mirror=mirror_permutation(5, [], [(0, 1), (3, 4)]),
    normaliser=(0, 1),
    groups={"eyes": (0, 1), "nose": (2,), "mouth": (3, 4)},
    point_names=("right eye", "left eye", "nose tip", "right mouth corner", "left mouth corner"),
    normaliser_name="inter-pupil",
)


def _mean(*indices: int) -> dict[int, float]:
    return {index: 1 / len(indices) for index in indices}


def _both_sides(target: Schema, source: Schema, half: Rows) -> Rows:
    """Rows of `half` and of their mirror images."""
    mirrored = {
        target.mirror[point]: {source.mirror[index]: weight for index, weight in row.items()}
        for point, row in half.items()
    }
    return {**mirrored, **half}


def _eyelid_rows(first68: int, first98: int) -> Rows:
    """One eye's six 68-points in its eight 98-points: corners as they are, lids at ⅓ and ⅔."""
    third, two_thirds = 1 / 3, 2 / 3
    return {
        first68: {first98: 1.0},
        first68 + 1: {first98 + 1: two_thirds, first98 + 2: third},
        first68 + 2: {first98 + 2: third, first98 + 3: two_thirds},
        first68 + 3: {first98 + 4: 1.0},
        first68 + 4: {first98 + 5: two_thirds, first98 + 6: third},
        first68 + 5: {first98 + 6: third, first98 + 7: two_thirds},
    }


WFLW98_ROWS: Rows = {
    **{i: {2 * i: 1.0} for i in range(17)},
    **{17 + i: {33 + i: 1.0} for i in range(5)},
    **{22 + i: {42 + i: 1.0} for i in range(5)},
    **{27 + i: {51 + i: 1.0} for i in range(9)},
    **_eyelid_rows(36, 60),
    **_eyelid_rows(42, 68),
    **{48 + i: {76 + i: 1.0} for i in range(20)},
}
# COFW's inner brow ends and nostrils lie apart from the 68's: weights drawn up on the 234 faces of HELEN's training set
# that are labelled in both schemes (benchmarks/measures.py).
COFW29_HALF: Rows = {
    0: {17: 0.6, 18: 0.4}, 2: {21: 0.6, 20: 0.25, 39: 0.15}, 4: {19: 1.0}, 5: {19: 0.6, 37: 0.2, 38: 0.2},
    8: {36: 1.0}, 10: {39: 1.0}, 12: _mean(37, 38), 13: _mean(40, 41), 16: _mean(37, 38, 40, 41),
    18: {31: 1.25, 33: -0.32, 27: 0.07}, 20: {30: 1.0}, 21: {33: 1.0}, 22: {48: 1.0}, 24: {51: 1.0}, 25: {62: 1.0},
    26: {66: 1.0}, 27: {57: 1.0}, 28: {8: 1.0},
}  # fmt: skip
FIVE_HALF: Rows = {0: _mean(*range(36, 42)), 2: {30: 1.0}, 3: {48: 1.0}}
ROWS: Mapping[tuple[str, str], tuple[Schema, Rows]] = {
    ("ibug68", "ibug51"): (IBUG51, {target: {source: 1.0} for target, source in enumerate(INNER)}),
    ("ibug68", "five"): (FIVE, _both_sides(FIVE, IBUG68, FIVE_HALF)),
    ("ibug68", "cofw29"): (COFW29, _both_sides(COFW29, IBUG68, COFW29_HALF)),
    ("cofw29", "five"): (FIVE, {0: {16: 1.0}, 1: {17: 1.0}, 2: {20: 1.0}, 3: {22: 1.0}, 4: {23: 1.0}}),
}


def conversion(source: Schema, name: str) -> tuple[Schema, Array]:
    """Schema called `name` and the weights (M, N) of `source`'s points in each of its points.

    | from | to | |
    |---|---|---|
    | `wflw98` | `ibug68` | exact but for brows and jaw, which the two sets define differently |
    | `ibug68`, `wflw98` | `ibug51` | exact: the 68 without the jaw |
    | `ibug68`, `wflw98`, `cofw29` | `five` | eye centres, nose tip, mouth corners |
    | `ibug68`, `wflw98` | `cofw29` | approximate: 3.4 % of the eye distance off labels, most at brows and nostrils |

    Raises `SchemaError` naming the schemes that `source` converts to.
    """
    if name == source.name:
        return source, np.eye(source.size)
    known = SCHEMAS.get(source.name)
    if known is None or known.mirror != source.mirror:
        raise SchemaError(f"{source.name} has no conversion to {name!r}: only {', '.join(SCHEMAS)} are converted")
    if known is WFLW98:
        schema, weights = conversion(IBUG68, name)
        return schema, weights @ _weights(WFLW98_ROWS, IBUG68.size, WFLW98.size)
    if (source.name, name) not in ROWS:
        targets = [target for first, target in ROWS if first == source.name]
        raise SchemaError(f"{source.name} has no conversion to {name!r}; known: {', '.join(targets)}")
    schema, rows = ROWS[source.name, name]
    return schema, _weights(rows, schema.size, source.size)


def convert_points(points: Floats, source: Schema, name: str) -> Array:
    """`points` (..., N, 2) of `source` in the scheme called `name`; see `conversion`."""
    return np.asarray(conversion(source, name)[1] @ points)


def ibug68_from_wflw98(points: Floats) -> Array:
    """Convert WFLW's 98 points (…, 98, 2) to the 68 points (…, 68, 2).

    A point is missing (NaN) if one of its source points is. Brows and jaw are defined differently in the two sets:
    report the inner points separately.
    """
    require_points(points, WFLW98, "ibug68_from_wflw98")
    weights, missing = _weights(WFLW98_ROWS, IBUG68.size, WFLW98.size), np.isnan(points)
    converted = np.einsum("ts,...sc->...tc", weights, np.where(missing, 0.0, points))
    converted[np.einsum("ts,...sc->...tc", weights != 0, missing)] = np.nan
    return np.asarray(converted, dtype=np.float64)


def five_points(points: Floats, schema: Schema) -> Array:
    """The five points (5, 2) of face recognition: right eye, left eye, nose tip, right and left mouth corner.

    Sides are the person's own: the right eye is on the left of the picture, as in the order of RetinaFace, InsightFace
    and MTCNN, which call it left. An eye's centre is the mean of its lid points. By the points of `fast` on 300W's test
    faces they are 1.2 px off the labels' in a crop of 112 (benchmarks/results/measures.json). Raises `SchemaError` for
    schemas that do not contain them.
    """
    return convert_points(points, schema, FIVE.name)


def _weights(rows: Rows, targets: int, sources: int) -> Array:
    weights = np.zeros((targets, sources))
    for target, row in rows.items():
        for source, weight in row.items():
            weights[target, source] = weight
    return weights
