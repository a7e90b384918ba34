"""Draw landmarks: overlays, face tiles, contact sheets."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

import cv2
import numpy as np
from PIL import Image as PilImage
from PIL import ImageDraw, ImageFont

from lightmark.errors import ImageError
from lightmark.files import replacing
from lightmark.geometry import Array, Floats, box_centre, crop_matrix, finite, longer_side, tight_box, transform
from lightmark.image import Picture, require_image, warp
from lightmark.schema import Schema, require_points

Colour: TypeAlias = tuple[int, int, int]

GREEN: Colour = (64, 255, 96)
TARGET: Colour = (255, 64, 160)  # far from GREEN in hue and in lightness, so that both read on skin
PAPER: Colour = (255, 255, 255)
INK: Colour = (32, 32, 32)

SHIFT = 8  # fraction bits of cv2's fixed-point coordinates; 4 bits would put small dots up to 0.2 px off
FAR = 1e6  # coordinates are clipped to ±FAR, since cv2's fixed-point numbers have 32 bits
MAX_STROKE = 50  # pixels, also for outlier points very far apart
GAP = 4  # pixels between the tiles of a contact sheet


def draw_landmarks(
    image: Picture,
    points: Floats,
    schema: Schema | None = None,
    colour: Colour = GREEN,
    target: Floats | None = None,
    target_colour: Colour = TARGET,
) -> Picture:
    """Draw `points` (N, 2) and the edges of `schema` on a copy of `image`, over the labels `target` (N, 2).

    Line width scales with the face size. Points that are not finite are skipped, with their edges.
    """
    canvas = require_image(image).copy()
    if target is not None:
        _draw_shape(canvas, target, schema, target_colour)
    _draw_shape(canvas, points, schema, colour)
    return canvas


def face_tile(
    image: Picture,
    points: Floats,
    schema: Schema | None = None,
    size: int = 160,
    target: Floats | None = None,
    scale: float = 1.4,
) -> Picture:
    """`size`×`size` crop of `scale` times the face's tight box, landmarks drawn, zeros outside the picture.

    A single point, which spans no box, is shown at the centre of half the picture. If `target` is set it determines the
    crop, so that tiles of several models on one face show the same crop.
    """
    box = _box_to_show(points if target is None else target, require_image(image))
    matrix = crop_matrix(box, size, scale)
    crop = warp(image, matrix, size)
    crop_target = None if target is None else transform(matrix, target)
    return draw_landmarks(crop, transform(matrix, points), schema, target=crop_target)


def _box_to_show(points: Floats, image: Picture) -> Array:
    """Tight box of `points`; a square around them if the box has no area."""
    box = tight_box(points)
    if (box[2:] > box[:2]).all():
        return box
    side = longer_side(box) or min(image.shape[:2]) / 2
    return np.concatenate([box_centre(box) - side / 2, box_centre(box) + side / 2])


def contact_sheet(tiles: Sequence[Picture], captions: Sequence[str] = (), columns: int = 8) -> Picture:
    """`tiles` in rows of `columns` on a white background, each caption below its tile, wrapped to the tile's width.

    Tiles may differ in size: every cell is as large as the largest. Raises `ImageError` without tiles, or if the number
    of captions is not that of the tiles.
    """
    if not tiles or columns < 1:
        raise ImageError(f"contact_sheet: {len(tiles)} tiles in {columns} columns; needs at least one of each")
    if captions and len(captions) != len(tiles):
        raise ImageError(f"contact_sheet: {len(captions)} captions for {len(tiles)} tiles; give one a tile, or none")
    height = max(require_image(tile, "tile").shape[0] for tile in tiles)
    width = max(tile.shape[1] for tile in tiles)
    bands = caption_bands(captions, width) if captions else [np.empty((0, width, 3), np.uint8)] * len(tiles)
    columns = min(columns, len(tiles))
    pitch_x, pitch_y = width + GAP, height + bands[0].shape[0] + GAP
    rows = math.ceil(len(tiles) / columns)
    sheet = np.full((rows * pitch_y + GAP, columns * pitch_x + GAP, 3), PAPER, dtype=np.uint8)
    for i, (tile, band) in enumerate(zip(tiles, bands, strict=True)):
        x, y = GAP + i % columns * pitch_x, GAP + i // columns * pitch_y
        sheet[y : y + tile.shape[0], x : x + tile.shape[1]] = tile
        sheet[y + height : y + height + band.shape[0], x : x + width] = band
    return sheet


def caption_bands(captions: Sequence[str], width: int) -> list[Picture]:
    """White pictures with one caption each, `width` pixels wide and all of the same height."""
    font = ImageFont.load_default(size=min(max(width / 11, 11), 20))
    wrapped = [wrap_caption(caption, width, font) for caption in captions]
    ascent, descent = font.getmetrics() if isinstance(font, ImageFont.FreeTypeFont) else (11, 3)
    line_height = ascent + descent
    bands = []
    for lines in wrapped:
        band = PilImage.new("RGB", (width, max(map(len, wrapped)) * line_height), PAPER)
        for row, line in enumerate(lines):
            ImageDraw.Draw(band).text((1, row * line_height), line, fill=INK, font=font)
        bands.append(np.array(band))
    return bands


def wrap_caption(caption: str, width: int, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> list[str]:
    """Lines of `caption` that fit `width` pixels: broken at spaces, a longer word cut with an ellipsis."""
    lines: list[str] = []
    for paragraph in caption.splitlines():
        line = ""
        for word in paragraph.split():
            joined = f"{line} {word}".strip()
            if line and font.getlength(joined) > width - 2:
                lines.append(line)
                joined = word
            line = _cut_to_width(joined, width, font)
        lines.append(line)
    return lines


def write_png(image: Picture, path: str | Path) -> None:
    """Write `image` as PNG to `path` atomically; raises `WriteError` if that fails."""
    picture = PilImage.fromarray(require_image(image))
    with replacing(path) as temporary:
        picture.save(temporary, format="PNG")


def _draw_shape(canvas: Picture, points: Floats, schema: Schema | None, colour: Colour) -> None:
    if schema is not None:
        require_points(points, schema, "draw_landmarks")
    known = finite(points)
    if not known.any():
        return
    x0, y0, x1, y1 = tight_box(points[known])
    face = float(max(x1 - x0, y1 - y0))
    fixed = np.rint(np.clip(np.nan_to_num(points), -FAR, FAR) * 2**SHIFT).astype(int).tolist()
    # A face of 200 px gets lines of 1 px and dots of 1.5 px radius; a smaller one dots of at least 1.1 px, which are
    # visible and do not hide it.
    thickness = min(max(1, round(face / 200)), MAX_STROKE)
    radius = round(min(max(1.1, face / 130), MAX_STROKE) * 2**SHIFT)
    for a, b in schema.edges if schema else ():
        if known[a] and known[b]:
            cv2.line(canvas, fixed[a], fixed[b], colour, thickness, cv2.LINE_AA, SHIFT)
    for point in np.flatnonzero(known):
        cv2.circle(canvas, fixed[point], radius, colour, cv2.FILLED, cv2.LINE_AA, SHIFT)


def _cut_to_width(text: str, width: int, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    if font.getlength(text) <= width - 2:
        return text
    while text and font.getlength(text + "…") > width - 2:
        text = text[:-1]
    return text + "…"
