"""ONNX graphs: read and write, input as uint8 crops, and rewrites that keep the output."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np

from lightmark.detectors.face_detector import DETECTOR_KEY
from lightmark.errors import CheckpointError, ExportError, MissingExtraError
from lightmark.runtime.onnx_file import read_onnx
from lightmark.spec import ModelSpec, normalisation

Precision = Literal["fp32", "fp16", "int8"]
HEADS = ("head", "confidence")  # prefixes of the weights of a LandmarkNet after its backbone
NORMALISE = ("pixel_factor", "pixel_offset", "pixel_mean", "pixel_variance")  # inputs of BatchNormalization, in order
# The two einsums of the spatial head: attention-weighted means of the cells' votes and of their features.
WEIGHTED_VOTES = "bnp,bncp->bnc"
WEIGHTED_FEATURES = "bnp,bfp->bnf"


def import_onnx() -> Any:
    """The package onnx; raises `MissingExtraError` with the install line if it is not installed."""
    try:
        import onnx
    except ImportError as error:
        raise MissingExtraError(f'ONNX graphs need {error.name}: pip install "lightmark[onnx]"') from error
    return onnx


def read_graph(path: Path) -> Any:
    """ModelProto of an ONNX file; raises `CheckpointError` for a file that is missing or no ONNX model."""
    onnx = import_onnx()
    content = read_onnx(path)
    try:
        return onnx.load_model_from_string(content)
    except Exception as error:  # protobuf's errors have no common base class
        raise CheckpointError(f"{path}: no ONNX model; cut or foreign? {error}") from error


def copy_of(model: Any) -> Any:
    """Deep copy of a ModelProto."""
    copied = import_onnx().ModelProto()
    copied.CopyFrom(model)
    return copied


def write_model(model: Any, metadata: Mapping[str, str], path: Path) -> None:
    """Write a ModelProto with `metadata`, without the exporters' notes, which hold stack traces and local paths."""
    onnx = import_onnx()
    graph = model.graph
    model.doc_string = ""
    for part in (graph, *graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
        del part.metadata_props[:]
        part.doc_string = ""
    onnx.helper.set_model_props(model, dict(metadata))
    onnx.save(model, str(path))


def precision_of(model: Any) -> Precision:
    """Precision of a ModelProto, by its operators and the types of its weights."""
    onnx = import_onnx()
    if any(node.op_type in ("QuantizeLinear", "QLinearConv", "ConvInteger") for node in model.graph.node):
        return "int8"
    fp16 = any(weight.data_type == onnx.TensorProto.FLOAT16 for weight in model.graph.initializer)
    return "fp16" if fp16 else "fp32"


def takes_bytes(model: Any) -> bool:
    """Whether the input of a ModelProto is crops uint8 (B, S, S, 3)."""
    return bool(model.graph.input[0].type.tensor_type.elem_type == import_onnx().TensorProto.UINT8)


def is_detector(model: Any) -> bool:
    """Whether a ModelProto is a face detector that Lightmark exported."""
    return any(entry.key == DETECTOR_KEY for entry in model.metadata_props)


def head_nodes(model: Any, where: str) -> list[str]:
    """Names of the nodes that read weights of a LandmarkNet's heads, and of all nodes that depend on them.

    Raises `ExportError` if no weight has such a name: lower precision in the heads would cost accuracy unnoticed.
    """
    reached = {weight.name for weight in model.graph.initializer if _belongs_to_head(weight.name)}
    if not reached:
        raise ExportError(f"{where}: no weights of a head under their names; export it again from its checkpoint")
    names = []
    for node in model.graph.node:  # sorted topologically, as ONNX requires
        if reached & set(node.input):
            names.append(node.name)
            reached.update(node.output)
    return names


def _belongs_to_head(weight: str) -> bool:
    return weight.removeprefix("network.").removeprefix("companion.").partition(".")[0] in HEADS


def take_bytes(model: Any, spec: ModelSpec) -> None:
    """Change the input of a ModelProto from normalised planes to crops uint8 (B, S, S, 3), RGB.

    The normalisation becomes part of the graph. In an int8 graph whose first node quantises the planes to the original
    bytes, both cancel out and that node is removed.
    """
    if takes_bytes(model):
        return
    onnx = import_onnx()
    planes, graph = model.graph.input[0], model.graph
    make, nodes = onnx.helper.make_node, list(graph.node)
    quantise = _pixel_quantisation(model, spec)
    if quantise is not None:
        nodes.remove(quantise)
        steps = [make("Transpose", ["pixels"], [quantise.output[0]], "pixels_transposed", perm=[0, 3, 1, 2])]
    else:
        steps = _normalisation_nodes(planes.name)
        factor, subtrahend = normalisation(spec)
        values = (factor, -subtrahend, np.zeros(3, np.float32), np.ones(3, np.float32))
        graph.initializer.extend(onnx.numpy_helper.from_array(*pair) for pair in zip(values, NORMALISE, strict=True))
    batch = planes.type.tensor_type.shape.dim[0]
    shape = [batch.dim_param or batch.dim_value, spec.size, spec.size, 3]
    pixels = onnx.helper.make_tensor_value_info("pixels", onnx.TensorProto.UINT8, shape)
    replace_nodes(graph, [*steps, *nodes])
    del graph.input[:]
    graph.input.append(pixels)


def _normalisation_nodes(planes: str) -> list[Any]:
    """Nodes from uint8 `pixels` (B, S, S, 3) to normalised planes called `planes`."""
    make, floats = import_onnx().helper.make_node, import_onnx().TensorProto.FLOAT
    return [
        make("Transpose", ["pixels"], ["pixel_planes"], "pixels_transposed", perm=[0, 3, 1, 2]),
        make("Cast", ["pixel_planes"], ["pixel_floats"], "pixels_cast", to=floats),
        # Mul and Sub by channel would compute the same, but take onnxruntime ten times as long.
        make("BatchNormalization", ["pixel_floats", *NORMALISE], [planes], "pixels_normalised", epsilon=0.0),
    ]


def _pixel_quantisation(model: Any, spec: ModelSpec) -> Any | None:
    """QuantizeLinear node that turns the planes back into the original bytes; None if there is none."""
    to_array, graph = import_onnx().numpy_helper.to_array, model.graph
    factor, subtrahend = normalisation(spec)
    readers = [node for node in graph.node if graph.input[0].name in node.input]
    if [node.op_type for node in readers] != ["QuantizeLinear"] or subtrahend.any():
        return None
    weights = {weight.name: weight for weight in graph.initializer}
    scale, zero = (to_array(weights[name]) for name in readers[0].input[1:3])
    same = zero.dtype == np.uint8 and not zero.any() and np.allclose(factor, scale, rtol=1e-5)
    return readers[0] if same else None


def replace_einsums(model: Any) -> None:
    """Replace the einsums of the spatial head by products and sums, which onnxruntime computes faster.

    It saves 5 % of the latency of an int8 MobileNetV2 at 128 px.
    """
    onnx = import_onnx()
    make, nodes = onnx.helper.make_node, []
    axes = {"einsum_point_axis": np.array([2]), "einsum_last_axis": np.array([-1])}
    for node in model.graph.node:
        equation = node.attribute[0].s.decode().replace(" ", "") if node.op_type == "Einsum" else ""
        name, out = node.name, node.output[0]
        if equation == WEIGHTED_VOTES:
            nodes += [
                make("Unsqueeze", [node.input[0], "einsum_point_axis"], [f"{out}_weights"], f"{name}_weights"),
                make("Mul", [f"{out}_weights", node.input[1]], [f"{out}_products"], f"{name}_products"),
                make("ReduceSum", [f"{out}_products", "einsum_last_axis"], [out], f"{name}_sum", keepdims=0),
            ]
        elif equation == WEIGHTED_FEATURES:
            nodes += [
                make("Transpose", [node.input[1]], [f"{out}_transposed"], f"{name}_transposed", perm=[0, 2, 1]),
                make("MatMul", [node.input[0], f"{out}_transposed"], [out], f"{name}_product"),
            ]
        else:
            nodes.append(node)
    replace_nodes(model.graph, nodes)
    used = {name for node in nodes for name in node.input}
    model.graph.initializer.extend(onnx.numpy_helper.from_array(axes[name], name) for name in axes.keys() & used)


def replace_nodes(graph: Any, nodes: list[Any]) -> None:
    """Replace the nodes of a GraphProto by `nodes`, topologically sorted; some of them may be its own."""
    copies = list(nodes)  # of the list, in case it is graph.node itself, which is emptied next
    del graph.node[:]
    graph.node.extend(copies)


@contextmanager
def quiet() -> Iterator[None]:
    """Context without the logs and warnings of converters, which are about their own internals."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
