"""Face detectors as torch modules for one picture size, from which LiteRT and Core ML files are made."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from lightmark.detectors.face_detector import DETECTOR_KEY
from lightmark.errors import ConfigError
from lightmark.export.detector import export_detector
from lightmark.export.detector_formats import convert_detector, fixed_size
from lightmark.export.graph import is_detector, read_graph
from lightmark.export.onnx_to_torch import graph_module
from lightmark.nets.checkpoint import write_tensors
from lightmark.nets.face_detector import FaceDetectorNet
from lightmark.runtime.onnx_model import open_session
from lightmark.runtime.shipped import DETECTORS, model_path

SHIPPED = model_path("face", registry=DETECTORS)


@pytest.fixture(scope="module")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An exported detector with key points, as `train-detector` makes them."""
    folder = tmp_path_factory.mktemp("detector")
    torch.manual_seed(0)
    write_tensors(folder / "face.safetensors", FaceDetectorNet().state_dict(), {DETECTOR_KEY: "{}"})
    export_detector(folder / "face.safetensors", folder / "face.onnx", 0.5)
    return folder / "face.onnx"


@pytest.mark.parametrize("trained", [True, False], ids=["shipped", "with key points"])
def test_the_module_has_the_outputs_of_the_file(untrained: Path, trained: bool) -> None:
    """At one picture size, with as many outputs as the file has."""
    path = SHIPPED if trained else untrained
    session = open_session(path, threads=1)
    module = graph_module(fixed_size(read_graph(path), 160, 96), landmarks=False)
    picture = np.random.default_rng(0).integers(0, 256, (1, 96, 160, 3), dtype=np.uint8)
    outputs, expected = module(torch.from_numpy(picture)), session.run(module.output_names, {"image": picture})
    assert len(outputs) == len(session.get_outputs())
    for output, known in zip(outputs, expected, strict=True):
        np.testing.assert_allclose(output.numpy(), known, atol=1e-3)


def test_what_depends_only_on_the_size_is_computed(untrained: Path) -> None:
    """Devices' runtimes support neither shapes as values nor ranges."""
    graph = fixed_size(read_graph(untrained), 160, 96).graph
    assert {node.op_type for node in graph.node}.isdisjoint({"Shape", "Range", "Expand", "ConstantOfShape"})


def test_a_detector_is_told_from_a_landmark_model() -> None:
    """By its metadata."""
    assert is_detector(read_graph(SHIPPED))
    assert not is_detector(read_graph(model_path("fast")))


@pytest.mark.parametrize("size", [(300, 320), (320, 16), (0, 320)])
def test_an_input_that_the_network_cannot_take_is_refused(tmp_path: Path, size: tuple[int, int]) -> None:
    """Its sides are multiples of the largest stride."""
    with pytest.raises(ConfigError, match=f"input {size[0]}x{size[1]}: width and height need to be multiples of 32"):
        convert_detector(SHIPPED, tmp_path / "face.tflite", "litert", size)
    assert not list(tmp_path.iterdir())
