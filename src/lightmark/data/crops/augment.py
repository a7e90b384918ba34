"""Random augmentation: one random matrix for the geometry, then changes of the pixels alone.

All randomness comes from the generator handed in, so that a sample's augmentation depends on its seed and nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from lightmark.geometry import Array, compose, crop_matrix, longer_side, map_box, mirror_matrix, require_box, transform
from lightmark.image import Picture, compress_jpeg
from lightmark.schema import Schema


@dataclass(frozen=True)
class Augmentation:
    """How strongly training crops vary; the default of each is what the shipped recipes use.

    `rotation` is in degrees (uniform ±), `scale` and `shift` are shares of the crop's side (uniform ±), `box` is a
    second, independent error of each side of the box as a share of its size (uniform ±), as a detector makes it. The
    next ones are the chances that a crop is mirrored, recoloured, made grey, blurred, compressed, reduced to a low
    resolution and back, given noise, and partly covered. `second_occlusion` is the chance
    of another cover. A share `steep_share` of the crops is turned by up to `steep_rotation` degrees, not `rotation`.
    """

    rotation: float = 30.0
    scale: float = 0.15
    shift: float = 0.05
    box: float = 0.04
    mirror: float = 0.5
    colour: float = 0.8
    grey: float = 0.1
    blur: float = 0.15
    jpeg: float = 0.15
    low_resolution: float = 0.15
    noise: float = 0.15
    occlusion: float = 0.3
    steep_rotation: float = 0.0
    steep_share: float = 0.0
    second_occlusion: float = 0.0


NO_AUGMENTATION = Augmentation(*([0.0] * 15))


def random_matrix(
    box: Array, size: int, crop_scale: float, augmentation: Augmentation, rng: np.random.Generator
) -> tuple[Array, bool]:
    """Matrix (2, 3) from the image to a randomly placed crop around a face's `box` (4,), and whether it mirrors."""
    box = require_box(box)
    side = crop_scale * longer_side(box)
    box = map_box(box, rng.uniform(-augmentation.box, augmentation.box, 4))
    offset = rng.uniform(-augmentation.shift, augmentation.shift, 2) * side
    scale = crop_scale * float(1 + rng.uniform(-augmentation.scale, augmentation.scale))
    angle = _random_angle(augmentation, rng)
    mirrored = bool(rng.random() < augmentation.mirror)
    matrix = crop_matrix(box + np.tile(offset, 2), size, scale, angle)
    return (compose(mirror_matrix(size), matrix) if mirrored else matrix), mirrored


def _random_angle(augmentation: Augmentation, rng: np.random.Generator) -> float:
    """Degrees by which a crop is turned."""
    # Without steep turns nothing is drawn for them, so that the crops that published weights saw can be made again.
    steep = augmentation.steep_share > 0 and rng.random() < augmentation.steep_share
    most = augmentation.steep_rotation if steep else augmentation.rotation
    return float(rng.uniform(-most, most))


def crop_reach(augmentation: Augmentation, crop_scale: float) -> float:
    """Side, over the longer side L of a face's box, of the upright square about the box that holds every random crop.

    A crop's side is at most crop_scale · (1 + scale) · (1 + 2 · box) · L; turned by t it reaches (cos t + sin t) / 2 of
    that from its own centre, which lies at most (box + shift · crop_scale) · L beside the face's.

    >>> round(crop_reach(Augmentation(), 1.25), 2)
    2.33
    """
    side = crop_scale * (1 + augmentation.scale) * (1 + 2 * augmentation.box)
    steepest = max(augmentation.rotation, augmentation.steep_rotation if augmentation.steep_share else 0.0)
    angle = math.radians(min(steepest, 45.0))  # where the sum below is largest
    reach = side * (math.cos(angle) + math.sin(angle)) / 2
    return 2 * (reach + augmentation.box + augmentation.shift * crop_scale)


def move_points(points: Array, matrix: Array, mirrored: bool, schema: Schema) -> Array:
    """Crop points (..., N, 2) of image points under `matrix`; a mirror also permutes left and right."""
    moved = transform(matrix, points)
    return moved[..., list(schema.mirror), :] if mirrored else moved


def change_pixels(crop: Picture, augmentation: Augmentation, rng: np.random.Generator) -> Picture:
    """`crop` (S, S, 3) with random colour, occlusion, blur, resolution, noise and compression."""
    return apply_changes(crop, draw_changes(crop.shape[:2], augmentation, rng))


@dataclass(frozen=True)
class Recolouring:
    """Levels mapped by `table`, uint8 (256, 3), one column a channel; then `share` of the grey of what came out."""

    table: Picture
    share: float


@dataclass(frozen=True)
class Cover:
    """The pixels `inside`, bool (H, W), become `fill`: one colour, uint8 (3,), or one each, (P, 3), row by row.

    Without `fill` they become those of the crop itself, rolled down and right by `shift`.
    """

    inside: NDArray[np.bool_]
    fill: Picture | None
    shift: tuple[int, int] = (0, 0)


@dataclass(frozen=True)
class PixelChanges:
    """What happens to the pixels of one crop (H, W, 3), in this order; None where nothing does.

    `small` is the side in pixels that the crop is reduced to and enlarged from; `blur` a Gaussian's standard deviation
    in pixels, or a moving camera's kernel (L, L); `noise` is added, float32 (H, W, 3); `quality` is JPEG's.
    """

    colour: Recolouring | None = None
    grey: bool = False
    covers: tuple[Cover, ...] = ()
    small: int | None = None
    blur: float | Array | None = None
    noise: NDArray[np.float32] | None = None
    quality: int | None = None


Drawn = TypeVar("Drawn")
Shape = tuple[int, ...]


def draw_changes(shape: Shape, augmentation: Augmentation, rng: np.random.Generator) -> PixelChanges:
    """Random changes for a crop of `shape` (H, W)."""

    def perhaps(chance: float, draw: Callable[[Shape, np.random.Generator], Drawn]) -> Drawn | None:
        return draw(shape, rng) if rng.random() < chance else None

    # The order of these lines is the order of draws, which published weights were trained with. A second cover is drawn
    # only where it is asked for, so that these draws can be made again.
    second = [augmentation.second_occlusion] if augmentation.second_occlusion > 0 else []
    chances = [augmentation.occlusion, *second]
    return PixelChanges(
        colour=perhaps(augmentation.colour, _draw_colour),
        grey=bool(rng.random() < augmentation.grey),
        covers=tuple(cover for chance in chances if (cover := perhaps(chance, _draw_cover)) is not None),
        small=perhaps(augmentation.low_resolution, _draw_small),
        blur=perhaps(augmentation.blur, _draw_blur),
        noise=perhaps(augmentation.noise, _draw_noise),
        quality=perhaps(augmentation.jpeg, _draw_quality),
    )


def apply_changes(crop: Picture, changes: PixelChanges) -> Picture:
    """`crop` (H, W, 3) changed; the crop handed in stays as it is."""
    if changes.colour is not None:
        crop = _recolour(crop, changes.colour)
    if changes.grey:
        crop = _to_grey(crop)
    for cover in changes.covers:
        crop = _occlude(crop, cover)
    if changes.small is not None:
        crop = _reduce(crop, changes.small)
    if changes.blur is not None:
        crop = _blur(crop, changes.blur)
    if changes.noise is not None:
        crop = np.asarray(np.rint(np.clip(crop + changes.noise, 0, 255)), dtype=np.uint8)
    if changes.quality is not None:
        crop = compress_jpeg(crop, changes.quality)
    return crop


def _draw_colour(_shape: Shape, rng: np.random.Generator) -> Recolouring:
    """Per-channel gain, gamma and offset (as lookup tables), then saturation."""
    levels = np.arange(256) / 255
    gamma = 2 ** rng.uniform(-0.6, 0.6)
    contrast, offset = rng.uniform(0.7, 1.3), rng.uniform(-0.15, 0.15)
    gains = rng.uniform(0.88, 1.12, 3)
    curve = (levels**gamma - 0.5) * contrast + 0.5 + offset
    table = np.rint(np.clip(curve[:, None] * gains, 0, 1) * 255).astype(np.uint8)
    return Recolouring(table, rng.uniform(0, 0.6))


def _recolour(crop: Picture, colour: Recolouring) -> Picture:
    coloured = np.asarray(cv2.LUT(crop, colour.table[None]), dtype=np.uint8)
    return _blend(coloured, _to_grey(coloured), colour.share)


def _to_grey(crop: Picture) -> Picture:
    return np.asarray(cv2.cvtColor(cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB), dtype=np.uint8)


def _blend(first: Picture, second: Picture, share: float) -> Picture:
    return np.asarray(cv2.addWeighted(first, 1 - share, second, share, 0), dtype=np.uint8)


def _draw_cover(shape: Shape, rng: np.random.Generator) -> Cover:
    """A random rectangle or ellipse of one colour, noise, or another part of the crop."""
    size = shape[0]
    width, height = (int(v) for v in rng.uniform(0.12, 0.45, 2) * size)
    x, y = (int(rng.integers(-extent // 2, size - extent // 2)) for extent in (width, height))
    mask = np.zeros((size, size), np.uint8)
    if rng.random() < 0.5:
        centre, axes = (x + width // 2, y + height // 2), (width // 2, height // 2)
        cv2.ellipse(mask, centre, axes, rng.uniform(0, 180), 0, 360, 1, -1)
    else:
        cv2.rectangle(mask, (x, y), (x + width, y + height), 1, -1)
    inside = mask.astype(bool)
    kind = rng.integers(3)
    if kind == 2:
        down, right = rng.integers(size // 4, size, 2)
        return Cover(inside, None, (int(down), int(right)))
    return Cover(inside, rng.integers(0, 256, 3 if kind == 0 else (int(inside.sum()), 3)).astype(np.uint8))


def _occlude(crop: Picture, cover: Cover) -> Picture:
    covered = crop.copy()
    fill = np.roll(crop, cover.shift, (0, 1))[cover.inside] if cover.fill is None else cover.fill
    covered[cover.inside] = fill
    return covered


def _draw_small(shape: Shape, rng: np.random.Generator) -> int:
    return int(shape[0] * rng.uniform(0.2, 0.7))


def _reduce(crop: Picture, side: int) -> Picture:
    small = cv2.resize(crop, (side, side), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(small, (len(crop), len(crop)), interpolation=cv2.INTER_LINEAR), dtype=np.uint8)


def _draw_blur(shape: Shape, rng: np.random.Generator) -> float | Array:
    if rng.random() < 0.5:
        return rng.uniform(0.4, max(0.4, 0.02 * shape[0]))
    return _motion_kernel(int(rng.integers(3, 4 + shape[0] // 16)), rng)


def _blur(crop: Picture, blur: float | Array) -> Picture:
    if isinstance(blur, float):
        return np.asarray(cv2.GaussianBlur(crop, (0, 0), blur), dtype=np.uint8)
    return np.asarray(cv2.filter2D(crop, -1, blur), dtype=np.uint8)


def _motion_kernel(length: int, rng: np.random.Generator) -> Array:
    angle = rng.uniform(0, np.pi)
    half = (length - 1) / 2
    kernel = np.zeros((length, length), np.float64)
    for t in np.linspace(-half, half, 2 * length):
        kernel[round(half + t * np.sin(angle)), round(half + t * np.cos(angle))] = 1
    return np.asarray(kernel / kernel.sum())


def _draw_noise(shape: Shape, rng: np.random.Generator) -> NDArray[np.float32]:
    return rng.standard_normal((*shape, 3), dtype=np.float32) * np.float32(rng.uniform(2, 14))


def _draw_quality(_shape: Shape, rng: np.random.Generator) -> int:
    return int(rng.integers(15, 70))
