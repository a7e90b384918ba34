"""Shipped models: names, sha256 checks, and names against file paths."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from lightmark.data.synthetic import synthetic_samples
from lightmark.errors import CheckpointError
from lightmark.landmarker import Landmarker
from lightmark.runtime.shipped import list_models, model_path, models_table, shipped_models
from lightmark.schema import IBUG68, plain_schema
from lightmark.spec import ModelSpec, spec_to_json

PROVENANCE = {"parameters": 12, "multiply_adds": 3_400_000, "nme": {"common": 0.0345}}


@pytest.fixture
def folder(write_onnx, tmp_path) -> Path:
    """A package's folder with one model, "tiny"."""
    spec = ModelSpec(plain_schema(3), 16, provenance=PROVENANCE)
    path = write_onnx("tiny.onnx", np.full((3, 2), 0.5), 16, spec_to_json(spec))
    entry = {
        "file": path.name,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "licence": "none",
        "summary": "Three points.",
    }
    (path.parent / "models.json").write_text(json.dumps({"tiny": entry}))
    return path.parent


def test_a_name_is_found(folder):
    """A shipped name gives its file; a path gives itself."""
    assert model_path("tiny", folder) == folder / "tiny.onnx"
    assert model_path(folder / "tiny.onnx", folder) == folder / "tiny.onnx"
    with pytest.raises(CheckpointError, match="no model file"):
        model_path(Path("tiny"), folder)  # a Path is never a name


def test_a_changed_file_is_refused(folder):
    """One byte more, and the name no longer opens it."""
    with (folder / "tiny.onnx").open("ab") as file:
        file.write(b"\0")
    with pytest.raises(CheckpointError, match=r"tiny\.onnx: sha256 .* it was changed or cut: install lightmark again"):
        model_path("tiny", folder)


def test_a_missing_file_is_named(folder):
    """A model file that is missing in the package is named in the error."""
    (folder / "tiny.onnx").unlink()
    with pytest.raises(CheckpointError, match=r"tiny: its file is missing .* install lightmark again"):
        model_path("tiny", folder)


def test_a_wrong_name_lists_the_right_ones(folder):
    """A typing error is answered with the names there are."""
    with pytest.raises(CheckpointError, match=r"tinny: no model file and no shipped model \(tiny\)"):
        model_path("tinny", folder)


def test_a_broken_list_is_refused(folder):
    """An invalid list of models raises our error instead of a KeyError."""
    (folder / "models.json").write_text('{"tiny": {"file": "tiny.onnx"}}')
    with pytest.raises(CheckpointError, match=r"models\.json: the list of shipped models cannot be read"):
        shipped_models(folder)


def test_the_list_has_costs_and_errors(folder):
    """What a user chooses by is in the list and in the table."""
    (entry,) = list_models(folder)
    assert (entry["name"], entry["size"], entry["parameters"], entry["nme"]) == ("tiny", 16, 12, {"common": 0.0345})
    table = models_table([entry])
    cells = [next(iter(column.cells)) for column in table.columns]
    assert cells == ["tiny", "points3", "16 px", f"{entry['bytes'] / 1e6:.1f}", "3", "3.45", "–", "–"]


@pytest.mark.parametrize("name", shipped_models())
def test_every_shipped_model_opens_with_confidence_and_its_numbers(name):
    """The file in the package is the registered one, runs, gives confidence, and carries its own numbers."""
    landmarker = Landmarker(name, threads=1)
    picture = np.random.default_rng(0).integers(0, 256, (120, 120, 3), dtype=np.uint8)
    (face,) = landmarker.landmarks(picture, [[30, 30, 90, 90]])
    assert face.points.shape == (68, 2)
    assert face.expected_error.min() > 0
    assert 0 <= face.confidence <= 1
    assert set(landmarker.spec.provenance["nme"]) == {"common", "challenging", "full"}


@pytest.mark.parametrize("name", shipped_models())
def test_covered_points_are_expected_to_err_more(name):
    """A grey patch over the mouth of synthetic faces raises what is expected there more than elsewhere."""
    landmarker = Landmarker(name, threads=1)
    mouth = list(IBUG68.groups["mouth"])
    others = [index for index in range(17, 68) if index not in mouth]
    ratios = []
    for sample in synthetic_samples(12, seed=5):
        (clear,) = landmarker.landmarks(sample.image, [sample.box])
        covered = sample.image.copy()
        (x0, y0), (x1, y1) = (np.round(f(sample.points[mouth], axis=0)).astype(int) for f in (np.min, np.max))
        margin = (x1 - x0) // 5
        covered[max(0, y0 - margin) : y1 + margin, max(0, x0 - margin) : x1 + margin] = 110
        (hidden,) = landmarker.landmarks(covered, [sample.box])
        grown = hidden.expected_error / clear.expected_error
        ratios.append((grown[mouth].mean(), grown[others].mean()))
    at_mouth, elsewhere = np.mean(ratios, axis=0)
    assert at_mouth > 1.15
    assert at_mouth > elsewhere + 0.1
