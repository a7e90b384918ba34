"""The detector's training learns, resumes bit for bit, and refuses what it must not train on."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from lightmark.data.sample import Sample
from lightmark.data.synthetic.head import mean_points
from lightmark.detectors.face_detector import DETECTOR_KEY, FaceDetector
from lightmark.draw import write_png
from lightmark.errors import CheckpointError, ConfigError, SchemaError
from lightmark.export.detector import export_detector, load_face_detector
from lightmark.geometry import tight_box
from lightmark.nets.checkpoint import read_tensors, write_tensors
from lightmark.nets.face_detector import FaceDetectorNet
from lightmark.schema import IBUG68, Schema
from lightmark.train.config import DetectorRecipe, Execution
from lightmark.train.detector import train as face_detector
from lightmark.train.detector.mosaic import MosaicRules
from lightmark.train.detector.train import train_face_detector
from lightmark.train.start import network_weights

QUIET = Execution(quiet=True)

FLAT = mean_points()[:, :2]
POINTS = (FLAT - FLAT.min(axis=0)) / np.ptp(FLAT, axis=0) * 50.0 + [60, 70]  # in the box (60, 70, 110, 120)
RULES = MosaicRules(size=96, smallest=24, largest=0.7, rotation=0, circle=0, exposure=0, crowd=2)
RECIPE = DetectorRecipe(
    "tiny", steps=6, batch=2, rules=RULES, warmup=2, ema=0.9, validation=0.3, validation_mosaics=4, validate_every=2,
    log_every=3,
)  # fmt: skip


@pytest.fixture(scope="module")
def faces() -> list[Sample]:
    """Twelve grey pictures with a bright disc each, over two dark ones: as plain as a face can be."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:200, :180]
    made = []
    for index in range(12):
        picture = np.full((200, 180, 3), 70, np.uint8) + rng.integers(0, 20, (200, 180, 3), dtype=np.uint8)
        picture[(rows - 95) ** 2 + (columns - 85) ** 2 < 30**2] = (230, 190, 160)
        for x in (72, 98):
            picture[(rows - 85) ** 2 + (columns - x) ** 2 < 6**2] = 20
        made.append(Sample(Path(f"{index}.png"), POINTS, tight_box(POINTS), IBUG68, str(index), image=picture))
    return made


@pytest.fixture(scope="module")
def backgrounds(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Four pictures of noise."""
    folder, rng = tmp_path_factory.mktemp("empty"), np.random.default_rng(1)
    paths = [folder / f"{index}.png" for index in range(4)]
    for path in paths:
        write_png(rng.integers(0, 160, (60, 70, 3), dtype=np.uint8).repeat(3, 0).repeat(3, 1), path)
    return paths


def test_a_broken_run_ends_with_the_weights_of_a_whole_one(
    faces: list[Sample], backgrounds: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped in the midst of its steps and begun again, it goes on from its saved state to the same weights."""
    whole = train_face_detector(RECIPE, faces, backgrounds, tmp_path / "whole", execution=QUIET)
    step = face_detector.take_detector_step

    def break_at_five(trainee: object, batch: object, number: int, recipe: DetectorRecipe) -> object:
        if number == 4:
            raise KeyboardInterrupt
        return step(trainee, batch, number, recipe)  # type: ignore[arg-type]  # handed on as they came

    monkeypatch.setattr(face_detector, "take_detector_step", break_at_five)
    with pytest.raises(KeyboardInterrupt):
        train_face_detector(RECIPE, faces, backgrounds, tmp_path / "broken", execution=QUIET)
    assert not (tmp_path / "broken" / "result.json").exists()
    monkeypatch.setattr(face_detector, "take_detector_step", step)
    again = train_face_detector(RECIPE, faces, backgrounds, tmp_path / "broken", execution=QUIET)
    first, second = (read_tensors(path)[0] for path in (whole, again))
    assert all((first[name] == second[name]).all() for name in first)
    assert (tmp_path / "whole" / "log.csv").read_text() == (tmp_path / "broken" / "log.csv").read_text()


def test_a_finished_run_is_not_repeated_and_another_is_refused(
    faces: list[Sample], backgrounds: list[Path], tmp_path: Path
) -> None:
    """The same folder again returns at once; with another seed it is an error that names the folder."""
    recipe = replace(RECIPE, steps=2)
    path = train_face_detector(recipe, faces, backgrounds, tmp_path, execution=QUIET)
    before = path.stat().st_mtime_ns
    assert train_face_detector(recipe, faces, backgrounds, tmp_path, execution=QUIET).stat().st_mtime_ns == before
    with pytest.raises(ConfigError, match=str(tmp_path)):
        train_face_detector(replace(recipe, seed=1), faces, backgrounds, tmp_path, execution=QUIET)


def test_it_learns(faces: list[Sample], backgrounds: list[Path], tmp_path: Path) -> None:
    """A few steps on the plainest of faces raise the average precision from nothing."""
    recipe = replace(RECIPE, steps=200, batch=6, validate_every=50, validation_mosaics=24, learning_rate=4e-3)
    out = train_face_detector(recipe, faces, backgrounds, tmp_path, execution=QUIET).parent
    result = json.loads((out / "result.json").read_text())
    assert result["validation_ap"] > 0.25
    assert result["train_faces"] + result["validation_faces"] == len(faces)


def test_test_faces_are_refused(faces: list[Sample], backgrounds: list[Path], tmp_path: Path) -> None:
    """Test faces are refused."""
    marked = [replace(faces[0], subsets=frozenset({"test"})), *faces[1:]]
    with pytest.raises(ConfigError, match="never train on a test set"):
        train_face_detector(RECIPE, marked, backgrounds, tmp_path, execution=QUIET)


def test_faces_without_the_68_points_are_refused(
    faces: list[Sample], backgrounds: list[Path], tmp_path: Path
) -> None:
    """Boxes and keypoints are made of those; what other points would teach is another box, silently."""
    schema = Schema("five", mirror=(1, 0, 2, 4, 3), normaliser=(0, 1))
    other = replace(faces[0], points=POINTS[:5], schema=schema)
    with pytest.raises(SchemaError, match=r"0\.png: labelled with five \(5 points\).*leave this data out"):
        train_face_detector(RECIPE, [*faces, other], backgrounds, tmp_path / "run", execution=QUIET)
    assert not (tmp_path / "run").exists()


def test_one_background_is_too_few(faces: list[Sample], backgrounds: list[Path], tmp_path: Path) -> None:
    """There would be nothing to check with."""
    with pytest.raises(ConfigError, match="1 pictures without faces; needs at least 2"):
        train_face_detector(RECIPE, faces, backgrounds[:1], tmp_path, execution=QUIET)


def test_the_exported_file_finds_what_the_network_finds(
    faces: list[Sample], backgrounds: list[Path], tmp_path: Path
) -> None:
    """Checked against torch while written; at run time its boxes are in the picture's pixels."""
    checkpoint = train_face_detector(replace(RECIPE, steps=2), faces, backgrounds, tmp_path / "run", execution=QUIET)
    assert export_detector(checkpoint, tmp_path / "d.onnx", threshold=0.4, possible=1e-6) < 0.01
    detector = FaceDetector(tmp_path / "d.onnx", input_size=96, min_face=0.5)  # one search
    assert detector.threshold == 0.4
    grey = np.full((480, 960, 3), 90, np.uint8)
    boxes, scores, keypoints = detector.candidates(grey, 1e-6)
    assert boxes.shape == (len(scores), 4)
    assert keypoints is not None
    assert keypoints.shape == (len(scores), 5, 2)
    # Hardly trained, they lie in the middle of their boxes, in the same pixels.
    sides = (boxes[:, 2:] - boxes[:, :2]).max(axis=1)
    middles = (boxes[:, :2] + boxes[:, 2:]) / 2
    assert (np.abs(keypoints - middles[:, None]).max(axis=(1, 2)) < 0.5 * sides).all()
    proposed, sure, angles = detector.propose(grey)
    assert len(proposed) == len(detector.detections(grey, 1e-6).scores)
    assert angles is not None
    assert len(angles) == len(proposed)
    assert sure.sum() == (scores >= 0.4).sum()
    assert len(scores) > 3
    # 960 pixels are 96 of the network's: its boxes of at least 5 pixels are 50 of the picture's.
    assert (boxes[:, 2:] - boxes[:, :2]).min() > 50
    _, provenance = load_face_detector(checkpoint)
    assert provenance["train_faces"] == json.loads((tmp_path / "run" / "result.json").read_text())["train_faces"]


def test_a_file_that_is_no_detector_is_refused(tmp_path: Path) -> None:
    """A landmark checkpoint, say."""
    from lightmark.nets.checkpoint import write_tensors
    from lightmark.nets.network import Architecture, build_network

    network = build_network(Architecture("mobilenetv2", width=0.25), np.full((5, 2), 0.5), seed=0)
    write_tensors(tmp_path / "points.safetensors", network.state_dict(), {})
    with pytest.raises(CheckpointError, match="no face detector"):
        load_face_detector(tmp_path / "points.safetensors")


def test_faces_with_missing_points_teach_no_box(faces: list[Sample], backgrounds: list[Path], tmp_path: Path) -> None:
    """The box around part of a face is not the face's; a set without whole faces is refused."""
    lacking = [replace(face, points=np.where(np.arange(68)[:, None] == 3, np.nan, face.points)) for face in faces]
    train_face_detector(RECIPE, [*faces[:8], *lacking[8:]], backgrounds, tmp_path / "some", execution=QUIET)
    train_face_detector(RECIPE, faces[:8], backgrounds, tmp_path / "whole", execution=QUIET)
    some, whole = (read_tensors(tmp_path / name / "model.safetensors")[0] for name in ("some", "whole"))
    assert all((some[name] == whole[name]).all() for name in whole)
    with pytest.raises(ConfigError, match="none of 12 faces has all points labelled"):
        train_face_detector(RECIPE, lacking, backgrounds, tmp_path / "none", execution=QUIET)


def test_an_exported_file_keeps_the_weights_that_training_goes_on_from(tmp_path: Path) -> None:
    """Its first layer takes pixels from 0 to 255, as in training."""
    network = FaceDetectorNet().eval()
    write_tensors(tmp_path / "d.safetensors", network.state_dict(), {DETECTOR_KEY: "{}"})
    export_detector(tmp_path / "d.safetensors", tmp_path / "d.onnx", threshold=0.5)
    weights = network_weights(tmp_path / "d.onnx")["quarter.0.0.weight"]
    torch.testing.assert_close(weights, network.state_dict()["quarter.0.0.weight"], rtol=1e-4, atol=1e-6)
