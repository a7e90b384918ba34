"""Renaming the values of exported ONNX files: new names inside and in the metadata, the same numbers out."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from lightmark.errors import ExportError
from lightmark.runtime.onnx_model import OnnxModel
from lightmark.schema import plain_schema
from lightmark.spec import ModelSpec, spec_to_json

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "rename_outputs.py"
pytestmark = pytest.mark.skipif(not SCRIPT.exists(), reason="the package alone, without its scripts")
PROVENANCE = {"source_sha256": "old", "confidence": {"presence_auc": 0.9, "seed": 0}}


@pytest.fixture
def script() -> dict[str, Any]:
    """The script's functions."""
    return runpy.run_path(str(SCRIPT))


@pytest.fixture
def old_file(write_onnx) -> Path:
    """An ONNX file whose output and one weight have their former names."""
    spec = ModelSpec(plain_schema(3), 16, provenance=PROVENANCE)
    path = write_onnx("model.onnx", np.random.default_rng(0).random((3, 2)), 16, spec_to_json(spec), gain=0.1)
    rename_by_hand(path, {"normalized_points": "unit_points", "gain": "network.confidence.presence.0.weight"})
    return path


def rename_by_hand(path: Path, names: dict[str, str]) -> None:
    """Replace value names in the file `path`."""
    model = onnx.load(path)
    for one in (*model.graph.output, *model.graph.initializer):
        one.name = names.get(one.name, one.name)
    for node in model.graph.node:
        for side in (node.input, node.output):
            side[:] = [names.get(name, name) for name in side]
    onnx.save(model, path)


def test_names_change_and_numbers_do_not(script: dict[str, Any], old_file: Path) -> None:
    """Output, weight and provenance have their present names; the points are the same bits."""
    crops = np.random.default_rng(1).integers(0, 256, (3, 16, 16, 3), dtype=np.uint8)
    before = OnnxModel(old_file)(crops)
    assert script["rename_file"](old_file, {"old": "new"})
    graph = onnx.load(old_file).graph
    assert [one.name for one in graph.output] == ["normalized_points"]
    assert "network.confidence.logit.0.weight" in {one.name for one in graph.initializer}
    model = OnnxModel(old_file)
    assert np.array_equal(model(crops), before)
    assert model.spec.provenance == {"source_sha256": "new", "confidence": {"auc": 0.9, "seed": 0}}


def test_a_renamed_file_stays_as_it_is(script: dict[str, Any], old_file: Path) -> None:
    """A second run finds nothing to rename and does not touch the file."""
    assert script["rename_file"](old_file, {})
    content = old_file.read_bytes()
    assert not script["rename_file"](old_file, {"old": "new"})
    assert old_file.read_bytes() == content


def test_a_name_that_is_taken_is_refused(script: dict[str, Any], old_file: Path) -> None:
    """Two values of one name would be an invalid graph; the file stays."""
    rename_by_hand(old_file, {"shift3": "normalized_points"})
    content = old_file.read_bytes()
    with pytest.raises(ExportError, match=r"model\.onnx: has a value called as one of normalized_points"):
        script["rename_file"](old_file, {})
    assert old_file.read_bytes() == content


def test_a_file_that_computes_other_numbers_is_refused(
    script: dict[str, Any], old_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A renamed weight that changes on the way raises, and the file stays."""
    content = old_file.read_bytes()
    write_model = script["write_model"]

    def changed(model: Any, *rest: Any) -> None:
        (weight,) = (one for one in model.graph.initializer if one.name.endswith("logit.0.weight"))
        weight.CopyFrom(onnx.numpy_helper.from_array(np.full((1, 1, 1, 1), 0.2, np.float32), weight.name))
        write_model(model, *rest)

    monkeypatch.setitem(script["rename_file"].__globals__, "write_model", changed)
    with pytest.raises(ExportError, match=r"model\.onnx: computes other numbers under its new names"):
        script["rename_file"](old_file, {})
    assert old_file.read_bytes() == content
