"""A picture and boxes give faces in image pixels, in order, whatever the boxes look like."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lightmark.errors import GeometryError, ImageError
from lightmark.runtime.detector import FixedBoxes
from lightmark.runtime.landmarker import Landmarker
from lightmark.schema import Schema
from lightmark.spec import ModelSpec, Outputs, spec_to_json

FIVE = Schema("five", mirror=(1, 0, 2, 4, 3), normaliser=(0, 1))
SHAPE = np.array([[0.3, 0.4], [0.7, 0.4], [0.5, 0.55], [0.35, 0.7], [0.65, 0.7]])
SPEC = ModelSpec(FIVE, 32, crop_scale=1.5)
GREY = np.full((100, 120, 3), 128, np.uint8)

WriteOnnx = Callable[..., Path]


@pytest.fixture
def landmarker(write_onnx: WriteOnnx) -> Landmarker:
    """A model that answers every crop with the same unit points."""
    return Landmarker(write_onnx("fixed.onnx", SHAPE, SPEC.size, spec_to_json(SPEC)), threads=1)


def test_detected_faces_are_those_of_the_detectors_boxes(write_onnx: WriteOnnx) -> None:
    """`detect` is the detector, then `landmarks`; no boxes are no faces."""
    path = write_onnx("fixed.onnx", SHAPE, SPEC.size, spec_to_json(SPEC))
    landmarker = Landmarker(path, FixedBoxes([[40, 30, 60, 50], [10, 10, 30, 30]]), threads=1)
    wanted = landmarker.landmarks(GREY, [[40, 30, 60, 50], [10, 10, 30, 30]])
    for face, known in zip(landmarker.detect(GREY), wanted, strict=True):
        np.testing.assert_array_equal(face.points, known.points)
    assert Landmarker(path, FixedBoxes([]), threads=1).detect(GREY) == []


def test_points_come_back_in_image_pixels(landmarker: Landmarker) -> None:
    """A unit point lies at its share of the enlarged square around the box."""
    (face,) = landmarker.landmarks(GREY, [[40, 30, 60, 50]])
    # The crop is 1.5 · 20 = 30 px wide about (50, 40), from 35 to 65 and from 25 to 55.
    np.testing.assert_allclose(face.points, np.array([35, 25]) + SHAPE * 30, atol=1e-5)
    np.testing.assert_array_equal(face.box, [40, 30, 60, 50])


def test_uncertainty_comes_back_in_image_pixels(landmarker: Landmarker, monkeypatch: pytest.MonkeyPatch) -> None:
    """An expected error of a tenth of the crop is 3 px where the crop is 30 px wide and 6 px where it is 60."""
    outputs = Outputs(np.stack([SHAPE, SHAPE]), np.full((2, 5), 0.1), np.array([0.9, 0.25]))
    monkeypatch.setattr(landmarker._model, "outputs", lambda crops: outputs)
    near, far = landmarker.landmarks(GREY, [[40, 30, 60, 50], [40, 30, 80, 70]])
    np.testing.assert_allclose(near.uncertainty, np.full(5, 3.0))
    np.testing.assert_allclose(far.uncertainty, np.full(5, 6.0))
    assert (near.score, far.score) == (0.9, 0.25)
    assert json.loads(json.dumps(near.to_dict()))["score"] == 0.9


def test_a_model_without_confidence_claims_none(landmarker: Landmarker) -> None:
    """No made-up score, and none in the dictionary."""
    (face,) = landmarker.landmarks(GREY, [[40, 30, 60, 50]])
    assert face.score is None
    assert face.uncertainty is None
    assert set(face.to_dict()) == {"schema", "box", "points"}


def test_faces_keep_the_order_of_the_boxes(landmarker: Landmarker) -> None:
    """Several boxes of other sizes in one call equal one call each."""
    boxes = [[40, 30, 60, 50], [-20, -10, 15, 20], [90, 80, 150, 140]]
    together = landmarker.landmarks(GREY, boxes)
    for face, box in zip(together, boxes, strict=True):
        np.testing.assert_allclose(face.points, landmarker.landmarks(GREY, [box])[0].points, atol=1e-5)


def test_the_picture_is_looked_at(write_onnx: WriteOnnx) -> None:
    """A model moved by brightness answers a white picture elsewhere than a black one, by what it was told."""
    path = write_onnx("bright.onnx", SHAPE, SPEC.size, spec_to_json(SPEC), gain=0.25)
    landmarker = Landmarker(path)
    white, black = (
        landmarker.landmarks(np.full_like(GREY, level), [[40, 30, 60, 50]])[0].points for level in (255, 0)
    )
    np.testing.assert_allclose(white - black, 0.25 * 30, atol=1e-4)


def test_a_spec_for_other_points_maps_the_box(write_onnx: WriteOnnx) -> None:
    """`box_offsets` turn the 68-point box into the model's own before the crop."""
    spec = replace(SPEC, box_offsets=(0.0, -0.5, 0.0, 0.5))
    landmarker = Landmarker(write_onnx("offset.onnx", SHAPE, spec.size, spec_to_json(spec)))
    (face,) = landmarker.landmarks(GREY, [[40, 30, 60, 50]])
    # The box grows to 20 × 40, so the crop is 60 px wide about (50, 40).
    np.testing.assert_allclose(face.points, np.array([20, 10]) + SHAPE * 60, atol=1e-5)


@pytest.mark.parametrize("none", [[], np.zeros((0, 4))])
def test_no_boxes_give_no_faces(landmarker: Landmarker, none: object) -> None:
    """An empty list is an answer, not an error."""
    assert landmarker.landmarks(GREY, none) == []  # type: ignore[arg-type]  # any emptiness will do


def test_a_face_outside_the_picture_is_no_crash(landmarker: Landmarker) -> None:
    """A box wholly beside the picture gives finite points from a black crop."""
    (face,) = landmarker.landmarks(GREY, [[500, 500, 600, 600]])
    assert np.isfinite(face.points).all()


@pytest.mark.parametrize(
    ("boxes", "text"),
    [
        ([40, 30, 60, 50], r"shape \(4,\): needs \(F, 4\)"),
        ([[40, 30, 60]], "four finite numbers"),
        ([[60, 30, 40, 50]], "x1 must exceed x0"),
        ([[40, 30, np.nan, 50]], "four finite numbers"),
    ],
)
def test_bad_boxes_are_explained(landmarker: Landmarker, boxes: object, text: str) -> None:
    """A single flat box, three numbers, a reversed box and one that is not finite."""
    with pytest.raises(GeometryError, match=text):
        landmarker.landmarks(GREY, boxes)  # type: ignore[arg-type]  # wrong on purpose


def test_a_grey_picture_is_refused_with_the_wanted_form(landmarker: Landmarker) -> None:
    """Two-dimensional arrays are not guessed at."""
    with pytest.raises(ImageError, match="needs RGB uint8"):
        landmarker.landmarks(GREY[:, :, 0], [[40, 30, 60, 50]])


def test_face_as_json(landmarker: Landmarker) -> None:
    """`to_dict` holds plain numbers."""
    (face,) = landmarker.landmarks(GREY, [[40, 30, 60, 50]])
    data = json.loads(json.dumps(face.to_dict()))
    assert data["schema"] == "five"
    assert np.shape(data["points"]) == (5, 2)


def test_run_time_imports_no_torch() -> None:
    """The module that runs models pulls neither torch nor the training code."""
    code = "import sys, lightmark.runtime.landmarker; print([m for m in sys.modules if 'torch' in m or 'nets' in m])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
