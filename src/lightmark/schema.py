"""Landmark schemas: number and names of points, mirror permutation, groups and edges.

Index tables follow the published annotations of 300W (68 points), WFLW (98) and COFW (29), all counted from 0.
"""

from __future__ import annotations

import json
import operator
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightmark.errors import SchemaError, describe_error, reader

Floats = NDArray[np.floating[Any]]


FACE_BOX = "face-box"  # normaliser_name of schemas that divide errors by the face's box, not by a pair of points


@dataclass(frozen=True)
class Schema:
    """N landmarks: their mirror permutation, the pair that normalises errors, groups and drawing edges.

    `mirror[i]` is the index that point i takes in a mirrored picture. `normaliser` holds the two outer eye corners
    (or another pair whose distance divides errors); if it is empty, as for a single point, errors are divided by the
    longer side of the face's box. Raises `SchemaError` for inconsistent values.
    """

    name: str
    mirror: tuple[int, ...]
    normaliser: tuple[int, ...]
    groups: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    edges: tuple[tuple[int, int], ...] = ()
    point_names: tuple[str, ...] = ()
    normaliser_name: str = "inter-ocular"

    def __post_init__(self) -> None:
        count = len(self.mirror)
        if count == 0:
            raise SchemaError(f"schema {self.name!r}: no points; `mirror` needs one index a point")
        _require_indices(self.name, "mirror", self.mirror, count)
        _require_indices(self.name, "normaliser", self.normaliser, count)
        _require_indices(self.name, "edges", (i for edge in self.edges for i in edge), count)
        for group, members in self.groups.items():
            _require_indices(self.name, f"group {group!r}", members, count)
        for i, j in enumerate(self.mirror):
            if self.mirror[j] != i:
                raise SchemaError(
                    f"schema {self.name!r}: mirror is no involution: {i} goes to {j}, but {j} goes to "
                    f"{self.mirror[j]}; two mirrors must give the picture back"
                )
        if self.normaliser and (len(self.normaliser) != 2 or self.normaliser[0] == self.normaliser[1]):
            raise SchemaError(
                f"schema {self.name!r}: normaliser needs two different points, got {self.normaliser}; "
                f"leave it empty to divide errors by the face's box"
            )
        if (self.normaliser_name == FACE_BOX) == bool(self.normaliser):
            raise SchemaError(
                f"schema {self.name!r}: normaliser {self.normaliser} is called {self.normaliser_name!r}; "
                f"{FACE_BOX!r} is the name of the empty one, and of no other"
            )
        if self.point_names and len(self.point_names) != count:
            raise SchemaError(f"schema {self.name!r}: {len(self.point_names)} point names for {count} points")

    @property
    def knows_mirror(self) -> bool:
        """Whether it distinguishes left and right; False for several points of which none has a partner.

        Such is `plain_schema`, of data whose symmetry is unknown: in a mirrored picture its labels would be wrong.
        """
        return self.size == 1 or self.mirror != tuple(range(self.size))

    @property
    def size(self) -> int:
        """Number of landmarks N."""
        return len(self.mirror)

    @property
    def point_labels(self) -> tuple[str, ...]:
        """Name of each point, its number from 0 where the points have no names."""
        return self.point_names or tuple(map(str, range(self.size)))

    @property
    def inner(self) -> tuple[int, ...]:
        """Indices of every point that is not on the jaw."""
        jaw = set(self.groups.get("jaw", ()))
        return tuple(i for i in range(self.size) if i not in jaw)


def _require_indices(schema: str, what: str, indices: Iterable[int], count: int) -> None:
    for index in indices:
        if not 0 <= index < count:
            raise SchemaError(
                f"schema {schema!r}: {what} names point {index}; {count} points are numbered 0 to {count - 1}"
            )


def mirror_permutation(
    count: int, runs: Iterable[Sequence[int]], pairs: Iterable[tuple[int, int]] = ()
) -> tuple[int, ...]:
    """Permutation of `count` points in which each run is reversed, each pair swapped and the rest stay.

    >>> mirror_permutation(5, [(0, 1, 2)], [(3, 4)])
    (2, 1, 0, 4, 3)
    """
    permutation = list(range(count))
    for run in runs:
        for source, target in zip(run, reversed(run), strict=True):
            permutation[source] = target
    for left, right in pairs:
        permutation[left], permutation[right] = right, left
    return tuple(permutation)


def open_path(*indices: int) -> tuple[tuple[int, int], ...]:
    """Edges from each index to the next."""
    return tuple(pairwise(indices))


def closed_path(*indices: int) -> tuple[tuple[int, int], ...]:
    """Edges from each index to the next and from the last to the first."""
    return open_path(*indices, indices[0])


def _span(first: int, last: int) -> tuple[int, ...]:
    return tuple(range(first, last + 1))


IBUG68 = Schema(
    name="ibug68",
    mirror=mirror_permutation(
        68,
        runs=[_span(0, 16), _span(17, 26), _span(31, 35), _span(48, 54), _span(55, 59), _span(60, 64), _span(65, 67)],
        pairs=list(zip(_span(36, 41), (45, 44, 43, 42, 47, 46), strict=True)),
    ),
    normaliser=(36, 45),
    groups={
        "jaw": _span(0, 16),
        "brows": _span(17, 26),
        "nose": _span(27, 35),
        "eyes": _span(36, 47),
        "mouth": _span(48, 67),
    },
    edges=(
        *open_path(*_span(0, 16)),
        *open_path(*_span(17, 21)),
        *open_path(*_span(22, 26)),
        *open_path(*_span(27, 30)),
        *open_path(*_span(31, 35)),
        *closed_path(*_span(36, 41)),
        *closed_path(*_span(42, 47)),
        *closed_path(*_span(48, 59)),
        *closed_path(*_span(60, 67)),
    ),
)

WFLW98 = Schema(
    name="wflw98",
    mirror=mirror_permutation(
        98,
        runs=[_span(0, 32), _span(55, 59), _span(76, 82), _span(83, 87), _span(88, 92), _span(93, 95)],
        pairs=[
            *zip(_span(33, 37), (46, 45, 44, 43, 42), strict=True),
            *zip(_span(38, 41), (50, 49, 48, 47), strict=True),
            *zip(_span(60, 67), (72, 71, 70, 69, 68, 75, 74, 73), strict=True),
            (96, 97),
        ],
    ),
    normaliser=(60, 72),
    groups={
        "jaw": _span(0, 32),
        "brows": _span(33, 50),
        "nose": _span(51, 59),
        "eyes": (*_span(60, 75), 96, 97),
        "mouth": _span(76, 95),
    },
    edges=(
        *open_path(*_span(0, 32)),
        *closed_path(*_span(33, 41)),
        *closed_path(*_span(42, 50)),
        *open_path(*_span(51, 54)),
        *open_path(*_span(55, 59)),
        *closed_path(*_span(60, 67)),
        *closed_path(*_span(68, 75)),
        *closed_path(*_span(76, 87)),
        *closed_path(*_span(88, 95)),
    ),
)

# COFW counts from 1 in its paper; the pairs here are those minus one.
COFW29 = Schema(
    name="cofw29",
    mirror=mirror_permutation(
        29,
        runs=[],
        pairs=[(0, 1), (2, 3), (4, 6), (5, 7), (8, 9), (10, 11), (12, 14), (13, 15), (16, 17), (18, 19), (22, 23)],
    ),
    normaliser=(8, 9),
    groups={
        "jaw": (28,),
        "brows": _span(0, 7),
        "nose": _span(18, 21),
        "eyes": _span(8, 17),
        "mouth": _span(22, 27),
    },
    edges=(
        *closed_path(0, 4, 2, 5),
        *closed_path(3, 7, 1, 6),
        *closed_path(8, 12, 10, 13),
        *closed_path(11, 15, 9, 14),
        *open_path(18, 21, 19),
        *open_path(18, 20, 19),
        *closed_path(22, 24, 23, 27),
        *closed_path(22, 25, 23, 26),
    ),
)

SCHEMAS: dict[str, Schema] = {schema.name: schema for schema in (IBUG68, WFLW98, COFW29)}


def get_schema(name: str) -> Schema:
    """Built-in schema called `name`; raises `SchemaError` naming the known ones."""
    if name not in SCHEMAS:
        raise SchemaError(
            f"no schema called {name!r}; known: {', '.join(SCHEMAS)}, or load your own with read_schema(path)"
        )
    return SCHEMAS[name]


def plain_schema(count: int, normaliser: tuple[int, int] | None = None) -> Schema:
    """Schema of `count` unnamed points, each its own mirror partner; for data of unknown symmetry."""
    if count == 1:
        return Schema("points1", (0,), (), normaliser_name=FACE_BOX)
    return Schema(f"points{count}", tuple(range(count)), normaliser or (0, count - 1), normaliser_name="first-to-last")


def schema_to_dict(schema: Schema) -> dict[str, Any]:
    """JSON-ready dict, read back by `schema_from_dict`."""
    return {
        "name": schema.name,
        "mirror": list(schema.mirror),
        "normaliser": list(schema.normaliser),
        "normaliser_name": schema.normaliser_name,
        "groups": {name: list(members) for name, members in schema.groups.items()},
        "edges": [list(edge) for edge in schema.edges],
        "point_names": list(schema.point_names),
    }


def schema_from_dict(data: Mapping[str, Any]) -> Schema:
    """Schema from its JSON dict; raises `SchemaError` for missing keys, wrong types or inconsistent values."""
    index = operator.index  # rejects 3.7, which int would truncate
    try:
        normaliser = tuple(index(i) for i in data["normaliser"])
        return Schema(
            name=str(data["name"]),
            mirror=tuple(index(i) for i in data["mirror"]),
            normaliser=normaliser,
            normaliser_name=str(data.get("normaliser_name", "inter-ocular" if normaliser else FACE_BOX)),
            groups={str(k): tuple(index(i) for i in v) for k, v in data.get("groups", {}).items()},
            edges=tuple((index(a), index(b)) for a, b in data.get("edges", ())),
            point_names=tuple(str(name) for name in data.get("point_names", ())),
        )
    except SchemaError:
        raise
    except Exception as error:  # of any type: the JSON is untrusted
        raise SchemaError(
            f"schema JSON: {describe_error(error)}; needs name, mirror (one index a point) and normaliser "
            f"(two indices, or none)"
        ) from error


@reader("schema JSON", SchemaError)
def read_schema(path: str | Path) -> Schema:
    """Schema from a JSON file; raises `SchemaError` naming the file."""
    data = json.loads(Path(path).read_text(encoding="utf-8"))
    if not isinstance(data, dict):
        raise SchemaError(f"{path}: a schema is a JSON object, got {type(data).__name__}")
    try:
        return schema_from_dict(data)
    except SchemaError as error:
        raise SchemaError(f"{path}: {error}") from error


def require_points(points: Floats, schema: Schema, where: str) -> None:
    """Raise `SchemaError` unless `points` ends in the shape (N, 2) of `schema`."""
    if points.ndim < 2 or points.shape[-2:] != (schema.size, 2):
        raise SchemaError(f"{where}: points of shape {points.shape}, {schema.name} needs (..., {schema.size}, 2)")
