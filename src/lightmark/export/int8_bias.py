"""Correction of the biases of an int8 graph for the rounding of its weights."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightmark.export.graph import copy_of, import_onnx
from lightmark.geometry import Floats
from lightmark.runtime.onnx_model import OnnxModel

BATCH = 4  # crops; the inputs of all layers for a batch are in memory at once


def correct_biases(quantised: Any, model: Any, original: OnnxModel, crops: NDArray[np.uint8]) -> None:
    """Change the int8 biases of the ModelProto `quantised`, made of `model`, which `original` runs.

    Rounding moves the mean output of a channel by (rounded − weights) · mean input, the same for all faces. Later
    layers do not average it out: the points of the shipped student at 160 px moved by 0.15 px, all faces' alike (lab
    notes, 2026-11-29). The biases take it back, with the mean inputs over `crops` (B, S, S, 3). All places of a kernel
    are taken to have the same mean input, which is not so at borders (Nagel et al. 2019, arXiv 1906.04721, 4.2).
    """
    helper, graph = import_onnx().numpy_helper, quantised.graph
    weights = {weight.name: weight for weight in graph.initializer}
    kernels = {weight.name: helper.to_array(weight) for weight in model.graph.initializer}
    sources = {node.output[0]: node for node in graph.node if node.op_type == "DequantizeLinear"}
    inputs = {node.name: (node.input[0], node.input[1]) for node in model.graph.node if node.op_type == "Conv"}
    means = _mean_inputs(model, original, crops, {name for name, _ in inputs.values()})
    for node in graph.node:
        if node.op_type != "Conv" or len(node.input) < 3 or not sources.keys() >= set(node.input[1:]):
            continue  # another operator, a layer without bias, or one of the heads, which stay float32
        kernel, bias = (sources[name] for name in node.input[1:])
        name, weight = inputs[node.name]
        rounded, scale, bias_scale = (helper.to_array(weights[of]) for of in (*kernel.input[:2], bias.input[1]))
        change = rounded * scale.reshape(-1, 1, 1, 1) - kernels[weight]
        mean = means[name].reshape(-1, change.shape[1])  # a depthwise layer's channels have one input each
        shift = (change.sum(axis=(2, 3)) * mean).sum(axis=1)
        old = weights[bias.input[0]]
        new = helper.to_array(old) - np.round(shift / bias_scale).astype(np.int32)
        old.CopyFrom(helper.from_array(new, old.name))


def _mean_inputs(model: Any, original: OnnxModel, crops: NDArray[np.uint8], names: set[str]) -> dict[str, Floats]:
    """Mean (C,) over `crops` and places of each of the tensors `names` of the float32 `model`."""
    import onnxruntime

    onnx, watched = import_onnx(), copy_of(model)
    inner = sorted(names - {original.input_name})
    info = onnx.helper.make_tensor_value_info
    watched.graph.output.extend(info(name, onnx.TensorProto.FLOAT, None) for name in inner)
    session = onnxruntime.InferenceSession(watched.SerializeToString(), providers=["CPUExecutionProvider"])
    sums: dict[str, Floats] = {}
    for start in range(0, len(crops), BATCH):
        feed = {original.input_name: original.feed(crops[start : start + BATCH])}
        for name, values in {**feed, **dict(zip(inner, session.run(inner, feed), strict=True))}.items():
            sums[name] = sums.get(name, np.zeros(1)) + values.mean(axis=(2, 3)).sum(axis=0)
    return {name: total / len(crops) for name, total in sums.items()}
