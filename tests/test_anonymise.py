"""Blurred heads and eyes: what was there cannot be found again, whatever the roll, and nothing else changes."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from lightmark.anonymise import Part, anonymised, blurred, region_of
from lightmark.data.synthetic import synthetic_samples
from lightmark.errors import ConfigError
from lightmark.face import Face
from lightmark.geometry import Array, similarity_matrix, transform, upright_box
from lightmark.image import Picture
from lightmark.landmarker import Landmarker
from lightmark.schema import IBUG68, Schema


def rolled_face(roll: float, number: int = 0) -> tuple[Picture, Face]:
    """A drawn face turned by `roll` degrees in a picture of 320 px, grey around it."""
    sample = synthetic_samples(number + 1, seed=3)[number]
    matrix = similarity_matrix(np.array([79.5, 79.5]), np.array([159.5, 159.5]), 1.2, roll)
    image = cv2.warpAffine(np.asarray(sample.image), matrix, (320, 320), borderValue=(128, 128, 128))
    points = transform(matrix, sample.points)
    face = Face(points, points[0], IBUG68)
    assert face.pose is not None
    return np.asarray(image, dtype=np.uint8), replace(face, box=upright_box(points, face.pose.roll))


def changed(image: Picture, face: Face, part: Part) -> Array:
    """Mask of what is blurred: of the pixels of noise, whose blur differs from nearly all."""
    noise = np.random.default_rng(0).integers(0, 256, image.shape, dtype=np.uint8)
    return np.asarray((anonymised(noise, [face], part) != noise).any(axis=2))


@pytest.mark.parametrize("roll", [0, 40, 90, -135, 180])
def test_the_whole_face_is_covered_at_any_roll(roll: float) -> None:
    """Every point lies well inside the blurred region, and so does the forehead above the brows."""
    image, face = rolled_face(roll)
    mask = changed(image, face, "faces")
    middle = face.points[27:31].mean(axis=0)
    forehead = face.points[[21, 22]].mean(axis=0) + 0.8 * (face.points[[21, 22]].mean(axis=0) - middle)
    for place in [*(middle + 1.1 * (face.points - middle)), forehead]:
        column, row = np.rint(place).astype(int)
        around = mask[max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2]
        assert around.any(), (place, roll)


@pytest.mark.parametrize("roll", [0, 40, 90, -135, 180])
def test_eyes_are_covered_and_the_mouth_is_not(roll: float) -> None:
    """The band holds both eyes and brows, and ends above the mouth."""
    image, face = rolled_face(roll)
    mask = changed(image, face, "eyes")
    columns, rows = np.rint(face.points).astype(int).T
    inside = mask[rows, columns] | mask[rows, columns - 1]
    assert inside[17:27].all()
    assert inside[36:48].all()
    assert not inside[48:68].any()


def test_nothing_else_changes() -> None:
    """Pixels outside the rectangle of the head keep their values; the picture of the caller, too."""
    image, face = rolled_face(20)
    before = image.copy()
    hidden = anonymised(image, [face])
    np.testing.assert_array_equal(image, before)
    outline = np.zeros(image.shape[:2], np.uint8)
    cv2.fillConvexPoly(outline, np.rint(region_of(face, "faces")).astype(np.int32), 1)
    outside = cv2.dilate(outline, np.ones((5, 5), np.uint8)) == 0
    assert outside.any()
    np.testing.assert_array_equal(hidden[outside], image[outside])


def test_faces_that_differ_in_detail_look_the_same() -> None:
    """Detail of three cycles a region and finer leaves no trace above one grey level: no filter can bring it back."""
    rows, columns = np.mgrid[:200, :200]
    for cycles in (3, 4, 5, 8, 16, 40):
        detail = 110 * np.cos(2 * np.pi * cycles * (columns + 0.5) / 200) * np.cos(np.pi * (rows + 0.5) / 200)
        image = np.rint(128 + np.stack([detail] * 3, axis=2)).astype(np.uint8)
        assert np.abs(blurred(image, 200.0).astype(int) - 128).max() <= 1, cycles


def test_no_face_is_found_again() -> None:
    """The detector and the landmark model of `fast` find every drawn face before, and none after."""
    landmarker = Landmarker("fast", threads=1)
    for number in (0, 1, 2):
        image, _ = rolled_face(0, number)
        faces = landmarker.detect(image)
        assert faces
        assert landmarker.detect(anonymised(image, faces)) == []


def test_a_face_beyond_the_border_and_a_tiny_one_are_blurred() -> None:
    """A head half outside is blurred inside; one of three pixels becomes of one colour; one outside changes nothing."""
    image, face = rolled_face(0)
    half = replace(face, points=face.points - [150, 0], box=face.box - [150, 0, 150, 0])
    assert changed(image, half, "faces")[:, :20].any()
    far = replace(face, points=face.points + 1e9, box=face.box + 1e9)
    np.testing.assert_array_equal(anonymised(image, [far]), image)
    tiny = Face(face.points / 60, face.box / 60, IBUG68)
    hidden = anonymised(np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8), [tiny])
    assert np.ptp(hidden[1:3, 1:3].reshape(-1, 3).astype(int), axis=0).max() < 120


def test_points_of_ones_own_are_covered_by_their_box() -> None:
    """Without a jaw the size of the face is that of its box; without a group of eyes only faces can be blurred."""
    schema = Schema("five", mirror=(1, 0, 2, 4, 3), normaliser=(0, 1))
    points = np.array([[40.0, 40.0], [60.0, 40.0], [50.0, 50.0], [45.0, 60.0], [55.0, 60.0]])
    face = Face(points, np.array([30.0, 30.0, 70.0, 70.0]), schema)
    mask = changed(np.zeros((100, 100, 3), np.uint8), face, "faces")
    assert mask[30:70, 30:70].mean() > 0.98
    with pytest.raises(ConfigError, match="anonymise eyes: five has no group of points called eyes"):
        anonymised(np.zeros((100, 100, 3), np.uint8), [face], "eyes")
