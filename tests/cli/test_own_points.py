"""Tests of the commands for points of your own."""

import ast
import json

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from lightmark.cli import main
from lightmark.schema import read_schema


def invoke(*words):
    """Run a command."""
    return CliRunner().invoke(main, [str(word) for word in words])


@pytest.fixture
def labels(tmp_path):
    """Twelve faces of five named points, as COCO."""
    rng = np.random.default_rng(0)
    shape = np.array([[20, 20], [44, 20], [32, 32], [24, 44], [40, 44]], float)
    names = ["left_eye", "right_eye", "nose", "left_mouth", "right_mouth"]
    annotations = []
    for number in range(12):
        Image.fromarray(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(tmp_path / f"{number}.png")
        points = shape + rng.normal(0, 1, shape.shape)
        keypoints = [value for x, y in points.tolist() for value in (x, y, 2)]
        annotations.append({"id": number, "image_id": number, "category_id": 1, "keypoints": keypoints})
    document = {
        "images": [{"id": number, "file_name": f"{number}.png"} for number in range(12)],
        "annotations": annotations,
        "categories": [{"id": 1, "name": "face", "keypoints": names, "skeleton": [[1, 2]]}],
    }
    path = tmp_path / "labels.json"
    path.write_text(json.dumps(document))
    return path


def test_init_writes_schema_picture_and_recipe(labels, tmp_path):
    """The schema has the names and pairs, the recipe is a program, and the next commands name both."""
    result = invoke("init", tmp_path / "five", "--from", labels)
    assert result.exit_code == 0, result.output
    schema = read_schema(tmp_path / "five.json")
    assert (schema.name, schema.mirror, schema.edges) == ("five", (1, 0, 2, 4, 3), ((0, 1),))
    assert schema.point_names[2] == "nose"
    assert Image.open(tmp_path / "five.png").width > 1200
    ast.parse((tmp_path / "five.py").read_text())
    assert f"finetune standard --schema {tmp_path / 'five.json'} --data {labels} --out runs/five" in result.stdout


def test_init_overwrites_nothing_unasked(labels, tmp_path):
    """A schema that the user corrected by hand stays; so does the file of labels."""
    (tmp_path / "five.json").write_text("mine")
    result = invoke("init", tmp_path / "five", "--from", labels)
    assert result.exit_code == 2
    assert "is there already" in result.stderr
    assert (tmp_path / "five.json").read_text() == "mine"
    result = invoke("init", tmp_path / "labels.json", "--from", labels, "--force")
    assert "is one of the inputs" in result.stderr
