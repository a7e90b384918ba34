"""Exported models: what they are fed, what they give, and which files are refused."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import onnxruntime
import pytest

from lightmark.errors import CheckpointError, ConfigError, SpecError
from lightmark.runtime.onnx_model import OnnxModel
from lightmark.schema import COFW29, plain_schema
from lightmark.spec import ModelSpec, spec_to_json

SHAPE = np.array([[0.25, 0.5], [0.75, 0.5], [0.5, 0.75]])
SPEC = ModelSpec(plain_schema(3), size=16, mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4))


def crops(count: int, seed: int = 0) -> np.ndarray:
    """Random uint8 crops (B, 16, 16, 3)."""
    return np.random.default_rng(seed).integers(0, 256, (count, 16, 16, 3), dtype=np.uint8)


def test_gives_normalized_points_of_every_crop(write_onnx) -> None:
    """A model without regard for pixels gives its shape for each crop of the batch."""
    model = OnnxModel(write_onnx("m.onnx", SHAPE, 16, spec_to_json(SPEC)))
    assert model(crops(5)) == pytest.approx(np.broadcast_to(SHAPE, (5, 3, 2)))


def test_carries_the_spec_of_its_file(write_onnx) -> None:
    """The spec inside the file comes back as it was."""
    assert OnnxModel(write_onnx("m.onnx", SHAPE, 16, spec_to_json(SPEC))).spec == SPEC


def test_pixels_are_normalised_by_the_spec(write_onnx) -> None:
    """The network's input is (pixel / 255 − mean) / std: here, points move by the mean of that."""
    model = OnnxModel(write_onnx("m.onnx", SHAPE, 16, spec_to_json(SPEC), gain=1.0))
    batch = crops(4)
    planes = (batch / 255 - np.array(SPEC.mean)) / np.array(SPEC.std)
    assert model(batch) == pytest.approx(SHAPE + planes.mean(axis=(1, 2, 3))[:, None, None], abs=1e-5)


def test_points_of_a_crop_do_not_depend_on_the_batch(write_onnx) -> None:
    """A crop alone and the same crop among others give the same points."""
    model = OnnxModel(write_onnx("m.onnx", SHAPE, 16, spec_to_json(SPEC), gain=1.0), threads=1)
    batch = crops(7)
    assert model(batch)[3:4] == pytest.approx(model(batch[3:4]), abs=1e-6)


def test_a_file_fixed_to_one_crop_takes_many(write_onnx) -> None:
    """Exports with a batch of one are run crop by crop."""
    fixed = OnnxModel(write_onnx("fixed.onnx", SHAPE, 16, spec_to_json(SPEC), gain=1.0, batch=1))
    free = OnnxModel(write_onnx("free.onnx", SHAPE, 16, spec_to_json(SPEC), gain=1.0))
    assert fixed(crops(3)) == pytest.approx(free(crops(3)))


@pytest.mark.parametrize("batch", [1, "b"])
def test_no_crops_give_no_points(write_onnx, batch) -> None:
    """An empty batch gives outputs of shape (0, N, 2)."""
    assert OnnxModel(write_onnx("m.onnx", SHAPE, 16, spec_to_json(SPEC), batch=batch))(crops(0)).shape == (0, 3, 2)


def test_refuses_crops_of_another_size(write_onnx) -> None:
    """Crops must be cut as the spec says."""
    model = OnnxModel(write_onnx("m.onnx", SHAPE, 16, spec_to_json(SPEC)))
    with pytest.raises(SpecError, match=r"got uint8 \(2, 24, 24, 3\), needs uint8 \(B, 16, 16, 3\)"):
        model(np.zeros((2, 24, 24, 3), np.uint8))


def test_names_a_file_that_is_missing(tmp_path) -> None:
    """The error of a wrong path differs from that of a broken file."""
    with pytest.raises(CheckpointError, match=r"nowhere\.onnx: no such model file"):
        OnnxModel(tmp_path / "nowhere.onnx")


def test_refuses_a_file_that_is_no_onnx(tmp_path) -> None:
    """Text under the name of a model names the file and the doubt."""
    path = tmp_path / "poem.onnx"
    path.write_text("roses are red")
    with pytest.raises(CheckpointError, match=r"poem\.onnx: no ONNX model; cut or foreign\?"):
        OnnxModel(path)


def test_refuses_a_file_that_was_cut(write_onnx) -> None:
    """A truncated file raises an error."""
    path = write_onnx("m.onnx", SHAPE, 16, spec_to_json(SPEC))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(CheckpointError, match=r"m\.onnx"):
        OnnxModel(path)


def test_refuses_a_file_without_a_spec(write_onnx) -> None:
    """A foreign ONNX file is an error that names `lightmark export`."""
    with pytest.raises(SpecError, match=r"m\.onnx: an ONNX file without Lightmark's metadata; .*lightmark export"):
        OnnxModel(write_onnx("m.onnx", SHAPE, 16, None))


def test_refuses_a_spec_that_cannot_be_read(write_onnx) -> None:
    """Metadata of a wrong form names the file."""
    with pytest.raises(SpecError, match=r"m\.onnx: holds no usable ModelSpec"):
        OnnxModel(write_onnx("m.onnx", SHAPE, 16, "{}"))


def test_metadata_that_is_no_text_is_named(write_onnx) -> None:
    """onnxruntime decodes all keys and values at once, in whatever error that ends."""
    path = write_onnx("m.onnx", SHAPE, 16, spec_to_json(SPEC))
    path.write_bytes(path.read_bytes().replace(b'"architecture"', b'"archi\xff\xfecture"'))
    with pytest.raises(SpecError, match=r"m\.onnx: metadata that cannot be read: UnicodeDecodeError"):
        OnnxModel(path)


def test_refuses_an_output_of_other_points_than_the_spec(write_onnx) -> None:
    """Three points under a spec of 29 would be drawn as nonsense."""
    spec = ModelSpec(COFW29, size=16)
    with pytest.raises(SpecError, match=r"m\.onnx: gives outputs of shape \(1, 3, 2\), its .* \(cofw29\) says"):
        OnnxModel(write_onnx("m.onnx", SHAPE, 16, spec_to_json(spec)))


def test_refuses_an_input_of_another_size_than_the_spec(write_onnx) -> None:
    """A spec of 32 pixels on a network of 16 is found when the file is opened."""
    spec = ModelSpec(plain_schema(3), size=32)
    with pytest.raises(CheckpointError, match=r"m\.onnx: does not run on float32 \(1, 3, 32, 32\)"):
        OnnxModel(write_onnx("m.onnx", SHAPE, 16, spec_to_json(spec)))


def test_a_provider_that_is_not_there_names_those_that_are(write_onnx) -> None:
    """No GPU build here: onnxruntime would only warn and take the CPU."""
    path = write_onnx("m.onnx", SHAPE, 16, spec_to_json(SPEC))
    with pytest.raises(ConfigError, match=r"provider MoonProvider: onnxruntime here has only .*CPUExecutionProvider"):
        OnnxModel(path, providers=[("MoonProvider", {"device_id": 1}), "CPUExecutionProvider"])


def test_a_provider_that_does_not_start_is_no_silent_cpu(write_onnx, monkeypatch) -> None:
    """onnxruntime drops a provider whose libraries are missing; waiting for the GPU would be in vain."""
    path = write_onnx("m.onnx", SHAPE, 16, spec_to_json(SPEC))
    real = onnxruntime.InferenceSession
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["MoonProvider", "CPUExecutionProvider"])
    monkeypatch.setattr(onnxruntime, "InferenceSession", lambda *known, **options: real(known[0], known[1]))
    with pytest.raises(ConfigError, match="provider MoonProvider: its libraries or device are missing; what started"):
        OnnxModel(path, providers=["MoonProvider"])


@pytest.mark.parametrize("providers", ["CPUExecutionProvider", [], ()])
def test_providers_are_a_list(write_onnx, providers) -> None:
    """One name alone would be read letter by letter, and none would leave the choice to onnxruntime."""
    path = write_onnx("m.onnx", SHAPE, 16, spec_to_json(SPEC))
    with pytest.raises(ConfigError, match=r"needs a list of onnxruntime's names, such as \['CPUExecutionProvider'\]"):
        OnnxModel(path, providers=providers)


def test_run_time_needs_neither_torch_nor_networks(write_onnx) -> None:
    """Opening an exported model imports no torch, no nets and no losses."""
    path = write_onnx("m.onnx", SHAPE, 16, spec_to_json(SPEC))
    script = (
        "import sys; from lightmark.runtime.onnx_model import OnnxModel; OnnxModel(sys.argv[1]);"
        "print([m for m in sys.modules if m == 'torch' or m.startswith(('lightmark.nets', 'lightmark.losses'))])"
    )
    done = subprocess.run([sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_import_alone_loads_no_onnxruntime() -> None:
    """No work at import: onnxruntime comes with the first model."""
    script = "import sys, lightmark.runtime.onnx_model; print('onnxruntime' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_onnxruntime_sends_no_telemetry(write_onnx, tmp_path) -> None:
    """No device's number in the home folder, which its telemetry would write before it sends anything."""
    path = write_onnx("m.onnx", SHAPE, 16, spec_to_json(SPEC))
    script = "import sys; from lightmark.runtime.onnx_model import OnnxModel; OnnxModel(sys.argv[1])"
    plain = {key: value for key, value in os.environ.items() if key != "CI" and not key.startswith(("ORT_", "XDG_"))}
    subprocess.run([sys.executable, "-c", script, str(path)], check=True, env=plain | {"HOME": str(tmp_path)})
    assert not list(tmp_path.rglob("deviceid"))
