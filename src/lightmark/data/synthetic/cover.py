"""Painting of covers: glasses, hands, scarves, boards, masks. Points under their pixels are occluded."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from lightmark.data.synthetic.head import EYES
from lightmark.data.synthetic.paint import Canvas, closed_curve, fill, inside, open_curve, oval, stroke, tinted
from lightmark.data.synthetic.scene import Cover, CoverKind, Looks
from lightmark.data.synthetic.view import View
from lightmark.geometry import Array

FRAME = (24.0, 22.0, 26.0)
LENS = (30.0, 32.0, 40.0)


def paint_glasses(canvas: Canvas, view: View, looks: Looks) -> None:
    """Paint glasses; dark ones occlude the eyes."""
    if looks.glasses == "none":
        return
    width = 0.045 * view.pose.scale
    for eye, side in zip(EYES, (-1.0, 1.0), strict=True):
        middle = view.head.points[eye].mean(axis=0) + np.array([0.0, 0.03, 0.14])
        angle = np.linspace(0, 2 * np.pi, 25)
        # A superellipse of power ⅔: a rounded rectangle.
        corner = np.column_stack([np.cos(angle), np.sin(angle), 0 * angle])
        corner = np.sign(corner) * np.abs(corner) ** (2 / 3) * [0.34, 0.25, 0]
        corner[:, 2] -= 0.12 * np.clip(side * corner[:, 0], 0, None)
        rim = view.put(middle + corner)
        if looks.glasses == "dark":
            fill(canvas, rim, LENS)
        stroke(canvas, rim, FRAME, width)
        hinge = middle + np.array([0.34 * side, -0.05, -0.05])
        temple = view.put(np.array([hinge, [side * (abs(view.head.points[0, 0]) + 0.02), -0.02, -0.8]]))
        if side * view.pose.yaw < 15:  # the far temple is behind the face
            stroke(canvas, temple, FRAME, width)
    nose = view.head.points[EYES[0][3]], view.head.points[EYES[1][0]]
    middle = (nose[0] + nose[1]) / 2 + np.array([0.0, -0.02, 0.24])
    stroke(canvas, view.put(np.array([nose[0] + [0, 0, 0.14], middle, nose[1] + [0, 0, 0.14]])), FRAME, width)


def paint_cover(canvas: Canvas, view: View, cover: Cover) -> None:
    """Paint the object in front of the face."""
    PAINTERS[cover.kind](canvas, view, cover)


def _paint_hand(canvas: Canvas, view: View, cover: Cover) -> None:
    forward, sideways = _axes(view, cover, 0.62)
    palm = _place(view, cover)
    edge = tinted(cover.tone, 0.66)
    forearm = np.array([palm - 0.45 * sideways, palm + 0.45 * sideways, palm + 0.4 * sideways - 6 * forward,
                        palm - 0.4 * sideways - 6 * forward])
    fill(canvas, forearm, tinted(cover.tone, 0.92))
    width = float(np.linalg.norm(sideways)) * 0.34
    for offset, length in ((-0.54, 1.25), (-0.18, 1.5), (0.18, 1.42), (0.54, 1.1)):
        finger = open_curve(np.array([palm + offset * sideways, palm + (1.25 * offset) * sideways + length * forward]))
        stroke(canvas, finger, edge, width * 1.16)
        stroke(canvas, finger, cover.tone, width)
    fill(canvas, oval(palm, 0.78 * sideways, 0.72 * forward), cover.tone)
    thumb = np.array([palm + 0.5 * sideways - 0.2 * forward, palm + 1.1 * sideways + 0.45 * forward])
    stroke(canvas, thumb, cover.tone, width * 1.1)


def _paint_scarf(canvas: Canvas, view: View, cover: Cover) -> None:
    top = 0.35 + 0.9 * (1 - cover.size)
    x = np.linspace(-1.35, 1.35, 9)
    upper = open_curve(view.put(np.column_stack([x, top + 0.08 * np.cos(3 * x + cover.angle), 0.35 - 0.7 * np.abs(x)])))
    lower = open_curve(view.put(np.column_stack([x, 2.1 + 0.1 * x, 0.2 - 0.6 * np.abs(x)])))
    _fill_striped(canvas, np.concatenate([upper, lower[::-1]]), cover, view)


def _paint_board(canvas: Canvas, view: View, cover: Cover) -> None:
    forward, sideways = _axes(view, cover, 0.75)
    centre = _place(view, cover)
    corners = [(-1, -0.62), (1, -0.62), (1, 0.62), (-1, 0.62)]
    fill(canvas, np.array([centre + a * forward + b * sideways for a, b in corners]), cover.tone)
    fill(canvas, np.array([centre + 0.88 * a * forward + 0.84 * b * sideways for a, b in corners]), cover.stripe)


def _paint_patch(canvas: Canvas, view: View, cover: Cover) -> None:
    forward, sideways = _axes(view, cover, 0.7)
    angle = np.linspace(0, 2 * np.pi, 9, endpoint=False)
    radius = 0.8 + 0.35 * np.sin(3.7 * angle + cover.angle)
    blob = _place(view, cover) + np.outer(radius * np.cos(angle), forward) + np.outer(radius * np.sin(angle), sideways)
    _fill_striped(canvas, closed_curve(blob), cover, view)


def _paint_mask(canvas: Canvas, view: View, cover: Cover) -> None:
    """Surgical mask from the nose to below the chin, slightly wider than the jaw."""
    jaw = view.outline[3:14]
    below = jaw.mean(axis=0) + (jaw - jaw.mean(axis=0)) * 1.05 + 0.04 * view.down
    top = np.array([view.near(12, y=-0.05, z=0.05), view.near(35, x=0.12, y=-0.2), view.near(29, z=0.02),
                    view.near(31, x=-0.12, y=-0.2), view.near(4, y=-0.05, z=0.05)])
    top[0], top[-1] = below[-1], below[0]
    outline = np.concatenate([open_curve(below), open_curve(top)])
    fill(canvas, outline, cover.tone)
    for share in (0.3, 0.5, 0.7):
        fold = open_curve(np.array([below[2], view.points[33] + share * 0.9 * view.down, below[-3]]))
        stroke(canvas, fold, tinted(cover.tone, 0.8), 0.02 * view.pose.scale)
    for corner, ear in ((below[0], 0), (below[-1], 16)):
        stroke(canvas, np.array([corner, view.outline[ear]]), cover.tone, 0.03 * view.pose.scale)


PAINTERS: Mapping[CoverKind, Callable[[Canvas, View, Cover], None]] = {
    "hand": _paint_hand,
    "scarf": _paint_scarf,
    "board": _paint_board,
    "patch": _paint_patch,
    "mask": _paint_mask,
}


def _place(view: View, cover: Cover) -> Array:
    return view.put(np.array([*cover.place, 0.3]))


def _axes(view: View, cover: Cover, length: float) -> tuple[Array, Array]:
    """Two orthogonal picture vectors (2,), the first in the direction of the cover's angle."""
    angle = np.radians(cover.angle)
    forward = length * cover.size * view.pose.scale * np.array([np.cos(angle), np.sin(angle)])
    return forward, np.array([-forward[1], forward[0]])


def _fill_striped(canvas: Canvas, outline: Array, cover: Cover, view: View) -> None:
    fill(canvas, outline, cover.tone)
    low, high = outline.min(axis=0), outline.max(axis=0)
    step = max(2.0, 0.22 * view.pose.scale)
    with inside(canvas, outline):
        for x in np.arange(low[0], high[0], step):
            stroke(canvas, np.array([[x, low[1]], [x + 0.2 * (high[1] - low[1]), high[1]]]), cover.stripe, 0.35 * step)
