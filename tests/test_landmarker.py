"""A picture and boxes give faces in image pixels, in order, whatever the boxes look like."""

from __future__ import annotations

import json
import subprocess
import sys
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from lightmark import crop_requests
from lightmark import landmarker as landmarker_module
from lightmark.crop_requests import CropRequest
from lightmark.data.sample import load_image
from lightmark.data.synthetic import synthetic_samples
from lightmark.detectors.open import FixedBoxes, Proposals
from lightmark.errors import ConfigError, GeometryError, ImageError, SpecError
from lightmark.face import Face
from lightmark.geometry import (
    Array,
    box_centre,
    compose,
    invert,
    longer_side,
    overlaps,
    similarity_matrix,
    tight_box,
    transform,
)
from lightmark.image import Picture
from lightmark.landmarker import Landmarker
from lightmark.runtime.onnx_model import OnnxModel
from lightmark.schema import IBUG68, Schema
from lightmark.spec import ModelSpec, Outputs, face_roll, spec_to_json

FIVE = Schema("five", mirror=(1, 0, 2, 4, 3), normaliser=(0, 1))
SHAPE = np.array([[0.3, 0.4], [0.7, 0.4], [0.5, 0.55], [0.35, 0.7], [0.65, 0.7]])
PLACES = ((-0.2, -0.1), (0.2, -0.1), (0.0, 0.1), (-0.15, 0.3), (0.15, 0.3))
SPEC = ModelSpec(FIVE, 32, crop_scale=1.5, template=PLACES)
GREY = np.full((100, 120, 3), 128, np.uint8)
BOXES = [[40, 30, 60, 50], [10, 10, 30, 30]]

WriteOnnx = Callable[..., Path]
RIGHT_EYE, LEFT_EYE, MOUTH = slice(36, 42), slice(42, 48), slice(48, 68)
UPRIGHT68 = np.full((68, 2), 0.5)
UPRIGHT68[RIGHT_EYE], UPRIGHT68[LEFT_EYE], UPRIGHT68[MOUTH] = (0.3, 0.4), (0.7, 0.4), (0.5, 0.7)


def sees(scores: Sequence[float], points: Array = UPRIGHT68) -> Callable[[NDArray[np.uint8]], Outputs]:
    """Model outputs: `points` in every crop, `scores` for as many crops, and no face in crops turned later."""
    waiting = list(scores)

    def outputs(crops: NDArray[np.uint8]) -> Outputs:
        count = len(crops)
        confidence = np.array([waiting.pop(0) if waiting else 0.0 for _ in range(count)])
        return Outputs(np.stack([points] * count), np.full((count, len(points)), 0.1), confidence)

    return outputs


@pytest.fixture
def landmarker(write_onnx: WriteOnnx) -> Landmarker:
    """A model that returns the same normalized points for every crop."""
    return Landmarker(write_onnx("fixed.onnx", SHAPE, SPEC.size, spec_to_json(SPEC)), threads=1)


def points_of(faces: Sequence[Face]) -> Array:
    """Points (F, N, 2) of the faces."""
    return np.array([face.points for face in faces])


def test_detected_faces_are_those_of_the_detectors_boxes(write_onnx: WriteOnnx) -> None:
    """`detect` is the detector, then `landmarks`; no boxes are no faces."""
    path = write_onnx("fixed.onnx", SHAPE, SPEC.size, spec_to_json(SPEC))
    landmarker = Landmarker(path, FixedBoxes([[40, 30, 60, 50], [10, 10, 30, 30]]), threads=1)
    expected = landmarker.landmarks(GREY, [[40, 30, 60, 50], [10, 10, 30, 30]])
    for face, known in zip(landmarker.detect(GREY), expected, strict=True):
        np.testing.assert_array_equal(face.points, known.points)
    assert Landmarker(path, FixedBoxes([]), threads=1).detect(GREY) == []


def test_points_come_back_in_image_pixels(landmarker: Landmarker) -> None:
    """A normalized point lies at its share of the enlarged square around the box."""
    (face,) = landmarker.landmarks(GREY, [[40, 30, 60, 50]])
    # The crop is 1.5 · 20 = 30 px wide about (50, 40), from 35 to 65 and from 25 to 55.
    np.testing.assert_allclose(face.points, np.array([35, 25]) + SHAPE * 30, atol=1e-5)
    np.testing.assert_array_equal(face.box, [40, 30, 60, 50])


def test_expected_errors_come_back_in_image_pixels(landmarker: Landmarker, monkeypatch: pytest.MonkeyPatch) -> None:
    """An expected error of a tenth of the crop is 3 px where the crop is 30 px wide and 6 px where it is 60."""
    monkeypatch.setattr(landmarker._model, "outputs", sees([0.9, 0.25], SHAPE))
    near, far = landmarker.landmarks(GREY, [[40, 30, 60, 50], [40, 30, 80, 70]])
    np.testing.assert_allclose(near.expected_error, np.full(5, 3.0))
    np.testing.assert_allclose(far.expected_error, np.full(5, 6.0))
    assert (near.confidence, far.confidence) == (0.9, 0.25)
    assert json.loads(json.dumps(near.to_dict()))["confidence"] == 0.9


def test_finds_in_which_the_model_sees_no_face_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """`detect` and `detect_batch` drop what is below `min_confidence` or 0.1; a caller's boxes are all answered."""
    boxes = [[40, 30, 60, 50], [10, 10, 30, 30], [50, 50, 80, 80], [70, 5, 85, 20]]
    landmarker = Landmarker("fast", FixedBoxes(boxes), threads=1, min_confidence=0.5)
    for find, found in (
        (landmarker.detect, [0.9, 0.5]),
        (lambda picture: landmarker.detect_batch([picture])[0], [0.9, 0.5]),
        (lambda picture: landmarker.landmarks(picture, boxes), [0.9, 0.25, 0.5, 0.05]),
        (Landmarker("fast", FixedBoxes(boxes), threads=1).detect, [0.9, 0.25, 0.5]),
        (Landmarker("fast", FixedBoxes(boxes), threads=1, min_confidence=0).detect, [0.9, 0.25, 0.5, 0.05]),
    ):
        outputs = sees([0.9, 0.25, 0.5, 0.05])
        monkeypatch.setattr(OnnxModel, "outputs", lambda model, crops, outputs=outputs: outputs(crops))
        assert [face.confidence for face in find(GREY)] == found


class Hesitant:
    """Proposes three boxes, of which it is sure of two."""

    boxes = np.array([[50.0, 50, 80, 80], [40, 30, 60, 50], [10, 10, 30, 30]])

    def __call__(self, image: Picture) -> Array:
        """The sure ones."""
        return self.boxes[:2]

    def propose(self, image: Picture) -> tuple[Array, NDArray[np.bool_]]:
        """All."""
        return self.boxes, np.array([True, True, False])


@pytest.mark.parametrize(
    ("scores", "least", "kept"),
    [
        ((0.9, 0.2, 0.98), None, [0.9, 0.2, 0.98]),
        ((0.9, 0.2, 0.97), None, [0.9, 0.2]),
        ((0.9, 0.2, 0.99), 0.3, [0.9, 0.99]),
        ((0.9, 0.2, 0.4), 0.3, [0.9]),
    ],
)
def test_the_model_judges_what_the_detector_only_proposes(
    scores: tuple[float, ...], least: float | None, kept: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Detections are kept unless denied (below 0.1), proposals need 0.98."""
    landmarker = Landmarker("fast", Hesitant(), threads=1, min_confidence=least)
    for find in (landmarker.detect, lambda picture: landmarker.detect_batch([picture])[0]):
        outputs = sees(scores)
        monkeypatch.setattr(OnnxModel, "outputs", lambda model, crops, outputs=outputs: outputs(crops))
        assert [face.confidence for face in find(GREY)] == kept


class Doubtful(Hesitant):
    """Proposes another box once its sure ones are denied."""

    other = np.array([[20.0, 20, 60, 60]])

    def propose_without(self, image: Picture, denied: Array) -> Proposals:
        """The other box."""
        np.testing.assert_array_equal(denied, self.boxes[:2])
        return Proposals(self.other, np.array([False]))


@pytest.mark.parametrize(
    ("confidences", "found"),
    [
        ({50: 0.05, 40: 0.05, 10: 0.5, 20: 0.985}, [20]),
        ({50: 0.05, 40: 0.05, 10: 0.5, 20: 0.9}, []),
        ({50: 0.05, 40: 0.05, 10: 0.995, 20: 0.985}, [10]),
        ({50: 0.05, 40: 0.2, 10: 0.5, 20: 0.985}, [40]),
    ],
)
def test_where_all_detections_are_denied_the_picture_is_searched_again(
    confidences: dict[int, float], found: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A detection that is none must not hide a face that is hard to see; boxes by their left edge."""
    landmarker = Landmarker("fast", Doubtful(), threads=1)

    def answers(requests: Iterable[CropRequest]) -> Iterator[tuple[int, Face]]:
        for request in requests:
            points = np.tile(request.box[:2], (68, 1))
            yield request.picture, Face(points, request.box, IBUG68, None, confidences[int(request.box[0])])

    monkeypatch.setattr(landmarker, "_faces", answers)
    for faces in (landmarker.detect(GREY), *landmarker.detect_batch([GREY] * 3)):
        assert [face.box[0] for face in faces] == found


def test_a_model_without_confidence_judges_nothing(write_onnx: WriteOnnx) -> None:
    """Only what the detector is sure of is looked at."""
    path = write_onnx("fixed.onnx", SHAPE, SPEC.size, spec_to_json(SPEC))
    assert len(Landmarker(path, Hesitant(), threads=1).detect(GREY)) == 2


def test_a_least_confidence_needs_a_model_with_confidence(write_onnx: WriteOnnx) -> None:
    """It would have no effect without a confidence output, so it is an error."""
    path = write_onnx("fixed.onnx", SHAPE, SPEC.size, spec_to_json(SPEC))
    with pytest.raises(ConfigError, match=r"min_confidence 0\.3: needs a model with confidence"):
        Landmarker(path, FixedBoxes([]), min_confidence=0.3)


def test_a_model_without_confidence_claims_none(landmarker: Landmarker) -> None:
    """No made-up confidence, and none in the dictionary."""
    (face,) = landmarker.landmarks(GREY, [[40, 30, 60, 50]])
    assert face.confidence is None
    assert face.expected_error is None
    assert set(face.to_dict()) == {"schema", "box", "points"}


def test_faces_keep_the_order_of_the_boxes(landmarker: Landmarker) -> None:
    """Several boxes of other sizes in one call equal one call each."""
    boxes = [[40, 30, 60, 50], [-20, -10, 15, 20], [90, 80, 150, 140]]
    together = landmarker.landmarks(GREY, boxes)
    for face, box in zip(together, boxes, strict=True):
        np.testing.assert_allclose(face.points, landmarker.landmarks(GREY, [box])[0].points, atol=1e-5)


def test_the_picture_is_looked_at(write_onnx: WriteOnnx) -> None:
    """A model whose points depend on the brightness places them elsewhere on a white picture than on a black one."""
    path = write_onnx("bright.onnx", SHAPE, SPEC.size, spec_to_json(SPEC), gain=0.25)
    landmarker = Landmarker(path)
    white, black = (
        landmarker.landmarks(np.full_like(GREY, level), [[40, 30, 60, 50]])[0].points for level in (255, 0)
    )
    np.testing.assert_allclose(white - black, 0.25 * 30, atol=1e-4)


def test_points_of_ones_own_need_a_place_in_the_face(write_onnx: WriteOnnx) -> None:
    """A model whose crops no detector's box serves is refused by `detect`, which would give wrong points."""
    placed = tuple((float(x), float(y)) for x, y in SHAPE - 0.5)
    for template, refused in ((None, True), (placed, False)):
        spec = replace(SPEC, schema=replace(SPEC.schema, name="own"), template=template)
        path = write_onnx("own.onnx", SHAPE, spec.size, spec_to_json(spec))
        landmarker = Landmarker(path, lambda _: np.zeros((0, 4)))
        if refused:
            with pytest.raises(SpecError, match=r"own: its crops are cut around its own points .*; train it again on"):
                landmarker.detect(GREY)
        else:
            assert landmarker.detect(GREY) == []
            # The box is the face's, whatever points the model gives: the crop is 1.5 times 20 px wide about (50, 40).
            (face,) = landmarker.landmarks(GREY, [[40, 30, 60, 50]])
            np.testing.assert_allclose(face.points, np.array([35, 25]) + SHAPE * 30, atol=1e-5)


@pytest.mark.parametrize("none", [[], np.zeros((0, 4))])
def test_no_boxes_give_no_faces(landmarker: Landmarker, none: object) -> None:
    """An empty list of boxes gives an empty list of faces."""
    assert landmarker.landmarks(GREY, none) == []  # type: ignore[arg-type]  # any emptiness will do


@pytest.mark.parametrize(
    ("boxes", "text"),
    [
        ([40, 30, 60, 50], r"shape \(4,\): needs \(F, 4\)"),
        ([[40, 30, 60]], "four finite numbers"),
        ([[60, 30, 40, 50]], "x1 must exceed x0"),
        ([[40, 30, np.nan, 50]], "four finite numbers"),
        ([[0, 0, 1e9, 1e9]], r"its longer side is 1e\+09 px in a picture of 120×100"),
        ([[500, 500, 600, 600]], "lies outside the picture of 120×100 pixels"),
    ],
)
def test_bad_boxes_are_explained(landmarker: Landmarker, boxes: object, text: str) -> None:
    """A single flat box, three numbers, a reversed box and one that is not finite."""
    with pytest.raises(GeometryError, match=text):
        landmarker.landmarks(GREY, boxes)  # type: ignore[arg-type]  # wrong on purpose


def test_every_source_of_one_picture_gives_the_same_faces(write_onnx: WriteOnnx, tmp_path: Path) -> None:
    """Path, text, bytes, PIL image, RGB, grey and RGBA arrays: the same result of `detect` and `landmarks`."""
    path = write_onnx("bright.onnx", SHAPE, SPEC.size, spec_to_json(SPEC), gain=0.25)
    landmarker = Landmarker(path, FixedBoxes(BOXES), threads=1)
    file = tmp_path / "grey.png"
    Image.fromarray(GREY).save(file)
    expected = points_of(landmarker.detect(GREY))
    for source in (file, str(file), file.read_bytes(), Image.open(file), GREY[..., 0], np.dstack([GREY, GREY[..., 0]])):
        np.testing.assert_array_equal(points_of(landmarker.detect(source)), expected)
        np.testing.assert_array_equal(points_of(landmarker.landmarks(source, BOXES)), expected)


def test_an_array_of_another_shape_is_refused_with_the_expected_one(landmarker: Landmarker) -> None:
    """Floats are not guessed at."""
    with pytest.raises(ImageError, match="needs RGB uint8"):
        landmarker.landmarks(GREY.astype(np.float32), [[40, 30, 60, 50]])


def test_a_batch_gives_each_picture_its_own_faces(write_onnx: WriteOnnx, monkeypatch: pytest.MonkeyPatch) -> None:
    """Crops of several pictures share batches of bounded size; a picture without faces keeps its empty place."""
    path = write_onnx("bright.onnx", SHAPE, SPEC.size, spec_to_json(SPEC), gain=0.25)
    landmarker = Landmarker(path, lambda image: np.array([BOXES[0]] * (image[0, 0, 0] // 50)).reshape(-1, 4), threads=1)
    pictures = [np.full_like(GREY, level) for level in (100, 10, 250, 50, 0)]
    expected = [landmarker.detect(picture) for picture in pictures]
    sizes = []
    outputs = landmarker._model.outputs
    monkeypatch.setattr(landmarker._model, "outputs", lambda crops: sizes.append(len(crops)) or outputs(crops))
    for module in (crop_requests, landmarker_module):
        monkeypatch.setattr(module, "BATCH", 3)
    found = landmarker.detect_batch(iter(pictures))
    assert sizes == [3, 3, 2]
    assert [len(faces) for faces in found] == [2, 0, 5, 1, 0]
    for faces, known in zip(found, expected, strict=True):
        np.testing.assert_allclose(points_of(faces), points_of(known), atol=1e-4)


def test_no_pictures_are_an_empty_batch(landmarker: Landmarker) -> None:
    """Nothing in, nothing out."""
    assert landmarker.detect_batch([]) == []


def test_a_batch_names_the_picture_that_cannot_be_read(landmarker: Landmarker, tmp_path: Path) -> None:
    """The caller learns which of many it was."""
    with pytest.raises(ImageError, match=r"nowhere\.png: no such picture"):
        landmarker.detect_batch([GREY, tmp_path / "nowhere.png"])


def test_a_batch_holds_one_picture_at_a_time(landmarker: Landmarker) -> None:
    """A picture is freed before the next is read."""
    alive: list[weakref.ref[np.ndarray]] = []

    def pictures() -> Iterator[np.ndarray]:
        for level in range(5):
            assert sum(one() is not None for one in alive) <= 1
            picture = np.full((60, 60, 3), level, np.uint8)
            alive.append(weakref.ref(picture))
            yield picture
            del picture

    assert landmarker.detect_batch(pictures()) == [[]] * 5


def test_threads_share_one_landmarker() -> None:
    """Eight threads that share a landmarker get the results of one."""
    landmarker = Landmarker(detector="cascade", threads=1)
    faces = [load_image(sample) for sample in synthetic_samples(8, 0)]
    # Of different sizes: an OpenCV classifier shared without a lock mixes its scales up, and says so at once.
    pictures = [np.pad(face, ((60, 60 + 9 * i), (60, 60), (0, 0))) for i, face in enumerate(faces)]
    expected = [landmarker.detect(picture) for picture in pictures]
    assert sum(map(bool, expected)) >= 3
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(landmarker.detect, pictures * 4))
    for faces, known in zip(found, expected * 4, strict=True):
        assert len(faces) == len(known)
        np.testing.assert_allclose(points_of(faces), points_of(known), atol=1e-3)


def test_faces_do_not_change_with_the_callers_boxes(landmarker: Landmarker) -> None:
    """The box in a face is its own."""
    boxes = np.array(BOXES, dtype=np.float64)
    (face, _) = landmarker.landmarks(GREY, boxes)
    boxes[:] = 0
    np.testing.assert_array_equal(face.box, BOXES[0])


def test_face_as_json(landmarker: Landmarker) -> None:
    """`to_dict` holds plain numbers."""
    (face,) = landmarker.landmarks(GREY, [[40, 30, 60, 50]])
    data = json.loads(json.dumps(face.to_dict()))
    assert data["schema"] == "five"
    assert np.shape(data["points"]) == (5, 2)


def test_two_proposals_of_one_face_give_its_more_confident_points(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of proposals with a confidence of at least 0.98; detections are not compared."""
    near = np.array([[10.0, 10, 30, 30], [50, 50, 80, 80], [11, 12, 31, 32], [70, 5, 85, 20]])
    for certain, kept in ((False, [0.98, 0.995]), (True, [0.99, 0.98, 0.995, 0.97])):
        proposals = Proposals(near, np.full(4, certain), np.zeros(4))
        monkeypatch.setattr(Hesitant, "propose", lambda self, image, proposals=proposals: proposals)
        outputs = sees((0.99, 0.98, 0.995, 0.97))
        monkeypatch.setattr(OnnxModel, "outputs", lambda model, crops, outputs=outputs: outputs(crops))
        found = Landmarker("fast", Hesitant(), threads=1).detect(GREY)
        assert [face.confidence for face in found] == kept


@pytest.fixture(scope="module")
def student() -> Landmarker:
    """The shipped `fast`, trained on upright faces."""
    return Landmarker("fast", FixedBoxes([]), threads=1)


@pytest.fixture
def crops(student: Landmarker, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many crops each call of the student's model took."""
    counts: list[int] = []
    outputs = student._model.outputs
    monkeypatch.setattr(student._model, "outputs", lambda crops: counts.append(len(crops)) or outputs(crops))
    return counts


def painted_face(roll: float) -> tuple[Picture, Array, Array]:
    """A painted face turned by `roll` degrees about its centre, its box, and the matrix that turned it."""
    sample = synthetic_samples(4, 0)[3]
    box = tight_box(sample.points)
    matrix = similarity_matrix(box_centre(box), np.full(2, 113.5), 1.0, roll)
    picture = cv2.warpAffine(load_image(sample), matrix, (228, 228), borderValue=(128, 128, 128))
    return np.asarray(picture, dtype=np.uint8), tight_box(transform(matrix, sample.points)), matrix


UPRIGHT = painted_face(0.0)


@pytest.mark.parametrize("roll", range(-165, 181, 15))
def test_a_face_is_found_whichever_way_it_is_rolled(student: Landmarker, roll: int) -> None:
    """The points are those of the upright face, turned with the picture, and the box is the caller's."""
    (upright,) = student.landmarks(UPRIGHT[0], [UPRIGHT[1]])
    picture, box, matrix = painted_face(roll)
    (face,) = student.landmarks(picture, [box])
    truth = transform(matrix, transform(invert(UPRIGHT[2]), upright.points))
    assert np.linalg.norm(face.points - truth, axis=1).mean() < 0.02 * longer_side(UPRIGHT[1])
    assert face.confidence is not None
    assert face.confidence > 0.99
    np.testing.assert_array_equal(face.box, box)


def test_an_upright_face_takes_one_crop(student: Landmarker, crops: list[int]) -> None:
    """The points are those with the angle passed in."""
    picture, box, _ = UPRIGHT
    (face,) = student.landmarks(picture, [box])
    assert crops == [1]
    (given,) = student.landmarks(picture, [box], angles=[0.0])
    assert face.points.tobytes() == given.points.tobytes()


def test_a_face_upside_down_is_cut_again_by_its_own_points(student: Landmarker, crops: list[int]) -> None:
    """One crop, three turned ones, and one by the box of the points: the box of a turned face was a guess."""
    picture, box, _ = painted_face(180.0)
    shifted = box + 0.12 * longer_side(box) * np.array([0, 1, 0, 1])
    found = [student.landmarks(picture, [one])[0].points for one in (box, shifted)]
    assert crops == [1, 3, 1] * 2
    assert np.linalg.norm(found[0] - found[1], axis=1).mean() < 0.01 * longer_side(box)


def test_a_known_angle_takes_one_crop(student: Landmarker, crops: list[int]) -> None:
    """Box and roll of a turned face give the points at once; NaN is an angle to be found."""
    (upright,) = student.landmarks(UPRIGHT[0], [UPRIGHT[1]])
    picture, box, matrix = painted_face(100.0)
    turn = compose(matrix, invert(UPRIGHT[2]))
    half = (UPRIGHT[1][2:] - UPRIGHT[1][:2]) / 2
    centre = transform(turn, box_centre(UPRIGHT[1])[None])[0]
    own = np.concatenate([centre - half, centre + half])
    crops.clear()
    (face,) = student.landmarks(picture, [own], angles=[100.0])
    assert crops == [1]
    error = np.linalg.norm(face.points - transform(turn, upright.points), axis=1)
    assert error.mean() < 0.01 * longer_side(UPRIGHT[1])
    known, unknown = student.landmarks(picture, [own, box], angles=[100.0, np.nan])
    assert sum(crops) > 3
    np.testing.assert_allclose(known.points, face.points, atol=1e-3)
    assert np.linalg.norm(unknown.points - face.points, axis=1).mean() < 0.02 * longer_side(UPRIGHT[1])


@pytest.mark.parametrize("roll", [100, 180, -80])
def test_a_face_on_its_side_is_detected(roll: int) -> None:
    """The shipped detector says which way is up, and the student confirms it."""
    landmarker = Landmarker("fast", threads=1)
    picture, box, _ = painted_face(roll)
    (face,) = landmarker.detect(picture)
    assert overlaps(tight_box(face.points)[None], box[None])[0, 0] > 0.7


def test_what_is_no_face_keeps_its_first_answer(student: Landmarker, crops: list[int]) -> None:
    """If no orientation is confident, the points are those of the upright crop."""
    noise = np.random.default_rng(0).integers(0, 255, (120, 120, 3), np.uint8)
    (face,) = student.landmarks(noise, [[30, 30, 90, 90]])
    assert sum(crops) >= 4
    (first,) = student.landmarks(noise, [[30, 30, 90, 90]], angles=[0.0])
    assert first.confidence is not None
    assert first.confidence < 0.5
    np.testing.assert_allclose(face.points, first.points, atol=1e-4)


@pytest.mark.parametrize(
    ("scores", "confidence"),
    [
        ((0.001, 0.0, 0.3, 0.0, 0.97), 0.001),  # first, three directions, upright: no face anywhere
        ((0.001, 0.0, 0.3, 0.0, 0.98), 0.98),
        ((0.8, 0.0, 0.98, 0.0, 0.7), 0.98),
        ((0.8, 0.1, 0.2, 0.3), 0.8),
        ((0.99, 1.0), 0.99),
    ],
)
def test_another_direction_needs_to_be_likely_and_likelier(
    scores: tuple[float, ...], confidence: float, landmarker: Landmarker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first prediction is kept if no other reaches 0.98 or its confidence."""
    monkeypatch.setattr(landmarker._model, "outputs", sees(scores, SHAPE))
    (face,) = landmarker.landmarks(GREY, [[40, 30, 60, 50]])
    assert face.confidence == confidence


def test_a_model_without_confidence_is_asked_once_more(write_onnx: WriteOnnx, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second prediction, from the crop with the first one's roll taken out, is kept."""
    shape = transform(similarity_matrix(np.full(2, 0.5), np.full(2, 0.5), 1.0, 40.0), SHAPE)
    landmarker = Landmarker(write_onnx("rolled.onnx", shape, SPEC.size, spec_to_json(SPEC)), threads=1)
    (first,) = landmarker.landmarks(GREY, [[40, 30, 60, 50]], angles=[0])
    (face,) = landmarker.landmarks(GREY, [[40, 30, 60, 50]])
    rolls = [face_roll(SPEC, one.points) for one in (first, face)]
    # The model gives the same points in every crop, so each crop adds as much.
    assert rolls[1] == pytest.approx(2 * rolls[0], abs=0.1)
    assert 35 < rolls[0] < 45


def test_points_that_span_no_box_are_not_asked_again(write_onnx: WriteOnnx) -> None:
    """Points far outside, from a model without confidence, are no error."""
    shape = np.where(np.arange(5)[:, None] == 0, 1e6, SHAPE)
    landmarker = Landmarker(write_onnx("wild.onnx", shape, SPEC.size, spec_to_json(SPEC)), threads=1)
    (face,) = landmarker.landmarks(GREY, [[40, 30, 60, 50]])
    assert np.isfinite(face.points).all()


class Angled:
    """Proposes a face with the angle that it believes in."""

    def __init__(self, box: Array, angle: float) -> None:
        self.box, self.angle = box, angle

    def __call__(self, image: Picture) -> Array:
        """The box alone."""
        return self.box[None]

    def propose(self, image: Picture) -> Proposals:
        """Box and angle."""
        return Proposals(self.box[None], np.array([True]), np.array([self.angle]))


@pytest.mark.parametrize(("angle", "most"), [(180.0, 2), (165.0, 2), (90.0, 5), (np.nan, 5)])
def test_a_detectors_angle_is_where_to_look_first(angle: float, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A good one saves crops, a wrong or missing one costs some; the last crop is that of the face's own points."""
    picture, box, matrix = painted_face(180.0)
    landmarker = Landmarker("fast", Angled(box, angle), threads=1)
    counts: list[int] = []
    outputs = landmarker._model.outputs
    monkeypatch.setattr(landmarker._model, "outputs", lambda crops: counts.append(len(crops)) or outputs(crops))
    (face,) = landmarker.detect(picture)
    assert sum(counts) <= most
    assert (counts == [1, 1]) == (most == 2)
    (upright,) = landmarker.landmarks(UPRIGHT[0], [UPRIGHT[1]])
    truth = transform(matrix, transform(invert(UPRIGHT[2]), upright.points))
    assert np.linalg.norm(face.points - truth, axis=1).mean() < 0.01 * longer_side(UPRIGHT[1])
    np.testing.assert_allclose(points_of(landmarker.detect_batch([picture])[0]), [face.points], atol=1e-3)


def test_a_batch_ends_where_its_pictures_are_large(write_onnx: WriteOnnx, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures wait for their batch only as long as they have few pixels; all faces of one share batches."""
    path = write_onnx("fixed.onnx", SHAPE, SPEC.size, spec_to_json(SPEC))
    landmarker = Landmarker(path, FixedBoxes(BOXES), threads=1)
    sizes: list[int] = []
    outputs = landmarker._model.outputs
    monkeypatch.setattr(landmarker._model, "outputs", lambda crops: sizes.append(len(crops)) or outputs(crops))
    monkeypatch.setattr(crop_requests, "HELD_PIXELS", 2 * GREY.shape[0] * GREY.shape[1])
    assert [len(faces) for faces in landmarker.detect_batch([GREY] * 5)] == [2] * 5
    assert sizes == [5, 4, 1]


def test_run_time_imports_no_torch() -> None:
    """The module that runs models pulls neither torch nor the training code."""
    code = "import sys, lightmark.landmarker; print([m for m in sys.modules if 'torch' in m or 'nets' in m])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
