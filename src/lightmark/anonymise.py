"""Anonymise: blur the heads or the eyes of a picture beyond recovery."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import cv2
import numpy as np

from lightmark.draw import FAR
from lightmark.errors import ConfigError
from lightmark.face import Face
from lightmark.geometry import Array, Floats, box_centre, finite, longer_side, similarity_matrix, tight_box, transform
from lightmark.image import Picture, require_image
from lightmark.schema import Schema

Part = Literal["faces", "eyes"]

# Gaussian blur with a standard deviation of a fifth of the blurred region's longer side: exp(−2π² k² / 25) of k cycles
# a region is left, of three cycles at full contrast a tenth of a grey level. Rounding to 8 bits removes them, and no
# filter brings them back; recognising a face takes about eight cycles a face.
BLUR = 1 / 5
CELLS = 24  # pixels of the longer side of the region while it is blurred: finer detail would not survive
# Head around the tight box of the 68 points, relative to its longer side: to the ears, crown and throat.
HEAD = (0.17, 0.65, 0.17, 0.2)
EYES = 0.17  # margin around the eyes and brows, relative to the width of both
CORNER = 4  # exponent of the superellipse that outlines a region: round, yet it fills 93 % of its rectangle


def anonymised(image: Picture, faces: Sequence[Face], part: Part = "faces") -> Picture:
    """Copy of `image` (H, W, 3) with the heads or the eyes of `faces` blurred beyond recovery; rolled ones, too.

    It hides the faces that were detected, and no other trait: look through the result before it is published. Raises
    `ConfigError` for eyes where the schema has no such group.
    """
    canvas = require_image(image).copy()
    for face in faces:
        blur_region(canvas, region_of(face, part))
    return canvas


def require_part(part: Part | None, schema: Schema) -> None:
    """Raise `ConfigError` if points of `schema` do not show where the eyes are."""
    if part == "eyes" and not schema.groups.get("eyes"):
        raise ConfigError(f"anonymise eyes: {schema.name} has no group of points called eyes; anonymise faces instead")


def region_of(face: Face, part: Part) -> Array:
    """Corners (4, 2) in image pixels of the rectangle, along the face's own axes, around its head or its eyes."""
    require_part(part, face.schema)
    points = face.points[finite(face.points)]
    roll = roll_of(face)
    centre = box_centre(face.box)
    upright = similarity_matrix(centre, np.zeros(2), 1.0, -roll)
    if part == "faces":
        # The box has the axes of the face, rotated about its centre; points may lie outside it.
        own = np.concatenate([transform(upright, points), face.box.reshape(2, 2) - centre])
        low, high = np.split(tight_box(own), 2)
        margins = np.array(HEAD) * max(high - low)  # the longer side: a profile's points end before the ear
    else:
        groups = face.schema.groups
        chosen = face.points[[*groups["eyes"], *groups.get("brows", ())]]
        low, high = np.split(tight_box(transform(upright, chosen)), 2)
        margins = np.full(4, EYES * max(high - low))
    (x0, y0), (x1, y1) = low - margins[:2], high + margins[2:]
    corners = np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]])
    return transform(similarity_matrix(np.zeros(2), centre, 1.0, roll), corners)


def roll_of(face: Face) -> float:
    """Roll of a face in degrees: of its pose; 0 where the schema gives none."""
    return 0.0 if face.pose is None else face.pose.roll


def blur_region(canvas: Picture, corners: Floats) -> None:
    """Blur the superellipse within the rectangle `corners` (4, 2) of `canvas` itself; see `BLUR`."""
    outline = superellipse(np.clip(corners, -FAR, FAR))
    limit = np.array(canvas.shape[1::-1])
    low = np.clip(np.floor(outline.min(axis=0)), 0, limit).astype(int)
    high = np.clip(np.ceil(outline.max(axis=0)) + 1, 0, limit).astype(int)
    if (high <= low).any():
        return
    region = canvas[low[1] : high[1], low[0] : high[0]]
    height, width = region.shape[:2]
    mask = np.zeros((height, width), np.uint8)
    cv2.fillPoly(mask, [np.rint(outline - low).astype(np.int32)], 1)
    region[mask > 0] = blurred(region, longer_side(tight_box(corners)))[mask > 0]


def blurred(image: Picture, size: float) -> Picture:
    """`image` under a Gaussian blur with a standard deviation of `BLUR` times `size` pixels."""
    height, width = image.shape[:2]
    zoom = min(1.0, CELLS / size)
    cells = (max(1, round(width * zoom)), max(1, round(height * zoom)))
    means = cv2.resize(image, cells, interpolation=cv2.INTER_AREA).astype(np.float32)
    sigma = BLUR * size * zoom
    kernel = 2 * math.ceil(4 * sigma) + 1  # cut at 4 σ; OpenCV's own cut leaves a hundredth of fine detail
    smooth = cv2.GaussianBlur(means, (kernel, kernel), sigma, borderType=cv2.BORDER_REFLECT)
    rounded = np.rint(smooth).astype(np.uint8)
    return np.asarray(cv2.resize(rounded, (width, height), interpolation=cv2.INTER_LINEAR), dtype=np.uint8)


def superellipse(corners: Floats) -> Array:
    """Outline (64, 2) of the superellipse with exponent `CORNER` within the rectangle `corners` (4, 2)."""
    angle = np.linspace(0, 2 * np.pi, 64, endpoint=False)
    unit = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    unit = np.sign(unit) * np.abs(unit) ** (2 / CORNER)
    across, along = (corners[1] - corners[0]) / 2, (corners[3] - corners[0]) / 2
    return np.asarray(corners.mean(axis=0) + unit @ np.stack([across, along]))
