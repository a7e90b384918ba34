"""fp16 conversion of a float32 ONNX graph, for GPUs and neural engines: backbone in fp16, heads, input, output fp32."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from lightmark.export.graph import copy_of, head_nodes, import_onnx, replace_nodes

# Inputs of an operator that are never fp16, by their index: Resize's region, scales and sizes.
NEVER_FP16 = {"Resize": (1, 2, 3)}


def to_fp16(model: Any) -> Any:
    """Copy of the float32 ModelProto `model` with its backbone in float16.

    The heads stay float32: fp16 coordinates above 0.5 are multiples of 1/2048 of the crop's side. Casts are only at the
    start and the end of the backbone; onnxruntime's converter puts casts around every float32 node and so rounds the
    values of the heads, too. Raises `MissingExtraError` without onnx, `ExportError` for a graph whose heads cannot be
    identified.
    """
    changed, heads = copy_of(model), set(head_nodes(model, "fp16"))
    graph = changed.graph
    planes = graph.input[0].name
    weights = {weight.name: weight for weight in graph.initializer if weight.data_type == _types().FLOAT}
    features = _backbone_outputs(model, heads)
    fp16_names = {name: f"{name}_fp16" for name in (planes, *weights)}
    nodes, renamed = [_cast(planes, fp16_names[planes], _types().FLOAT16)], set()
    for node in graph.node:
        if node.name in heads:
            _rename_inputs(node, {name: f"{name}_fp32" for name in features})
            nodes.append(node)
            continue
        renamed |= _rename_inputs(node, fp16_names, NEVER_FP16.get(node.op_type, ()))
        nodes += [node, *(_cast(name, f"{name}_fp32", _types().FLOAT) for name in node.output if name in features)]
    replace_nodes(graph, nodes)
    graph.initializer.extend(_fp16_weight(weights[name]) for name in sorted(renamed & weights.keys()))
    _drop_unused(graph)
    del graph.value_info[:]  # the types of the float32 graph
    return changed


def _types() -> Any:
    return import_onnx().TensorProto


def _backbone_outputs(model: Any, heads: set[str]) -> set[str]:
    """Names of the float tensors from nodes outside the heads to nodes of the heads."""
    graph = import_onnx().shape_inference.infer_shapes(model).graph
    floats = {info.name for info in graph.value_info if info.type.tensor_type.elem_type == _types().FLOAT}
    outputs = {name for node in graph.node if node.name not in heads for name in node.output}
    inputs = {name for node in graph.node if node.name in heads for name in node.input}
    return floats & outputs & inputs


def _rename_inputs(node: Any, names: dict[str, str], excluded: Sequence[int] = ()) -> set[str]:
    """Rename inputs of a node by `names`, except at the indices `excluded`; returns the old names that it had."""
    renamed = set()
    for index, name in enumerate(node.input):
        if name in names and index not in excluded:
            node.input[index] = names[name]
            renamed.add(name)
    return renamed


def _cast(name: str, to: str, kind: int) -> Any:
    return import_onnx().helper.make_node("Cast", [name], [to], f"{to}_cast", to=kind)


def _fp16_weight(weight: Any) -> Any:
    helper = import_onnx().numpy_helper
    return helper.from_array(helper.to_array(weight).astype(np.float16), f"{weight.name}_fp16")


def _drop_unused(graph: Any) -> None:
    """Remove the weights that no node reads, here the float32 ones of the backbone."""
    read = {name for node in graph.node for name in node.input}
    used = [weight for weight in graph.initializer if weight.name in read]
    del graph.initializer[:]
    graph.initializer.extend(used)
