"""Aligned crops: the matrices of InsightFace and FFHQ, without aliasing."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from lightmark.alignment import ARCFACE, align_crop, alignment_matrix
from lightmark.data.synthetic import synthetic_samples
from lightmark.errors import GeometryError, ImageError
from lightmark.face import Face
from lightmark.geometry import tight_box, transform
from lightmark.schema import IBUG68

FIVE = np.array([[210.0, 180.0], [290.0, 195.0], [245.0, 235.0], [212.0, 280.0], [275.0, 290.0]])


def umeyama(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Similarity (2, 3) as scikit-image's SimilarityTransform, which norm_crop uses, estimates it: by SVD."""
    a, b = source - source.mean(axis=0), target - target.mean(axis=0)
    u, s, vt = np.linalg.svd(b.T @ a / len(a))
    signs = np.array([1.0, np.sign(np.linalg.det(u @ vt))])
    rotation = u @ np.diag(signs) @ vt
    scale = (s * signs).sum() / a.var(axis=0).sum()
    return np.column_stack([scale * rotation, target.mean(axis=0) - scale * rotation @ source.mean(axis=0)])


def ffhq_quad(five: np.ndarray) -> np.ndarray:
    """The crop's corners (4, 2) in ffhq-dataset: upper left, lower left, lower right, upper right."""
    left, right, _, mouth_left, mouth_right = five  # as in the picture
    centre, mouth = (left + right) / 2, (mouth_left + mouth_right) / 2
    x = (right - left) - np.flipud(mouth - centre) * [-1, 1]
    x /= np.hypot(*x)
    x *= max(np.hypot(*(right - left)) * 2.0, np.hypot(*(mouth - centre)) * 1.8)
    y = np.flipud(x) * [-1, 1]
    c = centre + (mouth - centre) * 0.1
    return np.stack([c - x - y, c - x + y, c + x + y, c + x - y])


def test_arcface_is_the_matrix_of_norm_crop() -> None:
    """Least squares to InsightFace's template, at 112 pixels."""
    np.testing.assert_allclose(alignment_matrix(FIVE), umeyama(FIVE, ARCFACE), atol=1e-9)


def test_other_sizes_show_the_same_square() -> None:
    """The crop's edges stay where they are, so that a crop of 224 is one of 112 enlarged."""
    corner = transform(np.linalg.inv(np.vstack([alignment_matrix(FIVE), [0, 0, 1]]))[:2], np.array([[-0.5, 111.5]]))
    np.testing.assert_allclose(transform(alignment_matrix(FIVE, 224), corner), [[-0.5, 223.5]], atol=1e-9)


@pytest.mark.parametrize("five", [FIVE, FIVE * [0.3, 1.0]], ids=["by the eyes", "by the mouth"])
def test_ffhq_is_the_quad_of_the_dataset(five: np.ndarray) -> None:
    """Its corners are the corners of the crop's pixels."""
    corners = transform(alignment_matrix(five, 256, "ffhq"), ffhq_quad(five))
    np.testing.assert_allclose(corners, [[-0.5, -0.5], [-0.5, 255.5], [255.5, 255.5], [255.5, -0.5]], atol=1e-9)


def test_an_own_template_is_met() -> None:
    """In pixels of the crop."""
    template = np.array([[20.0, 30.0], [44.0, 30.0], [32.0, 40.0], [24.0, 50.0], [40.0, 50.0]])
    matrix = alignment_matrix(template * 3 + 7, 64, template)
    np.testing.assert_allclose(matrix, [[1 / 3, 0, -7 / 3], [0, 1 / 3, -7 / 3]], atol=1e-9)


def test_shrinking_does_not_alias() -> None:
    """A fine checkerboard becomes grey, not a pattern."""
    board = np.where(np.indices((1200, 1200)).sum(axis=0) % 2, 255, 0).astype(np.uint8)
    crop = align_crop(np.repeat(board[..., None], 3, axis=2), FIVE * 3).image
    assert crop.shape == (112, 112, 3)
    assert abs(crop[20:100, 20:100].astype(float) - 127.5).max() < 3


def test_outside_is_black_for_arcface_and_mirrored_for_ffhq() -> None:
    """As InsightFace and the data set have it."""
    image = np.full((300, 300, 3), 200, np.uint8)
    assert align_crop(image, FIVE, 256, "arcface").image.min() == 0
    assert align_crop(image, FIVE, 256, "ffhq").image.min() == 200


def test_a_rolled_face_is_upright_in_its_crop() -> None:
    """From a face's own points: the person's right eye on the left, at the template's place."""
    sample = synthetic_samples(1, seed=3)[0]
    assert sample.image is not None
    turned = cv2.rotate(sample.image, cv2.ROTATE_90_CLOCKWISE)
    x, y = sample.points.T
    points = np.column_stack([sample.image.shape[0] - 1 - y, x])
    upright = Face(sample.points, tight_box(sample.points), IBUG68)
    rolled = Face(points, tight_box(points), IBUG68)
    crop = rolled.aligned(np.ascontiguousarray(turned))
    difference = crop.image.astype(float) - upright.aligned(sample.image).image
    assert np.abs(difference).mean() < 1.0
    np.testing.assert_allclose(transform(crop.matrix, rolled.five_points)[:2], ARCFACE[:2], atol=8)


def test_the_error_names_the_fault() -> None:
    """Points of another number, a template of unknown name, points in one place, a grey picture."""
    with pytest.raises(GeometryError, match=r"points of shape \(4, 2\): needs \(5, 2\)"):
        alignment_matrix(FIVE[:4])
    with pytest.raises(GeometryError, match=r"template of shape \(5,\): needs \(5, 2\)"):
        alignment_matrix(FIVE, template=np.zeros(5))
    with pytest.raises(GeometryError, match="template 'sphere': needs one of arcface, ffhq"):
        alignment_matrix(FIVE, template="sphere")
    for template in ("arcface", "ffhq"):
        with pytest.raises(GeometryError, match="points coincide"):
            alignment_matrix(np.ones((5, 2)), template=template)
    with pytest.raises(ImageError, match="needs RGB"):
        align_crop(np.zeros((9, 9), np.uint8), FIVE)
