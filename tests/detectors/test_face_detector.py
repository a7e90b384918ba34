"""Finds come back in the picture's own pixels, one a face."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from lightmark.data.sample import load_image
from lightmark.data.synthetic import synthetic_samples
from lightmark.detectors import face_detector
from lightmark.detectors.face_detector import (
    DETECTOR_KEY,
    LOOK_SIZE,
    MAX_DETECTIONS,
    Detections,
    FaceDetector,
    fit_input,
    joined,
    merge_cells,
)
from lightmark.detectors.open import FixedBoxes, open_detector
from lightmark.errors import CheckpointError, ConfigError, SpecError
from lightmark.geometry import crop_matrix, largest_first, longer_side, tight_box, transform
from lightmark.landmarker import Landmarker


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
    cells, merged = merge_cells(boxes, np.array([0.6, 0.9, 0.7, 0.8, 0.2], np.float32), 0.5)
    assert cells.tolist() == [1, 2]
    np.testing.assert_array_equal(merged, boxes[1:3])


def test_near_boxes_with_high_scores_are_averaged() -> None:
    """Weighted by score: those with 0.8 of the highest score that overlap its box by 0.7, and no others."""
    boxes = np.array([[0.0, 0, 100, 100], [0, 0, 110, 100], [0, 20, 100, 100], [10, 0, 100, 100], [0, 32, 100, 100]])
    cells, merged = merge_cells(boxes, np.array([0.8, 0.65, 0.65, 0.63, 0.7]), 0.5)
    assert cells.tolist() == [0]
    np.testing.assert_allclose(merged, [[0, 0.65 * 20 / 2.1, (80 + 65 * 2.1) / 2.1, 100]])


def test_nothing_sure_enough_is_nothing() -> None:
    """An index still: it selects nothing."""
    cells, merged = merge_cells(np.zeros((5, 4)), np.full(5, 0.1, np.float32), 0.5)
    assert np.zeros((5, 4))[cells].shape == merged.shape == (0, 4)


def test_a_flood_of_finds_is_cut() -> None:
    """Even with a low threshold, so that time stays bounded; the highest scores are kept."""
    count = 3 * MAX_DETECTIONS
    boxes = np.arange(count)[:, None] * 20.0 + np.array([0, 0, 10, 10])
    cells, _ = merge_cells(boxes, np.linspace(0.1, 0.9, count), 0.05)
    assert len(cells) == MAX_DETECTIONS
    assert cells[0] == count - 1


CELLS = np.array([[10.0, 20, 50, 60], [12, 20, 52, 60], [100, 10, 120, 30], [30, 30, 40, 40]])
CELL_SCORES = np.array([0.8, 0.9, 0.6, 0.1])


def write_detector(path: Path, outputs: dict[str, np.ndarray], possible: float = 0.5) -> Path:
    """A detector file that gives the same `outputs` for every picture, with a threshold of 0.7."""
    nodes = [
        helper.make_node("Constant", [], [name], value=numpy_helper.from_array(values.astype(np.float32)))
        for name, values in outputs.items()
    ]
    graph = helper.make_graph(
        nodes,
        "fixed",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, [1, "h", "w", 3])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, values.shape) for name, values in outputs.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    helper.set_model_props(model, {DETECTOR_KEY: json.dumps({"threshold": 0.7, "possible": possible, "multiple": 32})})
    onnx.save(model, path)
    return path


UPRIGHT = np.array([[-4.0, -4], [4, -4], [0, 0], [-3, 4], [3, 4]])  # keypoints of an upright face about its centre


def keypoints_at(centres: np.ndarray) -> np.ndarray:
    """Keypoints (C, 5, 2) of faces that lie on their right side, their eyes 8 px apart, about `centres` (C, 2)."""
    return centres[:, None] + UPRIGHT[:, ::-1] * [-1, 1]


KEYPOINTS = keypoints_at((CELLS[:, :2] + CELLS[:, 2:]) / 2)


def test_keypoints_stay_with_their_boxes(tmp_path: Path) -> None:
    """Through suppression, ordering and back to the picture's pixels, in which roll is read."""
    outputs = {"boxes": CELLS[None], "scores": CELL_SCORES[None], "keypoints": KEYPOINTS[None]}
    path = write_detector(tmp_path / "d.onnx", outputs)
    detector = FaceDetector(path, input_size=320, threshold=0.5, min_face=0.5)
    boxes, scores, keypoints = found = detector.detections(np.zeros((320, 640, 3), np.uint8))
    np.testing.assert_allclose(scores, [0.9, 0.6], rtol=1e-6)
    merged = np.stack([CELL_SCORES[:2] @ CELLS[:2] / CELL_SCORES[:2].sum(), CELLS[2]])
    np.testing.assert_allclose(boxes, merged * 2 + 0.5, atol=1e-4)  # 640 px are 320 of the network's
    np.testing.assert_allclose(keypoints, KEYPOINTS[[1, 2]] * 2 + 0.5, atol=1e-4)
    np.testing.assert_allclose(found.rolls, [-90, -90], atol=1e-4)
    np.testing.assert_allclose(detector(np.zeros((320, 640, 3), np.uint8)), largest_first(merged) * 2 + 0.5, atol=1e-4)


def test_proposals_have_the_roll_of_their_keypoints(tmp_path: Path) -> None:
    """Largest first, which is not the order of the scores."""
    boxes, keypoints = CELLS[[2, 0]], np.stack([UPRIGHT, -UPRIGHT])
    outputs = {"boxes": boxes[None], "scores": np.array([[0.9, 0.6]]), "keypoints": keypoints[None]}
    detector = FaceDetector(write_detector(tmp_path / "d.onnx", outputs), input_size=320, threshold=0.5)
    found = detector.propose(np.zeros((320, 320, 3), np.uint8))
    np.testing.assert_allclose(found.boxes, boxes[::-1])
    np.testing.assert_allclose(np.abs(found.angles), [180, 0])


def test_a_file_without_keypoints_is_refused(tmp_path: Path) -> None:
    """Those of before 2026-11-29 had none; the error says what to do."""
    path = write_detector(tmp_path / "d.onnx", {"boxes": CELLS[None], "scores": CELL_SCORES[None]})
    with pytest.raises(SpecError, match=r"d\.onnx: .* no keypoints; train it again"):
        FaceDetector(path)


@pytest.mark.parametrize(
    "outputs",
    [
        {"boxes": CELLS[None, :3], "scores": CELL_SCORES[None], "keypoints": KEYPOINTS[None]},
        {"boxes": CELLS[None], "scores": CELL_SCORES[None, :, None], "keypoints": KEYPOINTS[None]},
        {"boxes": CELLS[None], "scores": CELL_SCORES[None], "keypoints": np.zeros((1, 4, 4, 2))},
    ],
)
def test_outputs_of_other_shapes_are_refused(outputs: dict[str, np.ndarray], tmp_path: Path) -> None:
    """The error names the file, what it gives and what is needed."""
    detector = FaceDetector(write_detector(tmp_path / "d.onnx", outputs))
    with pytest.raises(CheckpointError, match=r"d\.onnx: does not run as a face detector.*needs \(B, C, 4\)"):
        detector(np.zeros((320, 320, 3), np.uint8))


def picture_with_faces(*sides: int) -> np.ndarray:
    """Picture of 1280×960 px with a drawn face in each quarter, whose boxes have these longer sides."""
    sample = synthetic_samples(4, 0)[3]
    box = tight_box(sample.points)
    picture = np.full((960, 1280, 3), 128, np.uint8)
    for index, side in enumerate(sides):
        zoom = side / longer_side(box)
        image = load_image(sample)
        face = cv2.resize(image, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_AREA)
        top, left = 40 + 480 * (index // 2), 40 + 640 * (index % 2)
        picture[top : top + face.shape[0], left : left + face.shape[1]] = face
    return picture


def test_small_faces_are_detected_when_asked_for() -> None:
    """A face of 30 px in 1280 is too small for the input of 256; a large one beside it is detected either way."""
    picture = picture_with_faces(200, 30)
    landmarker = Landmarker("fast", FaceDetector(threads=1, min_face=24), threads=1)
    sizes = [longer_side(face.box) for face in landmarker.detect(picture)]
    assert len(sizes) == 2
    assert sizes[0] == pytest.approx(200, rel=0.2)
    assert sizes[1] == pytest.approx(30, rel=0.25)
    assert len(FaceDetector(threads=1, min_face=0.1)(picture)) == 1


NOTHING = Detections(np.zeros((0, 4)), np.zeros(0), np.zeros((0, 5, 2)))


@pytest.mark.parametrize(
    ("min_face", "shape", "finer"),
    [
        (24, (960, 1280), 712),  # 1280 / 24 · 40 / 3
        (0.01, (960, 1280), 1334),
        (0.5, (960, 1280), None),
        (100, (960, 1280), None),
        (2, (960, 1280), 1920),
        (1, (150, 200), 400),  # a small picture is enlarged twice at most
        (None, (250, 345), None),  # hardly more than the first search
        (None, (250, 346), 346),
        (None, (480, 640), 640),
        (None, (960, 1280), 1280),
        (None, (1970, 400), 1280),
    ],
)
def test_the_second_input_is_as_large_as_small_faces_need(
    min_face: float | None, shape: tuple[int, int], finer: int | None
) -> None:
    """Up to a limit; without min_face a picture in which nothing is detected is not enlarged."""
    assert FaceDetector(threads=1, min_face=min_face).finer_input(shape, NOTHING) == finer


def test_a_picture_of_a_near_face_is_searched_once() -> None:
    """Beside a detection, faces down to a quarter of it are expected; a proposal does not count."""
    detector = FaceDetector(threads=1)

    def after(side: float, score: float, longer: int = 1200) -> int | None:
        near = Detections(np.array([[10.0, 10, 10 + side, 20]]), np.array([score]), np.zeros((1, 5, 2)))
        return detector.finer_input((longer * 3 // 4, longer), near)

    assert after(183, detector.threshold) is None  # 336 pixels: not worth a search after one at 256
    assert after(181, detector.threshold) == 352  # a quarter has 13.3 pixels at 354
    assert after(100, detector.threshold) == 640
    assert after(50, detector.threshold) == 1200
    assert after(250, detector.threshold - 0.01) == 1200
    assert after(90, detector.threshold, 640) == 368
    assert after(20, detector.threshold, 4000) == 1280
    assert after(50, detector.threshold, 1210) == 1210  # never enlarged, nor made a little smaller for its own sake


def searched(
    detector: FaceDetector, found: Detections, looks: dict[int, Detections], patch: pytest.MonkeyPatch
) -> None:
    """Let the searches of `detector` find `found`, and a look at number n of them see `looks[n]`, in its own pixels."""
    numbers = {tuple(box): number for number, box in enumerate(found.boxes.tolist())}
    asked: list[int] = []

    def matrix_of(box: np.ndarray, *options: float) -> np.ndarray:
        asked.append(numbers[tuple(box.tolist())])
        return crop_matrix(box, *options)

    def seen(images: np.ndarray) -> list[np.ndarray]:
        assert images.shape == (len(asked), LOOK_SIZE, LOOK_SIZE, 3)
        cells = max(len(looks[number].scores) for number in asked)
        empty = Detections(np.zeros((cells, 4)), np.zeros(cells), np.zeros((cells, 5, 2)))
        rows = [joined([looks[number], empty]).chosen(np.arange(cells)) for number in asked]
        asked.clear()
        return [np.stack(column) for column in zip(*rows, strict=True)]

    patch.setattr(face_detector, "crop_matrix", matrix_of)
    patch.setattr(detector, "_at_size", lambda picture, size, minimum: found)
    patch.setattr(detector, "_run", seen)


FAR = np.array([[0.0, 0, 20, 20]])  # in a look: not the face that it is for
BLACK = np.zeros((320, 320, 3), np.uint8)


def test_unsure_finds_are_looked_at_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Box, score and keypoints become those of the look, which is upright; what it does not see is no face."""
    boxes = np.array([[10.0, 10, 50, 50], [100, 100, 140, 132], [200, 200, 230, 230]])
    rolled = np.stack([UPRIGHT, np.column_stack([UPRIGHT[:, 1], -UPRIGHT[:, 0]]), UPRIGHT])  # the second by 90°
    keypoints = rolled + (boxes[:, None, :2] + boxes[:, None, 2:]) / 2
    detector = FaceDetector(threads=1, threshold=0.7)
    middle = (LOOK_SIZE - 1) / 2
    # Twice the size of the picture: the face is 4 px higher in the look, so 2 px to the left in the picture.
    seen = np.array([[middle - 44, middle - 40, middle + 44, middle + 32]])
    looks = {
        1: Detections(np.vstack([FAR, seen]), np.array([0.95, 0.8]), np.stack([UPRIGHT, UPRIGHT * 2 + middle])),
        2: Detections(FAR, np.array([0.9]), UPRIGHT[None]),
    }
    searched(detector, Detections(boxes, np.array([0.75, 0.6, 0.5]), keypoints), looks, monkeypatch)
    found = detector.detections(BLACK, 0.5)
    np.testing.assert_allclose(found.scores, [0.8, 0.75])
    np.testing.assert_allclose(found.boxes, [[96, 98, 140, 134], boxes[0]], atol=1e-9)
    np.testing.assert_allclose(found.keypoints[0], rolled[1] + [120, 116], atol=1e-9)
    np.testing.assert_allclose(found.rolls, [90, 0], atol=1e-9)
    np.testing.assert_array_equal(detector.candidates(BLACK, 0.5).scores, [0.75, 0.6, 0.5])  # not looked at


def test_a_look_at_a_detected_face_takes_nothing_from_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """However high its score: a box beside a face may hold enough of it, badly cut."""
    boxes = np.array([[10.0, 10, 50, 50], [30, 10, 70, 50]])
    middle = (LOOK_SIZE - 1) / 2
    shifted = np.array([[middle - 70, middle - 40, middle + 10, middle + 40]])  # 15 px to the left
    looks = {1: Detections(shifted, np.array([0.99]), UPRIGHT[None])}
    detector = FaceDetector(threads=1, threshold=0.7)
    searched(detector, Detections(boxes, np.array([0.75, 0.6]), np.stack([UPRIGHT] * 2)), looks, monkeypatch)
    found = detector.detections(BLACK, 0.5)
    np.testing.assert_array_equal(found.boxes, boxes[:1])


def test_beside_a_detection_a_look_needs_a_score(monkeypatch: pytest.MonkeyPatch) -> None:
    """0.45, and 0.6 with less than 0.3 of the largest detection's side; all are looked at where nothing is detected."""
    sides = np.array([100.0, 31, 31, 29, 29])
    boxes = np.arange(5)[:, None] * 110.0 + np.array([0, 0, 1, 1]) * sides[:, None]
    asked: list[float] = []

    def looked(picture: np.ndarray, found: Detections) -> Detections:
        asked.extend(found.scores)
        return NOTHING

    detector = FaceDetector(threads=1, threshold=0.7)
    monkeypatch.setattr(detector, "_look", looked)
    for first, scores in ((0.75, [0.46, 0.61]), (0.5, [0.5, 0.46, 0.44, 0.61, 0.59])):
        found = Detections(boxes, np.array([first, 0.46, 0.44, 0.61, 0.59]), np.zeros((5, 5, 2)))
        monkeypatch.setattr(detector, "_at_size", lambda picture, size, minimum, found=found: found)
        detector.propose(BLACK)
        assert asked == scores
        asked.clear()


@pytest.mark.parametrize(("score", "kept"), [(0.75, [0, 1]), (0.69, [0, 1, 2]), (0.6, [0, 1, 2])])
def test_beside_a_detection_nothing_is_proposed(score: float, kept: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a look has it above the threshold, it is a detection; where nothing is, all are proposals."""
    boxes = np.array([[10.0, 10, 50, 50], [100, 10, 138, 48], [200, 10, 236, 46]])
    middle = (LOOK_SIZE - 1) / 2
    same = np.array([[middle - 40, middle - 40, middle + 40, middle + 40]])
    second = 0.72 if score == 0.75 else 0.65
    scores = enumerate((score, second, 0.6))
    looks = {number: Detections(same, np.array([value]), UPRIGHT[None]) for number, value in scores}
    detector = FaceDetector(threads=1, threshold=0.7)
    searched(detector, Detections(boxes, np.array([score, 0.66, 0.66]), np.stack([UPRIGHT] * 3)), looks, monkeypatch)
    found = detector.propose(BLACK)
    np.testing.assert_allclose(found.boxes, boxes[kept])
    assert found.certain.tolist() == [score == 0.75] * len(kept)


@pytest.mark.parametrize(
    ("box", "kept"),
    [
        ((-20.0, 5, -0.4, 20), 1),
        ((-20.0, 5, -0.6, 20), 0),
        ((5, 69.6, 20, 80), 0),
        ((39.4, 5, 60, 20), 1),
        ((5, 5, 5.9, 5.5), 0),
    ],
)
def test_what_no_crop_can_show_is_not_detected(
    box: tuple[float, ...], kept: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the padding beside the picture, or smaller than a pixel: `Landmarker` would refuse such a box."""
    found = Detections(np.array([box]), np.array([0.9]), np.zeros((1, 5, 2)))
    detector = FaceDetector(threads=1, threshold=0.7)
    monkeypatch.setattr(detector, "_at_size", lambda picture, size, minimum: found)
    picture = np.zeros((70, 40, 3), np.uint8)
    faces = Landmarker("fast", detector, threads=1, min_confidence=0.0).detect(picture)
    assert len(detector(picture)) == len(faces) == kept


def test_a_denied_detection_hides_no_other_face(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without it there are proposals, and the picture is searched for small faces; its own place stays denied."""
    boxes = np.array([[0.0, 0, 200, 200], [210, 210, 310, 310], [10, 0, 210, 200], [0, 250, 40, 290]])
    outputs = {"boxes": boxes[None], "scores": np.array([[0.75, 0.54, 0.5, 0.1]]), "keypoints": KEYPOINTS[None]}
    detector = FaceDetector(write_detector(tmp_path / "d.onnx", outputs, possible=0.4), input_size=320)
    picture, sizes = np.zeros((640, 640, 3), np.uint8), []
    search = detector._at_size
    monkeypatch.setattr(detector, "_look", lambda picture, found: found)  # shows what the search has found

    def at_size(picture: np.ndarray, size: int, minimum: float) -> Detections:
        sizes.append(size)
        return search(picture, size, minimum) if size == 320 else NOTHING

    monkeypatch.setattr(detector, "_at_size", at_size)
    denied, certain, _ = detector.propose(picture)
    assert (certain.tolist(), sizes) == ([True], [320])
    again = detector.propose_without(picture, denied)
    assert sizes == [320, 320, 640]
    assert again.certain.tolist() == [False]
    np.testing.assert_allclose(again.boxes, boxes[1:2] * 2 + 0.5, atol=0.01)


def test_a_low_threshold_keeps_its_detections(tmp_path: Path) -> None:
    """However low the scores that the caller takes for detections: none of them is looked at again."""
    outputs = {"boxes": CELLS[None], "scores": np.array([[0.4, 0.1, 0.35, 0.1]]), "keypoints": KEYPOINTS[None]}
    detector = FaceDetector(write_detector(tmp_path / "d.onnx", outputs), input_size=320, threshold=0.3)
    picture = np.zeros((320, 320, 3), np.uint8)
    assert len(detector(picture)) == 2
    assert detector.propose(picture).certain.tolist() == [True, True]


@pytest.mark.parametrize("min_face", [0, -3, float("nan"), float("inf")])
def test_a_smallest_face_of_no_size_is_refused(min_face: float) -> None:
    """It names what it may be."""
    with pytest.raises(ConfigError, match="needs pixels, or a share below 1"):
        FaceDetector(min_face=min_face)


def test_other_detectors_have_no_smallest_face() -> None:
    """The option would be without effect."""
    with pytest.raises(ConfigError, match="is an option of the detector 'face', 'cascade' has none"):
        open_detector("cascade", min_face=20)
    with pytest.raises(ConfigError, match="give it to the detector itself"):
        Landmarker("fast", FixedBoxes([]), min_face=20)
