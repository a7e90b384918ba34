"""Finds come back in the picture's own pixels, one a face."""

from __future__ import annotations

import numpy as np
import pytest

from lightmark.detectors.face_detector import MAX_DETECTIONS, choose_boxes, fit_input
from lightmark.geometry import transform


@pytest.mark.parametrize(
    ("shape", "size"),
    [
        ((480, 640), (320, 256)),
        ((640, 480), (256, 320)),
        ((320, 320), (320, 320)),
        ((1, 5000), (320, 32)),
        ((90, 90), (320, 320)),
    ],
)
def test_a_whole_picture_fits_with_its_edges(shape: tuple[int, int], size: tuple[int, int]) -> None:
    """The upper left edge stays, the longer side ends where the network's picture does."""
    matrix, found = fit_input(shape, 320, 32)
    assert found == size
    height, width = shape
    edges = transform(matrix, np.array([[-0.5, -0.5], [width - 0.5, height - 0.5]]))
    np.testing.assert_allclose(edges[0], -0.5, atol=1e-9)
    assert (edges[1] <= np.array(size) - 0.5 + 1e-6).all()
    np.testing.assert_allclose((edges[1] + 0.5).max(), 320)


def test_of_several_finds_of_one_face_the_surest_stays() -> None:
    """Another face beside it stays too; order is by score."""
    boxes = np.array([[0.0, 0, 10, 10], [1, 0, 11, 10], [30, 30, 40, 40], [0, 1, 10, 11], [60, 60, 70, 70]])
    found, scores = choose_boxes(boxes, np.array([0.6, 0.9, 0.7, 0.8, 0.2], np.float32), 0.5)
    np.testing.assert_array_equal(found, boxes[[1, 2]])
    np.testing.assert_allclose(scores, [0.9, 0.7], rtol=1e-6)


def test_nothing_sure_enough_is_nothing() -> None:
    """The shapes stay."""
    found, scores = choose_boxes(np.zeros((5, 4)), np.full(5, 0.1, np.float32), 0.5)
    assert found.shape == (0, 4)
    assert scores.shape == (0,)


def test_a_flood_of_finds_is_cut() -> None:
    """However low the threshold, so that time stays bounded; the surest are kept."""
    count = 3 * MAX_DETECTIONS
    boxes = np.arange(count)[:, None] * 20.0 + np.array([0, 0, 10, 10])
    found, scores = choose_boxes(boxes, np.linspace(0.1, 0.9, count), 0.05)
    assert len(found) == MAX_DETECTIONS
    assert scores[0] == pytest.approx(0.9)
