"""The shipped detector's threshold is the lowest at which `Landmarker` finds few faces where there are none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from lightmark.errors import ConfigError


@pytest.fixture
def script(open_script: Callable[[str], ModuleType]) -> ModuleType:
    """benchmarks/ship_detector.py."""
    return open_script("ship_detector")


def test_variants_are_the_picture_and_its_halves_turned_by_quarters(script: ModuleType) -> None:
    """Twelve, cut across the longer side."""
    picture = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)
    variants = list(script.variants_of(picture))
    assert [variant.shape[:2] for variant in variants] == [(4, 6), (6, 4)] * 2 + [(4, 3), (3, 4)] * 4
    np.testing.assert_array_equal(variants[4], picture[:, :3])
    np.testing.assert_array_equal(variants[9], np.rot90(picture[:, 3:]))


class Finds:
    """Finds as many faces in a picture as its first pixel says, less one for each 0.01 of the threshold over 0.5."""

    def __init__(self, detector: float, **_: object) -> None:
        self.less = round((detector - 0.5) * 100)

    def detect(self, picture: np.ndarray) -> list[str]:
        """Faces."""
        return ["face"] * max(0, int(picture.flat[0]) - self.less)


def test_the_lowest_threshold_with_few_enough_false_faces_is_chosen(
    script: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Of steps of 0.01: with 0.51 three of the first picture are left and one of the last."""
    monkeypatch.setattr(script, "FaceDetector", lambda file, threshold, threads: threshold)
    monkeypatch.setattr(script, "Landmarker", Finds)
    monkeypatch.setattr(script, "LOWEST", 0.5)
    pictures = [np.full((1, 1, 3), value, np.uint8) for value in (4, 0, 0, 2)]
    assert script.lowest_threshold(tmp_path, pictures, 4) == (0.51, 4)
    assert script.lowest_threshold(tmp_path, pictures, 3) == (0.52, 2)
    assert script.lowest_threshold(tmp_path, pictures, 0) == (0.54, 0)
    with pytest.raises(ConfigError, match="more than -1"):
        script.lowest_threshold(tmp_path, pictures, -1)
