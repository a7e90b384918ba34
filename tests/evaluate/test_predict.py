"""Tests of predictions in image pixels: crops, conversions of schemas, box jitter."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from lightmark.data.sample import Sample
from lightmark.errors import CheckpointError, ConfigError, DataError, MissingExtraError, SchemaError, SpecError
from lightmark.evaluate.predict import face_boxes, jitter_boxes, open_model, predict, to_schema
from lightmark.geometry import tight_box, to_normalized, transform
from lightmark.metrics import interocular, nme
from lightmark.schema import COFW29, IBUG68, WFLW98, plain_schema
from lightmark.schemes import ibug68_from_wflw98
from lightmark.spec import ModelSpec, spec_crop_matrix


def truth_of(samples: list[Sample]) -> np.ndarray:
    """Labelled points (F, N, 2)."""
    return np.stack([sample.points for sample in samples])


def face_of(schema, seed: int = 0) -> Sample:
    """Random points of a schema on a black picture."""
    points = np.random.default_rng(seed).uniform(10, 90, (schema.size, 2))
    return Sample(Path("a.png"), points, tight_box(points), schema, "a", image=np.zeros((100, 100, 3), np.uint8))


def test_finds_blobs_to_a_fraction_of_a_pixel(centroid_model, blob_samples) -> None:
    """A model that returns centres of brightness predicts the labels in any crop."""
    assert predict(centroid_model, blob_samples) == pytest.approx(truth_of(blob_samples), abs=0.15)


def test_crop_and_uncrop_are_exact_inverses(fixed_model, blob_sample) -> None:
    """Image points put back into the crop are the model's normalized points."""
    normalized_points = np.array([[0.1, 0.9], [0.5, 0.5], [1.2, -0.3]])
    sample = blob_sample(3)
    model = fixed_model(ModelSpec(sample.schema, size=48, crop_scale=1.4), normalized_points)
    matrix = spec_crop_matrix(model.spec, sample.box)
    back = to_normalized(transform(matrix, predict(model, [sample])[0]), 48)
    assert back == pytest.approx(normalized_points, abs=1e-12)


def test_single_bright_pixels_come_back_exactly(centroid_model) -> None:
    """At a zoom of one, a pixel's centre survives the crop between pixels."""
    points = np.array([[30.0, 20.0], [46.0, 52.0], [62.0, 20.0]])
    picture = np.zeros((90, 100, 3), np.uint8)
    for channel, (x, y) in enumerate(points.astype(int)):
        picture[y, x, channel] = 200
    sample = Sample(Path("dots.png"), points, tight_box(points), centroid_model.spec.schema, "dots", image=picture)
    assert predict(centroid_model, [sample])[0] == pytest.approx(points, abs=1e-9)


def test_a_picture_four_times_as_large_gives_the_same_error(centroid_model, blob_samples) -> None:
    """Enlarging picture and labels changes no face's NME by more than 0.5 % of the normalising distance."""

    def enlarge(sample: Sample) -> Sample:
        # Pixel centres at integers: x becomes 4x + 1.5.
        picture = cv2.resize(sample.image, None, fx=4, fy=4, interpolation=cv2.INTER_CUBIC)
        points = 4 * sample.points + 1.5
        return replace(sample, points=points, box=tight_box(points), image=picture)

    def errors(samples: list[Sample]) -> np.ndarray:
        truth = truth_of(samples)
        return nme(predict(centroid_model, samples), truth, interocular(truth, samples[0].schema))

    assert errors([enlarge(sample) for sample in blob_samples]) == pytest.approx(errors(blob_samples), abs=0.005)


def test_batches_do_not_change_points(centroid_model, blob_samples) -> None:
    """Five at a time or all at once: the same points, in the same order."""
    assert np.array_equal(predict(centroid_model, blob_samples, batch=5), predict(centroid_model, blob_samples))


def test_one_forward_pass_a_face(centroid_model, blob_samples) -> None:
    """Twelve faces in batches of five are 5, 5 and 2 crops."""
    predict(centroid_model, blob_samples, batch=5)
    assert centroid_model.batches == [5, 5, 2]


def test_a_spoilt_box_moves_the_crop_but_not_the_truth(centroid_model, blob_samples) -> None:
    """The centroid model predicts the blobs in crops with box jitter, too."""
    spoilt = predict(centroid_model, blob_samples, box_jitter=0.1)
    assert spoilt == pytest.approx(truth_of(blob_samples), abs=0.3)
    assert not np.array_equal(spoilt, predict(centroid_model, blob_samples))


def test_the_same_seed_spoils_boxes_alike(centroid_model, blob_samples) -> None:
    """A run can be repeated with its seed, and differs with another."""
    first, again, other = (predict(centroid_model, blob_samples, box_jitter=0.2, seed=seed) for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_no_faces_are_refused(centroid_model) -> None:
    """Nothing to predict is a mistake upstream."""
    with pytest.raises(DataError, match="no faces"):
        predict(centroid_model, [])


def test_samples_of_another_schema_are_refused(centroid_model) -> None:
    """Predicting does not convert in silence."""
    with pytest.raises(SchemaError, match=r"a\.png: labelled with cofw29, the model gives points3; .*to_schema"):
        predict(centroid_model, [face_of(COFW29)])


def test_labels_without_extent_name_the_face(centroid_model, blob_sample) -> None:
    """A face all of whose points coincide has no crop."""
    flat = replace(blob_sample(0), points=np.full((3, 2), 7.0), box=np.full(4, 7.0))
    with pytest.raises(DataError, match=r"faces/face_0\.png: the labelled points span no box"):
        predict(centroid_model, [flat])


def test_an_output_of_a_wrong_shape_is_refused(fixed_model, blob_sample) -> None:
    """A model whose points contradict its spec is an error."""
    sample = blob_sample(0)
    with pytest.raises(SpecError, match=r"shape \(1, 4, 2\), its spec says \(1, 3, 2\)"):
        predict(fixed_model(ModelSpec(sample.schema, size=32), np.zeros((4, 2))), [sample])


def test_jitter_of_zero_keeps_boxes(blob_samples) -> None:
    """Level 0 returns the boxes unchanged."""
    boxes = face_boxes(blob_samples)
    assert jitter_boxes(boxes, 0.0, np.random.default_rng(0)) == pytest.approx(boxes)


def test_jitter_stays_within_its_share_of_the_box() -> None:
    """Centres move by at most the level times the side, sides grow by at most 1 + level."""
    boxes = np.tile([10.0, 20.0, 110.0, 220.0], (500, 1))
    spoilt = jitter_boxes(boxes, 0.1, np.random.default_rng(0))
    shift = (spoilt[:, :2] + spoilt[:, 2:]) / 2 - [60, 120]
    growth = (spoilt[:, 2:] - spoilt[:, :2]) / [100, 200]
    assert np.abs(shift).max(axis=0) == pytest.approx([10, 20], rel=0.02)
    assert (growth.min(), growth.max()) == pytest.approx((0.9, 1.1), rel=0.01)


def test_jitter_keeps_the_form_of_a_box() -> None:
    """Width and height are scaled by the same factor."""
    spoilt = jitter_boxes(np.array([[0.0, 0.0, 50.0, 100.0]]), 0.3, np.random.default_rng(5))[0]
    assert (spoilt[3] - spoilt[1]) / (spoilt[2] - spoilt[0]) == pytest.approx(2)


def test_jitter_grows_along_one_direction() -> None:
    """With the same generator state the box errors of two levels are proportional."""
    box = np.array([[0.0, 0.0, 50.0, 100.0]])
    small, large = (jitter_boxes(box, level, np.random.default_rng(5)) - box for level in (0.1, 0.2))
    assert large == pytest.approx(2 * small)


@pytest.mark.parametrize("level", [-0.1, 1.0, 10.0])
def test_jitter_refuses_levels_that_leave_no_box(level: float) -> None:
    """A level is a share of the box's size, no percentage."""
    with pytest.raises(ConfigError, match=r"box jitter .*from 0 to below 1"):
        jitter_boxes(np.array([[0.0, 0.0, 1.0, 1.0]]), level, np.random.default_rng(0))


def test_wflw_faces_become_68_points_with_their_box() -> None:
    """Truth and box both follow the conversion."""
    sample = face_of(WFLW98)
    (converted,) = to_schema([sample], IBUG68)
    assert converted.schema is IBUG68
    assert converted.points == pytest.approx(ibug68_from_wflw98(sample.points))
    assert converted.box == pytest.approx(tight_box(converted.points))


def test_samples_of_the_schema_stay_as_they_are() -> None:
    """Samples that have the schema are returned as they are."""
    sample = face_of(IBUG68)
    assert to_schema([sample], IBUG68)[0] is sample


def test_points_without_names_take_the_model_s(blob_sample) -> None:
    """A file of 29 points read without a schema can be used with a model of 29 points."""
    sample = face_of(plain_schema(29))
    assert to_schema([sample], COFW29)[0].schema is COFW29


@pytest.mark.parametrize(("labelled", "expected"), [(IBUG68, WFLW98), (COFW29, IBUG68), (plain_schema(68), COFW29)])
def test_other_conversions_are_refused(labelled, expected) -> None:
    """Only WFLW's points imply another set's."""
    with pytest.raises(SchemaError, match=rf"labelled with {labelled.name} .*expected {expected.name} .*only wflw98"):
        to_schema([face_of(labelled)], expected)


def test_an_onnx_file_opens(model_68) -> None:
    """The exported model gives its 68 points."""
    assert open_model(model_68())(np.zeros((2, 32, 32, 3), np.uint8)).shape == (2, 68, 2)


def test_another_suffix_is_refused(tmp_path) -> None:
    """The error names the suffixes of model files."""
    with pytest.raises(CheckpointError, match=r"m\.pth: got a file ending in '\.pth', a model ends in \.onnx, "):
        open_model(tmp_path / "m.pth")


def test_a_checkpoint_without_torch_names_the_extra(tmp_path, monkeypatch) -> None:
    """The message holds the install line."""
    monkeypatch.delitem(sys.modules, "lightmark.nets.checkpoint", raising=False)
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingExtraError, match=r'pip install "lightmark\[train\]"'):
        open_model(tmp_path / "m.safetensors")
