"""Crops that frame no face."""

from __future__ import annotations

import numpy as np

from lightmark.data.crops.negatives import MISPLACED_OVERLAP, background_matrix, hard_negative_matrix, misplaced_matrix
from lightmark.geometry import invert, tight_box, transform
from lightmark.schema import plain_schema
from lightmark.spec import ModelSpec, spec_crop_matrix

POINTS = np.array([[16.0, 18.0], [32.0, 18.0], [24.0, 26.0], [18.0, 34.0], [30.0, 34.0]])


def test_misplaced_crops_are_never_the_faces() -> None:
    """No square shares more of the union with the face's own than allowed; some overlap it, some lie beside it."""
    spec = ModelSpec(plain_schema(5), 32)
    rng = np.random.default_rng(0)
    to_image = invert(spec_crop_matrix(spec, tight_box(POINTS)))
    own = tight_box(transform(to_image, np.array([[-0.5, -0.5], [31.5, 31.5]])))
    shares = []
    for _ in range(300):
        matrix = misplaced_matrix(tight_box(POINTS), (48, 48), spec, rng)
        corners = transform(invert(matrix), np.array([[-0.5, -0.5], [31.5, -0.5], [31.5, 31.5], [-0.5, 31.5]]))
        side = np.linalg.norm(corners[1] - corners[0])
        centre = corners.mean(0)
        square = np.concatenate([centre - side / 2, centre + side / 2])
        shared = np.prod(np.clip(np.minimum(square[2:], own[2:]) - np.maximum(square[:2], own[:2]), 0, None))
        shares.append(shared / (side**2 + np.prod(own[2:] - own[:2]) - shared))
    assert max(shares) <= MISPLACED_OVERLAP + 1e-9
    assert np.mean(np.array(shares) > 0.15) > 0.1


def test_hard_negatives_lie_where_a_detector_would_put_them() -> None:
    """As the crop of that box would, up to the error of a detector."""
    spec, rng = ModelSpec(plain_schema(5), 32), np.random.default_rng(0)
    box, centre = np.array([50.0, 60.0, 90.0, 110.0]), np.array([[15.5, 15.5]])
    own = transform(invert(spec_crop_matrix(spec, box)), centre)
    away = [
        float(np.abs(transform(invert(hard_negative_matrix(box, spec, rng)), centre) - own).max()) for _ in range(400)
    ]
    assert 1 < max(away) <= 0.06 * 50


def test_crops_without_a_face_lie_anywhere() -> None:
    """The centres of background crops are anywhere in the picture."""
    spec, rng = ModelSpec(plain_schema(5), 32), np.random.default_rng(0)
    matrices = [background_matrix(np.zeros((40, 60, 3), np.uint8), spec, rng) for _ in range(400)]
    centres = np.concatenate([transform(invert(matrix), np.array([[15.5, 15.5]])) for matrix in matrices])
    assert np.all(centres.min(0) < 5)
    assert np.all(centres.max(0) > (55, 35))
