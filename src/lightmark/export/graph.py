"""ONNX graphs: read, changed without changing what they say, and written with nothing inside but the model."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np

from lightmark.errors import CheckpointError, ExportError, MissingExtraError
from lightmark.runtime.onnx_file import read_onnx
from lightmark.spec import ModelSpec, normalisation

Arithmetic = Literal["fp32", "fp16", "int8"]
HEADS = ("head", "confidence")  # the parts of a LandmarkNet after its backbone, as their weights are called
NORMALISE = ("pixel_factor", "pixel_offset", "pixel_mean", "pixel_variance")  # as BatchNormalization takes them
ATTEND = "bnp,bncp->bnc"  # what the spatial head asks of torch.einsum: the mean of what the cells tell a point,
GATHER = "bnp,bfp->bnf"  # and the mean of their features


def import_onnx() -> Any:
    """The package onnx; raises `MissingExtraError` with the install line where it is missing."""
    try:
        import onnx
    except ImportError as error:
        raise MissingExtraError(f'ONNX graphs need {error.name}: pip install "lightmark[onnx]"') from error
    return onnx


def read_graph(path: Path) -> Any:
    """The ModelProto of an ONNX file; raises `CheckpointError` for a file that is missing or none."""
    onnx = import_onnx()
    content = read_onnx(path)
    try:
        return onnx.load_model_from_string(content)
    except Exception as error:  # protobuf's errors share no base class but Exception
        raise CheckpointError(f"{path}: no ONNX model; cut or foreign? {error}") from error


def copy_of(model: Any) -> Any:
    """A ModelProto of its own, to be changed."""
    copied = import_onnx().ModelProto()
    copied.CopyFrom(model)
    return copied


def write_model(model: Any, metadata: Mapping[str, str], path: Path) -> None:
    """Write a ModelProto with `metadata` and without what the tools left in it, paths of this machine among it."""
    onnx = import_onnx()
    model.doc_string = model.graph.doc_string = ""
    for node in model.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    onnx.helper.set_model_props(model, dict(metadata))
    onnx.save(model, str(path))


def arithmetic_of(model: Any) -> Arithmetic:
    """What a ModelProto computes in, told from its nodes and weights."""
    onnx = import_onnx()
    if any(node.op_type in ("QuantizeLinear", "QLinearConv", "ConvInteger") for node in model.graph.node):
        return "int8"
    half = any(weight.data_type == onnx.TensorProto.FLOAT16 for weight in model.graph.initializer)
    return "fp16" if half else "fp32"


def takes_bytes(model: Any) -> bool:
    """Whether a ModelProto takes crops as they are, uint8 (B, S, S, 3)."""
    return bool(model.graph.input[0].type.tensor_type.elem_type == import_onnx().TensorProto.UINT8)


def head_nodes(model: Any, where: str) -> list[str]:
    """Names of the nodes that read weights of a LandmarkNet's heads, and of all nodes after them.

    Raises `ExportError` where no weight is called so: rounding all of a network would cost points unnoticed.
    """
    reached = {weight.name for weight in model.graph.initializer if _belongs_to_head(weight.name)}
    if not reached:
        raise ExportError(f"{where}: no weights of a head under their names; export it again from its checkpoint")
    names = []
    for node in model.graph.node:  # in the order of computation, as ONNX demands
        if reached & set(node.input):
            names.append(node.name)
            reached.update(node.output)
    return names


def _belongs_to_head(weight: str) -> bool:
    return weight.removeprefix("network.").partition(".")[0] in HEADS


def take_bytes(model: Any, spec: ModelSpec) -> None:
    """Make a ModelProto that takes normalised planes take crops as they are: uint8 (B, S, S, 3), RGB."""
    if takes_bytes(model):
        return
    onnx = import_onnx()
    planes, graph = model.graph.input[0], model.graph
    make, nodes = onnx.helper.make_node, list(graph.node)
    quantised = _quantised_pixels(model, spec)
    if quantised is not None:
        nodes.remove(quantised)
        steps = [make("Transpose", ["pixels"], [quantised.output[0]], "pixels_transposed", perm=[0, 3, 1, 2])]
    else:
        steps = _normalising(planes.name)
        factor, subtrahend = normalisation(spec)
        values = (factor, -subtrahend, np.zeros(3, np.float32), np.ones(3, np.float32))
        graph.initializer.extend(onnx.numpy_helper.from_array(*pair) for pair in zip(values, NORMALISE, strict=True))
    batch = planes.type.tensor_type.shape.dim[0]
    shape = [batch.dim_param or batch.dim_value, spec.size, spec.size, 3]
    pixels = onnx.helper.make_tensor_value_info("pixels", onnx.TensorProto.UINT8, shape)
    replace_nodes(graph, [*steps, *nodes])
    del graph.input[:]
    graph.input.append(pixels)


def _normalising(planes: str) -> list[Any]:
    make, floats = import_onnx().helper.make_node, import_onnx().TensorProto.FLOAT
    return [
        make("Transpose", ["pixels"], ["pixel_planes"], "pixels_transposed", perm=[0, 3, 1, 2]),
        make("Cast", ["pixel_planes"], ["pixel_floats"], "pixels_cast", to=floats),
        # A product and a difference by channel say the same; onnxruntime takes ten times as long for them.
        make("BatchNormalization", ["pixel_floats", *NORMALISE], [planes], "pixels_normalised", epsilon=0.0),
    ]


def _quantised_pixels(model: Any, spec: ModelSpec) -> Any | None:
    """The node that rounds the planes back to the very bytes that they came from, None where there is none."""
    to_array, graph = import_onnx().numpy_helper.to_array, model.graph
    factor, subtrahend = normalisation(spec)
    takers = [node for node in graph.node if graph.input[0].name in node.input]
    if [node.op_type for node in takers] != ["QuantizeLinear"] or subtrahend.any():
        return None
    weights = {weight.name: weight for weight in graph.initializer}
    scale, zero = (to_array(weights[name]) for name in takers[0].input[1:3])
    same = zero.dtype == np.uint8 and not zero.any() and np.allclose(factor, scale, rtol=1e-5)
    return takers[0] if same else None


def multiply_and_sum(model: Any) -> None:
    """Write the spatial head's einsums as products and sums, which onnxruntime does faster.

    An int8 MobileNetV2 at 128 px, the rest of which is fast, then takes 5 % less time.
    """
    onnx = import_onnx()
    make, nodes = onnx.helper.make_node, []
    axes = {"einsum_point_axis": np.array([2]), "einsum_last_axis": np.array([-1])}
    for node in model.graph.node:
        equation = node.attribute[0].s.decode().replace(" ", "") if node.op_type == "Einsum" else ""
        name, out = node.name, node.output[0]
        if equation == ATTEND:
            nodes += [
                make("Unsqueeze", [node.input[0], "einsum_point_axis"], [f"{out}_weights"], f"{name}_weights"),
                make("Mul", [f"{out}_weights", node.input[1]], [f"{out}_products"], f"{name}_products"),
                make("ReduceSum", [f"{out}_products", "einsum_last_axis"], [out], f"{name}_sum", keepdims=0),
            ]
        elif equation == GATHER:
            nodes += [
                make("Transpose", [node.input[1]], [f"{out}_turned"], f"{name}_turned", perm=[0, 2, 1]),
                make("MatMul", [node.input[0], f"{out}_turned"], [out], f"{name}_product"),
            ]
        else:
            nodes.append(node)
    replace_nodes(model.graph, nodes)
    used = {name for node in nodes for name in node.input}
    model.graph.initializer.extend(onnx.numpy_helper.from_array(axes[name], name) for name in axes.keys() & used)


def replace_nodes(graph: Any, nodes: list[Any]) -> None:
    """Give a GraphProto `nodes`, in the order of computation, some of which may be its own."""
    kept = list(nodes)
    del graph.node[:]
    graph.node.extend(kept)


@contextmanager
def quiet() -> Iterator[None]:
    """Hold back the tools' notes about their own internals."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
