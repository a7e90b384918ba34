"""YuNet's rows become boxes in pixels of the picture; a stub replaces its model file."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import cv2
import numpy as np
import pytest

from lightmark.detectors.keypoint_box import EXTENT, PLACES, YUNET
from lightmark.detectors.yunet import YuNetDetector
from lightmark.errors import CheckpointError
from lightmark.geometry import similarity_matrix, transform


class StandIn:
    """Finds a face of 40 px about (50, 60) and one of 80 px about (200, 100), in whatever picture it is given."""

    sizes: ClassVar[list[tuple[int, int]]] = []
    found = True

    def setInputSize(self, size: tuple[int, int]) -> None:  # noqa: N802  # OpenCV's name
        """Remember the size."""
        self.sizes.append(size)

    def detect(self, picture: np.ndarray) -> tuple[int, np.ndarray | None]:
        """Rows as YuNet gives them."""
        assert picture.shape[1::-1] == self.sizes[-1]
        if not self.found:
            return 0, None
        rows = np.zeros((2, 15), np.float32)
        for row, (place, side) in zip(rows, (((50, 60), 40), ((200, 100), 80)), strict=True):
            matrix = similarity_matrix(np.zeros(2), np.array(place, float), side)
            row[4:14] = transform(matrix, np.array([PLACES[name] for name in YUNET])).ravel()
        return 1, rows


@pytest.fixture
def detector(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> YuNetDetector:
    """A detector whose network is the stand-in."""
    monkeypatch.setattr(cv2.FaceDetectorYN, "create", lambda *_: StandIn())
    (tmp_path / "yunet.onnx").write_bytes(b"\x08\x08")  # an ONNX message of its version alone
    return YuNetDetector(tmp_path / "yunet.onnx")


def test_boxes_come_from_the_points_the_largest_first(detector: YuNetDetector) -> None:
    """In a picture that is not reduced they lie where the points do."""
    large, small = detector(np.zeros((240, 320, 3), np.uint8))
    np.testing.assert_allclose((large[:2] + large[2:]) / 2, [200, 100], atol=1e-3)
    np.testing.assert_allclose(small[2:] - small[:2], 40 * np.array(EXTENT), atol=1e-3)


def test_a_large_picture_is_reduced_and_its_boxes_are_not(detector: YuNetDetector) -> None:
    """A picture of 1280 px is shown at 640; pixel centres stay where they are."""
    large, _ = detector(np.zeros((960, 1280, 3), np.uint8))
    assert StandIn.sizes[-1] == (640, 480)
    np.testing.assert_allclose((large[:2] + large[2:]) / 2, [400.5, 200.5], atol=1e-3)


def test_no_finds_are_no_boxes(detector: YuNetDetector, monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenCV gives None then."""
    monkeypatch.setattr(StandIn, "found", False)
    assert detector(np.zeros((240, 320, 3), np.uint8)).shape == (0, 4)


def test_a_missing_file_is_an_error_with_its_source(tmp_path: Path) -> None:
    """Nothing is downloaded."""
    with pytest.raises(CheckpointError, match="OpenCV's model zoo"):
        YuNetDetector(tmp_path / "none.onnx")


def test_a_broken_file_is_named(tmp_path: Path) -> None:
    """OpenCV's own words follow."""
    path = tmp_path / "broken.onnx"
    path.write_bytes(b"\x08\x08")  # an ONNX message of its version alone
    with pytest.raises(CheckpointError, match=r"broken\.onnx: OpenCV .* does not open it as YuNet"):
        YuNetDetector(path)
