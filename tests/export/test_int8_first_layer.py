"""Tests that the first layer over groups of pixels has the outputs of the original."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from lightmark.export.int8_first_layer import group_pixels
from lightmark.runtime.onnx_model import open_session
from lightmark.runtime.shipped import model_path


def graph(side: int = 16, stride: int = 2, outputs: int = 5, planes: bool = False) -> onnx.ModelProto:
    """A quantised convolution over crops as `take_bytes` leaves it, and one more that reads its rounded outputs."""
    rng = np.random.default_rng(3)
    values = {
        "scale": np.float32(1 / 255), "zero": np.uint8(0), "mid": np.uint8(7), "step": np.float32(0.02),
        # Within 64: no sum of two products overflows 16 bits, so processors without VNNI sum exactly, too.
        "kernel": rng.integers(-64, 65, (outputs, 3, 3, 3)).astype(np.int8),
        "bias": rng.integers(-9000, 9000, outputs).astype(np.int32),
        "scales": rng.uniform(0.001, 0.01, outputs).astype(np.float32), "zeros": np.zeros(outputs, np.int8),
        "none": np.zeros(outputs, np.int32), "next": rng.normal(0, 1, (2, outputs, 3, 3)).astype(np.float32),
    }  # fmt: skip
    values["bias_scales"] = values["scales"] / np.float32(255)
    make = helper.make_node
    nodes = [  # the first convolution has all the attributes that torch's exporter writes
        make("Transpose", ["pixels"], ["turned"], perm=[0, 3, 1, 2]),
        make("DequantizeLinear", ["turned", "scale", "zero"], ["floats"]),
        make("DequantizeLinear", ["kernel", "scales", "zeros"], ["w"], axis=0),
        make("DequantizeLinear", ["bias", "bias_scales", "none"], ["b"], axis=0),
        make(
            "Conv", ["floats", "w", "b"], ["found"], "first", kernel_shape=[3, 3], strides=[stride] * 2, pads=[1] * 4,
            group=1, dilations=[1, 1], auto_pad="NOTSET",
        ),
        make("QuantizeLinear", ["found", "step", "mid"], ["rounded"]),
        make("DequantizeLinear", ["rounded", "step", "mid"], ["again"]),
        make("Conv", ["again", "next"], ["out"], "second", kernel_shape=[3, 3], pads=[1] * 4),
    ]  # fmt: skip
    kind, shape = (TensorProto.FLOAT, ["b", 3, side, side]) if planes else (TensorProto.UINT8, ["b", side, side, 3])
    given = helper.make_tensor_value_info("pixels", kind, shape)
    if planes:
        nodes[:2] = [make("Identity", ["pixels"], ["floats"])]
    inside = helper.make_graph(
        nodes, "g", [given], [helper.make_tensor_value_info("out", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in values.items()],
    )  # fmt: skip
    return helper.make_model(inside, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def answer(model: onnx.ModelProto, path, crops: np.ndarray) -> np.ndarray:
    """Output of the graph for crops."""
    (out,) = answers(model, path, crops)
    return out


def answers(model: onnx.ModelProto, path, crops: np.ndarray) -> list[np.ndarray]:
    """All outputs of the graph for crops."""
    onnx.save(model, str(path))
    return open_session(path, 1).run(None, {"pixels": crops})


@pytest.mark.parametrize("side", [8, 16, 28])
def test_grouped_pixels_give_the_same(tmp_path, side) -> None:
    """Every output of every place, borders and a batch of three among them."""
    model = graph(side)
    crops = np.random.default_rng(0).integers(0, 256, (3, side, side, 3), dtype=np.uint8)
    before = answer(model, tmp_path / "single.onnx", crops)
    assert group_pixels(model)
    assert np.ptp(before) > 1
    assert np.array_equal(answer(model, tmp_path / "grouped.onnx", crops), before)
    kernel = next(one for one in model.graph.initializer if one.name == "kernel")
    assert list(kernel.dims) == [10, 12, 3, 2]
    assert not group_pixels(model)  # a second time changes nothing


@pytest.mark.parametrize("companion_first", [False, True])
def test_a_companion_that_reads_the_crops_too_stays(tmp_path, companion_first) -> None:
    """One of the two convolutions behind the shared bytes is grouped, whichever comes first in the graph."""
    model = graph(24)
    make = helper.make_node
    values = {"wide": np.random.default_rng(5).normal(0, 0.1, (4, 3, 5, 5)).astype(np.float32)}
    model.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in values.items())
    other = make("Conv", ["floats", "wide"], ["theirs"], "other", kernel_shape=[5, 5], strides=[3, 3], pads=[2] * 4)
    model.graph.node.insert(2 if companion_first else len(model.graph.node), other)
    model.graph.output.append(helper.make_tensor_value_info("theirs", TensorProto.FLOAT, None))
    crops = np.random.default_rng(0).integers(0, 256, (3, 24, 24, 3), dtype=np.uint8)
    before = answers(model, tmp_path / "single.onnx", crops)
    assert group_pixels(model)
    assert all(map(np.array_equal, answers(model, tmp_path / "grouped.onnx", crops), before))
    assert next(one for one in model.graph.initializer if one.name == "kernel").dims[1] == 12


@pytest.mark.parametrize(
    "model", [graph(side=18), graph(stride=1), graph(planes=True)], ids=["odd width", "stride 1", "planes"]
)
def test_other_graphs_stay_as_they_are(model) -> None:
    """A width that four does not divide, another stride, and floats as input."""
    before = model.SerializeToString()
    assert not group_pixels(model)
    assert model.SerializeToString() == before


@pytest.mark.parametrize("name", ["standard-int8", "fast-int8"])
def test_shipped_students_have_it(name) -> None:
    """What trained students are exported as is what this module looks for."""
    graph = onnx.load(str(model_path(name))).graph
    kernels = {tuple(weight.dims) for weight in graph.initializer if len(weight.dims) == 4}
    assert [shape[1:] for shape in kernels].count((12, 3, 2)) == 1
    assert (3, 3, 3) not in [shape[1:] for shape in kernels]
