"""Landmarkers, trackers and detectors can be pickled and copied, with the same results."""

from __future__ import annotations

import copy
import multiprocessing
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lightmark.data.synthetic import synthetic_samples
from lightmark.detectors.cascade import CascadeDetector
from lightmark.detectors.face_detector import FaceDetector
from lightmark.detectors.open import FixedBoxes
from lightmark.errors import CheckpointError
from lightmark.face import Face
from lightmark.geometry import tight_box
from lightmark.image import Picture
from lightmark.landmarker import Landmarker
from lightmark.runtime.onnx_model import OnnxModel
from lightmark.runtime.shipped import model_path
from lightmark.video.tracker import TrackedFace, Tracker, Tracking

SAMPLE = synthetic_samples(5, 0)[4]  # a painted face that both detectors find
BOX = tight_box(SAMPLE.points)

Copy = Callable[[Any], Any]


def pickled(thing: Any) -> Any:
    """`thing` as it comes out of a pickle."""
    return pickle.loads(pickle.dumps(thing))


@pytest.fixture(scope="module")
def portrait() -> Picture:
    """Its picture, 160×160."""
    return np.asarray(SAMPLE.image)


def require_same(faces: list[Face], known: list[Face]) -> None:
    """Faces at the same points, and at least one."""
    assert len(faces) == len(known) > 0
    for face, other in zip(faces, known, strict=True):
        np.testing.assert_allclose(face.points, other.points, atol=1e-4)
        assert face.schema == other.schema


@pytest.mark.parametrize("make", [pickled, copy.copy, copy.deepcopy])
@pytest.mark.parametrize("detector", ["auto", "cascade", FixedBoxes([BOX])])
def test_a_copy_finds_the_same_faces(portrait: Picture, make: Copy, detector: Any) -> None:
    """With shipped detectors and one of the user's own, which goes with it."""
    landmarker = Landmarker("fast", detector, threads=1, min_confidence=0.1)
    require_same(make(landmarker).detect(portrait), landmarker.detect(portrait))


@pytest.mark.parametrize("make", [pickled, copy.deepcopy])
@pytest.mark.parametrize("kind", [
    lambda: FaceDetector(input_size=160, threshold=0.3, threads=1),
    lambda: CascadeDetector(min_size=0.2, neighbours=2, input_size=200),
])  # fmt: skip
def test_detectors_keep_their_settings(portrait: Picture, make: Copy, kind: Callable[[], Any]) -> None:
    """The copy detects the same boxes."""
    detector = kind()
    found = detector(portrait)
    assert len(found) > 0
    np.testing.assert_allclose(make(detector)(portrait), found, atol=1e-4)
    assert {key: value for key, value in vars(make(detector)).items() if isinstance(value, float | int)} == {
        key: value for key, value in vars(detector).items() if isinstance(value, float | int)
    }


def test_a_model_is_opened_anew_from_its_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A relative path also in another working directory; a file that is gone is named."""
    (tmp_path / "mine.onnx").write_bytes(model_path("fast").read_bytes())
    monkeypatch.chdir(tmp_path)
    crops = np.random.default_rng(0).integers(0, 256, (1, 128, 128, 3), dtype=np.uint8)
    model = OnnxModel("mine.onnx", threads=1)
    landmarker = Landmarker("mine.onnx", FixedBoxes([BOX]), threads=1, min_confidence=0)
    monkeypatch.chdir("/")
    np.testing.assert_allclose(pickled(model)(crops), model(crops), atol=1e-5)
    assert len(pickled(landmarker).detect(np.full((220, 220, 3), 128, np.uint8))) == 1
    content = pickle.dumps(landmarker)
    (tmp_path / "mine.onnx").unlink()
    with pytest.raises(CheckpointError, match=r"mine\.onnx"):
        pickle.loads(content)


@pytest.mark.parametrize("make", [pickled, copy.deepcopy])
def test_a_tracker_goes_on_where_it_was(portrait: Picture, make: Copy) -> None:
    """The copy has the faces, their ids and their smoothing, and is independent from then on."""
    tracker = Tracker(Landmarker("fast", threads=1), Tracking(redetect=3))
    for index in range(3):
        tracker.update(np.roll(portrait, index, axis=1), index / 30)
    other = make(tracker)
    (there,) = other.update(np.roll(portrait, 4, axis=1), 0.1)
    (here,) = tracker.update(np.roll(portrait, 4, axis=1), 0.1)
    assert (there.id, there.age) == (here.id, here.age)
    np.testing.assert_allclose(there.face.points, here.face.points, atol=1e-4)
    assert np.abs(here.face.points - here.raw_points).max() > 0.01


def test_spawned_processes_take_both(portrait: Picture) -> None:
    """As the workers of a DataLoader are on macOS and Windows: nothing of this process is there."""
    landmarker = Landmarker("fast", FixedBoxes([BOX]), threads=1)
    tracker = Tracker(landmarker, Tracking(redetect=3))
    (known,) = tracker.update(portrait, 0.0)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        require_same(pool.apply(Landmarker.detect, (landmarker, portrait)), landmarker.detect(portrait))
        (tracked,) = pool.apply(Tracker.update, (tracker, portrait, 0.1))
    assert isinstance(tracked, TrackedFace)
    assert tracked.id == known.id
