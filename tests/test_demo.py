"""The demo runs all its stages and prints the paths of its pictures."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lightmark import demo
from lightmark.detectors.cascade import CascadeDetector
from lightmark.errors import MissingExtraError
from lightmark.face import Face
from lightmark.geometry import Array
from lightmark.image import Picture
from lightmark.overlay import BOX_COLOUR, PLAIN, SIZE
from lightmark.schema import Schema
from lightmark.source import to_picture
from lightmark.train.recipes import STAGES, demo64


def test_demo_makes_a_table_a_report_and_pictures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With two steps a stage all stages run: every row is printed, every named file exists."""
    recipe = demo64(0)
    short = {stage: replace(getattr(recipe, stage), steps=2, batch=8) for stage in STAGES}
    monkeypatch.setattr(demo, "get_distillation", lambda _name, _seed: replace(recipe, **short))
    monkeypatch.setattr(demo, "TRAINING_FACES", 40)
    monkeypatch.setattr(demo, "UNSEEN_FACES", 8)
    tmp_path /= "not there yet"
    demo.run_demo(tmp_path, seed=0)
    printed = capsys.readouterr().out
    assert len(json.loads((tmp_path / "results.json").read_text())["rows"]) == 5
    for row in ("mean shape", "Tough-Teacher", "Tolerant-Teacher", "student alone", "student distilled"):
        assert row in printed
    assert Image.open(tmp_path / "student-on-unseen-faces.png").size[0] > 1000
    # A newcomer sees landmarks before anything is trained.
    assert "by the shipped model 'fast': 1" in printed.partition("synthetic faces to train on")[0]
    assert Image.open(tmp_path / "astronaut.png").size == (768, 768)
    assert (tmp_path / "report/report.html").stat().st_size > 10_000
    assert sorted(path.parent.name for path in tmp_path.glob("run/*/model.safetensors")) == sorted(STAGES)


FIVE = Schema("five", mirror=(1, 0, 2, 4, 3), normaliser=(0, 1))
SHAPE = np.array([[0.25, 0.3], [0.75, 0.3], [0.5, 0.55], [0.35, 0.8], [0.65, 0.8]])


class StandIn:
    """Answers every box of the cascade with the same five points in it."""

    def detect(self, image: Picture) -> list[Face]:
        """One face a box that OpenCV's cascade finds."""
        return self.landmarks(image, CascadeDetector()(image))

    def landmarks(self, image: Picture, boxes: Array) -> list[Face]:
        """One face a box."""
        return [Face(box[:2] + SHAPE * (box[2:] - box[:2]), box, FIVE) for box in boxes]


def pixels_of(picture: Picture, colour: tuple[int, int, int]) -> int:
    """Number of pixels of `picture` that have about that colour."""
    return int((np.abs(picture.astype(int) - colour).max(axis=2) < 12).sum())


def test_the_face_of_a_photograph_is_found_and_drawn(tmp_path: Path) -> None:
    """No box is given; points and box are drawn in the enlarged picture."""
    pytest.importorskip("skimage", reason="the photograph comes with scikit-image: the demo extra")
    (face,) = demo.landmark_photo(StandIn(), demo.astronaut(), tmp_path / "photo.png")  # type: ignore[arg-type]  # a stand-in
    assert face.points.shape == (5, 2)
    drawn = to_picture(tmp_path / "photo.png")
    assert drawn.shape == (SIZE, SIZE, 3)
    assert pixels_of(drawn, PLAIN) > 5
    assert pixels_of(drawn, BOX_COLOUR) > SIZE / 2


def test_a_photograph_without_faces_is_written_as_it_is(tmp_path: Path) -> None:
    """No face is no error."""
    grey = np.full((80, 100, 3), 128, np.uint8)
    assert demo.landmark_photo(StandIn(), grey, tmp_path / "grey.png") == []  # type: ignore[arg-type]  # a stand-in
    np.testing.assert_array_equal(to_picture(tmp_path / "grey.png"), grey)


def test_without_scikit_image_the_install_line_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The base install has no photographs."""
    monkeypatch.setitem(sys.modules, "skimage", None)
    with pytest.raises(MissingExtraError, match=r'pip install "lightmark\[demo\]"'):
        demo.astronaut()
