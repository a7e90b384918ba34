"""Paint on a transparent, supersampled canvas; all coordinates are pixels of the finished picture."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from lightmark.geometry import Array

Tone: TypeAlias = tuple[float, float, float]
Layer: TypeAlias = NDArray[np.float32]

SUPER = 4  # canvas pixels a picture pixel; cv2's fills reach half a canvas pixel too far: an eighth of a picture pixel
SHIFT = 8
STEPS = 6  # drawn pieces a span of a curve
CIRCLE: Array = np.array([(math.cos(k * math.pi / 12), math.sin(k * math.pi / 12)) for k in range(24)])


@dataclass(frozen=True, eq=False)
class Canvas:
    """RGBA `pixels` (SUPER·H, SUPER·W, 4): colour multiplied by coverage, so that both shrink by plain averaging."""

    pixels: NDArray[np.uint8]


def blank(height: int, width: int) -> Canvas:
    """A transparent canvas for a picture of this size."""
    return Canvas(np.zeros((height * SUPER, width * SUPER, 4), np.uint8))


def fill(canvas: Canvas, outline: Array, tone: Tone) -> None:
    """Fill the closed `outline` (K, 2)."""
    cv2.fillPoly(canvas.pixels, [_fixed(outline)], _rgba(tone), cv2.LINE_8, SHIFT)


def stroke(canvas: Canvas, curve: Array, tone: Tone, width: float) -> None:
    """Draw the line through `curve` (K, 2), `width` pixels wide."""
    cv2.polylines(canvas.pixels, [_fixed(curve)], False, _rgba(tone), max(1, round(width * SUPER)), cv2.LINE_8, SHIFT)


@contextmanager
def inside(canvas: Canvas, outline: Array) -> Iterator[None]:
    """What is painted meanwhile stays inside the closed `outline`; paint may reach beyond it by half its extent."""
    low, high = outline.min(axis=0), outline.max(axis=0)
    margin = (high - low).max() / 2
    limit = np.array(canvas.pixels.shape[1::-1])
    x0, y0 = np.clip(((low - margin) * SUPER).astype(int), 0, limit).tolist()
    x1, y1 = np.clip(((high + margin) * SUPER).astype(int) + 1, 0, limit).tolist()
    part = canvas.pixels[y0:y1, x0:x1]
    before = part.copy()
    yield
    if part.size:
        mask = np.ones(part.shape[:2], np.uint8)
        cv2.fillPoly(mask, [_fixed(outline) - np.array([x0 << SHIFT, y0 << SHIFT], np.int32)], 0, cv2.LINE_8, SHIFT)
        cv2.copyTo(before, mask, part)


def finish(canvas: Canvas) -> Layer:
    """The canvas at the size of the picture, (H, W, 4) float32: colour 0–255 times coverage, and coverage 0–1."""
    pixels: NDArray[Any] = canvas.pixels
    # Halving twice: OpenCV has a fast path for a half, and none for other factors.
    for _ in range(SUPER.bit_length() - 1):
        pixels = cv2.resize(pixels, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    layer = pixels.astype(np.float32)
    layer[..., 3] /= 255
    return layer


def open_curve(points: Array) -> Array:
    """Smooth curve (K, 2) through `points` (N, 2) from the first to the last."""
    return np.asarray(_open_basis(len(points)) @ points)


def closed_curve(points: Array) -> Array:
    """Smooth closed curve (K, 2) through `points` (N, 2)."""
    around = np.concatenate([points[-2:], points, points[:3]])
    return open_curve(around)[2 * STEPS : -2 * STEPS]


def oval(centre: Array, across: Array, along: Array) -> Array:
    """Ellipse (24, 2) spanned by two half-axis vectors (2,)."""
    return np.asarray(centre + CIRCLE @ np.stack([across, along]))


def tinted(tone: Tone, factor: float) -> Tone:
    """`tone` lighter or darker by `factor`."""
    return (tone[0] * factor, tone[1] * factor, tone[2] * factor)


def mixed(first: Tone, second: Tone, share: float) -> Tone:
    """`share` of `second` in `first`."""
    red, green, blue = (a + share * (b - a) for a, b in zip(first, second, strict=True))
    return (red, green, blue)


@lru_cache(maxsize=64)
def _open_basis(count: int) -> Array:
    """Matrix (K, count) from points to a Catmull–Rom curve through them; the ends are extended by reflection."""
    extend = np.zeros((count + 2, count))
    extend[1:-1] = np.eye(count)
    extend[0, :2], extend[-1, -2:] = (2, -1), (-1, 2)
    t = np.linspace(0, 1, STEPS, endpoint=False)
    before, here = -t + 2 * t**2 - t**3, 2 - 5 * t**2 + 3 * t**3
    there, after = t + 4 * t**2 - 3 * t**3, t**3 - t**2
    weights = np.stack([before, here, there, after], axis=1) / 2
    rows = np.zeros(((count - 1) * STEPS + 1, count + 2))
    for span in range(count - 1):
        rows[span * STEPS : (span + 1) * STEPS, span : span + 4] = weights
    rows[-1, -2] = 1
    return rows @ extend


def _fixed(points: Array) -> NDArray[np.int32]:
    canvas_points = (points + 0.5) * SUPER - 0.5
    return np.rint(canvas_points * (1 << SHIFT)).astype(np.int32)


def _rgba(tone: Tone) -> tuple[float, float, float, float]:
    return min(tone[0], 255.0), min(tone[1], 255.0), min(tone[2], 255.0), 255.0
