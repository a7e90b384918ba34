"""Tests of model costs from the spec or counted in the graph."""

from __future__ import annotations

import sys

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from lightmark.bench.costs import Costs, count_multiply_adds, count_parameters, model_costs
from lightmark.runtime.onnx_model import OnnxModel
from lightmark.runtime.shipped import model_path
from lightmark.schema import plain_schema
from lightmark.spec import ModelSpec


def graph(quantised: bool = False) -> onnx.ModelProto:
    """A 3×3 convolution of stride 2, 3 → 8 channels at 16 px, in two groups of one picture, then a layer 512 → 5."""
    weights = {"kernel": np.zeros((8, 3, 3, 3)), "bias": np.zeros(8), "layer": np.zeros((512, 5))}
    initializers = [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()]
    initializers.append(numpy_helper.from_array(np.array([0, -1]), "flat"))
    nodes = []
    kernel = "kernel"
    if quantised:
        initializers[0] = numpy_helper.from_array(weights["kernel"].astype(np.int8), "kernel")
        initializers += [numpy_helper.from_array(np.ones(8, np.float32), "scale")]
        initializers += [numpy_helper.from_array(np.zeros(8, np.int8), "zero")]
        nodes = [helper.make_node("DequantizeLinear", ["kernel", "scale", "zero"], ["kernel_float"], axis=0)]
        kernel = "kernel_float"
    nodes += [
        helper.make_node("Conv", ["crops", kernel, "bias"], ["maps"], strides=[2, 2], pads=[1, 1, 1, 1]),
        helper.make_node("Reshape", ["maps", "flat"], ["row"]),
        helper.make_node("MatMul", ["row", "layer"], ["out"]),
    ]
    taken = [helper.make_tensor_value_info("crops", TensorProto.FLOAT, ["b", 3, 16, 16])]
    given = [helper.make_tensor_value_info("out", TensorProto.FLOAT, ["b", 5])]
    made = helper.make_graph(nodes, "graph", taken, given, initializers)
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


@pytest.mark.parametrize("quantised", [False, True])
def test_costs_are_counted(quantised) -> None:
    """By hand: 27 products for each of 8×8×8 outputs, and 512 for each of 5; scales are no parameters."""
    assert count_multiply_adds(graph(quantised)) == 27 * 8 * 8 * 8 + 512 * 5
    assert count_parameters(graph(quantised)) == 8 * 27 + 8 + 512 * 5


def test_the_count_agrees_with_the_provenance() -> None:
    """For the shipped student, whose network counted itself in torch, to a few thousandths (folded norms)."""
    path = model_path("fast")
    provenance, model = OnnxModel(path, 1).spec.provenance, onnx.load(path)
    assert count_multiply_adds(model) == pytest.approx(provenance["multiply_adds"], rel=0.01)
    assert count_parameters(model) == pytest.approx(provenance["parameters"], rel=0.01)


def test_numbers_of_the_spec_take_precedence(tmp_path) -> None:
    """Without looking into the graph; without onnx nothing else is known, and that is no error."""
    path = tmp_path / "m.onnx"
    onnx.save(graph(), path)
    spec = ModelSpec(plain_schema(3), 16)
    counted = ModelSpec(plain_schema(3), 16, provenance={"parameters": 1, "multiply_adds": 2})
    size = path.stat().st_size
    assert model_costs(path, counted) == Costs(size, 1, 2)
    assert model_costs(path, spec) == Costs(size, 8 * 27 + 8 + 512 * 5, 27 * 512 + 2560)


def test_without_onnx_uncounted_costs_are_unknown(tmp_path, monkeypatch) -> None:
    """The base install has none."""
    path = tmp_path / "m.onnx"
    onnx.save(graph(), path)
    monkeypatch.setitem(sys.modules, "onnx", None)
    assert model_costs(path, ModelSpec(plain_schema(3), 16)) == Costs(path.stat().st_size, None, None)
