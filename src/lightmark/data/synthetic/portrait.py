"""Painting of a synthetic head from back to front: neck, ears, skin, eyes, brows, nose, mouth."""

from __future__ import annotations

import numpy as np

from lightmark.data.synthetic.hair import HAIR_VOLUME, paint_beard, paint_hair_behind
from lightmark.data.synthetic.head import BROWS, EYES, JAW
from lightmark.data.synthetic.paint import (
    Canvas,
    Tone,
    closed_curve,
    fill,
    inside,
    mixed,
    open_curve,
    oval,
    stroke,
    tinted,
)
from lightmark.data.synthetic.scene import Looks, Photo, Rng
from lightmark.data.synthetic.view import CRANIUM, CRANIUM_RADII, View, ellipsoid_outline, rotation
from lightmark.geometry import Array

EYE_WHITE: Tone = (238, 234, 230)
PUPIL: Tone = (12, 10, 12)
TEETH: Tone = (240, 236, 222)
THROAT: Tone = (52, 14, 20)
TONGUE: Tone = (190, 84, 92)


def paint_portrait(canvas: Canvas, view: View, looks: Looks, photo: Photo, rng: Rng) -> None:
    """Paint a person; the labelled contours go through the labelled points."""
    paint_hair_behind(canvas, view, looks, rng)
    _paint_body(canvas, view, looks)
    _paint_cranium(canvas, view, looks)
    _paint_ears(canvas, view, looks)
    _paint_skin(canvas, view, looks, rng)
    paint_beard(canvas, view, looks)
    for side, eye in enumerate(EYES):
        _paint_eye(canvas, view, looks, eye, side)
    for brow in (BROWS[:5], BROWS[5:]):
        _paint_brow(canvas, view, looks, brow)
    _paint_nose(canvas, view, looks, photo)
    _paint_mouth(canvas, view, looks)


def _paint_body(canvas: Canvas, view: View, looks: Looks) -> None:
    """Neck and shoulders, which stay upright in any pose of the head."""
    unit = view.pose.scale
    top = view.put(np.array([0.0, 0.7, -0.75]))
    base = top + np.array([view.right[1] * 0.2, 1.75 * unit])
    side, drop = np.array([unit, 0.0]), np.array([0.0, unit])
    shoulders = np.array([
        base - 0.5 * side - 0.3 * drop, base - 1.2 * side + 0.1 * drop, base - 2.0 * side + 0.5 * drop,
        base - 2.3 * side + 3 * drop, base + 2.3 * side + 3 * drop, base + 2.0 * side + 0.5 * drop,
        base + 1.2 * side + 0.1 * drop, base + 0.5 * side - 0.3 * drop,
    ])
    neck = open_curve(np.array([top - 0.62 * side, base - 0.56 * side - 0.2 * drop, base + 0.3 * drop,
                                base + 0.56 * side - 0.2 * drop, top + 0.62 * side]))
    if looks.hair_style == "veil":
        fill(canvas, open_curve(shoulders), tinted(looks.cloth, 0.9))
        fill(canvas, neck, looks.cloth)
        return
    fill(canvas, open_curve(shoulders), looks.cloth)
    fill(canvas, neck, tinted(looks.skin, 0.86))
    with inside(canvas, neck):
        fill(canvas, view.outline[1:16] + 0.16 * view.down, tinted(looks.skin, 0.7))


def _paint_cranium(canvas: Canvas, view: View, looks: Looks) -> None:
    if looks.hair_style == "bald":
        fill(canvas, ellipsoid_outline(view.pose, CRANIUM, CRANIUM_RADII), looks.skin)


def _paint_ears(canvas: Canvas, view: View, looks: Looks) -> None:
    if HAIR_VOLUME[looks.hair_style] > 0.15:
        return
    width = abs(view.head.points[0, 0])
    for side in (-1.0, 1.0):
        centre = np.array([side * (width + 0.02), 0.12, -0.86])
        backward, along = np.array([0.10 * side, -0.03, -0.13]), np.array([0.04 * side, -0.3, -0.03])
        angle = np.linspace(0, 2 * np.pi, 20)[:, None]
        lobe = 1 - 0.25 * np.sin(angle / 2 + 0.8)  # narrower below than above
        shell = centre + np.cos(angle) * backward * lobe + np.sin(angle) * along
        fill(canvas, view.put(shell), tinted(looks.skin, 0.92))
        fill(canvas, view.put(centre + (shell - centre) * 0.6), tinted(looks.skin, 0.74))


def _paint_skin(canvas: Canvas, view: View, looks: Looks, rng: Rng) -> None:
    fill(canvas, closed_curve(view.outline), looks.skin)
    jaw = open_curve(view.points[JAW])
    stroke(canvas, jaw, tinted(looks.skin, 0.74), 0.018 * view.pose.scale)
    if looks.freckles:
        for x, y in rng.uniform((-0.6, 0.25), (0.6, 0.7), (30, 2)):
            spot = view.put(np.array([x, y, 0.25 - 0.5 * x * x]))
            fill(canvas, oval(spot, view.right * 0.012, view.down * 0.012), tinted(looks.skin, 0.8))


def _paint_eye(canvas: Canvas, view: View, looks: Looks, eye: list[int], side: int) -> None:
    unit = view.pose.scale
    upper = open_curve(view.points[eye[:4]])
    lower = open_curve(view.points[[eye[3], eye[4], eye[5], eye[0]]])
    almond = np.concatenate([upper, lower])
    middle = view.head.points[eye].mean(axis=0)
    ball = view.put(middle + np.array([looks.gaze[0], 0.5 * looks.gaze[1], 0.02]))
    fill(canvas, almond, EYE_WHITE)
    with inside(canvas, almond):
        fill(canvas, oval(ball, view.right * 0.112, view.down * 0.112), tinted(looks.iris, 0.5))
        fill(canvas, oval(ball, view.right * 0.092, view.down * 0.092), looks.iris)
        fill(canvas, oval(ball, view.right * 0.045, view.down * 0.045), PUPIL)
        fill(canvas, oval(ball - (view.right + view.down) * 0.035, view.right * 0.022, view.down * 0.022), (255,) * 3)
        stroke(canvas, upper + 0.015 * view.down, mixed(EYE_WHITE, PUPIL, 0.4), 0.03 * unit)
    stroke(canvas, open_curve(view.points[eye[:4]] - 0.07 * view.down), tinted(looks.skin, 0.72), 0.016 * unit)
    stroke(canvas, lower, mixed(tinted(looks.skin, 0.55), PUPIL, 0.15), 0.018 * unit)
    stroke(canvas, upper, mixed(tinted(looks.skin, 0.25), PUPIL, 0.5), 0.036 * unit)


def _paint_brow(canvas: Canvas, view: View, looks: Looks, brow: list[int]) -> None:
    """Brow below the labelled points, which are its upper edge; it is thickest at a third from the nose."""
    upper = open_curve(view.points[brow])
    share = np.linspace(0, 1, len(upper)) if brow[0] == BROWS[0] else np.linspace(1, 0, len(upper))
    thickness = looks.brow_thickness * (0.25 + 0.75 * np.sin(np.pi * np.clip(0.12 + 0.72 * share, 0, 1)))
    lower = upper + np.outer(thickness, view.down)
    fill(canvas, np.concatenate([upper, lower[::-1]]), looks.brow)


def _paint_nose(canvas: Canvas, view: View, looks: Looks, photo: Photo) -> None:
    flanks = [(-1.0, 31), (1.0, 35)]
    # The far flank is painted first, so that the bridge occludes it.
    for side, wing in sorted(flanks, key=lambda flank: flank[0] * view.pose.yaw, reverse=True):
        _paint_flank(canvas, view, looks, photo, side, wing)
    unit = view.pose.scale
    dark = tinted(looks.skin, 0.52)
    base = open_curve(view.points[31:36])
    sag = 0.035 * np.sin(np.linspace(0, np.pi, len(base)))
    fill(canvas, np.concatenate([base, (base + np.outer(sag, view.down))[::-1]]), dark)
    for wing, inner in ((31, 32), (35, 34)):
        nostril = view.put(view.head.points[[wing, inner, inner]].mean(axis=0) + np.array([0.0, -0.045, 0.03]))
        fill(canvas, oval(nostril, view.right * 0.055, view.down * 0.028), tinted(looks.skin, 0.3))
    light = mixed(tinted(looks.skin, 1.08), (255, 255, 255), 0.14)
    stroke(canvas, open_curve(view.points[27:31]), light, 0.03 * unit)
    fill(canvas, oval(view.points[30], view.right * 0.085, view.down * 0.08), tinted(looks.skin, 1.02))
    fill(canvas, oval(view.points[30], view.right * 0.06, view.down * 0.05), light)
    fill(canvas, oval(view.points[30], view.right * 0.028, view.down * 0.024), mixed(light, (255, 255, 255), 0.3))


def _paint_flank(canvas: Canvas, view: View, looks: Looks, photo: Photo, side: float, wing: int) -> None:
    """One side of the nose, shaded by the lamp, and the line around its wing."""
    bridge = open_curve(view.points[27:31])
    edge = np.array([
        view.near(33, z=0.04), view.near(wing, y=-0.01, z=0.02), view.near(wing, x=0.05 * side, y=-0.07, z=-0.03),
        view.near(wing, x=0.01 * side, y=-0.17, z=-0.02), view.near(29, x=0.13 * side, y=-0.05, z=-0.25),
        view.near(28, x=0.10 * side, y=-0.05, z=-0.22), view.near(27, x=0.10 * side, z=-0.12),
    ])
    normal = rotation(view.pose) @ np.array([0.8 * side, 0.0, 0.6])
    lit = photo.ambient + (1 - photo.ambient) * max(0.0, float(normal @ np.array(photo.lamp)))
    fill(canvas, np.concatenate([bridge, open_curve(edge)]), tinted(looks.skin, 0.74 + 0.27 * lit))
    stroke(canvas, open_curve(edge[1:4]), tinted(looks.skin, 0.6), 0.022 * view.pose.scale)


def _paint_mouth(canvas: Canvas, view: View, looks: Looks) -> None:
    points = view.points
    outer_upper, outer_lower = open_curve(points[48:55]), open_curve(points[[54, 55, 56, 57, 58, 59, 48]])
    inner_upper, inner_lower = open_curve(points[60:65]), open_curve(points[[64, 65, 66, 67, 60]])
    opening = np.concatenate([inner_upper, inner_lower])
    fill(canvas, np.concatenate([outer_upper, outer_lower]), looks.lips)
    with inside(canvas, np.concatenate([outer_upper, inner_upper[::-1]])):
        fill(canvas, np.concatenate([outer_upper, inner_upper[::-1]]), tinted(looks.lips, 0.82))
    fill(canvas, opening, THROAT)
    with inside(canvas, opening):
        _paint_inner_mouth(canvas, view, inner_upper, inner_lower[::-1])
    line = mixed(tinted(looks.lips, 0.45), THROAT, 0.5)
    stroke(canvas, inner_upper, line, 0.02 * view.pose.scale)
    stroke(canvas, inner_lower, line, 0.014 * view.pose.scale)
    below = open_curve(points[[59, 58, 57, 56, 55]] + 0.05 * view.down)
    stroke(canvas, below[6:-6], tinted(looks.skin, 0.8), 0.03 * view.pose.scale)


def _paint_inner_mouth(canvas: Canvas, view: View, upper: Array, lower: Array) -> None:
    tongue = (upper + 3 * lower) / 4 + 0.05 * view.down
    width = np.linalg.norm(upper[-1] - upper[0])
    fill(canvas, oval(tongue.mean(axis=0), view.right * 0.2, view.down * 0.1), TONGUE)
    reach = min(0.12, 0.35 * float(np.linalg.norm((lower - upper).mean(axis=0))) / view.pose.scale)
    if width > 0:
        fill(canvas, np.concatenate([upper, (upper + reach * view.down)[::-1]]), TEETH)

