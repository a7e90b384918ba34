"""A small world of what commands read: faces with labels, a schema, models, a film, reports."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lightmark.detectors.open import FixedBoxes
from lightmark.schema import Schema
from lightmark.spec import ModelSpec, spec_to_json
from lightmark.video.writer import writing_video

FIVE = Schema("five", mirror=(1, 0, 2, 4, 3), normaliser=(0, 1), edges=((3, 4),))
SHAPE = np.array([[0.3, 0.4], [0.7, 0.4], [0.5, 0.55], [0.35, 0.7], [0.65, 0.7]])


@dataclass(frozen=True)
class World:
    """Where everything lies: `faces` are labelled pictures, `model` takes them."""

    root: Path
    faces: Path
    schema: Path
    model: Path
    film: Path

    def words(self, text: str) -> list[str]:
        """The words of a command line in which FACES, SCHEMA, MODEL, FILM and ROOT stand for their paths."""
        names = {"FACES": self.faces, "SCHEMA": self.schema, "MODEL": self.model, "FILM": self.film, "ROOT": self.root}
        words = text.split()
        for name, path in names.items():
            words = [word.replace(name, str(path)) for word in words]
        return words


@pytest.fixture
def world(tmp_path: Path, write_onnx: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> World:
    """Three pictures with a face each, whatever is searched for one."""
    faces = tmp_path / "faces"
    faces.mkdir()
    rng = np.random.default_rng(0)
    rows = ["12 15", "28 15", "20 22", "14 30", "26 30"]
    for index in range(3):
        Image.fromarray(rng.integers(0, 255, (40, 40, 3), dtype=np.uint8)).save(faces / f"{index}.png")
        (faces / f"{index}.pts").write_text("\n".join(["version: 1", "n_points: 5", "{", *rows, "}"]))
    schema = {"name": "five", "mirror": [1, 0, 2, 4, 3], "normaliser": [0, 1]}
    (tmp_path / "five.json").write_text(json.dumps(schema))
    with writing_video(tmp_path / "film.mp4") as writer:
        for index in range(2):
            writer.write(np.full((48, 64, 3), 90, np.uint8), index / 25)
    monkeypatch.setattr("lightmark.landmarker.open_detector", lambda *_, **__: FixedBoxes([[8.0, 8, 30, 30]]))
    spec = ModelSpec(FIVE, 32, crop_scale=1.0, template=((0.0, 0.0), *[(0.1, 0.1)] * 4))
    model = write_onnx("model.onnx", SHAPE, 32, spec_to_json(spec))
    return World(tmp_path, faces, tmp_path / "five.json", model, tmp_path / "film.mp4")
