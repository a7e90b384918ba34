"""Detection of swapped left and right labels, by comparing shapes with their mirror images."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from lightmark.geometry import Array, labelled
from lightmark.schema import SCHEMAS, Schema

Shapes = NDArray[np.complex128]  # points as x + iy, so that turning and scaling is one multiplication

# Σ|p − μ(i)|² / Σ|p − μ(mirror i)|² over a group. On 8390 faces of 300W, 300W-LP, YouTube Faces, WFLW and HELEN,
# profiles included, rightly labelled groups reached 1.2; of swapped ones a few noses fell below 2, no other group.
SWAPPED = 2.0
# The mean settles to 1e-3 of the face's size in three rounds; two more cost nothing.
_ROUNDS = 5


def swapped_groups(points: Array, schema: Schema) -> list[tuple[str, ...]]:
    """For each face of `points` (F, N, 2) the names of the groups whose left and right are swapped, ("face",) for all.

    A group is swapped where its points, aligned with the mean shape, lie nearer to the mean of their mirror partners
    than to their own by more than `SWAPPED`. The mean is that of these very faces, made symmetric: a small share of
    swapped faces leaves it whole, and so does a wholly swapped set of a built-in schema; for other schemas the majority
    is taken to be right. A face with missing points (NaN) is compared by the pairs it has; the mean is that of whole
    faces, without which nothing is reported. Other points must be finite and no face's may all coincide.
    """
    mirror = np.array(schema.mirror)
    there = labelled(points)
    whole_faces = there.all(axis=1)
    if not whole_faces.any() or (mirror == np.arange(schema.size)).all():
        return [()] * len(points)
    mean = _mean_shape(points[whole_faces], schema)
    found: list[tuple[str, ...]] = [()] * len(points)
    for shared in np.unique(there, axis=0):  # faces that lack the same points go together
        members = np.flatnonzero((there == shared).all(axis=1))
        swapped = _swapped_of(points[members], mean, schema, shared & shared[mirror])
        for face, names in zip(members, swapped, strict=True):
            found[face] = names
    return found


def _mean_shape(points: Array, schema: Schema) -> Shapes:
    """Mean of whole faces (F, N, 2), normalised, with left where the schema has left."""
    mirror = np.array(schema.mirror)
    shapes = _normalised(points @ np.array([1, 1j]))
    mean = _symmetric_mean(shapes, mirror)
    return mean[mirror] if _is_mirrored(mean, shapes, schema) else mean


def _swapped_of(points: Array, mean: Shapes, schema: Schema, shared: NDArray[np.bool_]) -> list[tuple[str, ...]]:
    """Swapped groups of faces (F, N, 2), from the points `shared` (N,), which include their mirror partners."""
    if shared.sum() < 2:
        return [()] * len(points)
    place = np.cumsum(shared) - 1  # of each shared point among them
    mirror = place[np.array(schema.mirror)[shared]]
    mean, shapes = _normalised(mean[shared]), _normalised(points[:, shared] @ np.array([1, 1j]))
    aligned = _aligned(shapes, mean, mirror)
    whole = _swap_ratios(aligned, mean, mirror, np.arange(len(mirror)))
    ratios = {
        name: _swap_ratios(aligned, mean, mirror, place[[i for i in members if shared[i]]].astype(int))
        for name, members in schema.groups.items()
    }
    return [("face",) if ratio > SWAPPED else _names_above(ratios, i) for i, ratio in enumerate(whole)]


def _names_above(ratios: Mapping[str, Array], face: int) -> tuple[str, ...]:
    return tuple(name for name, values in ratios.items() if values[face] > SWAPPED)


def _normalised(shapes: Shapes) -> Shapes:
    centred = shapes - shapes.mean(axis=-1, keepdims=True)
    return np.asarray(centred / np.linalg.norm(centred, axis=-1, keepdims=True), dtype=np.complex128)


def _better(shapes: Shapes, mean: Shapes, mirror: NDArray[np.int64]) -> tuple[Shapes, Shapes]:
    """Each shape or its relabelled twin, whichever fits `mean` better, and the factors of their fits."""
    factors, twin_factors = shapes @ mean.conj(), shapes[:, mirror] @ mean.conj()
    twin_fits = abs(twin_factors) > abs(factors)
    return np.where(twin_fits[:, None], shapes[:, mirror], shapes), np.where(twin_fits, twin_factors, factors)


def _symmetric_mean(shapes: Shapes, mirror: NDArray[np.int64]) -> Shapes:
    """Procrustes mean of the shapes and their mirror images."""
    mean: Shapes = shapes[0]
    for _ in range(_ROUNDS):
        better, factors = _better(shapes, mean, mirror)
        mean = _normalised((better * factors.conj()[:, None]).mean(axis=0))
        image = -mean.conj()[mirror]
        fit = np.vdot(mean, image)
        mean = _normalised(mean + image * (fit.conj() / (abs(fit) or 1)))
    return mean


def _is_mirrored(mean: Shapes, shapes: Shapes, schema: Schema) -> bool:
    """Whether `mean` has left and right swapped.

    In the built-in schemas the normaliser's first corner is left in the picture; elsewhere the majority counts.
    """
    if SCHEMAS.get(schema.name) == schema:
        rightward = mean[schema.normaliser[1]] - mean[schema.normaliser[0]]
        downward = mean[list(schema.groups["mouth"])].mean() - mean[list(schema.groups["eyes"])].mean()
        return float((rightward.conj() * downward).imag) < 0
    mirror = np.array(schema.mirror)
    twin_fits = abs(shapes[:, mirror] @ mean.conj()) > abs(shapes @ mean.conj())
    return bool(twin_fits.mean() > 0.5)


def _aligned(shapes: Shapes, mean: Shapes, mirror: NDArray[np.int64]) -> Shapes:
    """The shapes with their own labels, moved as whichever labelling fits `mean` better asks."""
    _, factors = _better(shapes, mean, mirror)
    return np.asarray(shapes * factors.conj()[:, None])


def _swap_ratios(aligned: Shapes, mean: Shapes, mirror: NDArray[np.int64], members: NDArray[np.int64]) -> Array:
    """Σ|p − μ(i)|² / Σ|p − μ(mirror i)|² of each face over the members that have a partner; 0 where none has."""
    paired = members[mirror[members] != members]
    own = (abs(aligned[:, paired] - mean[paired]) ** 2).sum(axis=1)
    other = (abs(aligned[:, paired] - mean[mirror[paired]]) ** 2).sum(axis=1)
    return np.asarray(own / np.maximum(other, 1e-12), dtype=np.float64)
