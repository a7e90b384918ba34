"""Guess of a schema from labelled faces: mirror pairs, normaliser and drawing edges, with a picture to check it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations, pairwise

import cv2
import numpy as np

from lightmark.data.sample import Sample, load_image
from lightmark.draw import contact_sheet
from lightmark.errors import DataError
from lightmark.geometry import Array, crop_matrix, labelled, tight_box, transform
from lightmark.image import Picture, warp
from lightmark.schema import FACE_BOX, Schema

_ROUNDS = 5  # of Procrustes alignment, as in check.symmetry
_TILTS = np.deg2rad(np.arange(-30, 31, 3))  # of the axis that are tried; heads in photographs are rarely rolled further
_OFFSETS = np.linspace(-0.4, 0.4, 17)  # of the axis from the middle, which points without a partner shift
_AXES = 5  # of those, with the smallest distances, that are paired in full
# Distance of a point from its partner's mirror image, relative to the root mean square radius of the shape. Of 300W,
# WFLW and HELEN's 29 points, true pairs are within 0.06 in the mean shape of 50 faces and 0.15 in that of 5.
_TOLERANCE = 0.2
_SIDES = re.compile(r"(?<![a-z])(left|right|l|r)(?![a-z])|(?<=[a-z])(?-i:L|R)(?![a-z])|(left|right)", re.IGNORECASE)
_EDGE = 2.2  # longest edge between successive points, relative to the median distance of neighbours
_SHORT = 0.5  # of the root mean square radius; errors relative to a shorter distance vary with its own error
_SIDE = 640  # pixels of a tile of the picture
_BLUE, _ORANGE, _GREEN, _PINK = (64, 160, 255), (255, 160, 32), (96, 255, 96), (255, 96, 200)


@dataclass(frozen=True)
class Guess:
    """A guessed schema, and the points without a partner, because of which its crops are not mirrored."""

    schema: Schema
    unpaired: tuple[int, ...] = ()


def guess_schema(samples: Sequence[Sample], name: str) -> Guess:
    """Guess mirror pairs, normaliser and edges of the points of `samples`, all of one schema, which gives the names.

    A schema that has mirror pairs already, such as a built-in one, is only renamed.

    Partners are points whose names differ in left and right only; without such names, points that are each other's
    nearest in the mirror image of the mean shape. Points near the axis are their own partners. If any other point has
    no partner, every point is its own, so that crops are not mirrored in training (`Schema.knows_mirror`). Errors are
    divided by the distance of the pair that varies least with the size of the shape. Edges are those of the schema, by
    default between successive points that are neighbours. Raises `DataError` for a point that is labelled nowhere.
    """
    schema = samples[0].schema
    points = np.stack([sample.points for sample in samples])
    nowhere = np.flatnonzero(~labelled(points).any(axis=0))
    if len(nowhere):
        point = schema.point_labels[nowhere[0]]
        raise DataError(f"{name}: point {point} is labelled in no face; take it out of the labels")
    if schema.size == 1 or schema.knows_mirror:  # a single point, or the points of a known schema
        return Guess(replace(schema, name=name))
    mean, aligned = _mean_shape(points)
    mirror, unpaired = _partners(mean, schema.point_names)
    first, second = _normaliser(mean, aligned, mirror)
    guessed = Schema(
        name=name,
        mirror=mirror,
        normaliser=(first, second),
        groups=schema.groups,
        edges=schema.edges or _edges(mean),
        point_names=schema.point_names,
        normaliser_name=f"{schema.point_labels[first]} to {schema.point_labels[second]}",
    )
    return Guess(guessed, unpaired)


def _mean_shape(points: Array) -> tuple[Array, Array]:
    """Upright mean shape (N, 2) of root mean square radius 1, and the shapes (F, N, 2) aligned to it.

    Each shape is aligned by the points that it shares with the mean, which begins as the most complete shape.
    """
    shapes = points @ np.array([1, 1j])
    mask = ~np.isnan(shapes)
    mean = shapes[mask.sum(axis=1).argmax()]
    aligned = shapes
    for _ in range(_ROUNDS):
        aligned = np.stack([_aligned(shape, mean) for shape in shapes])
        mean = np.nanmean(aligned, axis=0)
        mean = _normalised(mean)
    # Upright: photographs are, on average. The rotation back to the pictures is that of the mean over the faces.
    turns = [_factor(mean, shape) for shape in shapes]
    turn = np.mean([factor / (abs(factor) or 1) for factor in turns])
    turn = turn / (abs(turn) or 1)
    return _pairs(mean * turn), _pairs(aligned * turn)


def _pairs(shape: np.ndarray) -> Array:
    return np.stack([shape.real, shape.imag], axis=-1)


def _normalised(shape: np.ndarray) -> np.ndarray:
    centred = shape - np.nanmean(shape)
    return np.asarray(centred / (np.sqrt(np.nanmean(abs(centred) ** 2)) or 1))


def _factor(shape: np.ndarray, target: np.ndarray) -> complex:
    """Rotation and scale, a complex number, that takes `shape` to `target` by the points that both have."""
    shared = ~(np.isnan(shape) | np.isnan(target))
    if shared.sum() < 2:
        return 1.0 + 0j
    a, b = shape[shared] - shape[shared].mean(), target[shared] - target[shared].mean()
    return complex(np.vdot(a, b) / (np.vdot(a, a).real or 1))


def _aligned(shape: np.ndarray, target: np.ndarray) -> np.ndarray:
    shared = ~(np.isnan(shape) | np.isnan(target))
    if not shared.any():
        return np.full_like(shape, np.nan)
    moved = shape * _factor(shape, target)
    return np.asarray(moved + (target[shared].mean() - moved[shared].mean()))


def _partners(mean: Array, names: Sequence[str]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Mirror permutation, and the points without a partner, because of which it is the identity."""
    count = len(mean)
    partner = _by_name(names)
    if partner is None:
        partner = _by_symmetry(mean)
    unpaired = tuple(i for i in range(count) if partner[i] is None)
    if unpaired:
        return tuple(range(count)), unpaired
    return tuple(i if j is None else j for i, j in enumerate(partner)), ()


def _by_name(names: Sequence[str]) -> list[int | None] | None:
    """Partners by names such as left_eye and right_eye; None without such names, or if one lacks its partner."""
    place = {name.lower(): i for i, name in enumerate(names)}
    partner: list[int | None] = [place.get(_other_side(name).lower()) for name in names]
    pairs = [(i, j) for i, j in enumerate(partner) if i != j]
    if not pairs or any(j is None or partner[j] != i for i, j in pairs):
        return None
    return partner


def _other_side(name: str) -> str:
    swap = {"left": "right", "right": "left", "l": "r", "r": "l"}
    return _SIDES.sub(lambda match: swap[match[0].lower()], name)


def _by_symmetry(mean: Array) -> list[int | None]:
    """Partners by the mirror image of the mean shape, for the axis that leaves the fewest points without one."""
    axes = []
    for tilt in _TILTS:
        across = np.array([np.cos(tilt), np.sin(tilt)])
        along = mean @ across
        for offset in np.median(along) + _OFFSETS:
            mirrored = mean + 2 * (offset - along)[:, None] * across
            nearest = np.linalg.norm(mean[:, None] - mirrored[None], axis=-1).min(axis=1)
            axes.append((float(np.minimum(nearest, _TOLERANCE).mean()), mirrored))
    axes.sort(key=lambda axis: axis[0])
    candidates = [_pairing(mean, mirrored) for _, mirrored in axes[:_AXES]]
    partner = min(candidates, key=lambda candidate: (sum(j is None for j in candidate[0]), candidate[1]))[0]
    return _untangled(mean, partner)


def _untangled(mean: Array, partner: list[int | None]) -> list[int | None]:
    """`partner` with those of two points exchanged where they are on the wrong sides of each other.

    Outer and inner corner of a closed mouth are so near that their distances decide by chance, but what lies inward on
    one side does on the other.
    """
    pairs = [(i, j) for i, j in enumerate(partner) if j is not None and i != j]
    if not pairs:
        return partner
    across = np.mean([(mean[j] - mean[i]) * np.sign(mean[j, 0] - mean[i, 0]) for i, j in pairs], axis=0)
    across /= np.linalg.norm(across) or 1
    partner = list(partner)
    near = np.argwhere(np.triu(np.linalg.norm(mean[:, None] - mean[None], axis=-1) < _TOLERANCE, 1))
    for a, c in near.tolist():
        b, d = partner[a], partner[c]
        if b is None or d is None or len({a, b, c, d}) < 4:
            continue
        inward = mean[c] - mean[a]
        if (inward - 2 * (inward @ across) * across) @ (mean[d] - mean[b]) < 0:
            partner[a], partner[b], partner[c], partner[d] = d, c, b, a
    return partner


def _pairing(mean: Array, mirrored: Array) -> tuple[list[int | None], float]:
    """Partners of the points in their mirror image `mirrored`, and their mean distance.

    Few faces are turned to one side on average, so that one half of the mean shape is narrower: a smooth map takes the
    image to the shape, fitted to the pairs before, first an affine one, then one of the second degree.
    """
    image = mirrored
    for round_number in range(_ROUNDS):
        distances = np.linalg.norm(mean[:, None] - image[None], axis=-1)
        partner, cost = _matching((distances + distances.T) / 2)
        pairs = [(i, j) for i, j in enumerate(partner) if j is not None]
        terms = _terms(mirrored, round_number and len(pairs) > 2 * _SECOND)
        if len(pairs) < 2 * terms.shape[1]:
            break
        own, others = (list(indices) for indices in zip(*pairs, strict=True))
        image = terms @ np.linalg.lstsq(terms[others], mean[own], rcond=None)[0]
    return partner, cost


_SECOND = 6  # terms of the second degree


def _terms(points: Array, second: bool | int) -> Array:
    """Terms (N, 3) of an affine map of points (N, 2), or (N, 6) of one of the second degree."""
    x, y = points.T
    first = [np.ones_like(x), x, y]
    return np.stack([*first, x * x, x * y, y * y] if second else first, axis=1)


def _matching(distances: Array) -> tuple[list[int | None], float]:
    """Partners by the smallest of the symmetric `distances` (N, N) first, and the mean distance."""
    count = len(distances)
    partner: list[int | None] = [None] * count
    free = np.ones(count, dtype=bool)
    cost = 0.0
    rows, columns = np.triu_indices(count)
    for index in np.argsort(distances[rows, columns], kind="stable").tolist():
        i, j = int(rows[index]), int(columns[index])
        if distances[i, j] >= _TOLERANCE:
            break
        if free[i] and free[j]:
            partner[i], partner[j] = j, i
            free[[i, j]] = False
            cost += distances[i, j] * (1 + (i != j))
    return partner, (cost + _TOLERANCE * float(free.sum())) / count


def _normaliser(mean: Array, aligned: Array, mirror: Sequence[int]) -> tuple[int, int]:
    """Pair of points whose distance varies least in the shapes `aligned`, which have one size, and is not short.

    Mirror partners are preferred, and among them points inside the outline, such as eye corners: those of a jaw are
    labelled less exactly.
    """
    pairs = [(i, j) for i, j in enumerate(mirror) if i < j] or list(combinations(range(len(mean)), 2))
    outline = set(cv2.convexHull(mean.astype(np.float32), returnPoints=False).ravel().tolist())
    inner = [pair for pair in pairs if not outline & set(pair)]
    best = (np.inf, (0, len(mean) - 1))
    for a, b in inner if len(inner) > 2 else pairs:
        lengths = np.linalg.norm(aligned[:, a] - aligned[:, b], axis=-1)
        lengths = lengths[~np.isnan(lengths)]
        missing = 1 - len(lengths) / len(aligned)
        if len(lengths) and lengths.mean() > _SHORT:
            best = min(best, (float(lengths.std() / lengths.mean() + missing), (a, b)))
    return best[1]


def _edges(mean: Array) -> tuple[tuple[int, int], ...]:
    """Edges between successive points that are as near as neighbours are, as along a contour."""
    distances = np.linalg.norm(mean[:, None] - mean[None], axis=-1)
    np.fill_diagonal(distances, np.inf)
    longest = _EDGE * float(np.median(distances.min(axis=1)))
    return tuple((a, b) for a, b in pairwise(range(len(mean))) if distances[a, b] <= longest)


def guess_sheet(samples: Sequence[Sample], guess: Guess) -> Picture:
    """A face with the guess, and the same face mirrored with its points exchanged: numbers must stay on their places.

    The face is the most complete one. Partners are blue and orange, joined by a line; points that are their own are
    green; the pair of the normaliser is joined in pink.
    """
    sample = max(samples, key=lambda face: int(labelled(face.points).sum()))
    box = tight_box(sample.points)
    if not (box[2:] > box[:2]).all():
        half = min(load_image(sample).shape[:2]) / 4
        box = np.concatenate([box[:2] - half, box[2:] + half])
    matrix = crop_matrix(box, _SIDE, 1.3)
    crop, points = warp(load_image(sample), matrix, _SIDE), transform(matrix, sample.points)
    schema = guess.schema
    mirrored = np.stack([_SIDE - 1 - points[:, 0], points[:, 1]], axis=1)[list(schema.mirror)]
    tiles = [_tile(crop, points, guess), _tile(np.ascontiguousarray(crop[:, ::-1]), mirrored, guess)]
    pairs = sum(i < j for i, j in enumerate(schema.mirror))
    own = schema.size - 2 * pairs
    summary = f"{pairs} pairs (blue, orange), {own} points their own partners (green)"
    if guess.unpaired:
        summary = f"no mirror pairs: points {', '.join(map(str, guess.unpaired[:9]))} have no partner"
    errors = f"errors are divided by {schema.normaliser_name} (pink)"
    if schema.normaliser_name == FACE_BOX:
        errors = "errors are divided by the face's box"
    captions = [f"{schema.name}: {summary}; {errors}", "mirrored: each number is where it was"]
    return contact_sheet(tiles, captions, columns=2)


def _tile(crop: Picture, points: Array, guess: Guess) -> Picture:
    canvas, schema = crop.copy(), guess.schema
    places = {i: (round(x), round(y)) for i, (x, y) in enumerate(points.tolist()) if np.isfinite([x, y]).all()}
    for a, b in schema.edges:
        _line(canvas, places, a, b, (255, 255, 255))
    for i, j in enumerate(schema.mirror):
        if i < j:
            _line(canvas, places, i, j, (128, 128, 128))
    if schema.normaliser:
        first, second = schema.normaliser
        _line(canvas, places, first, second, _PINK)
    for i, place in places.items():
        partner = schema.mirror[i]
        colour = _GREEN if partner == i else _BLUE if i < partner else _ORANGE
        cv2.circle(canvas, place, 3, colour, cv2.FILLED, cv2.LINE_AA)
        corner = place[0] + 3, place[1] - 3
        cv2.putText(canvas, str(i), corner, cv2.FONT_HERSHEY_SIMPLEX, 0.35, colour, 1, cv2.LINE_AA)
    return canvas


def _line(canvas: Picture, places: dict[int, tuple[int, int]], a: int, b: int, colour: tuple[int, int, int]) -> None:
    if a in places and b in places:
        cv2.line(canvas, places[a], places[b], colour, 1, cv2.LINE_AA)
