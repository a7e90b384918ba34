"""Forms beside ONNX: each file is the same model through the same Landmarker, and a missing extra is named."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from lightmark.data.synthetic import synthetic_samples
from lightmark.errors import CheckpointError, ConfigError, ExportError, MissingExtraError, SpecError
from lightmark.export.exporter import WRITERS, Exported, calibration_crops, export_formats
from lightmark.export.formats import FORMATS, FileFormat, files_of, name_in_folder, require_format
from lightmark.landmarker import Landmarker
from lightmark.runtime.model_file import open_exported, parts_of
from lightmark.runtime.onnx_model import OnnxModel
from lightmark.runtime.shipped import model_path
from lightmark.spec import METADATA_KEY, spec_from_json

FACES = synthetic_samples(20, seed=7)
OTHERS: list[FileFormat] = [file_format for file_format, one in FORMATS.items() if one.suffix != ".onnx"]
RUN: list[FileFormat] = [file_format for file_format in OTHERS if FORMATS[file_format].verified]


def skip_without(file_format: FileFormat) -> None:
    """Skip the test where the format's extra is not installed."""
    one = FORMATS[file_format]
    missing = [package for package in one.packages if find_spec(package) is None]
    if missing:
        pytest.skip(f'{file_format} needs {", ".join(missing)}: pip install "lightmark[{one.extra}]"')


@dataclass(frozen=True)
class Written:
    """An exported file of the shipped student and its input kind."""

    one: Exported
    uint8_input: bool


@pytest.fixture(scope="module", params=[(name, uint8) for name in OTHERS for uint8 in (False, True)], ids=str)
def written(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Written:
    """The shipped student in each format of an installed converter, with planes and, if possible, uint8 crops."""
    file_format, uint8_input = request.param
    skip_without(file_format)
    if uint8_input and not FORMATS[file_format].uint8_input:
        pytest.skip(f"{file_format} takes no bytes")
    out = tmp_path_factory.mktemp("formats") / name_in_folder(file_format, "fast")
    (one,) = export_formats(model_path("fast"), {file_format: out}, FACES, uint8_input)
    return Written(one, uint8_input)


def skip_unverified(written: Written) -> None:
    """Skip the test where nothing here runs the file."""
    if not FORMATS[written.one.file_format].verified:
        pytest.skip(f"nothing here runs {written.one.file_format}")


def test_every_form_gives_the_original_points(written: Written) -> None:
    """On painted faces, for one crop and for many, with all three outputs."""
    skip_unverified(written)
    model, fast = open_exported(written.one.path, threads=1), OnnxModel(model_path("fast"), threads=1)
    crops = calibration_crops(FACES, fast.spec, 5, seed=3)
    got, want = model.outputs(crops), fast.outputs(crops)
    exact = FORMATS[written.one.file_format].precision == "fp32"
    assert np.abs(got.normalized_points - want.normalized_points).max() * 128 < (0.001 if exact else 2.0)
    assert got.expected_error == pytest.approx(want.expected_error, rel=0.001 if exact else 0.3)
    assert got.confidence == pytest.approx(want.confidence, abs=0.001 if exact else 0.1)
    assert model(crops[:1]) == pytest.approx(got.normalized_points[:1], abs=1e-5)
    assert model(crops[:0]).shape == (0, 68, 2)


def test_parity_is_reported(written: Written) -> None:
    """By how many pixels points differ; of what nothing here runs, nothing."""
    one, parity = FORMATS[written.one.file_format], written.one.parity
    assert (parity is None) == (not one.verified)
    if parity is not None:
        assert parity.mean <= parity.largest < (0.01 if one.precision == "fp32" else 3.0)


def test_files_are_those_that_the_form_names(written: Written) -> None:
    """Nothing else is left in the folder."""
    path = written.one.path
    assert sorted(path.parent.iterdir()) == sorted(files_of(written.one.file_format, path))
    assert path.is_dir() or sorted(parts_of(path)) == sorted(files_of(written.one.file_format, path))


def test_landmarker_runs_it(written: Written) -> None:
    """The user's class needs no word about the format."""
    skip_unverified(written)
    (found,) = Landmarker(written.one.path, threads=1).landmarks(FACES[0].image, [FACES[0].box])
    (expected,) = Landmarker("fast", threads=1).landmarks(FACES[0].image, [FACES[0].box])
    assert np.abs(found.points - expected.points).max() < 3


def test_the_file_has_precision_and_source(written: Written) -> None:
    """Precision and source in the spec, with `not verified` where that is so."""
    if FORMATS[written.one.file_format].sidecar:
        text = written.one.path.with_name(f"{written.one.path.name}.json").read_text()
        spec = spec_from_json(text, "sidecar")
    else:
        spec = open_exported(written.one.path, threads=1).spec
    assert spec.provenance["precision"] == FORMATS[written.one.file_format].precision
    assert len(spec.provenance["source_sha256"]) == 64
    assert spec.provenance.get("parity") == (None if FORMATS[written.one.file_format].verified else "not verified")
    assert ("calibration" in spec.provenance) == FORMATS[written.one.file_format].calibrated


def test_files_disclose_nothing_of_the_machine(written: Written) -> None:
    """No path of the source tree or of the installed packages is inside."""
    for part in parts_of(written.one.path):
        content = part.read_bytes()
        assert b"site-packages" not in content
        assert str(Path(__file__).parents[2]).encode() not in content


def test_core_ml_packages_carry_the_spec_and_the_names(tmp_path: Path) -> None:
    """What Apple's tools will show: the input, the outputs and the metadata."""
    skip_without("coreml")
    import coremltools

    out = tmp_path / "fast.mlpackage"
    export_formats(model_path("fast"), {"coreml": out})
    description = coremltools.utils.load_spec(str(out)).description
    assert [one.name for one in description.input] == ["crops"]
    assert [one.name for one in description.output] == ["normalized_points", "expected_error", "confidence"]
    spec = spec_from_json(description.metadata.userDefined[METADATA_KEY], "package")
    assert spec.provenance["parity"] == "not verified"


@pytest.mark.parametrize("file_format", OTHERS)
def test_missing_extra_is_named_before_writing(file_format: FileFormat, tmp_path: Path, monkeypatch) -> None:
    """A format whose packages are not installed raises the install line, and no file of another format is written."""
    monkeypatch.setitem(sys.modules, FORMATS[file_format].packages[-1], None)
    words = rf'export to {file_format} needs .*: pip install "lightmark\[{FORMATS[file_format].extra}\]"'
    with pytest.raises(MissingExtraError, match=words):
        export_formats(model_path("fast"), {"onnx": tmp_path / "m.onnx", file_format: tmp_path / "x"}, FACES)
    assert list(tmp_path.iterdir()) == []


def test_a_converter_that_fails_leaves_nothing(tmp_path: Path, monkeypatch) -> None:
    """The converter's own message is in the error, and an old file stays."""

    def fail(*_: object) -> None:
        raise NotImplementedError("no such node")

    monkeypatch.setitem(WRITERS, "onnx", fail)
    (tmp_path / "m.onnx").write_text("old")
    with pytest.raises(ExportError, match=r"m\.onnx: the converter to onnx fails.*NotImplementedError: no such node"):
        export_formats(model_path("fast"), {"onnx": tmp_path / "m.onnx"})
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("m.onnx", "old")]


@pytest.mark.parametrize(
    ("suffix", "package", "extra"),
    [
        (".xml", "openvino", "openvino"),
        (".tflite", "ai_edge_litert", "litert"),
        (".param", "ncnn", "ncnn"),
        (".pte", "executorch", "executorch"),
    ],
)
def test_a_missing_runtime_is_named(suffix: str, package: str, extra: str, tmp_path: Path, monkeypatch) -> None:
    """A file of the format, and the runtime that it needs."""
    path = tmp_path / f"m{suffix}"
    path.write_bytes(b"")
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match=rf"m\{suffix}: .* file needs {package}: .*lightmark\[{extra}\]"):
        open_exported(path)


@pytest.mark.parametrize("suffix", [".xml", ".tflite", ".param", ".pte"])
def test_a_file_that_is_none_is_named(suffix: str, tmp_path: Path) -> None:
    """Text under the name of a model is no model."""
    file_format = next(file_format for file_format in RUN if FORMATS[file_format].suffix.endswith(suffix))
    skip_without(file_format)
    path = tmp_path / f"poem{suffix}"
    with pytest.raises(CheckpointError, match="no such model file"):
        open_exported(path)
    path.write_text("roses are red")
    with pytest.raises((CheckpointError, SpecError), match=f"poem{suffix}"):
        open_exported(path)


@pytest.mark.parametrize("file_format", [file_format for file_format in RUN if FORMATS[file_format].sidecar])
def test_a_lost_sidecar_is_asked_for(file_format: FileFormat, tmp_path: Path) -> None:
    """Without its sidecar the file is refused."""
    skip_without(file_format)
    path = tmp_path / f"m{FORMATS[file_format].suffix}"
    path.write_text("")
    with pytest.raises(SpecError, match=rf"needs {path.name}\.json beside it, which `lightmark export` wrote; copy"):
        open_exported(path)
    path.with_name(f"{path.name}.json").write_text(json.dumps({"lightmark": 99}))
    with pytest.raises(SpecError, match="ModelSpec version 99"):
        open_exported(path)


@pytest.mark.parametrize("file_format", [file_format for file_format in OTHERS if not FORMATS[file_format].uint8_input])
def test_formats_without_uint8_input_are_refused(file_format: FileFormat, tmp_path: Path) -> None:
    """uint8 input of a format without it raises an error, whether or not its packages are installed."""
    words = rf"{file_format}: takes planes of floats only; export it without --uint8-input"
    with pytest.raises(ConfigError, match=words):
        export_formats(model_path("fast"), {file_format: tmp_path / "x"}, uint8_input=True)


def test_providers_are_onnxruntimes(tmp_path: Path) -> None:
    """Execution providers are refused for formats of other runtimes than onnxruntime."""
    with pytest.raises(ConfigError, match="providers are onnxruntime's"):
        open_exported(tmp_path / "m.tflite", providers=["CUDAExecutionProvider"])


def test_core_ml_does_not_run_here(tmp_path: Path) -> None:
    """Opening a Core ML package raises an error that lists the formats with a runtime."""
    with pytest.raises(CheckpointError, match=r"ending in '\.mlpackage', a model ends in \.onnx, \.tflite, \.xml"):
        open_exported(tmp_path / "m.mlpackage")


def test_an_extra_that_is_there_is_no_error() -> None:
    """`require_format` does not raise for a format whose packages are installed."""
    require_format("onnx")


def test_every_form_has_a_writer_and_names_of_its_own() -> None:
    """All formats have a writer, and file names that are unique in one folder."""
    assert WRITERS.keys() == FORMATS.keys()
    names = [path.name for one in FORMATS for path in files_of(one, Path(name_in_folder(one, "fast")))]
    assert len(set(names)) == len(names)
    assert {"fast.onnx", "fast-int8.onnx", "fast.xml", "fast.bin", "fast-int8.tflite", "fast.ncnn.bin"} <= set(names)
