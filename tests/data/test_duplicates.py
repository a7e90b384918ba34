"""Tests of telling copies of a picture from other pictures."""

import cv2
import numpy as np
import pytest

from lightmark.data.check.duplicates import (
    DUPLICATE_BY_BOX,
    DUPLICATE_BY_EYES,
    comparison_crop,
    fine_correlation,
    near_duplicates,
)
from lightmark.data.read import read_samples
from lightmark.data.sample import load_image
from lightmark.schema import Schema, plain_schema

EYES = Schema("eyes", (1, 0, 2), (0, 1))
POINTS = np.array([[60.0, 60.0], [140.0, 60.0], [100.0, 140.0]])


def noise(seed: int) -> np.ndarray:
    """A picture (200, 200, 3) of structure at all scales, like no other seed's."""
    rng = np.random.default_rng(seed)
    layers = [cv2.resize(rng.uniform(0, 1, (n, n, 3)), (200, 200), interpolation=cv2.INTER_CUBIC) for n in (5, 12, 40)]
    return np.clip(255 * sum(layers) / 3, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("schema", [EYES, plain_schema(3)])
def test_smaller_darker_compressed_copy_is_alike(schema):
    """A copy at 60 % of the size, half as bright, saved as JPEG, is the same picture, another picture is not."""
    small = cv2.resize(noise(0), None, fx=0.6, fy=0.6, interpolation=cv2.INTER_AREA) // 2
    copy = cv2.imdecode(cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, 60])[1], cv2.IMREAD_COLOR)
    first = [comparison_crop(noise(seed), POINTS, schema) for seed in (0, 1)]
    second = [comparison_crop(noise(2), POINTS, schema), comparison_crop(copy, POINTS * 0.6, schema)]
    ((i, j, correlation),) = near_duplicates(first, second, DUPLICATE_BY_BOX)
    assert (i, j) == (0, 1)
    assert correlation > DUPLICATE_BY_BOX


def test_labels_made_anew_still_match():
    """Eye corners set 3 % of their distance elsewhere keep the copy alike."""
    crop = comparison_crop(noise(0), POINTS, EYES)
    again = comparison_crop(noise(0), POINTS + np.array([[2.4, -1], [-1, 1], [0, 0]]), EYES)
    assert fine_correlation(crop, again) > DUPLICATE_BY_EYES


def test_tiny_face_has_no_crop():
    """Faces below 16 pixels are not compared."""
    assert comparison_crop(noise(0), POINTS / 20, EYES) is None


def test_coinciding_eye_corners_have_no_crop():
    """In a full profile the eye corners may coincide, which gives no scale."""
    assert comparison_crop(noise(0), POINTS[[0, 0, 2]], EYES) is None


def test_flat_crops_match_nothing():
    """In crops without structure a single step of grey, a clipped shadow say, would make all alike."""
    flat = np.full((64, 64), 90, dtype=np.uint8)
    step = flat + (np.arange(64) > 30).astype(np.uint8)
    assert near_duplicates([flat, step], [flat, step], 0.5) == []


def test_empty_side_has_no_pairs():
    """Without training faces there is nothing to compare."""
    assert near_duplicates([], [comparison_crop(noise(0), POINTS, EYES)], 0.5) == []


def test_real_relabelled_copies_are_found(real_data):
    """Most of 234 HELEN faces, labelled with 29 and with 68 points by different people, are near duplicates."""
    old = {face.path.stem: face for face in read_samples(real_data / "300w" / "helen" / "trainset")}
    pairs = [(face, old[face.path.stem]) for face in read_samples(real_data / "helen29") if face.path.stem in old]
    correlation = [
        fine_correlation(*(comparison_crop(load_image(face), face.points, face.schema) for face in pair))
        for pair in pairs
    ]
    assert len(pairs) == 234
    assert np.mean(np.array(correlation) >= DUPLICATE_BY_EYES) > 0.8
