"""An exported file gives the checkpoint's outputs and has its provenance; otherwise no file is left."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from lightmark.errors import ExportError, MissingExtraError
from lightmark.export import onnx as onnx_export
from lightmark.export.onnx import export_onnx
from lightmark.export.parity import Parity, measure_parity, random_crops
from lightmark.files import sha256_of
from lightmark.nets.checkpoint import load_model, save_checkpoint
from lightmark.nets.network import Architecture, HeadName, build_network
from lightmark.runtime.onnx_model import OnnxModel
from lightmark.schema import IBUG68
from lightmark.spec import ModelSpec, Outputs


def save_random(path: Path, head: HeadName, confidence: bool = False) -> Path:
    """Checkpoint of a small network whose points depend on the picture: its norms have seen pictures."""
    architecture = Architecture("mobilenetv2", head, width=0.25)
    network = build_network(architecture, np.full((68, 2), 0.5), seed=0)
    if confidence:
        network.add_confidence()
    pictures = torch.rand(16, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():
        network.train()(pictures)
        for parameter in network.head.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)) * 0.05)
    spec = ModelSpec(IBUG68, 64, mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4), provenance={"recipe": "random"})
    save_checkpoint(path, network, architecture, spec)
    return path


@pytest.fixture(scope="module", params=["pooling", "spatial", "spatial-separable"])
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Parity]:
    """A checkpoint, the ONNX file made of it, and the parity that the export reported; once for each head."""
    folder = tmp_path_factory.mktemp("exported")
    checkpoint = save_random(folder / "model.safetensors", request.param)
    return checkpoint, folder / "model.onnx", export_onnx(checkpoint, folder / "model.onnx")


@pytest.fixture
def quick_export(exported: tuple[Path, Path, Parity], monkeypatch: pytest.MonkeyPatch) -> Path:
    """The checkpoint, with torch's slow exporter replaced by a copy of what it wrote before."""
    checkpoint, written, _ = exported
    monkeypatch.setattr(onnx_export, "_write", lambda _model, _spec, path: shutil.copyfile(written, path))
    return checkpoint


def test_exported_points_are_the_networks(exported: tuple[Path, Path, Parity]) -> None:
    """Within a hundredth of a pixel, one by one and in batches of other sizes, and the points do move."""
    checkpoint, written, parity = exported
    assert parity.largest < 0.01
    model, original = OnnxModel(written), load_model(checkpoint)
    crops = random_crops(64, 5, np.random.default_rng(3))
    assert np.abs(model(crops) - original(crops)).max() * 64 < 0.01
    assert np.ptp(model(crops), axis=0).max() * 64 > 0.1


def test_exported_file_discloses_nothing_of_the_machine(exported: tuple[Path, Path, Parity]) -> None:
    """No path of the source tree or of the installed packages is inside."""
    content = exported[1].read_bytes()
    assert b"site-packages" not in content
    assert str(Path(onnx_export.__file__).parents[1]).encode() not in content


def test_exported_file_carries_the_spec(exported: tuple[Path, Path, Parity]) -> None:
    """Schema, crop rule, normalisation and provenance come back as they went in, with what the export adds."""
    checkpoint, written, _ = exported
    spec, found = load_model(checkpoint).spec, OnnxModel(written).spec
    origin = {"precision": "fp32", "checkpoint_sha256": sha256_of(checkpoint)}
    assert found == replace(spec, provenance={**spec.provenance, **origin})


def test_a_file_that_differs_is_not_left(quick_export: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Above the tolerance the export fails with the distance, and what lay there before stays."""
    (tmp_path / "model.onnx").write_text("old")
    monkeypatch.setattr(onnx_export, "measure_parity", lambda *_: Parity(0.02, 0.01, 16))
    with pytest.raises(ExportError, match=r"model\.onnx: .* up to 0\.0200 px \(.*\), 0\.01 allowed"):
        export_onnx(quick_export, tmp_path / "model.onnx")
    assert (tmp_path / "model.onnx").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]


def test_nan_points_are_not_parity(quick_export: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A distance that is not a number is no small distance."""
    monkeypatch.setattr(onnx_export, "measure_parity", lambda *_: Parity(float("nan"), 0.0, 16))
    with pytest.raises(ExportError, match="nan px"):
        export_onnx(quick_export, tmp_path / "model.onnx")


def test_parity_finds_one_moved_point(tmp_path: Path) -> None:
    """One point of one crop moved by half a pixel is the largest distance."""
    model = load_model(save_random(tmp_path / "model.safetensors", "pooling"))

    class Moved:
        spec = model.spec

        def outputs(self, crops: np.ndarray) -> Outputs:
            points = model(crops)
            points[-1, 7, 0] += 0.5 / 64
            return Outputs(points)

    crops = random_crops(64, 4, np.random.default_rng(0))
    assert measure_parity(Moved(), model, crops).largest == pytest.approx(0.5, abs=1e-3)


@pytest.mark.parametrize("part", ["largest", "expected_error", "confidence"])
def test_a_part_that_is_no_number_is_not_parity(quick_export, tmp_path, monkeypatch, part):
    """Every part of the comparison must hold."""
    parity = replace(Parity(0.0, 0.0, 16), **{part: float("nan")})
    monkeypatch.setattr(onnx_export, "measure_parity", lambda *_: parity)
    with pytest.raises(ExportError, match="nan"):
        export_onnx(quick_export, tmp_path / "model.onnx")


def test_confidence_is_exported(tmp_path: Path) -> None:
    """The file of a network with confidence gives all three outputs, as torch does, for one crop and for many."""
    checkpoint = save_random(tmp_path / "model.safetensors", "spatial", confidence=True)
    parity = export_onnx(checkpoint, tmp_path / "model.onnx")
    model = load_model(checkpoint)
    assert model.spec.confidence
    crops = random_crops(model.spec.size, 3, np.random.default_rng(0))
    got, want = OnnxModel(tmp_path / "model.onnx").outputs(crops), model.outputs(crops)
    assert got.expected_error is not None
    assert got.confidence is not None
    assert got.expected_error.shape == got.normalized_points.shape[:2]
    np.testing.assert_allclose(got.expected_error, want.expected_error, rtol=1e-3)
    np.testing.assert_allclose(got.confidence, want.confidence, atol=1e-4)
    np.testing.assert_allclose(want.normalized_points, model(crops), atol=1e-6)
    assert 0 <= max(parity.expected_error, parity.confidence) < 0.01
    assert np.std(got.expected_error) > 0


def test_missing_onnx_gives_the_install_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the extra the error has the install line."""
    checkpoint = save_random(tmp_path / "model.safetensors", "pooling")
    monkeypatch.setitem(__import__("sys").modules, "onnxscript", None)
    with pytest.raises(MissingExtraError, match=r'pip install "lightmark\[export\]"'):
        export_onnx(checkpoint, tmp_path / "model.onnx")
