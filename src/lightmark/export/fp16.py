"""fp16: a float32 graph with its backbone in half precision, for GPUs and neural engines; input and output float32."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from lightmark.export.graph import copy_of, head_nodes, import_onnx, replace_nodes

KEPT = {"Resize": (1, 2, 3)}  # inputs that are float32 or no floats whatever the precision of the picture


def halve(model: Any) -> Any:
    """ModelProto in float16 of the float32 ModelProto `model`.

    The heads stay float32: a coordinate above 0.5 in half precision is a multiple of 1/2048 of the crop's side. Casts
    stand only where the backbone begins and ends; onnxruntime's own converter would round the heads' values, too.
    Raises `MissingExtraError` without onnx, `ExportError` for a graph whose heads cannot be told.
    """
    changed, heads = copy_of(model), set(head_nodes(model, "fp16"))
    graph = changed.graph
    planes = graph.input[0].name
    weights = {weight.name: weight for weight in graph.initializer if weight.data_type == _types().FLOAT}
    leaving = _leaving(model, heads)
    nodes, halved = [_cast(planes, f"{planes}_half", _types().FLOAT16)], set()
    for node in graph.node:
        if node.name in heads:
            _rename(node, {name: f"{name}_float" for name in leaving})
            nodes.append(node)
            continue
        halved |= _rename(node, {name: f"{name}_half" for name in (planes, *weights)}, KEPT.get(node.op_type, ()))
        nodes += [node, *(_cast(name, f"{name}_float", _types().FLOAT) for name in node.output if name in leaving)]
    replace_nodes(graph, nodes)
    graph.initializer.extend(_half(weights[name]) for name in sorted(halved & weights.keys()))
    _drop_unused(graph)
    del graph.value_info[:]  # which tell the types of before
    return changed


def _types() -> Any:
    return import_onnx().TensorProto


def _leaving(model: Any, heads: set[str]) -> set[str]:
    """Names of the float tensors that nodes outside the heads give to nodes of the heads."""
    graph = import_onnx().shape_inference.infer_shapes(model).graph
    floats = {info.name for info in graph.value_info if info.type.tensor_type.elem_type == _types().FLOAT}
    given = {name for node in graph.node if node.name not in heads for name in node.output}
    taken = {name for node in graph.node if node.name in heads for name in node.input}
    return floats & given & taken


def _rename(node: Any, names: dict[str, str], kept: Sequence[int] = ()) -> set[str]:
    """Give a node's inputs their new `names` but for those at the places `kept`; which names it had of them."""
    found = set()
    for place, name in enumerate(node.input):
        if name in names and place not in kept:
            node.input[place] = names[name]
            found.add(name)
    return found


def _cast(name: str, to: str, kind: int) -> Any:
    return import_onnx().helper.make_node("Cast", [name], [to], f"{to}_cast", to=kind)


def _half(weight: Any) -> Any:
    helper = import_onnx().numpy_helper
    return helper.from_array(helper.to_array(weight).astype(np.float16), f"{weight.name}_half")


def _drop_unused(graph: Any) -> None:
    used = {name for node in graph.node for name in node.input}
    kept = [weight for weight in graph.initializer if weight.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)
