"""Projection of a posed synthetic head: rotation, perspective and visible outline."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from lightmark.data.synthetic.head import BROWS, JAW, Head, Solid
from lightmark.geometry import Array, rotation_matrix

CRANIUM: Solid = (0.0, -0.42, -0.8)  # middle of the ellipsoid that the hair lies on
CRANIUM_RADII: Solid = (1.0, 1.08, 1.12)
PIVOT = np.array([0.0, 0.3, -0.4])  # heads turn about a point between the ears
# How far the face reaches forward of each point of the outline at that height: horizontal sections of a head are half
# ellipses from ear to ear. Jaw from ear to chin, then the hairline from temple to forehead.
HALF_JAW_DEPTH = (1.15, 1.10, 1.02, 0.90, 0.75, 0.57, 0.38, 0.19, 0.0)
HALF_HAIRLINE_DEPTH = (1.15, 0.65, 0.26, 0.0)
OUTLINE_DEPTH = np.array(
    [*HALF_JAW_DEPTH, *HALF_JAW_DEPTH[-2::-1], *HALF_HAIRLINE_DEPTH, *HALF_HAIRLINE_DEPTH[-2::-1]]
)


@dataclass(frozen=True)
class Pose:
    """Rotation of a synthetic head in degrees, and its position in the picture.

    `yaw` > 0 turns the nose to the right of the picture, `pitch` > 0 lifts it, `roll` > 0 tilts the head
    counter-clockwise. `centre` is the head's pivot in the picture, `scale` the pixels per head unit at the pivot,
    `distance` that of the camera in head units; 5 is about an arm's length.
    """

    yaw: float
    pitch: float
    roll: float
    centre: tuple[float, float]
    scale: float
    distance: float = 12.0


@dataclass(frozen=True, eq=False)
class View:
    """A posed head: the labelled `points` (68, 2) and the closed `outline` (24, 2), jaw then hairline, in pixels."""

    head: Head
    pose: Pose
    points: Array
    outline: Array

    def put(self, solid: Array) -> Array:
        """Pixels (..., 2) of points (..., 3) on the head."""
        return project(self.pose, solid)

    def near(self, index: int, x: float = 0.0, y: float = 0.0, z: float = 0.0) -> Array:
        """Pixel (2,) of the point at the offset x, y, z from landmark `index`, in head units."""
        return self.put(self.head.points[index] + np.array([x, y, z]))

    @property
    def right(self) -> Array:
        """Picture vector (2,) of one head unit to the right, in the plane of the eyes."""
        return self.pose.scale * rotation(self.pose)[:2, 0]

    @property
    def down(self) -> Array:
        """Picture vector (2,) of one head unit down."""
        return self.pose.scale * rotation(self.pose)[:2, 1]


def view_head(head: Head, pose: Pose) -> View:
    """Project a head; jaw points that the cheek hides move to the visible outline, as annotators place them."""
    outline = project(pose, visible_outline(np.concatenate([head.points[JAW], head.hairline]), pose))
    solid = head.points.copy()
    solid[BROWS] = visible_brows(solid[BROWS], head.hairline[0], pose)
    points = project(pose, solid)
    points[JAW] = outline[: len(JAW)]
    return View(head, pose, points, outline)


def visible_brows(brows: Array, temple: Array, pose: Pose) -> Array:
    """`brows` (10, 3) with ends that the forehead hides moved forward to its outline.

    The outline is on the section through `temple` (3,), the first point of the hairline.
    """
    width, depth = abs(float(temple[0])), float(OUTLINE_DEPTH[len(JAW)])
    phi = np.arccos(np.clip(np.abs(brows[:, 0]) / width, 0, 1))
    visible = np.maximum(phi, widest_angle(width * np.sign(brows[:, 0]), depth, pose))
    shift = np.column_stack([
        np.sign(brows[:, 0]) * width * (np.cos(visible) - np.cos(phi)), 0 * phi, depth * (np.sin(visible) - np.sin(phi))
    ])
    return np.asarray(brows + shift)


def widest_angle(x: Array, depth: Array | float, pose: Pose) -> Array:
    """Angle φ ≥ 0 at which the sections through x with this depth are widest in the picture."""
    axes = rotation(pose)[:2]
    direction = axes[:, 0] / np.linalg.norm(axes[:, 0])
    forward = np.sign(x) * depth * (axes[:, 2] @ direction)
    sideways = np.abs(x) * (axes[:, 0] @ direction)
    return np.asarray(np.arctan2(np.maximum(forward, 0), np.maximum(sideways, 1e-9)))


@lru_cache(maxsize=64)
def rotation(pose: Pose) -> Array:
    """Rotation (3, 3) from head to camera: pitch, then yaw, then roll."""
    product = rotation_matrix(pose.yaw, pose.pitch, pose.roll)
    product.flags.writeable = False  # the cache hands the same array to every caller
    return product


def project(pose: Pose, solid: Array) -> Array:
    """Perspective projection to pixels (..., 2) of points (..., 3) in head coordinates."""
    camera = (solid - PIVOT) @ rotation(pose).T
    zoom = pose.scale * pose.distance / (pose.distance - camera[..., 2:])
    return np.asarray(camera[..., :2] * zoom + np.array(pose.centre))


def ellipsoid_outline(pose: Pose, centre: Solid, radii: Solid) -> Array:
    """Closed outline (48, 2), in pixels, of an ellipsoid on the head.

    In parallel projection it is the ellipse whose quadratic form is the picture block of R diag(r²) Rᵀ.
    """
    spread = rotation(pose)[:2] * np.array(radii)
    axes = np.linalg.cholesky(spread @ spread.T)
    angle = np.linspace(0, 2 * math.pi, 48, endpoint=False)
    circle = np.column_stack([np.cos(angle), np.sin(angle)])
    return np.asarray(project(pose, np.array(centre)) + pose.scale * circle @ axes.T)


def visible_outline(outline: Array, pose: Pose) -> Array:
    """`outline` (24, 3) with every point that the cheek hides moved along its section to the widest place.

    The section through (x, y, z) of depth d is (x cos φ, y, z + d sin φ), φ = 0 at the point itself. Along the picture
    direction of the head's x axis it is widest where tan φ = d·(z axis · direction) / (|x|·(x axis · direction)).
    """
    phi = widest_angle(outline[:, 0], OUTLINE_DEPTH, pose)
    return np.column_stack([
        outline[:, 0] * np.cos(phi),
        outline[:, 1],
        outline[:, 2] + OUTLINE_DEPTH * np.sin(phi),
    ])
