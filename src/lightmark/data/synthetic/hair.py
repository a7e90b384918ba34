"""Painting hair: what lies behind the face, what falls in front of it, beards."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from lightmark.data.synthetic.head import Solid
from lightmark.data.synthetic.paint import (
    CIRCLE,
    Canvas,
    Tone,
    closed_curve,
    fill,
    mixed,
    open_curve,
    oval,
    stroke,
    tinted,
)
from lightmark.data.synthetic.scene import Hair, Looks, Rng
from lightmark.data.synthetic.view import CRANIUM, CRANIUM_RADII, View, ellipsoid_outline, rotation, widest_angle
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
    """Outline (K, 2) of what covers the cranium above head height `rim`, `volume` thick.

    It is the seen half of the rim and, above it, the ellipsoid's own outline: in direction u of the picture the
    ellipsoid Σ = R diag(r²) Rᵀ reaches furthest at Σu / √(uᵀΣu).
    """
    turn, radii = rotation(view.pose), np.array(swollen(volume))
    spread = (turn * radii**2) @ turn.T
    reach = CIRCLE @ spread[:2] / np.sqrt(np.einsum("ki,ij,kj->k", CIRCLE, spread[:2, :2], CIRCLE))[:, None]
    solid = reach @ turn + np.array(CRANIUM)
    above = _arc(view.put(solid), solid[:, 1] < rim)
    front = rim_arc(view, volume, rim)
    gap = np.linalg.norm(above[[0, -1]] - front[-1], axis=1)
    return np.concatenate([front, above if gap[0] < gap[1] else above[::-1]])


def band(view: View, volume: float, low: float, high: float) -> Array:
    """Outline (K, 2) of the seen half of a band around the cranium between two head heights."""
    return np.concatenate([rim_arc(view, volume, low), rim_arc(view, volume, high)[::-1]])


def rim_arc(view: View, volume: float, height: float) -> Array:
    """The half (K, 2), turned towards the viewer, of the level line around the cranium at a head height."""
    radii = np.array(swollen(volume))
    level = (height - CRANIUM[1]) / radii[1]
    angle = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    ring = np.sqrt(1 - level**2)
    unit = np.column_stack([ring * np.cos(angle), np.full(48, level), ring * np.sin(angle)])
    faces_us = (unit / radii) @ rotation(view.pose)[2] > 0
    return _arc(view.put(unit * radii + np.array(CRANIUM)), faces_us)


def _arc(around: Array, chosen: NDArray[np.bool_]) -> Array:
    """The chosen points of a closed line, which are one run of it, in order."""
    starts = np.flatnonzero(chosen & ~np.roll(chosen, 1))
    return np.roll(around, -int(starts[0]), axis=0)[: chosen.sum()]


def _paint_fall(canvas: Canvas, view: View, looks: Looks, length: float, tone: Tone) -> None:
    wide = 1 + HAIR_VOLUME[looks.hair_style]
    solid = np.array([
        (-wide, -0.5, -0.8), (-wide - 0.05, 0.4, -0.8), (-wide - 0.1, 0.8 * length, -0.8), (-0.7 * wide, length, -0.8),
        (0.7 * wide, length, -0.8), (wide + 0.1, 0.8 * length, -0.8), (wide + 0.05, 0.4, -0.8), (wide, -0.5, -0.8),
    ])
    fill(canvas, closed_curve(view.put(solid)), tone)


def _paint_strands(canvas: Canvas, view: View, looks: Looks, rng: Rng) -> None:
    """Lines from the crown down over the front of the cranium."""
    radii = np.array(swollen(HAIR_VOLUME[looks.hair_style])) * 0.985
    height = np.linspace(-0.98, 0.25, 12)[None, :]
    turn, ring = rng.uniform(-1.4, 1.4, (14, 1)), np.sqrt(1 - height**2)
    strands = np.stack(np.broadcast_arrays(ring * np.sin(turn), height, ring * np.cos(turn)), axis=-1)
    for strand, light in zip(view.put(strands * radii + np.array(CRANIUM)), rng.uniform(0.75, 1.3, 14), strict=True):
        stroke(canvas, strand, tinted(looks.hair, light), 0.03 * view.pose.scale)


def _paint_curls(canvas: Canvas, view: View, looks: Looks, rng: Rng) -> None:
    outline = ellipsoid_outline(view.pose, CRANIUM, swollen(0.22))
    for centre, size, light in zip(outline, rng.uniform(0.14, 0.26, 48), rng.uniform(0.85, 1.15, 48), strict=True):
        fill(canvas, oval(centre, view.right * size, view.down * size), tinted(looks.hair, light))


def _paint_fringe(canvas: Canvas, view: View, looks: Looks, rng: Rng) -> None:
    """Hair over the forehead, its ragged lower edge anywhere between the hairline and the brows."""
    line = view.head.hairline
    low = rng.uniform(-0.62, -0.25)
    width, _, back = line[0]
    right, left = widest_angle(np.array([width, -width]), 1.15, view.pose)
    angle = np.linspace(right, np.pi - left, 13)
    across, bulge = (width + 0.02) * np.cos(angle), np.sin(angle)
    ragged = low + rng.uniform(-0.1, 0.06, 13) - 0.25 * (1 - bulge)
    rim = view.put(np.column_stack([across, ragged, back + 1.12 * bulge]))
    crown = view.put(np.column_stack([across, -1.15 * bulge - 0.25, back + 0.7 * bulge])[::-1])
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
