"""Tests that rewrites of ONNX graphs keep their outputs."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from lightmark.errors import ExportError
from lightmark.export.graph import (
    head_nodes,
    precision_of,
    read_graph,
    replace_einsums,
    take_bytes,
    takes_bytes,
    write_model,
)
from lightmark.runtime.onnx_model import OnnxModel, open_session
from lightmark.schema import plain_schema
from lightmark.spec import ModelSpec, spec_to_json

SPEC = ModelSpec(plain_schema(3), size=16, mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4))
SHAPE = np.array([[0.25, 0.5], [0.75, 0.5], [0.5, 0.75]])


def crops(count: int) -> np.ndarray:
    """Random uint8 crops (B, 16, 16, 3)."""
    return np.random.default_rng(0).integers(0, 256, (count, 16, 16, 3), dtype=np.uint8)


@pytest.mark.parametrize("batch", [1, "b"])
def test_bytes_are_normalised_inside(write_onnx, batch) -> None:
    """With a mean and a deviation a channel the file that takes bytes gives what the other gives."""
    path = write_onnx("planes.onnx", SHAPE, 16, spec_to_json(SPEC), gain=1.0, batch=batch)
    model = read_graph(path)
    take_bytes(model, SPEC)
    assert takes_bytes(model)
    take_bytes(model, SPEC)  # a second time changes nothing
    out = path.with_name("bytes.onnx")
    write_model(model, {"lightmark": spec_to_json(SPEC)}, out)
    assert OnnxModel(out)(crops(4)) == pytest.approx(OnnxModel(path)(crops(4)), abs=1e-5)


def test_a_model_of_bytes_refuses_other_crops(write_onnx) -> None:
    """A model with uint8 input raises an error for crops of another size."""
    path = write_onnx("m.onnx", SHAPE, 16, spec_to_json(SPEC))
    model = read_graph(path)
    take_bytes(model, SPEC)
    write_model(model, {"lightmark": spec_to_json(SPEC)}, path)
    with pytest.raises(Exception, match=r"got uint8 \(2, 24, 24, 3\), needs uint8 \(B, 16, 16, 3\)"):
        OnnxModel(path)(np.zeros((2, 24, 24, 3), np.uint8))


def test_written_models_hold_nothing_of_their_makers(write_onnx) -> None:
    """Notes and metadata of exporters are removed; only the requested metadata stays."""
    path = write_onnx("m.onnx", SHAPE, 16, spec_to_json(SPEC))
    model = read_graph(path)
    model.graph.node[0].doc_string = model.doc_string = "/home/somebody/secret.py"
    model.graph.output[0].doc_string = "/home/somebody/secret.py"
    model.graph.input[0].metadata_props.add(key="trace", value="/home/somebody/secret.py")
    model.graph.node[0].metadata_props.add(key="stack", value="/home/somebody")
    helper.set_model_props(model, {"lightmark": "x", "onnx.quant.pre": "/home/somebody"})
    write_model(model, {"lightmark": spec_to_json(SPEC)}, path)
    assert b"somebody" not in path.read_bytes()
    assert [prop.key for prop in onnx.load(path).metadata_props] == ["lightmark"]


def test_heads_are_found_by_their_weights() -> None:
    """The nodes that read them and all that come after, with a confidence around the network or without."""
    for prefix in ("", "network.", "companion.", "network.companion."):
        weights = [
            numpy_helper.from_array(np.ones(1, np.float32), f"{prefix}{name}") for name in ("backbone.head.w", "head.w")
        ]
        nodes = [
            helper.make_node("Add", ["x", weights[0].name], ["y"], "backbone"),
            helper.make_node("Add", ["y", weights[1].name], ["z"], "head"),
            helper.make_node("Neg", ["y"], ["aside"], "aside"),
            helper.make_node("Mul", ["aside", "z"], ["out"], "after"),
        ]
        assert head_nodes(graph_of(nodes, ["x"], weights), "m") == ["head", "after"]


def test_a_graph_without_heads_is_refused(write_onnx) -> None:
    """Rounding everything would cost accuracy without a word."""
    model = read_graph(write_onnx("m.onnx", SHAPE, 16, None))
    with pytest.raises(ExportError, match=r"m\.onnx: no weights of a head under their names"):
        head_nodes(model, "m.onnx")


@pytest.mark.parametrize(
    ("equation", "shape"), [("bnp,bncp->bnc", (2, 3, 4, 5)), ("bnp,bfp->bnf", (2, 4, 5)), ("bnp,bnp->bn", (2, 3, 5))]
)
def test_einsums_become_products_and_sums(tmp_path, equation, shape) -> None:
    """The two of the spatial head give what they gave; any other stays as it is."""
    rng = np.random.default_rng(0)
    fed = {"a": rng.normal(size=(2, 3, 5)).astype(np.float32), "b": rng.normal(size=shape).astype(np.float32)}
    model = graph_of([helper.make_node("Einsum", ["a", "b"], ["out"], "sum", equation=equation)], ["a", "b"])
    replace_einsums(model)
    kinds = {node.op_type for node in model.graph.node}
    assert ("Einsum" in kinds) == (equation == "bnp,bnp->bn")
    write_model(model, {}, tmp_path / "m.onnx")
    (got,) = open_session(tmp_path / "m.onnx", 1).run(None, fed)
    assert got == pytest.approx(np.einsum(equation, *fed.values()), abs=1e-5)


def test_precision_is_read_from_nodes_and_weights() -> None:
    """Quantised, half and single precision."""
    half = numpy_helper.from_array(np.ones(1, np.float16), "w")
    assert precision_of(graph_of([helper.make_node("Neg", ["x"], ["out"], "n")], ["x"])) == "fp32"
    assert precision_of(graph_of([helper.make_node("Neg", ["w"], ["out"], "n")], ["x"], [half])) == "fp16"
    assert precision_of(graph_of([helper.make_node("QuantizeLinear", ["x", "s"], ["out"], "n")], ["x"])) == "int8"


def graph_of(nodes, inputs, weights=()):
    """ModelProto of `nodes`, float inputs and one output "out" of any shape."""
    taken = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in inputs]
    given = [helper.make_tensor_value_info("out", TensorProto.FLOAT, None)]
    graph = helper.make_graph(nodes, "graph", taken, given, list(weights))
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
