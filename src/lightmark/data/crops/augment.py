"""Random augmentation of training crops: one random matrix for the geometry, then photometric changes.

All randomness comes from the generator in the arguments, so that crops are reproducible from its seed.
"""

from __future__ import annotations

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
    """Ranges and probabilities of the augmentation; the defaults are those of the shipped recipes.

    `rotation` is in degrees (uniform ±), `scale` and `shift` are relative to the crop's side (uniform ±). `box` is an
    independent error of each side of the box relative to its size (uniform ±), as detectors make it. `mirror`,
    `colour`, `grey`, `blur`, `jpeg`, `low_resolution`, `noise` and `occlusion` are probabilities; `second_occlusion` is
    that of a second cover. A share `steep_share` of the crops is rotated by up to `steep_rotation` instead of
    `rotation`.
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
    """Matrix (2, 3) from the image to a random crop around a face's `box` (4,), and whether it is mirrored."""
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
    """Random rotation of a crop in degrees."""
    # With a share of 0 no number is drawn, so that the crops of published trainings stay reproducible.
    steep = augmentation.steep_share > 0 and rng.random() < augmentation.steep_share
    limit = augmentation.steep_rotation if steep else augmentation.rotation
    return float(rng.uniform(-limit, limit))


def move_points(points: Array, matrix: Array, mirrored: bool, schema: Schema) -> Array:
    """Crop points (..., N, 2) of image points under `matrix` (2, 3); a mirrored crop also permutes left and right."""
    crop_points = transform(matrix, points)
    return crop_points[..., list(schema.mirror), :] if mirrored else crop_points


def change_pixels(crop: Picture, augmentation: Augmentation, rng: np.random.Generator) -> Picture:
    """Photometric augmentation of `crop` (S, S, 3): random colour, occlusion, resolution, blur, noise and JPEG."""
    return apply_changes(crop, draw_changes(crop.shape[:2], augmentation, rng))


@dataclass(frozen=True)
class Recolouring:
    """Colour change: a lookup `table`, uint8 (256, 3), one column per channel, then a `share` of grey is mixed in."""

    table: Picture
    share: float


@dataclass(frozen=True)
class Cover:
    """Occlusion: the pixels in the mask `inside` (H, W) become `fill`, one colour (3,) or one for each pixel (P, 3).

    Without `fill` they are copied from the crop itself, rolled down and right by `shift`.
    """

    inside: NDArray[np.bool_]
    fill: Picture | None
    shift: tuple[int, int] = (0, 0)


@dataclass(frozen=True)
class PixelChanges:
    """Sampled photometric augmentation of one crop (H, W, 3), applied in this order; None stands for no change.

    `small` is the side in pixels to which the crop is reduced before it is enlarged again; `blur` is the standard
    deviation of a Gaussian in pixels, or the kernel (L, L) of a motion blur; `noise`, float32 (H, W, 3), is added;
    `quality` is that of JPEG.
    """

    colour: Recolouring | None = None
    grey: bool = False
    covers: tuple[Cover, ...] = ()
    small: int | None = None
    blur: float | Array | None = None
    noise: NDArray[np.float32] | None = None
    quality: int | None = None


Change = TypeVar("Change")
Shape = tuple[int, ...]


def draw_changes(shape: Shape, augmentation: Augmentation, rng: np.random.Generator) -> PixelChanges:
    """Sample the photometric augmentation of a crop of `shape` (H, W)."""

    def perhaps(chance: float, draw: Callable[[Shape, np.random.Generator], Change]) -> Change | None:
        return draw(shape, rng) if rng.random() < chance else None

    # The order of these lines must stay: it is the order of the random numbers, which keeps the crops of published
    # trainings reproducible. For the same reason a second cover with probability 0 draws none.
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
    """Copy of `crop` (H, W, 3) with `changes` applied."""
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
    """Random gamma, contrast, offset and gain per channel as a lookup table, and a share of grey."""
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
    """Random rectangle or ellipse, filled with one colour, noise or another part of the crop."""
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
