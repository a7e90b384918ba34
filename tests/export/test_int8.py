"""int8 weights whose products fit the 16 bits in which x86 without VNNI adds them in pairs, on whatever processor."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from lightmark.data.synthetic import synthetic_samples
from lightmark.export.exporter import calibration_crops, export_formats
from lightmark.export.formats import FileFormat
from lightmark.export.int8 import pair_ranges
from lightmark.runtime.onnx_model import OnnxModel
from lightmark.runtime.shipped import model_path

FACES = synthetic_samples(24, seed=5)
SHIPPED = ["standard-int8", "fast-int8"]


class Layer(NamedTuple):
    """A quantised convolution: its int8 kernel (C, K, H, W) and the uint8 activations (B, C', H', W') it reads."""

    kernel: NDArray[np.int8]
    activations: NDArray[np.uint8]
    zero: int
    pads: list[int]
    strides: list[int]
    group: int


def layers(path: Path, crops: NDArray[np.uint8]) -> Iterator[Layer]:
    """All quantised convolutions of an int8 file of bytes, with what they read of `crops`.

    onnxruntime computes it in float32, its optimiser off, so that no product of bytes is taken anywhere.
    """
    model = onnx.load(str(path))
    givers = {out: node for node in model.graph.node for out in node.output}
    arrays = {one.name: numpy_helper.to_array(one) for one in model.graph.initializer}
    found = [
        node for node in model.graph.node
        if node.op_type == "Conv" and getattr(givers.get(node.input[1]), "op_type", "") == "DequantizeLinear"
    ]  # fmt: skip
    reads = [givers[node.input[0]] for node in found]
    expected = sorted({node.input[0] for node in reads})
    del model.graph.output[:]
    model.graph.output.extend(helper.make_tensor_value_info(name, TensorProto.UINT8, None) for name in expected)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    values = dict(zip(expected, session.run(expected, {"pixels": crops}), strict=True))
    for node, read in zip(found, reads, strict=True):
        attributes = {one.name: helper.get_attribute_value(one) for one in node.attribute}
        yield Layer(
            arrays[givers[node.input[1]].input[0]], values[read.input[0]], int(arrays[read.input[2]]),
            list(attributes.get("pads", [0] * 4)), list(attributes.get("strides", [1, 1])), attributes.get("group", 1),
        )  # fmt: skip


def pair_sums(layer: Layer) -> NDArray[np.int32]:
    """Sums of two products each, as `pmaddubsw` takes them before it clips, one after the other: channels first."""
    top, left, bottom, right = layer.pads
    padded = np.pad(
        layer.activations, [(0, 0), (0, 0), (top, bottom), (left, right)], constant_values=layer.zero
    ).astype(np.int32)
    windows = sliding_window_view(padded, layer.kernel.shape[2:], axis=(2, 3))
    windows = windows[:, :, :: layer.strides[0], :: layer.strides[1]].transpose(0, 2, 3, 4, 5, 1)
    inputs, outputs = padded.shape[1] // layer.group, len(layer.kernel) // layer.group
    sums = []
    for group in range(layer.group):
        rows = windows[..., group * inputs : (group + 1) * inputs].reshape(-1, layer.kernel[0].size)
        kernel = layer.kernel[group * outputs : (group + 1) * outputs].transpose(0, 2, 3, 1).reshape(outputs, -1)
        if odd := rows.shape[1] % 2:
            rows, kernel = np.pad(rows, [(0, 0), (0, odd)]), np.pad(kernel, [(0, 0), (0, odd)])
        pairs = rows.reshape(len(rows), 1, -1, 2) * kernel.astype(np.int32).reshape(1, outputs, -1, 2)
        sums.append(pairs.sum(axis=-1).ravel())
    return np.concatenate(sums)


def clipped(path: Path, crops: NDArray[np.uint8]) -> list[float]:
    """Share of each layer's pair sums that do not fit 16 bits."""
    limits, shares = np.iinfo(np.int16), []
    for layer in layers(path, crops):
        sums = pair_sums(layer)
        shares.append(float(((sums > limits.max) | (sums < limits.min)).mean()))
    return shares


def crops_for(path: Path, count: int = 1) -> NDArray[np.uint8]:
    """Crops of painted faces."""
    return calibration_crops(FACES, OnnxModel(path, threads=1).spec, count, seed=2)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> dict[FileFormat, Path]:
    """The shipped student in int8, for bytes: for every processor, and with all of int8's range."""
    outs: dict[FileFormat, Path] = {}
    for file_format in ("onnx-int8", "onnx-int8-vnni"):
        outs[file_format] = tmp_path_factory.mktemp(file_format) / "m.onnx"
    export_formats(model_path("fast"), outs, FACES, uint8_input=True)
    return outs


def test_the_emulation_agrees_with_the_layer(exported) -> None:
    """Summed up and unclipped, the pairs are the convolution: of the first layer, in integers."""
    path = exported["onnx-int8-vnni"]
    first = next(layers(path, crops_for(path)))
    sums = pair_sums(first).reshape(128 // first.strides[0], 32 // first.strides[1], len(first.kernel), -1)
    top, left, bottom, right = first.pads
    padded = np.pad(first.activations, [(0, 0), (0, 0), (top, bottom), (left, right)]).astype(np.float64)
    windows = sliding_window_view(padded, first.kernel.shape[2:], axis=(2, 3))[0, :, :: first.strides[0]]
    want = np.einsum("cyxij,ocij->yxo", windows, first.kernel.astype(np.float64))
    assert np.array_equal(sums.sum(axis=-1), want)


def test_full_range_saturates(exported) -> None:
    """Its pairs of products do not fit in most layers, which is why it is wrong without VNNI."""
    path = exported["onnx-int8-vnni"]
    shares = clipped(path, crops_for(path))
    assert len(shares) > 40
    assert sum(share > 0 for share in shares) > 20


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_files_do_not_saturate(name) -> None:
    """Not one pair of any layer, on faces."""
    path = model_path(name)
    shares = clipped(path, crops_for(path))
    assert len(shares) > 40
    assert max(shares) == 0


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_files_cannot_saturate(name) -> None:
    """Whatever the picture and in whatever order a processor pairs the weights of a channel."""
    spec = OnnxModel(model_path(name), threads=1).spec
    kernels = [layer.kernel for layer in layers(model_path(name), crops_for(model_path(name)))]
    assert max(greatest_pair(kernel) for kernel in kernels) <= spec.provenance["pair_limit"]


def greatest_pair(kernel: NDArray[np.int8]) -> int:
    """Most that two weights of one sign and one channel sum to."""
    ordered = np.sort(kernel.reshape(len(kernel), -1).astype(int), axis=1)
    positive, negative = ordered[:, -2:].clip(min=0).sum(axis=1), -ordered[:, :2].clip(max=0).sum(axis=1)
    return int(max(positive.max(), negative.max()))


def test_exported_files_keep_the_limit(exported) -> None:
    """Files of one's own, too, and they spend the limit: seven bits would leave half of int8 unused."""
    path = exported["onnx-int8"]
    kernels = [layer.kernel for layer in layers(path, crops_for(path))]
    assert 127 <= max(greatest_pair(kernel) for kernel in kernels) <= 128
    assert max(np.abs(kernel.astype(int)).max() for kernel in kernels) > 100


def test_ranges_are_sums_of_two_of_one_sign() -> None:
    """The larger of both signs; a channel of zeros, of one sign and of a single weight among them."""
    kernel = np.array([[3, -1, 2, -9], [1, 2, 4, 1], [0, 0, 0, 0], [-1, 5, -3, -4]], np.float32).reshape(4, 1, 2, 2)
    single = np.array([[-2.0], [3.0]], np.float32).reshape(2, 1, 1, 1)
    nodes = [helper.make_node("Conv", ["x", "k"], ["y"]), helper.make_node("Conv", ["y", "s"], ["z"])]
    weights: list[Any] = [numpy_helper.from_array(kernel, "k"), numpy_helper.from_array(single, "s")]
    graph = helper.make_graph(nodes, "g", [], [], weights)
    ranges = pair_ranges(helper.make_model(graph))
    assert {name: list(values) for name, values in ranges.items()} == {"k": [10, 6, 0, 7], "s": [2, 3]}
