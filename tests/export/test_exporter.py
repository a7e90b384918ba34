"""Formats of one model: each runs like its float32 original and has its provenance; no bad file is left."""

from __future__ import annotations

import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from lightmark.data.synthetic import synthetic_samples
from lightmark.errors import CheckpointError, ConfigError, DataError, ExportError, MissingExtraError, WriteError
from lightmark.export import exporter
from lightmark.export.exporter import Exported, calibration_crops, export_formats
from lightmark.export.formats import PRECISIONS
from lightmark.export.graph import read_graph, takes_bytes
from lightmark.export.parity import Parity
from lightmark.files import sha256_of
from lightmark.landmarker import Landmarker
from lightmark.runtime.onnx_model import OnnxModel
from lightmark.runtime.shipped import model_path

FACES = synthetic_samples(40, seed=7)
INT8_BOUNDS = [("onnx-int8", 2.0), ("onnx-int8-vnni", 2.0)]  # on every processor: full range is run exactly


@pytest.fixture(scope="module")
def fast() -> OnnxModel:
    return OnnxModel(model_path("fast"), threads=1)


@pytest.fixture(scope="module", params=[False, True], ids=["planes", "bytes"])
def written(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Exported]:
    """All formats of the shipped student, calibrated on painted faces; once for each kind of input."""
    folder = tmp_path_factory.mktemp("formats")
    outs = {file_format: folder / f"{file_format}.onnx" for file_format in PRECISIONS}
    return {one.file_format: one for one in export_formats(model_path("fast"), outs, FACES, uint8_input=request.param)}


@pytest.mark.parametrize(("file_format", "largest"), [("onnx", 1e-4), ("onnx-fp16", 0.05), *INT8_BOUNDS])
def test_each_form_gives_the_original_points(written, fast, file_format, largest) -> None:
    """On painted faces, for one crop and for many, with all three outputs."""
    model = OnnxModel(written[file_format].path, threads=1)
    crops = calibration_crops(FACES, fast.spec, 5, seed=3)
    got, want = model.outputs(crops), fast.outputs(crops)
    assert np.abs(got.normalized_points - want.normalized_points).max() * 128 < largest
    assert got.expected_error == pytest.approx(want.expected_error, rel=0.3)
    assert got.confidence.shape == (5,)
    assert model(crops[:1]) == pytest.approx(got.normalized_points[:1], abs=1e-4)


def test_lower_precisions_report_how_far_they_are(written) -> None:
    """int8 moves points by tenths of a pixel, fp16 by hundredths, and the parity has both."""
    found = {file_format: one.parity.mean for file_format, one in written.items()}
    assert found["onnx"] <= 1e-4 < found["onnx-fp16"] < 0.02 < found["onnx-int8"] < 1
    assert found["onnx-int8-vnni"] < 1


def test_files_shrink(written) -> None:
    """Half precision halves the backbone, eight bits make a quarter of it; heads stay as they are."""
    sizes = {file_format: one.path.stat().st_size for file_format, one in written.items()}
    assert sizes["onnx-fp16"] < 0.6 * sizes["onnx"]
    assert sizes["onnx-int8"] < 0.45 * sizes["onnx"]


def test_each_file_has_precision_and_source(written, fast) -> None:
    """The provenance has precision, source and calibration, but not the NME of the original."""
    specs = {file_format: OnnxModel(one.path, 1).spec for file_format, one in written.items()}
    assert {file_format: spec.provenance["precision"] for file_format, spec in specs.items()} == PRECISIONS
    assert specs["onnx"].provenance["nme"] == fast.spec.provenance["nme"]
    spec = specs["onnx-int8"]
    assert spec.provenance["calibration"] == {"faces": 24, "seed": 0}
    assert spec.provenance["source_sha256"] == sha256_of(model_path("fast"))
    assert "nme" not in spec.provenance
    assert spec.provenance["pair_limit"] == 128
    assert "pair_limit" not in specs["onnx-int8-vnni"].provenance
    assert replace(spec, provenance={}) == replace(fast.spec, provenance={})


def test_files_disclose_nothing_of_the_machine(written) -> None:
    """No path of a folder of this machine is inside."""
    for one in written.values():
        content = one.path.read_bytes()
        for word in (b"site-packages", str(one.path.parent).encode(), str(Path(exporter.__file__).parents[2]).encode()):
            assert word not in content


def test_landmarker_runs_every_form(written) -> None:
    """The user's class needs no word about precision or input."""
    face = FACES[0]
    for one in written.values():
        (found,) = Landmarker(one.path, threads=1).landmarks(face.image, [face.box])
        assert found.points.shape == (68, 2)


@pytest.mark.parametrize("file_format", ["onnx-int8", "onnx-int8-vnni"])
def test_int8_has_unsigned_activations_and_signed_weights(written, file_format) -> None:
    """That is the pair that x86 multiplies fast."""
    weights = {w.name: onnx.numpy_helper.to_array(w) for w in onnx.load(written[file_format].path).graph.initializer}
    kernels = [value for name, value in weights.items() if name.endswith("weight_quantized")]
    assert len(kernels) > 40
    assert {kernel.dtype for kernel in kernels} == {np.dtype(np.int8)}
    assert np.dtype(np.uint8) in {value.dtype for name, value in weights.items() if name.endswith("zero_point")}
    assert max(np.abs(kernel.astype(int)).max() for kernel in kernels) > 100


@pytest.mark.parametrize("file_format", ["onnx-int8", "onnx-fp16"])
def test_heads_stay_float(written, file_format) -> None:
    """No weight of the landmark or confidence head is rounded."""
    weights = onnx.load(written[file_format].path).graph.initializer
    heads = [w for w in weights if "network.head." in w.name or "network.confidence." in w.name]
    assert len(heads) > 10
    assert {w.data_type for w in heads} == {onnx.TensorProto.FLOAT}


def test_int8_takes_bytes_as_they_are(written) -> None:
    """Of a spec without a mean, bytes are the rounded planes already: nothing is normalised, nothing rounded."""
    for file_format, one in written.items():
        model = read_graph(one.path)
        normalised = "pixels_normalised" in {node.name for node in model.graph.node}
        assert normalised == (takes_bytes(model) and "int8" not in file_format)
        rounded = [node for node in model.graph.node if node.op_type == "QuantizeLinear" and "crops" in node.input]
        assert len(rounded) == ("int8" in file_format and not takes_bytes(model))


def test_int8_needs_faces(tmp_path) -> None:
    """Ranges of noise would be no ranges of faces."""
    with pytest.raises(ConfigError, match="int8 needs faces to measure ranges on: give --calibrate"):
        export_formats(model_path("fast"), {"onnx-int8": tmp_path / "m.onnx"})


def test_half_precision_needs_no_faces(tmp_path) -> None:
    """fp16 needs no faces; its parity is measured on random crops."""
    (one,) = export_formats(model_path("fast"), {"onnx-fp16": tmp_path / "m.onnx"})
    assert one.parity.mean < 0.1


@pytest.mark.parametrize(("file_format", "word"), [("onnx-int8", "int8"), ("onnx-fp16", "fp16")])
def test_rounded_models_are_no_source(written, tmp_path, file_format, word) -> None:
    """Files of lower precision are refused as a source."""
    with pytest.raises(ExportError, match=f"is {word} already; give the checkpoint or the float32 file"):
        export_formats(written[file_format].path, {"onnx": tmp_path / "m.onnx"})


def test_sources_that_are_no_models_are_named(tmp_path) -> None:
    """Another suffix, a missing file and a foreign one are errors that name the fault."""
    outs = {"onnx": tmp_path / "out.onnx"}
    with pytest.raises(ConfigError, match=r"m\.tflite: a model to export ends in \.safetensors or \.onnx"):
        export_formats(tmp_path / "m.tflite", outs)
    with pytest.raises(CheckpointError, match=r"m\.onnx: no such model file"):
        export_formats(tmp_path / "m.onnx", outs)
    (tmp_path / "m.onnx").write_text("roses are red")
    with pytest.raises(CheckpointError, match=r"m\.onnx: no ONNX model"):
        export_formats(tmp_path / "m.onnx", outs)
    with pytest.raises(ConfigError, match="no format to export to; known: onnx, onnx-fp16"):
        export_formats(tmp_path / "m.onnx", {})


@pytest.mark.parametrize(
    ("file_format", "parity", "words"),
    [
        ("onnx", Parity(0.02, 0.01, 16), r"m\.onnx: .* differ from the original's by up to 0\.0200 px"),
        ("onnx-fp16", Parity(9.0, 3.0, 16), r"m\.onnx: .* off by 3\.00 px of 128 on average, at most 2\.56"),
        ("onnx-fp16", Parity(float("nan"), float("nan"), 16), "off by nan px"),
    ],
)
def test_a_file_that_is_another_model_is_not_left(tmp_path, monkeypatch, file_format, parity, words) -> None:
    """A file that fails its parity is not kept, and the old file stays."""
    (tmp_path / "m.onnx").write_text("old")
    monkeypatch.setattr(exporter, "measure_parity", lambda *_: parity)
    with pytest.raises(ExportError, match=words):
        export_formats(model_path("fast"), {file_format: tmp_path / "m.onnx"})
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("m.onnx", "old")]


def test_calibration_faces_are_drawn_by_seed(fast) -> None:
    """The same seed gives the same crops, another others, and never more than there are."""
    first, again, other = (calibration_crops(FACES, fast.spec, 6, seed) for seed in (0, 0, 1))
    assert (first == again).all()
    assert (first != other).any()
    assert calibration_crops(FACES[:3], fast.spec, 6, 0).shape == (3, 128, 128, 3)


def test_a_label_without_a_box_is_named(fast) -> None:
    """A face whose points lie on one spot cannot be cut."""
    spot = replace(FACES[0], points=np.zeros((68, 2)), box=np.zeros(4))
    with pytest.raises(DataError, match="the labelled points span no box"):
        calibration_crops([spot], fast.spec, 1, 0)


def test_a_disk_that_fills_is_not_the_converters_fault(tmp_path, monkeypatch) -> None:
    """A full disk, in the folder or for temporary files, raises our error and leaves no file."""

    def refuse(*_words: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(exporter, "write_model", refuse)
    with pytest.raises(WriteError, match=r"out\.onnx: cannot be written: No space left .* and for temporary files"):
        export_formats(model_path("fast"), {"onnx": tmp_path / "out.onnx"})
    assert list(tmp_path.iterdir()) == []


def test_no_room_for_temporary_files_is_an_error(tmp_path, monkeypatch) -> None:
    """Python's own error names neither the command's file nor a way out."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    with pytest.raises(WriteError, match=r"needs temporary files, which cannot be written: No such file .* TMPDIR"):
        export_formats(model_path("fast"), {"onnx": tmp_path / "out.onnx"})


def test_missing_onnx_gives_the_install_line(tmp_path, monkeypatch) -> None:
    """Without the extra the error has the install line."""
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(MissingExtraError, match=r'pip install "lightmark\[onnx\]"'):
        export_formats(model_path("fast"), {"onnx-fp16": tmp_path / "m.onnx"})
