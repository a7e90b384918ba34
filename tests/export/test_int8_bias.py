"""Biases of int8 files take back the shift that rounding the weights causes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from lightmark.data.synthetic import synthetic_samples
from lightmark.export.exporter import calibration_crops
from lightmark.export.graph import read_graph
from lightmark.export.int8 import quantise
from lightmark.runtime.onnx_model import OnnxModel
from lightmark.runtime.shipped import model_path


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, np.ndarray]:
    """The float32 student, its int8 file, and the crops that it was calibrated on."""
    path, out = model_path("fast"), tmp_path_factory.mktemp("int8") / "m.onnx"
    original = OnnxModel(path, threads=1)
    crops = calibration_crops(synthetic_samples(8, seed=5), original.spec, 8, seed=2)
    onnx.save(quantise(read_graph(path), original, crops), str(out))
    return path, out, crops


def values_of(model: onnx.ModelProto, names: list[str], planes: np.ndarray) -> dict[str, np.ndarray]:
    """Tensors of a graph, without the fusions of onnxruntime's optimiser."""
    del model.graph.output[:]
    model.graph.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return dict(zip(names, session.run(names, {session.get_inputs()[0].name: planes}), strict=True))


def test_mean_of_each_channel_stays(pair) -> None:
    """Float convolutions of the rounded weights and biases, each on the float input, have the float layer's means.

    By the median over the layers' channels; without the correction the same channels are five times as far off.
    """
    path, int8, crops = pair
    model, rounded = onnx.load(str(path)), onnx.load(str(int8))
    sources = {node.output[0]: node for node in rounded.graph.node if node.op_type == "DequantizeLinear"}
    arrays = {one.name: numpy_helper.to_array(one) for one in rounded.graph.initializer}

    def dequantised(name: str) -> np.ndarray:
        values, scale = (arrays[of] for of in sources[name].input[:2])
        return values * scale.reshape(-1, *[1] * (values.ndim - 1)).astype(np.float32)

    biases = {one.name: numpy_helper.to_array(one) for one in model.graph.initializer}
    layers = {node.name: node for node in model.graph.node if node.op_type == "Conv"}
    quantised = [n for n in rounded.graph.node if n.op_type == "Conv" and n.input[1] in sources]
    assert len(quantised) > 40
    planes = OnnxModel(path, threads=1).feed(crops)
    names = [name for node in quantised for name in (layers[node.name].input[0], layers[node.name].output[0])]
    inner = sorted(set(names) - {model.graph.input[0].name})
    values = {model.graph.input[0].name: planes, **values_of(model, inner, planes)}
    corrected, uncorrected = [], []
    for node in quantised:
        layer = layers[node.name]
        for bias, off in ((dequantised(node.input[2]), corrected), (biases[layer.input[2]], uncorrected)):
            weights = {layer.input[1]: dequantised(node.input[1]), layer.input[2]: bias}
            graph = helper.make_graph(
                [layer], "layer", [helper.make_tensor_value_info(layer.input[0], TensorProto.FLOAT, None)],
                [helper.make_tensor_value_info(layer.output[0], TensorProto.FLOAT, None)],
                [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()],
            )  # fmt: skip
            single = helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)
            found = values_of(single, [layer.output[0]], values[layer.input[0]])[layer.output[0]]
            off.append(np.abs((found - values[layer.output[0]]).mean(axis=(0, 2, 3))).mean())
    assert np.median(np.array(corrected) / np.array(uncorrected)) < 0.2
