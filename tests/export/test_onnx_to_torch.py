"""Tests that ONNX graphs as torch modules have the outputs of onnxruntime."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from lightmark.errors import ExportError
from lightmark.export.graph import read_graph, take_bytes
from lightmark.export.onnx import export_onnx
from lightmark.export.onnx_to_torch import graph_module
from lightmark.export.parity import TOLERANCE_PX, random_crops
from lightmark.nets.checkpoint import save_checkpoint
from lightmark.nets.network import Architecture, build_network
from lightmark.runtime.onnx_model import OnnxModel
from lightmark.runtime.shipped import model_path
from lightmark.schema import COFW29
from lightmark.spec import ModelSpec, normalise_crops


def same(path: Path, uint8_input: bool) -> None:
    """Assert that the graph at `path` gives in torch what onnxruntime gives."""
    original, graph = OnnxModel(path, threads=1), read_graph(path)
    if uint8_input:
        take_bytes(graph, original.spec)
    module = graph_module(graph)
    for crop in random_crops(original.spec.size, 4, np.random.default_rng(0)):
        want = original.outputs(crop[None])
        got = module(torch.from_numpy(crop[None] if uint8_input else normalise_crops(crop[None], original.spec)))
        assert got[0].numpy() == pytest.approx(want.normalized_points, abs=1e-5)
        if original.spec.confidence:
            # An exponential, which magnifies float32's rounding: by 1e-5 on a white crop with AVX2's kernels.
            assert got[1].numpy() == pytest.approx(want.expected_error, abs=TOLERANCE_PX / original.spec.size)
            assert got[2].numpy() == pytest.approx(want.confidence, abs=1e-5)


@pytest.mark.parametrize("uint8_input", [False, True], ids=["planes", "bytes"])
def test_the_shipped_student_is_the_same(uint8_input: bool) -> None:
    """One crop at a time, with all outputs."""
    same(model_path("fast"), uint8_input)


def test_a_network_of_other_parts_is_the_same(tmp_path: Path) -> None:
    """The pooling head with confidence on a backbone with squeeze-and-excitation, as bytes with a mean."""
    architecture = Architecture("efficientnet-b0", "pooling")
    network = build_network(architecture, np.random.default_rng(0).uniform(0.2, 0.8, (29, 2)), seed=0)
    network.add_confidence()
    spec = ModelSpec(COFW29, 32, template=((0.0, 0.0),) * 29, mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4))
    save_checkpoint(tmp_path / "m.safetensors", network, architecture, spec)
    export_onnx(tmp_path / "m.safetensors", tmp_path / "m.onnx")
    same(tmp_path / "m.onnx", uint8_input=True)


def test_an_unsupported_operator_is_named() -> None:
    """An unsupported operator raises an error that names formats for any graph."""
    weight = numpy_helper.from_array(np.ones(1, np.float32), "head.w")
    shape = [1, 3, 8, 8]
    graph = helper.make_graph(
        [helper.make_node("Tan", ["x"], ["y"], "t"), helper.make_node("Add", ["y", "head.w"], ["out"], "head")],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, shape)],
        [weight],
    )
    with pytest.raises(ExportError, match="the graph holds Tan, which is not supported here; export it to onnx"):
        graph_module(helper.make_model(graph))


def test_uneven_padding_is_kept() -> None:
    """As networks from TensorFlow have it."""
    kernel = numpy_helper.from_array(np.arange(9, dtype=np.float32).reshape(1, 1, 3, 3), "head.w")
    settings = {"pads": [0, 0, 1, 1], "strides": [2, 2], "dilations": [1, 1], "group": 1}
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "head.w"], ["out"], "c", **settings)],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 1, 4, 4])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, [1, 1, 2, 2])],
        [kernel],
    )
    picture = torch.arange(16.0).reshape(1, 1, 4, 4)
    (got,) = graph_module(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)]))(picture)
    padded = torch.nn.functional.pad(picture, (0, 1, 0, 1))
    assert got == pytest.approx(torch.nn.functional.conv2d(padded, torch.arange(9.0).reshape(1, 1, 3, 3), stride=2))
