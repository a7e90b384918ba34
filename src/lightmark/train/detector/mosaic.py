"""Mosaics: synthetic detector training images, composed of labelled faces and pictures without faces.

A face detector needs images in which every face is labelled, but landmark data sets label only some faces of a picture.
So faces are cut out and pasted through masks of many shapes, with their labelled neighbours. Patches without a face are
pasted through the same masks, or the detector would learn the seam and not the face.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from lightmark.data.crops.augment import NO_AUGMENTATION, change_pixels, move_points
from lightmark.data.crops.picture_cache import PictureCache
from lightmark.data.sample import Sample
from lightmark.data.shards.pack import by_picture
from lightmark.detectors.keypoint_box import FACE, keypoints_of, roll_of_keypoints
from lightmark.geometry import (
    Array,
    compose,
    longer_side,
    similarity_matrix,
    suppress,
    tight_box,
    transform,
    upright_box,
)
from lightmark.image import Picture, warp

COLOUR = replace(NO_AUGMENTATION, colour=0.7)  # for each patch: different lighting and cameras
CAMERA = replace(NO_AUGMENTATION, colour=0.3, grey=0.12, noise=0.25, jpeg=0.35)  # for the mosaic: one camera
MASK_SIZE = 64
SAME_FACE = 0.4  # IoU of boxes above which two labels are one face's
HIDDEN, SHOWN = 0.1, 0.6  # shares of a neighbour's box inside the mask: from there on it is ignored, and a face
Shares = NDArray[np.float32]


@dataclass(frozen=True)
class MosaicRules:
    """Sampling rules of mosaics of `size`×`size` pixels.

    The longer side of a face's tight box is log-uniform from `smallest` pixels to the share `largest` of the mosaic.
    The share `circle` of the patches is rotated by any angle, the others by a normal one with standard deviation
    `rotation` degrees (of these 15 % by up to 50° either way). `exposure` is the share of mosaics exposed far too short
    or too long, or in a strong cast; `covered` that of the faces behind a mask, shades or something else. `empty` is
    the share of mosaics without a face, `crowd` the maximum number of faces. A face with less than the share `visible`
    of its box inside the picture is ignored: it counts neither as a face nor as background.
    """

    size: int = 288
    smallest: float = 11.0
    largest: float = 1.0
    rotation: float = 14.0
    circle: float = 0.4
    exposure: float = 0.15
    covered: float = 0.15
    empty: float = 0.25
    crowd: int = 8
    visible: float = 0.45


class Mosaic(NamedTuple):
    """Picture (S, S, 3), boxes (F, 4) and keypoints (F, 5, 2) of its faces, and a mask (F,) of those not ignored.

    The boxes are those of `upright_box`: of the size of the upright face's, however it is rolled.
    """

    image: Picture
    boxes: Array
    keypoints: Array
    counts: NDArray[np.bool_]


class Sources:
    """Sources of mosaics: faces `samples` labelled with the 68 points, and pictures without faces (paths or pixels).

    Decoded pictures are cached up to the limit of a `PictureCache`.
    """

    def __init__(self, samples: Sequence[Sample], backgrounds: Sequence[Path | Picture]) -> None:
        self.samples, self.backgrounds = samples, backgrounds
        self._pictures = PictureCache()
        numbers = {id(sample): index for index, sample in enumerate(samples)}
        self._groups = {numbers[id(face)]: group for group in by_picture(samples) if len(group) > 1 for face in group}

    def beside(self, index: int) -> list[Sample]:
        """The other faces in the picture of face number `index`, each once: several data sets may label it."""
        faces = [self.samples[index], *self._groups.get(index, [])]
        boxes = np.stack([tight_box(face.points) for face in faces])
        chosen = suppress(boxes, np.zeros(len(faces)), SAME_FACE)  # of ties the first stays: the face itself
        return [faces[index] for index in chosen[1:]]

    def face(self, index: int) -> Picture:
        """Picture of face number `index`."""
        return self._pictures.of_sample(self.samples[index])

    def background(self, rng: np.random.Generator) -> Picture:
        """Random picture without faces."""
        source = self.backgrounds[int(rng.integers(len(self.backgrounds)))]
        return self._pictures.of_file(source) if isinstance(source, Path) else source


def draw_mosaic(sources: Sources, rules: MosaicRules, rng: np.random.Generator) -> Mosaic:
    """Sample a mosaic; a function of the sources, the rules and the state of `rng`."""
    canvas = _draw_background(sources, rules, rng)
    for _ in range(rng.integers(0, 6)):
        _paste_background(canvas, sources, rules, rng)
    faces: list[_Labels] = []
    if rng.random() >= rules.empty:
        alone = rng.random() < 0.2
        for _ in range(1 if alone else int(rng.integers(1, rules.crowd + 1))):
            _paste_face(canvas, faces, sources, rules, rng, fills=alone)
    if rng.random() < rules.exposure:
        canvas = _expose(canvas, rng)
    canvas = change_pixels(_soften(canvas, rng), CAMERA, rng)
    boxes = np.array([face.box for face in faces]).reshape(-1, 4)
    keypoints = np.array([face.keypoints for face in faces]).reshape(-1, len(FACE), 2)
    shown = np.array([face.shown for face in faces], dtype=bool)
    return Mosaic(canvas, boxes, keypoints, shown & (visible_share(boxes, rules.size) >= rules.visible))


class _Labels(NamedTuple):
    """Box (4,) and keypoints (5, 2) of a pasted face, and whether it is there or its mask hides too much of it."""

    box: Array
    keypoints: Array
    shown: bool


def _labels_of(points: Array) -> _Labels:
    """Labels of a face with the 68 points `points` (68, 2) in the mosaic."""
    keypoints = keypoints_of(points)
    return _Labels(upright_box(points, float(roll_of_keypoints(keypoints))), keypoints, shown=True)


def visible_share(boxes: Array, size: int) -> Array:
    """Share (F,) of the area of each of `boxes` (F, 4) that lies inside a picture of `size`×`size` pixels."""
    inside = np.clip(boxes, -0.5, size - 0.5)
    return np.asarray(_area(inside) / np.maximum(_area(boxes), 1e-9))


def _area(boxes: Array) -> Array:
    return np.asarray((boxes[:, 2:] - boxes[:, :2]).prod(axis=1))


def _draw_background(sources: Sources, rules: MosaicRules, rng: np.random.Generator) -> Picture:
    if rng.random() < 0.1:
        low, high = rng.integers(0, 256, (2, 1, 1, 3))
        ramp = np.linspace(0, 1, rules.size)[:, None, None]
        plain = np.broadcast_to(low + (high - low) * ramp, (rules.size, rules.size, 3))
        return np.ascontiguousarray(plain.astype(np.uint8))
    picture = sources.background(rng)
    height, width = picture.shape[:2]
    side = float(math.exp(rng.uniform(math.log(0.25), 0))) * min(height, width)  # from a detail to the whole picture
    corner = rng.uniform(0, 1, 2) * (width - side, height - side)
    middle = np.full(2, (rules.size - 1) / 2)
    matrix = similarity_matrix(corner + side / 2, middle, rules.size / side, 0.0, rng.random() < 0.5)
    return change_pixels(warp(picture, matrix, rules.size, cv2.BORDER_REFLECT_101), COLOUR, rng)


def _paste_background(canvas: Picture, sources: Sources, rules: MosaicRules, rng: np.random.Generator) -> None:
    """Paste a patch without a face, through a mask as faces have."""
    picture = sources.background(rng)
    height, width = picture.shape[:2]
    side = rng.uniform(0.15, 0.6) * min(height, width)
    centre = rng.uniform(side / 2, (width - side / 2, height - side / 2))
    box = np.concatenate([centre - side / 2, centre + side / 2])
    zoom = _draw_side(rules, rng) / side
    matrix = similarity_matrix(centre, rng.uniform(0, rules.size, 2), zoom, _draw_angle(rules, rng), False)
    place = _place(_draw_mask(picture.shape[:2], box, rng), matrix, rules.size)
    if place is not None:
        _paste(canvas, picture, place, rng)


def _paste_face(
    canvas: Picture, faces: list[_Labels], sources: Sources, rules: MosaicRules, rng: np.random.Generator, fills: bool
) -> None:
    """Paste a face and add its labels to `faces`; nothing after six tries that would cover other faces."""
    index = int(rng.integers(len(sources.samples)))
    picture, sample = sources.face(index), sources.samples[index]
    for _ in range(6):
        mirrored = bool(rng.random() < 0.5)
        if fills:
            matrix, mask = _portrait(picture, rules, rng, mirrored)
        else:
            matrix = _anywhere(sample.points, rules, rng, mirrored)
            mask = _draw_mask(picture.shape[:2], tight_box(sample.points), rng)
        place = _place(mask, matrix, rules.size)
        if place is not None and all(_covered(place, other.box) < 0.1 for other in faces):
            points = move_points(sample.points, matrix, mirrored, sample.schema)
            faces.append(_labels_of(points))
            for other in sources.beside(index):
                labels = _labels_of(move_points(other.points, matrix, mirrored, other.schema))
                share = _covered(place, labels.box)
                if share > HIDDEN:
                    faces.append(labels._replace(shown=share >= SHOWN))
            _paste(canvas, picture, place, rng)
            if rng.random() < rules.covered:
                _cover(canvas, points, rng)
            return


def _portrait(
    picture: Picture, rules: MosaicRules, rng: np.random.Generator, mirrored: bool
) -> tuple[Array, _Mask]:
    """Matrix and mask of a portrait: the face's picture fills the mosaic, all but the corners where it is rotated."""
    height, width = picture.shape[:2]
    zoom = rules.size / min(height, width) * float(rng.uniform(1.0, 1.3))
    middle = np.array([(width - 1) / 2, (height - 1) / 2])
    angle = float(rng.uniform(-180, 180)) if rng.random() < rules.circle else 0.0
    matrix = similarity_matrix(middle, np.full(2, (rules.size - 1) / 2), zoom, angle, mirrored)
    return matrix, _Mask(np.ones((MASK_SIZE, MASK_SIZE), np.float32), _picture_frame(picture.shape))


def _anywhere(points: Array, rules: MosaicRules, rng: np.random.Generator, mirrored: bool) -> Array:
    """Matrix of a face at a random place, size and rotation."""
    box = tight_box(points)
    zoom = _draw_side(rules, rng) / longer_side(box)
    angle = _draw_angle(rules, rng)
    place = rng.uniform(-0.02, 1.02, 2) * rules.size
    return similarity_matrix((box[:2] + box[2:]) / 2, place, zoom, angle, mirrored)


def _draw_angle(rules: MosaicRules, rng: np.random.Generator) -> float:
    """Rotation of a patch, in degrees; the same for faces and other patches, or a tilted seam would mean a face."""
    if rng.random() < rules.circle:
        return float(rng.uniform(-180, 180))
    return float(rng.uniform(-50, 50) if rng.random() < 0.15 else rng.normal(0, rules.rotation))


def _draw_side(rules: MosaicRules, rng: np.random.Generator) -> float:
    return math.exp(rng.uniform(math.log(rules.smallest), math.log(rules.largest * rules.size)))


class _Mask(NamedTuple):
    """Alpha mask: `shares` (h, w) from 0 to 1 over the rectangle `frame` (x0, y0, x1, y1) of a picture."""

    shares: Shares
    frame: Array


def _draw_mask(shape: tuple[int, int], box: Array, rng: np.random.Generator) -> _Mask:
    """Random mask: the whole picture (H, W), a rectangle or an ellipse around `box`; soft or hard edges."""
    extent, kind = box[2:] - box[:2], rng.random()
    picture_frame = _picture_frame(shape)
    shares = np.ones((MASK_SIZE, MASK_SIZE), np.float32)
    if kind < 0.35:
        frame = picture_frame
    elif kind < 0.7:
        frame = box + np.tile(extent, 2) * rng.uniform(0.05, 0.7, 4) * (-1, -1, 1, 1)
    else:  # hair and forehead lie above the points
        frame = box + np.tile(extent, 2) * rng.uniform(0.1, 0.45, 4) * (-1, -2, 1, 1)
        shares[:] = 0
        middle = MASK_SIZE // 2
        cv2.ellipse(shares, (middle, middle), (middle - 2, middle - 2), 0, 0, 360, 1.0, -1)
    if rng.random() < 0.6:
        border = cv2.BORDER_CONSTANT  # nothing beyond the frame: its edge turns soft too
        shares[[0, -1]], shares[:, [0, -1]] = 0, 0
        shares = np.asarray(cv2.GaussianBlur(shares, (0, 0), rng.uniform(0.5, 4), borderType=border))
    return _inside(_Mask(shares, frame), picture_frame)


def _picture_frame(shape: tuple[int, ...]) -> Array:
    return np.array([-0.5, -0.5, shape[1] - 0.5, shape[0] - 0.5])


def _inside(mask: _Mask, picture: Array) -> _Mask:
    """`mask` clipped to the frame `picture` (4,)."""
    frame = np.concatenate([np.maximum(mask.frame[:2], picture[:2]), np.minimum(mask.frame[2:], picture[2:])])
    cells = (frame - np.tile(mask.frame[:2], 2)) / np.tile(mask.frame[2:] - mask.frame[:2], 2) * MASK_SIZE
    x0, y0, x1, y1 = np.clip(np.rint(cells).astype(int), 0, MASK_SIZE)
    return _Mask(mask.shares[y0 : max(y1, y0 + 1), x0 : max(x1, x0 + 1)], frame)


class _Place(NamedTuple):
    """Placement of a patch: matrix to the window, the window (x0, y0, x1, y1) of the canvas, and the mask in it."""

    matrix: Array
    window: tuple[int, int, int, int]
    shares: Shares


def _place(mask: _Mask, matrix: Array, size: int) -> _Place | None:
    """Placement of a masked patch on a canvas of `size`×`size` pixels; None where it lies outside."""
    x0, y0, x1, y1 = mask.frame
    touched = tight_box(transform(matrix, np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]])))
    left, top = np.clip(np.floor(touched[:2]).astype(int), 0, size)
    right, bottom = np.clip(np.ceil(touched[2:]).astype(int) + 1, 0, size)
    if right <= left or bottom <= top:
        return None
    matrix = compose(np.array([[1.0, 0.0, -left], [0.0, 1.0, -top]]), matrix)
    rows, columns = mask.shares.shape
    cell = np.array([[(x1 - x0) / columns, 0, x0], [0, (y1 - y0) / rows, y0]])
    cell[:, 2] += (cell[0, 0] / 2, cell[1, 1] / 2)  # from the mask's cells to the picture
    shares = cv2.warpAffine(mask.shares, compose(matrix, cell), (right - left, bottom - top), flags=cv2.INTER_LINEAR)
    return _Place(matrix, (int(left), int(top), int(right), int(bottom)), np.asarray(shares))


def _covered(place: _Place, box: Array) -> float:
    """Share of `box` that the patch covers."""
    left, top, *_ = place.window
    x0, y0, x1, y1 = np.rint(box).astype(int)
    part = place.shares[max(y0 - top, 0) : max(y1 - top, 0), max(x0 - left, 0) : max(x1 - left, 0)]
    return float(part.sum() / max(1, (x1 - x0) * (y1 - y0)))


def _paste(canvas: Picture, picture: Picture, place: _Place, rng: np.random.Generator) -> None:
    """Blend the patch into `canvas`, in place."""
    left, top, right, bottom = place.window
    patch = warp(picture, place.matrix, (right - left, bottom - top), cv2.BORDER_REPLICATE)
    patch = change_pixels(patch, COLOUR, rng)
    under, share = canvas[top:bottom, left:right], place.shares[..., None]
    under[:] = np.rint(under + share * (patch.astype(np.float32) - under))


def _cover(canvas: Picture, points: Array, rng: np.random.Generator) -> None:
    """Paint a surgical mask, shades, both or a tilted patch over the face with the 68 `points`, in place."""
    kind, covers = rng.random(), np.zeros(canvas.shape[:2], np.uint8)
    if kind < 0.6:
        first, nose = int(rng.integers(1, 4)), int(rng.integers(28, 31))
        _fill(covers, np.vstack([points[first : 17 - first], points[nose]]))
    if 0.45 <= kind < 0.85:
        width = np.linalg.norm(points[36] - points[39]) * rng.uniform(0.55, 0.95)
        for eye in (points[36:42], points[42:48]):
            cv2.circle(covers, [int(value) for value in np.rint(eye.mean(axis=0))], max(1, round(width)), 255, -1)
    if kind >= 0.85:
        side = longer_side(tight_box(points))
        rectangle = points[rng.integers(68)], side * rng.uniform(0.25, 0.7, 2), rng.uniform(0, 90)
        _fill(covers, np.asarray(cv2.boxPoints(tuple(np.asarray(part).tolist() for part in rectangle)), np.float64))
    if rng.random() < 0.4:
        paint = np.roll(canvas, rng.integers(1, len(canvas), 2), (0, 1))
    else:
        low, high = rng.integers(0, 256, 3), rng.integers(-60, 61, 3)
        ramp = low + high * np.linspace(0, 1, len(canvas))[:, None, None]
        paint = np.broadcast_to(np.clip(ramp, 0, 255), canvas.shape)
    canvas[covers > 0] = paint[covers > 0]


def _fill(covers: NDArray[np.uint8], outline: Array) -> None:
    cv2.fillPoly(covers, [np.rint(outline).astype(np.int32)], 255)


def _expose(canvas: Picture, rng: np.random.Generator) -> Picture:
    """Pixels times 1/11 to 3.2, each channel times another 0.6 to 1.4, cut at white."""
    factors = 2 ** rng.uniform(-3.5, 1.7) * rng.uniform(0.6, 1.4, 3)
    table = np.rint(np.clip(np.arange(256)[:, None] * factors, 0, 255)).astype(np.uint8)
    return np.asarray(cv2.LUT(canvas, table[None]), dtype=np.uint8)


def _soften(canvas: Picture, rng: np.random.Generator) -> Picture:
    """Blur at random, σ up to 1.5 px: more would erase the smallest faces."""
    if rng.random() < 0.7:
        return canvas
    return np.asarray(cv2.GaussianBlur(canvas, (0, 0), rng.uniform(0.3, 1.5)), dtype=np.uint8)
