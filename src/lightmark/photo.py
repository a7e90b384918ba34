"""Landmarks of one photograph, drawn: detection, landmarks, overlay as PNG."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lightmark.draw import Colour, draw_landmarks, write_png
from lightmark.errors import MissingExtraError
from lightmark.face import Face
from lightmark.geometry import Array, crop_matrix, tight_box, transform
from lightmark.image import Picture, warp
from lightmark.landmarker import Landmarker
from lightmark.schema import Schema

BOX = Schema("box", mirror=(1, 0, 3, 2), normaliser=(0, 1), edges=((0, 1), (1, 3), (3, 2), (2, 0)))
BOX_COLOUR: Colour = (255, 176, 0)  # amber, apart from the points' green in hue
SIZE = 768  # pixels a side of the drawn picture: enlarges a face of 80 px enough to judge each point
MARGIN = 1.8  # side of the drawn square relative to the box of all faces


def landmark_photo(landmarker: Landmarker, image: Picture, out: Path) -> list[Face]:
    """Detect the faces of `image`, largest first, and write the drawn picture as PNG to `out`."""
    faces = landmarker.detect(image)
    write_png(draw_faces(image, faces) if faces else image, out)
    return faces


def draw_faces(image: Picture, faces: list[Face]) -> Picture:
    """Square crop of `image` around all `faces` (at least one), with boxes, points and edges drawn."""
    everything = np.concatenate([np.concatenate([face.points, box_corners(face.box)]) for face in faces])
    matrix = crop_matrix(tight_box(everything), SIZE, MARGIN)
    return _drawn(warp(image, matrix, SIZE), faces, matrix)


def draw_faces_in_place(image: Picture, faces: list[Face]) -> Picture:
    """Full `image` at its own size with the boxes, points and edges of `faces` drawn; unchanged without faces."""
    return _drawn(image, faces, np.eye(2, 3))


def _drawn(canvas: Picture, faces: list[Face], matrix: Array) -> Picture:
    for face in faces:
        canvas = draw_landmarks(canvas, transform(matrix, box_corners(face.box)), BOX, BOX_COLOUR)
        canvas = draw_landmarks(canvas, transform(matrix, face.points), face.schema)
    return canvas


def box_corners(box: Array) -> Array:
    """Corners (4, 2) of `box` (4,): top left, top right, bottom left, bottom right."""
    x0, y0, x1, y1 = box
    return np.array([[x0, y0], [x1, y0], [x0, y1], [x1, y1]])


def astronaut() -> Picture:
    """NASA's portrait of Eileen Collins, in the public domain, as scikit-image ships it: RGB uint8 (512, 512, 3).

    Raises `MissingExtraError` if scikit-image is not installed.
    """
    try:
        from skimage import data
    except ImportError as error:
        raise MissingExtraError(
            'the photograph of the demo comes with scikit-image: pip install "lightmark[demo]"'
        ) from error
    return np.asarray(data.astronaut(), dtype=np.uint8)
