"""MediaPipe's points become boxes in pixels of the picture; a stub replaces it where it is not installed."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from lightmark.detectors.keypoint_box import EXTENT, MEDIAPIPE, PLACES
from lightmark.detectors.mediapipe import MediaPipeDetector
from lightmark.errors import MissingExtraError
from lightmark.geometry import similarity_matrix, transform

MODULE = "mediapipe.python.solutions.face_detection"
ALL = ("mediapipe", "mediapipe.python", "mediapipe.python.solutions", MODULE)


def stand_in(faces: bool) -> ModuleType:
    """MediaPipe's module, whose detector finds a face of 60 px about (100, 50), or none, in pictures of 320×240."""
    points = transform(
        similarity_matrix(np.zeros(2), np.array([100.0, 50.0]), 60.0), np.array([PLACES[name] for name in MEDIAPIPE])
    )
    shares = [SimpleNamespace(x=(x + 0.5) / 320, y=(y + 0.5) / 240) for x, y in [*points, (0, 0), (9, 9)]]
    detection = SimpleNamespace(location_data=SimpleNamespace(relative_keypoints=shares))
    answer = SimpleNamespace(detections=[detection] if faces else None)
    module = ModuleType(MODULE)
    module.FaceDetection = lambda **_: SimpleNamespace(process=lambda _: answer)  # type: ignore[attr-defined]  # made up here
    return module


def install(monkeypatch: pytest.MonkeyPatch, module: ModuleType | None) -> None:
    for name in ALL[:-1]:
        monkeypatch.setitem(sys.modules, name, ModuleType(name) if module else None)
    monkeypatch.setitem(sys.modules, MODULE, module)


def test_shares_of_the_picture_become_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    """The left edge is −0.5, so that half a pixel is not lost."""
    install(monkeypatch, stand_in(faces=True))
    (box,) = MediaPipeDetector()(np.zeros((240, 320, 3), np.uint8))
    np.testing.assert_allclose((box[:2] + box[2:]) / 2, [100, 50], atol=1e-9)
    np.testing.assert_allclose(box[2:] - box[:2], 60 * np.array(EXTENT), atol=1e-9)


def test_no_finds_are_no_boxes(monkeypatch: pytest.MonkeyPatch) -> None:
    """MediaPipe gives None then."""
    install(monkeypatch, stand_in(faces=False))
    assert MediaPipeDetector()(np.zeros((240, 320, 3), np.uint8)).shape == (0, 4)


def test_without_mediapipe_the_install_line_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is an extra."""
    install(monkeypatch, None)
    with pytest.raises(MissingExtraError, match=r'pip install "lightmark\[mediapipe\]"'):
        MediaPipeDetector()
