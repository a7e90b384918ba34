"""Schemas of one and of two points, all the way: training, export, detection and evaluation in the face's own box."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

pytest.importorskip("torch")
pytest.importorskip("onnx")

from lightmark.cli import main
from lightmark.data.crops.augment import NO_AUGMENTATION
from lightmark.data.read import read_samples
from lightmark.data.sample import load_image
from lightmark.data.synthetic import synthetic_samples
from lightmark.evaluate.face_boxes import find_face_boxes, with_face_boxes
from lightmark.geometry import longer_side
from lightmark.nets.network import Architecture
from lightmark.schema import FACE_BOX, Schema, schema_to_dict
from lightmark.train.config import Execution, Recipe
from lightmark.train.faces import split_samples
from lightmark.train.loop import train

QUIET = Execution(quiet=True)

NOSE = Schema("nose", (0,), (), normaliser_name=FACE_BOX)
EYES = Schema("eyes", (1, 0), (0, 1))
POINTS = {"nose": [30], "eyes": [36, 45]}


@pytest.fixture(scope="module")
def drawn():
    """Drawn faces that the shipped student detects."""
    faces = synthetic_samples(12, seed=10, size=128)
    return [face for face, box in zip(faces, find_face_boxes(faces), strict=True) if box is not None]


def invoke(*words: object) -> str:
    result = CliRunner().invoke(main, [str(word) for word in words], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.mark.parametrize(
    ("schema", "divisor"), [(NOSE, "the longer side of the face's box"), (EYES, "its inter-ocular distance")]
)
def test_few_points_go_all_the_way(drawn, schema: Schema, divisor: str, tmp_path: Path) -> None:
    """One and two points can be checked, trained, exported, detected and evaluated, with errors by the face's box."""
    data, described, model = tmp_path / "faces", tmp_path / "schema.json", tmp_path / "model.onnx"
    data.mkdir()
    described.write_text(json.dumps(schema_to_dict(schema)))
    for index, face in enumerate(drawn):
        Image.fromarray(load_image(face)).save(data / f"{index}.png")
        rows = [f"{x + 1:.2f} {y + 1:.2f}" for x, y in face.points[POINTS[schema.name]]]
        (data / f"{index}.pts").write_text("\n".join(["version: 1", f"n_points: {schema.size}", "{", *rows, "}"]))
    assert "nothing to look at" in invoke(
        "data", "check", data, "--schema", described, "--sheet", tmp_path / "sheet.png"
    )
    for form in ("--whole", "--crops"):
        invoke("data", "pack", data, form, "--schema", described, "--out", tmp_path / form)
        packed = read_samples(tmp_path / form)
        assert [face.schema.size for face in packed] == [schema.size] * len(drawn)
    recipe = Recipe(
        "few", Architecture("mobilenetv2", "spatial", width=0.25), 32, "l1", steps=4, batch=4, warmup=1, ema=0.5,
        validation=0.3, validate_every=4, log_every=4, augmentation=NO_AUGMENTATION,
    )  # fmt: skip
    samples = with_face_boxes(read_samples(data, schema))
    checkpoint = train(recipe, split_samples(samples, recipe), tmp_path / "run", execution=QUIET)
    invoke("export", checkpoint, "--out", model)
    report = invoke("evaluate", model, "--data", data, "--schema", described, "--report", tmp_path / "report")
    assert f"from their labels over {divisor}" in report
    saved = json.loads((tmp_path / "report" / "report.json").read_text())
    assert saved["normaliser"] == schema.normaliser_name
    invoke("detect", data, "--model", model, "--format", "coco", "--out", tmp_path / "found.json")
    found = {face.path.stem: face.points for face in read_samples(tmp_path / "found.json")}
    errors = [
        np.linalg.norm(found[face.path.stem] - face.points, axis=1).mean() / longer_side(face.box)
        for face in samples
        if face.path.stem in found
    ]
    assert len(errors) > 0.6 * len(samples)
    assert np.median(errors) < 0.2
