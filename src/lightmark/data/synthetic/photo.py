"""Lighting and camera of synthetic pictures."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from lightmark.data.synthetic.paint import Layer
from lightmark.data.synthetic.scene import Photo, Rng
from lightmark.data.synthetic.view import Pose, View, project, rotation
from lightmark.geometry import Array
from lightmark.image import Picture, compress_jpeg

BULK = np.array([0.0, 0.25, -0.75])  # centre of the ellipsoid that approximates the head for the lighting
BULK_RADII = np.array([1.03, 1.5, 1.2])
COARSE = 4  # light is smooth, so it is computed at a quarter of the picture's size


def light_on(view: View, photo: Photo, size: int) -> NDArray[np.float32]:
    """Brightness factor (size, size, 1) of the lamp and of soft shadows."""
    coarse = -(-size // COARSE)
    light = _lambert(view.pose, photo, coarse)
    light *= _soft_shadows(view, coarse)
    return np.asarray(cv2.resize(light, (size, size), interpolation=cv2.INTER_LINEAR)[..., None], dtype=np.float32)


def _lambert(pose: Pose, photo: Photo, coarse: int) -> NDArray[np.float32]:
    """Lambertian shading of an ellipsoid; outside its outline the normals are those of the outline.

    A point p of the surface fulfils pᵀ B p = 1 with B = R diag(1/r²) Rᵀ, its normal is B p; z is the nearer root.
    """
    turn = rotation(pose)
    form = (turn / BULK_RADII**2) @ turn.T
    pixels = np.arange(coarse) * COARSE + (COARSE - 1) / 2
    centre = project(pose, BULK)
    x, y = np.meshgrid((pixels - centre[0]) / pose.scale, (pixels - centre[1]) / pose.scale)
    half = form[0, 2] * x + form[1, 2] * y
    rest = form[0, 0] * x * x + 2 * form[0, 1] * x * y + form[1, 1] * y * y - 1
    z = (-half + np.sqrt(np.clip(half**2 - form[2, 2] * rest, 0, None))) / form[2, 2]
    normal = np.stack([x, y, z], axis=-1) @ form
    normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
    return np.asarray(photo.ambient + (1 - photo.ambient) * np.clip(normal @ photo.lamp, 0, None) * 1.35, np.float32)


def _soft_shadows(view: View, coarse: int) -> NDArray[np.float32]:
    """Soft shadows of eye sockets, nose, upper lip and chin, and slightly lighter cheeks."""
    shadow = np.ones((coarse, coarse), np.float32)
    points = view.points
    cheeks = [(points[[1, 3, 48, 31, 41]], 1.06), (points[[15, 13, 54, 35, 46]], 1.06)]
    sockets = [(points[[17, 19, 21, 27, 39, 36]], 0.86), (points[[26, 24, 22, 27, 42, 45]], 0.86)]
    nose = [(points[[27, 31, 35]], 0.93), (points[[31, 33, 35, 52, 50]], 0.86)]
    chin = [(points[[59, 57, 55]] + 0.09 * view.down, 0.84), (points[[5, 7, 8, 9, 11, 57]], 0.95)]
    for outline, factor in (*cheeks, *sockets, *nose, *chin):
        fixed = np.rint(((outline + 0.5) / COARSE - 0.5) * 256).astype(np.int32)
        cv2.fillPoly(shadow, [fixed], factor, cv2.LINE_8, 8)
    return np.asarray(cv2.GaussianBlur(shadow, (0, 0), max(0.3, 0.06 * view.pose.scale / COARSE)), dtype=np.float32)


def lay(layer: Layer, light: NDArray[np.float32], plane: NDArray[np.float32]) -> NDArray[np.float32]:
    """`plane` (H, W, 3) with the lit `layer` over it."""
    return plane * (1 - layer[..., 3:]) + layer[..., :3] * light


def develop(plane: NDArray[np.float32], photo: Photo, rng: Rng) -> Picture:
    """Final picture: tone curve, colour cast, blur, noise and JPEG."""
    lit = np.clip(plane * np.array(photo.gain, np.float32) / 255, 0, 1)
    exposed = np.asarray(cv2.pow(lit, photo.gamma) * 255, dtype=np.float32)
    if photo.blur:
        exposed = np.asarray(cv2.GaussianBlur(exposed, (0, 0), photo.blur), dtype=np.float32)
    if photo.grey:
        exposed = np.repeat(exposed @ np.array([[0.299], [0.587], [0.114]], np.float32), 3, axis=2)
    grain = rng.standard_normal(exposed.shape[:2], dtype=np.float32)[..., None]
    return compress_jpeg(np.clip(np.rint(exposed + photo.noise * grain), 0, 255).astype(np.uint8), photo.quality)



def covered(layer: Layer, points: Array) -> NDArray[np.bool_]:
    """Whether more than half of the light at each point (N, 2) comes from `layer`; false outside the picture."""
    x, y = np.ascontiguousarray(points.T, dtype=np.float32)
    cover = np.ascontiguousarray(layer[..., 3])
    return np.asarray(np.asarray(cv2.remap(cover, x, y, cv2.INTER_LINEAR, borderValue=0))[:, 0] > 0.5)
