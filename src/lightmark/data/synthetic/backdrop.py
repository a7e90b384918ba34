"""Painting of backgrounds, some of them with unlabelled faces as distractors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from lightmark.data.synthetic.scene import HAIRS, SKINS, Backdrop, Rng, random_tone

Plane: TypeAlias = NDArray[np.float32]


def paint_backdrop(kind: Backdrop, size: int, rng: Rng) -> Plane:
    """Background (size, size, 3), float32, 0 to 255."""
    return PAINTERS[kind](size, rng)


def _gradient(size: int, rng: Rng) -> Plane:
    corners = np.array([random_tone(rng) for _ in range(4)], np.float32).reshape(2, 2, 3)
    return np.asarray(cv2.resize(corners, (size, size), interpolation=cv2.INTER_LINEAR), dtype=np.float32)


def _noise(size: int, rng: Rng) -> Plane:
    """Two colours, mixed by smooth noise of a random scale."""
    cells = int(rng.integers(3, 24))
    coarse = rng.uniform(-0.3, 1.3, (cells, cells)).astype(np.float32)
    share = np.clip(cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC), 0, 1)[..., None]
    return _blend(share, rng)


def _stripes(size: int, rng: Rng) -> Plane:
    rows, columns = np.indices((size, size), dtype=np.float32)
    angle = rng.uniform(0, np.pi)
    wave = np.sin((columns * np.cos(angle) + rows * np.sin(angle)) * 2 * np.pi / rng.uniform(6, size / 2))
    share = (0.5 + 0.5 * np.clip(wave * 4, -1, 1))[..., None]
    return _blend(share, rng)


def _blend(share: NDArray[Any], rng: Rng) -> Plane:
    """Two random colours mixed by `share` (size, size, 1)."""
    return np.asarray(share * random_tone(rng) + (1 - share) * random_tone(rng), dtype=np.float32)


def _shapes(size: int, rng: Rng) -> Plane:
    plane = _gradient(size, rng)
    for _ in range(int(rng.integers(5, 18))):
        x, y, a, b = (rng.uniform(0, 1, 4) * [size, size, 0.3 * size, 0.3 * size]).astype(int).tolist()
        if rng.random() < 0.5:
            cv2.ellipse(plane, (x, y), (a + 1, b + 1), rng.uniform(0, 180), 0, 360, random_tone(rng), -1, cv2.LINE_AA)
        else:
            cv2.rectangle(plane, (x - a, y - b), (x + a, y + b), random_tone(rng), -1)
    return plane


def _room(size: int, rng: Rng) -> Plane:
    """Wall with a window or picture and a shelf of books."""
    plane = _gradient(size, rng)
    x, y, a, b = (rng.uniform(0.1, 0.9, 4) * size).astype(int).tolist()
    cv2.rectangle(plane, (x - a // 2, y - b // 2), (x + a // 2, y + b // 2), random_tone(rng), -1)
    cv2.rectangle(plane, (x - a // 2, y - b // 2), (x + a // 2, y + b // 2), random_tone(rng), max(1, size // 40))
    shelf, left = int(rng.uniform(0.2, 0.9) * size), 0
    while left < size:
        wide, tall = int(rng.integers(2, 10)) * size // 128 + 1, int(rng.uniform(0.08, 0.2) * size)
        cv2.rectangle(plane, (left, shelf - tall), (left + wide, shelf), random_tone(rng), -1)
        left += wide + 1
    return np.asarray(cv2.GaussianBlur(plane, (0, 0), rng.uniform(0.3, 3)), dtype=np.float32)


def _faces(size: int, rng: Rng) -> Plane:
    """Unlabelled crowd: blurred skin-coloured ovals with hair, eyes and mouth."""
    plane = _noise(size, rng)
    for _ in range(int(rng.integers(1, 5))):
        x, y = (rng.uniform(0, 1, 2) * size).astype(int).tolist()
        radius = int(rng.uniform(0.06, 0.16) * size) + 2
        skin, hair = (tones[int(rng.integers(len(tones)))] for tones in (SKINS, HAIRS))
        cv2.circle(plane, (x, y - radius // 3), int(radius * 1.15), hair, -1, cv2.LINE_AA)
        cv2.ellipse(plane, (x, y), (radius, int(radius * 1.3)), 0, 0, 360, skin, -1, cv2.LINE_AA)
        for eye in (x - radius // 2, x + radius // 2):
            cv2.circle(plane, (eye, y - radius // 5), max(1, radius // 6), (30, 24, 24), -1, cv2.LINE_AA)
        cv2.ellipse(plane, (x, y + radius * 2 // 3), (radius // 2, max(1, radius // 8)), 0, 0, 360, (150, 60, 64), -1)
    return np.asarray(cv2.GaussianBlur(plane, (0, 0), rng.uniform(0.8, 3)), dtype=np.float32)


PAINTERS: Mapping[Backdrop, Callable[[int, Rng], Plane]] = {
    "gradient": _gradient,
    "stripes": _stripes,
    "shapes": _shapes,
    "noise": _noise,
    "room": _room,
    "faces": _faces,
}
