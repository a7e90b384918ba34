"""Tests of `lightmark export`: formats and names of files, and overwrite protection."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from PIL import Image

from lightmark.cli import main
from lightmark.data.synthetic import synthetic_samples
from lightmark.runtime.onnx_model import OnnxModel
from lightmark.runtime.shipped import model_path


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight painted faces with 68 points each, as .pts."""
    folder = tmp_path_factory.mktemp("faces")
    for index, sample in enumerate(synthetic_samples(8, seed=2)):
        Image.fromarray(sample.image).save(folder / f"{index}.png")
        rows = [f"{x + 1:.3f} {y + 1:.3f}" for x, y in sample.points]  # .pts counts pixels from 1
        (folder / f"{index}.pts").write_text("\n".join(["version: 1", "n_points: 68", "{", *rows, "}"]))
    return folder


def export(*arguments: object) -> tuple[int, str]:
    """Status and output of `lightmark export` with the arguments."""
    result = CliRunner().invoke(main, ["export", *map(str, arguments)])
    return result.exit_code, result.output


def test_several_forms_go_into_a_folder(faces: Path, tmp_path: Path) -> None:
    """Files are named after model and format; with --evaluate the loss of accuracy is printed."""
    formats = "onnx,onnx-fp16,onnx-int8,onnx-int8-vnni"
    status, output = export(
        "fast", "--to", formats, "--out", tmp_path / "out", "--calibrate", faces, "--evaluate", faces, "--uint8-input"
    )
    assert status == 0, output
    names = ["fast-fp16.onnx", "fast-int8-vnni.onnx", "fast-int8.onnx", "fast.onnx"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == names
    lines = [line.split() for line in output.partition("one by one")[0].splitlines() if line.startswith(str(tmp_path))]
    rows = {line[1]: line for line in lines}
    assert float(rows["onnx"][3]) < 0.001 < float(rows["onnx-fp16"][3]) < float(rows["onnx-int8"][3])
    assert "over 8 crops, one by one and batched" in output
    assert "relative" in output
    lost = {line.split()[0]: line.split() for line in output.splitlines() if " % " in f"{line} "}
    assert lost[str(tmp_path / "out" / "fast.onnx")][-2:] == ["+0.00", "%"]
    assert {OnnxModel(path).takes_bytes for path in (tmp_path / "out").iterdir()} == {True}


def test_one_form_goes_into_a_file(tmp_path: Path) -> None:
    """The default is a float32 copy, and an existing file is not replaced."""
    out = tmp_path / "student.onnx"
    assert export("fast", "--out", out)[0] == 0
    assert OnnxModel(out).spec.schema.name == "ibug68"
    before = out.read_bytes()
    status, output = export("fast", "--to", "onnx-fp16", "--out", out)
    assert (status, out.read_bytes()) == (2, before)
    assert "is there already; give another name, or --force" in output
    assert export("fast", "--to", "onnx-fp16", "--out", out, "--force")[0] == 0
    assert len(out.read_bytes()) < len(before)


def test_what_lies_beside_a_file_is_not_replaced_unasked(tmp_path: Path) -> None:
    """Weights of the same name may be another model's."""
    (tmp_path / "m.bin").write_text("another's")
    status, output = export("fast", "--to", "openvino", "--out", tmp_path / "m.xml")
    assert status == 2
    assert "m.bin: is there already; give another name, or --force" in output
    assert (tmp_path / "m.bin").read_text() == "another's"


def test_the_model_itself_is_never_replaced(tmp_path: Path) -> None:
    """Not even with --force, by its name in the folder."""
    source = tmp_path / "student.onnx"
    source.write_bytes(model_path("fast").read_bytes())
    status, output = export(source, "--to", "onnx,onnx-fp16", "--out", tmp_path, "--force")
    assert status == 2
    assert "student.onnx: is one of the inputs" in output
    assert [path.name for path in tmp_path.iterdir()] == ["student.onnx"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--to", "tflite,onnx", "--out", "x"], "--to tflite: known are onnx, onnx-fp16, onnx-int8, onnx-int8-vnni"),
        (["--out", "x.tflite"], "x.tflite: a file of onnx ends in .onnx; call it so, or give a folder"),
        (["--to", "ncnn", "--out", "x.param"], "x.param: a file of ncnn ends in .ncnn.param"),
        (["--to", "coreml", "--out", "x", "--uint8-input"], "coreml: takes planes of floats only"),
        (["--to", "onnx,onnx-fp16", "--out", "x.onnx"], "x.onnx: one file cannot hold 2 formats; give a folder"),
        (["--to", "onnx-int8", "--out", "x.onnx"], "int8 needs faces to measure ranges on: give --calibrate"),
    ],
)
def test_what_cannot_be_written_is_explained(tmp_path: Path, monkeypatch, arguments, words) -> None:
    """An unwritable output gives status 2 and one line, and no file."""
    monkeypatch.chdir(tmp_path)
    status, output = export("fast", *arguments)
    assert (status, list(tmp_path.iterdir())) == (2, [])
    assert words in output


def test_test_faces_are_not_calibrated_on(real_data: Path, tmp_path: Path) -> None:
    """The ranges of a model are part of it; 300W's test folder alone is refused as in training."""
    out = tmp_path / "x.onnx"
    status, output = export("fast", "--to", "onnx-int8", "--out", out, "--calibrate", real_data / "300w" / "ibug")
    assert status == 2
    assert "only test faces" in output
    assert not out.exists()


def test_a_checkpoint_without_torch_names_the_extra(tmp_path: Path, monkeypatch) -> None:
    """A checkpoint without torch raises an error that names the extra."""
    monkeypatch.setitem(sys.modules, "torch", None)
    (tmp_path / "m.safetensors").write_text("")
    status, output = export(tmp_path / "m.safetensors", "--out", tmp_path / "m.onnx")
    assert status == 2
    assert 'a checkpoint needs torch: pip install "lightmark[train]"' in output


def test_what_is_onnx_already_needs_no_torch(faces: Path, tmp_path: Path) -> None:
    """int8 and fp16 are made on a machine where only onnx was added."""
    code = "import sys; sys.modules['torch'] = None; from lightmark.cli import main; main()"
    words = ["export", "fast", "--to", "onnx-fp16,onnx-int8", "--out", str(tmp_path), "--calibrate", str(faces)]
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"fast-fp16.onnx", "fast-int8.onnx"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--to", "onnx"), "--to onnx: a face detector is exported to litert, coreml"),
        (("--to", "litert", "--input", "320"), "--input 320: needs width and height in pixels, such as 320x320"),
    ],
)
def test_the_detector_has_formats_of_its_own(tmp_path: Path, options: tuple[str, ...], message: str) -> None:
    """The name `face` is a shipped detector's; what is wrong is one line, and nothing is written."""
    status, output = export("face", *options, "--out", tmp_path / "device")
    assert (status, message in output) == (2, True), output
    assert not list(tmp_path.iterdir())
