"""Random augmentation: one random matrix for the geometry, then changes of the pixels alone.

All randomness comes from the generator handed in, so that a sample's augmentation depends on its seed and nothing else.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from lightmark.geometry import Array, compose, crop_matrix, mirror_matrix, require_box, tight_box, transform
from lightmark.image import Picture, compress_jpeg
from lightmark.schema import Schema


@dataclass(frozen=True)
class Augmentation:
    """How strongly training crops vary; the default of each is what the shipped recipes use.

    `rotation` is in degrees (uniform ±), `scale` and `shift` are shares of the crop's side (uniform ±), `box` is a
    second, independent error of each side of the box as a share of its size (uniform ±), as a detector makes it. The
    others are the chances that a crop is mirrored, recoloured, made grey, blurred, compressed, reduced to a low
    resolution and back, given noise, and partly covered.
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


NO_AUGMENTATION = Augmentation(*([0.0] * 12))


def random_matrix(
    points: Array, size: int, crop_scale: float, augmentation: Augmentation, rng: np.random.Generator
) -> tuple[Array, bool]:
    """Matrix (2, 3) from the image to a randomly placed crop around `points` (N, 2), and whether it mirrors."""
    box = require_box(tight_box(points))
    extent = np.tile(box[2:] - box[:2], 2)
    box = box + rng.uniform(-augmentation.box, augmentation.box, 4) * extent
    side = crop_scale * float(extent.max())
    offset = rng.uniform(-augmentation.shift, augmentation.shift, 2) * side
    scale = crop_scale * float(1 + rng.uniform(-augmentation.scale, augmentation.scale))
    angle = float(rng.uniform(-augmentation.rotation, augmentation.rotation))
    mirrored = bool(rng.random() < augmentation.mirror)
    matrix = crop_matrix(box + np.tile(offset, 2), size, scale, angle)
    return (compose(mirror_matrix(size), matrix) if mirrored else matrix), mirrored


def crop_reach(augmentation: Augmentation, crop_scale: float) -> float:
    """Side, over the longer side L of a face's box, of the upright square about the box that holds every random crop.

    A crop's side is at most crop_scale · (1 + scale) · (1 + 2 · box) · L; turned by t it reaches (cos t + sin t) / 2 of
    that from its own centre, which lies at most (box + shift · crop_scale) · L beside the face's.

    >>> round(crop_reach(Augmentation(), 1.25), 2)
    2.33
    """
    side = crop_scale * (1 + augmentation.scale) * (1 + 2 * augmentation.box)
    angle = math.radians(min(augmentation.rotation, 45.0))  # where the sum below is largest
    reach = side * (math.cos(angle) + math.sin(angle)) / 2
    return 2 * (reach + augmentation.box + augmentation.shift * crop_scale)


def move_points(points: Array, matrix: Array, mirrored: bool, schema: Schema) -> Array:
    """Crop points (..., N, 2) of image points under `matrix`; a mirror also permutes left and right."""
    moved = transform(matrix, points)
    return moved[..., list(schema.mirror), :] if mirrored else moved


def change_pixels(crop: Picture, augmentation: Augmentation, rng: np.random.Generator) -> Picture:
    """`crop` (S, S, 3) with random colour, occlusion, blur, resolution, noise and compression."""
    for chance, change in (
        (augmentation.colour, _recolour),
        (augmentation.grey, _to_grey),
        (augmentation.occlusion, _occlude),
        (augmentation.low_resolution, _reduce),
        (augmentation.blur, _blur),
        (augmentation.noise, _add_noise),
        (augmentation.jpeg, _compress),
    ):
        if rng.random() < chance:
            crop = change(crop, rng)
    return crop


def _recolour(crop: Picture, rng: np.random.Generator) -> Picture:
    """Per-channel gain, gamma and offset (as lookup tables), then saturation."""
    levels = np.arange(256) / 255
    gamma = 2 ** rng.uniform(-0.6, 0.6)
    contrast, offset = rng.uniform(0.7, 1.3), rng.uniform(-0.15, 0.15)
    gains = rng.uniform(0.88, 1.12, 3)
    curve = (levels**gamma - 0.5) * contrast + 0.5 + offset
    table = np.rint(np.clip(curve[:, None] * gains, 0, 1) * 255).astype(np.uint8)[None]
    coloured = np.asarray(cv2.LUT(crop, table), dtype=np.uint8)
    return _blend(coloured, _to_grey(coloured, rng), rng.uniform(0, 0.6))


def _to_grey(crop: Picture, rng: np.random.Generator) -> Picture:
    return np.asarray(cv2.cvtColor(cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB), dtype=np.uint8)


def _blend(first: Picture, second: Picture, share: float) -> Picture:
    return np.asarray(cv2.addWeighted(first, 1 - share, second, share, 0), dtype=np.uint8)


def _blur(crop: Picture, rng: np.random.Generator) -> Picture:
    if rng.random() < 0.5:
        sigma = rng.uniform(0.4, max(0.4, 0.02 * len(crop)))
        return np.asarray(cv2.GaussianBlur(crop, (0, 0), sigma), dtype=np.uint8)
    kernel = _motion_kernel(int(rng.integers(3, 4 + len(crop) // 16)), rng)
    return np.asarray(cv2.filter2D(crop, -1, kernel), dtype=np.uint8)


def _motion_kernel(length: int, rng: np.random.Generator) -> Array:
    angle = rng.uniform(0, np.pi)
    half = (length - 1) / 2
    kernel = np.zeros((length, length), np.float64)
    for t in np.linspace(-half, half, 2 * length):
        kernel[round(half + t * np.sin(angle)), round(half + t * np.cos(angle))] = 1
    return np.asarray(kernel / kernel.sum())


def _reduce(crop: Picture, rng: np.random.Generator) -> Picture:
    size = len(crop)
    small = cv2.resize(crop, (int(size * rng.uniform(0.2, 0.7)),) * 2, interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(small, (size, size), interpolation=cv2.INTER_LINEAR), dtype=np.uint8)


def _add_noise(crop: Picture, rng: np.random.Generator) -> Picture:
    noise = rng.standard_normal(crop.shape, dtype=np.float32) * np.float32(rng.uniform(2, 14))
    return np.asarray(np.rint(np.clip(crop + noise, 0, 255)), dtype=np.uint8)


def _compress(crop: Picture, rng: np.random.Generator) -> Picture:
    return compress_jpeg(crop, int(rng.integers(15, 70)))


def _occlude(crop: Picture, rng: np.random.Generator) -> Picture:
    """Cover a random rectangle or ellipse with one colour, noise, or another part of the crop."""
    size = len(crop)
    width, height = (int(v) for v in rng.uniform(0.12, 0.45, 2) * size)
    x, y = (int(rng.integers(-extent // 2, size - extent // 2)) for extent in (width, height))
    mask = np.zeros((size, size), np.uint8)
    if rng.random() < 0.5:
        centre, axes = (x + width // 2, y + height // 2), (width // 2, height // 2)
        cv2.ellipse(mask, centre, axes, rng.uniform(0, 180), 0, 360, 1, -1)
    else:
        cv2.rectangle(mask, (x, y), (x + width, y + height), 1, -1)
    covered = crop.copy()
    inside = mask.astype(bool)
    kind = rng.integers(3)
    if kind == 0:
        covered[inside] = rng.integers(0, 256, 3)
    elif kind == 1:
        covered[inside] = rng.integers(0, 256, (int(inside.sum()), 3))
    else:
        covered[inside] = np.roll(crop, tuple(rng.integers(size // 4, size, 2)), (0, 1))[inside]
    return covered
