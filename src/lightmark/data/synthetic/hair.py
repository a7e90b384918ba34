"""Painting hair: what lies behind the face, what falls in front of it, beards."""

from __future__ import annotations

from collections.abc import Mapping

import cv2
import numpy as np

from lightmark.data.synthetic.head import Solid
from lightmark.data.synthetic.paint import Canvas, closed_curve, fill, mixed, open_curve, oval, stroke, tinted
from lightmark.data.synthetic.scene import Hair, Looks, Rng
from lightmark.data.synthetic.view import CRANIUM, CRANIUM_RADII, View, ellipsoid_outline
from lightmark.geometry import Array

# How far the hair stands off the head, in head units.
HAIR_VOLUME: Mapping[Hair, float] = {
    "bald": 0.0, "buzz": 0.03, "short": 0.1, "fringe": 0.12, "long": 0.14, "bob": 0.18, "curly": 0.3, "bun": 0.07,
    "beanie": 0.08, "veil": 0.16,
}
LENGTH: Mapping[Hair, float] = {"long": 2.1, "bob": 1.0, "veil": 1.6}  # how far it falls below the eyes


def paint_hair_behind(canvas: Canvas, view: View, looks: Looks, rng: Rng) -> None:
    """Everything of the hair that the face covers."""
    style = looks.hair_style
    if style == "bald":
        return
    tone = looks.cloth if style == "veil" else looks.hair
    if style in LENGTH:
        _paint_fall(canvas, view, looks, LENGTH[style], tinted(tone, 0.8))
    if style == "bun":
        fill(canvas, ellipsoid_outline(view.pose, (0.0, -1.75, -0.95), (0.42, 0.38, 0.42)), tinted(tone, 0.9))
    fill(canvas, ellipsoid_outline(view.pose, CRANIUM, swollen(HAIR_VOLUME[style])), tone)
    if style == "curly":
        _paint_curls(canvas, view, looks, rng)
    elif style != "veil":
        _paint_strands(canvas, view, looks, rng)


def paint_hair_before(canvas: Canvas, view: View, looks: Looks, rng: Rng) -> None:
    """Everything of the hair and headgear that may cover the face."""
    if looks.hair_style == "beanie":
        fill(canvas, dome(view, 0.1, -0.62), looks.cloth)
        fill(canvas, band(view, 0.13, -0.62, -0.86), tinted(looks.cloth, 0.75))
    if looks.hair_style == "fringe":
        _paint_fringe(canvas, view, looks, rng)
    if looks.hair_style in ("long", "bob") and rng.random() < 0.6:
        for side in (-1.0, 1.0):
            if side * view.pose.yaw < 15:  # the other cheek is not seen
                _paint_lock(canvas, view, looks, side, rng)


def paint_beard(canvas: Canvas, view: View, looks: Looks) -> None:
    """Beard along the jaw's outline and moustache, beneath the mouth."""
    if looks.beard == "none":
        return
    points = view.points
    tone = mixed(looks.skin, looks.hair, 0.3 if looks.beard == "stubble" else 0.85)
    lip = points[[48, 50, 51, 52, 54]] - 0.13 * view.down
    lip[[0, 4]] += 0.05 * view.down
    if looks.beard == "moustache":
        below = points[[54, 52, 51, 50, 48]] + 0.02 * view.down
        fill(canvas, np.concatenate([open_curve(lip), open_curve(below)]), tone)
        return
    left = 0.5 * (points[3] + points[48]) - 0.1 * view.down
    right = 0.5 * (points[13] + points[54]) - 0.1 * view.down
    cheeks = open_curve(np.concatenate([points[[14]], [right], lip[::-1], [left], points[[2]]]))
    fill(canvas, np.concatenate([open_curve(points[2:15]), cheeks]), tone)


def swollen(volume: float) -> Solid:
    """Radii of the cranium with hair `volume` thick on it."""
    x, y, z = CRANIUM_RADII
    return x + volume, y + volume, z + volume


def dome(view: View, volume: float, rim: float) -> Array:
    """Outline (K, 2) of what covers the cranium above head height `rim`, `volume` thick."""
    radii = np.array(swollen(volume))
    heights = np.linspace((rim - CRANIUM[1]) / radii[1], -1, 8)[:, None]
    angle = np.linspace(0, 2 * np.pi, 24)[None, :]
    ring = np.sqrt(1 - heights**2)
    solid = np.stack(np.broadcast_arrays(ring * np.cos(angle), heights, ring * np.sin(angle)), axis=-1).reshape(-1, 3)
    seen = view.put(solid * radii + np.array(CRANIUM))
    return np.asarray(cv2.convexHull(seen.astype(np.float32))[:, 0], dtype=np.float64)


def band(view: View, volume: float, low: float, high: float) -> Array:
    """Outline (K, 2) of the front half of a band around the cranium between two head heights."""
    radii = np.array(swollen(volume))
    angle = np.linspace(np.radians(view.pose.yaw), np.pi + np.radians(view.pose.yaw), 24)
    edges = []
    for height in (low, high):
        ring = np.sqrt(max(0.0, 1 - ((height - CRANIUM[1]) / radii[1]) ** 2))
        solid = np.column_stack([ring * radii[0] * np.cos(angle), 0 * angle, ring * radii[2] * np.sin(angle)])
        edges.append(view.put(solid + np.array([CRANIUM[0], height, CRANIUM[2]])))
    return np.concatenate([edges[0], edges[1][::-1]])


def _paint_fall(canvas: Canvas, view: View, looks: Looks, length: float, tone: tuple[float, float, float]) -> None:
    wide = 1 + HAIR_VOLUME[looks.hair_style]
    solid = np.array([
        (-wide, -0.5, -0.8), (-wide - 0.05, 0.4, -0.8), (-wide - 0.1, 0.8 * length, -0.8), (-0.7 * wide, length, -0.8),
        (0.7 * wide, length, -0.8), (wide + 0.1, 0.8 * length, -0.8), (wide + 0.05, 0.4, -0.8), (wide, -0.5, -0.8),
    ])
    fill(canvas, closed_curve(view.put(solid)), tone)


def _paint_strands(canvas: Canvas, view: View, looks: Looks, rng: Rng) -> None:
    """Lines from the crown down over the front of the cranium."""
    radii = np.array(swollen(HAIR_VOLUME[looks.hair_style])) * 0.985
    height = np.linspace(-0.98, 0.25, 7)
    for turn, light in rng.uniform((-1.4, 0.75), (1.4, 1.3), (14, 2)):
        ring = np.sqrt(1 - height**2)
        solid = np.column_stack([ring * np.sin(turn), height, ring * np.cos(turn)]) * radii + np.array(CRANIUM)
        stroke(canvas, open_curve(view.put(solid)), tinted(looks.hair, light), 0.03 * view.pose.scale)


def _paint_curls(canvas: Canvas, view: View, looks: Looks, rng: Rng) -> None:
    outline = ellipsoid_outline(view.pose, CRANIUM, swollen(0.22))
    for centre, size, light in zip(outline, rng.uniform(0.14, 0.26, 48), rng.uniform(0.85, 1.15, 48), strict=True):
        fill(canvas, oval(centre, view.right * size, view.down * size), tinted(looks.hair, light))


def _paint_fringe(canvas: Canvas, view: View, looks: Looks, rng: Rng) -> None:
    """Hair over the forehead, its ragged lower edge anywhere between the hairline and the brows."""
    line = view.head.hairline
    low = rng.uniform(-0.62, -0.25)
    across = np.linspace(line[0, 0], line[-1, 0], 13)
    bulge = np.sqrt(np.clip(1 - (across / (abs(line[0, 0]) + 0.01)) ** 2, 0, 1))
    ragged = low + rng.uniform(-0.1, 0.06, 13) - 0.25 * (1 - bulge)
    rim = view.put(np.column_stack([across, ragged, -0.7 + 0.95 * bulge]))
    crown = view.put(np.column_stack([across[::-1], -1.15 * bulge[::-1] - 0.25, -0.7 + 0.7 * bulge[::-1]]))
    fill(canvas, np.concatenate([rim, open_curve(crown)]), tinted(looks.hair, 0.95))
    for start, end in zip(crown[::-1][1:-1], rim[1:-1], strict=True):
        stroke(canvas, np.array([start, end]), tinted(looks.hair, rng.uniform(0.75, 1.25)), 0.025 * view.pose.scale)


def _paint_lock(canvas: Canvas, view: View, looks: Looks, side: float, rng: Rng) -> None:
    """A strand down the cheek; it covers a part of the jaw."""
    reach, length = rng.uniform(0.0, 0.28), LENGTH[looks.hair_style]
    wide = abs(view.head.points[0, 0])
    solid = np.array([
        (0.45, -1.05, 0.0), (wide - reach, -0.35, -0.3), (wide - reach, 0.4, -0.35), (wide - 0.8 * reach, length, -0.5),
        (wide + 0.2, length, -0.7), (wide + 0.15, 0.4, -0.75), (wide + 0.05, -0.5, -0.7), (0.6, -1.15, -0.3),
    ]) * [side, 1, 1]
    fill(canvas, closed_curve(view.put(solid)), tinted(looks.hair, rng.uniform(0.85, 1.05)))
