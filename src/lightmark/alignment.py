"""Aligned face crops for recognition (ArcFace) and generation (FFHQ)."""

from __future__ import annotations

from typing import Literal, NamedTuple, TypeAlias, get_args

import cv2
import numpy as np
from numpy.typing import ArrayLike

from lightmark.errors import GeometryError
from lightmark.geometry import Array, Floats, align, similarity_matrix
from lightmark.image import Picture, require_image, warp

Template: TypeAlias = Literal["arcface", "ffhq"]

# Right eye, left eye, nose tip, right and left mouth corner in a crop of 112 px: `arcface_src` of InsightFace,
# python-package/insightface/utils/face_align.py.
ARCFACE = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]
)
ARCFACE_SIZE = 112


class AlignedCrop(NamedTuple):
    """Crop `image` (S, S, 3) of a face and the `matrix` (2, 3) that maps the picture's points to the crop's."""

    image: Picture
    matrix: Array


def align_crop(
    image: Picture, five: Floats, size: int = 112, template: Template | ArrayLike = "arcface"
) -> AlignedCrop:
    """Upright `size`×`size` crop of the face with these five points (5, 2), in the order of `five_points`.

    The picture is area-averaged where the crop shrinks it by 2 or more, so that nothing aliases. What lies outside it
    is black, as from InsightFace, and mirrored for `ffhq`. See `alignment_matrix`.
    """
    matrix = alignment_matrix(five, size, template)
    border = cv2.BORDER_REFLECT_101 if isinstance(template, str) and template == "ffhq" else cv2.BORDER_CONSTANT
    return AlignedCrop(warp(require_image(image), matrix, size, border), matrix)


def alignment_matrix(five: Floats, size: int = 112, template: Template | ArrayLike = "arcface") -> Array:
    """Similarity (2, 3) from the picture to an aligned crop of `size` pixels a side.

    `arcface` brings the points closest to the template of InsightFace's `norm_crop` (least squares), at 112 px the very
    same matrix; other sizes scale the crop about its edges. `ffhq` is the square of Karras et al. 2019
    (`recreate_aligned_images` of ffhq-dataset). An own template (5, 2) is in pixels of the crop. Raises `GeometryError`
    for points or templates of another shape or not finite.
    """
    five = _require_five(five, "points")
    if not isinstance(template, str):
        return align(five, _require_five(template, "template"))
    if template == "arcface":
        return align(five, (ARCFACE + 0.5) * (size / ARCFACE_SIZE) - 0.5)
    if template == "ffhq":
        return _ffhq_matrix(five, size)
    raise GeometryError(f"template {template!r}: needs one of {', '.join(get_args(Template))}, or (5, 2) pixels")


def _ffhq_matrix(five: Array, size: int) -> Array:
    """FFHQ's square: across the eyes and perpendicular to the face's length, twice the eye distance or so each way."""
    right_eye, left_eye, _, right_mouth, left_mouth = five
    eyes, mouth = (right_eye + left_eye) / 2, (right_mouth + left_mouth) / 2
    across, down = left_eye - right_eye, mouth - eyes
    x, y = across + np.array([down[1], -down[0]])
    side = 2 * max(2.0 * float(np.hypot(*across)), 1.8 * float(np.hypot(*down)))
    if side == 0:
        raise GeometryError("ffhq: all five points coincide; a crop needs the distance of the eyes")
    middle = np.full(2, (size - 1) / 2)
    return similarity_matrix(eyes + 0.1 * down, middle, size / side, float(np.degrees(np.arctan2(y, x))))


def _require_five(points: ArrayLike, what: str) -> Array:
    array = np.asarray(points, dtype=np.float64)
    if array.shape != (5, 2) or not np.isfinite(array).all():
        raise GeometryError(f"{what} of shape {array.shape}: needs (5, 2) finite numbers: eyes, nose, mouth corners")
    return array
