"""ONNX graphs in torch: the module that converters which know only torch are given, whatever the model came from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lightmark.bench.costs import value_shapes
from lightmark.errors import ExportError
from lightmark.export.graph import copy_of, head_nodes, import_onnx, multiply_and_sum
from lightmark.spec import ModelSpec

Values = dict[str, Any]  # by the names in the graph


class GraphModule(nn.Module):
    """What a float32 ModelProto says, for one crop a call: its input to all its outputs, in their order.

    The nodes before the heads and the heads' are modules of their own, so that what a converter writes can be told
    apart by their names. Raises `ExportError` for a node that torch is not told here.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        written = copy_of(model)
        multiply_and_sum(written)  # einsums are foreign to most converters
        heads, graph = set(head_nodes(written, "the graph")), written.graph
        shapes = value_shapes(written)
        weights = {weight.name: import_onnx().numpy_helper.to_array(weight).copy() for weight in graph.initializer}
        before = [node for node in graph.node if node.name not in heads]
        after = [node for node in graph.node if node.name in heads]
        self.backbone, self.heads = Backbone(before, weights, shapes), Heads(after, weights, shapes)
        self.taken, self.given = graph.input[0].name, [output.name for output in graph.output]

    def forward(self, crops: Tensor) -> tuple[Tensor, ...]:
        """One crop, as the graph takes it, to normalized_points (1, N, 2) and, with confidence, the rest."""
        values = self.heads(self.backbone({self.taken: crops}))
        return tuple(values[name] for name in self.given)


class _Nodes(nn.Module):
    """Nodes in the order of computation; weights with sides are buffers, numbers are constants."""

    def __init__(self, nodes: Sequence[Any], weights: Mapping[str, Any], shapes: Mapping[str, Sequence[int]]) -> None:
        super().__init__()
        self.buffer_names: dict[str, str] = {}
        self.constants: dict[str, list[float] | float] = {}
        self.steps = [step for node in nodes if (step := _step(node, shapes)) is not None]
        for name in dict.fromkeys(name for step in self.steps for name in step[1] if name in weights):
            if weights[name].dtype.kind == "f" and weights[name].ndim:
                self.buffer_names[name] = f"weight{len(self.buffer_names)}"
                self.register_buffer(self.buffer_names[name], torch.from_numpy(weights[name]))
            else:
                self.constants[name] = weights[name].tolist()

    def forward(self, values: Values) -> Values:
        """`values` and all that the nodes make of them."""
        known = {**values, **self.constants, "": None}
        known |= {name: getattr(self, buffer) for name, buffer in self.buffer_names.items()}
        made = dict(values)
        for call, inputs, output in self.steps:
            made[output] = known[output] = call(*(known[name] for name in inputs))
        return made


class Backbone(_Nodes):
    """The nodes before those of the heads."""


class Heads(_Nodes):
    """The nodes that read the heads' weights, and all after them."""


def _step(node: Any, shapes: Mapping[str, Sequence[int]]) -> tuple[Callable[..., Any], list[str], str] | None:
    """A node as a call, the names of what it is called with, and that of what it gives; None for what needs no doing.

    Shapes are known for one crop, so that what only computes shapes is left out.
    """
    attributes = {one.name: import_onnx().helper.get_attribute_value(one) for one in node.attribute}
    inputs, output = list(node.input), node.output[0]
    if node.op_type in SHAPED:
        return SHAPED[node.op_type](shapes[output]), inputs[:1], output
    if node.op_type == "Shape" or (node.op_type == "Concat" and len(shapes[output]) == 1):
        return None
    if node.op_type not in OPERATIONS:
        raise ExportError(
            f"the graph holds {node.op_type}, which is not told to torch; export it to onnx or openvino, which take "
            "any graph"
        )
    return OPERATIONS[node.op_type](attributes), inputs, output


def _reshape(shape: Sequence[int]) -> Callable[[Tensor], Tensor]:
    return lambda x: x.reshape(tuple(shape))


def _nearest(shape: Sequence[int]) -> Callable[[Tensor], Tensor]:
    return lambda x: F.interpolate(x, size=tuple(shape[2:]), mode="nearest")


def _expand(shape: Sequence[int]) -> Callable[[Tensor], Tensor]:
    return lambda x: x.expand(tuple(shape))


# Nodes told by the shape of what they give.
SHAPED: Mapping[str, Callable[[Sequence[int]], Callable[[Tensor], Tensor]]] = {
    "Reshape": _reshape,
    "Unsqueeze": _reshape,
    "Squeeze": _reshape,
    "Flatten": _reshape,
    "Resize": _nearest,
    "Expand": _expand,
}


def _conv(attributes: Mapping[str, Any]) -> Callable[..., Tensor]:
    pads, strides, dilations = (tuple(attributes[name]) for name in ("pads", "strides", "dilations"))
    (top, left, bottom, right), group = pads, attributes["group"]
    if (top, left) == (bottom, right):
        return lambda x, weight, bias=None: F.conv2d(x, weight, bias, strides, (top, left), dilations, group)
    around = (left, right, top, bottom)
    return lambda x, weight, bias=None: F.conv2d(F.pad(x, around), weight, bias, strides, 0, dilations, group)


def _gemm(attributes: Mapping[str, Any]) -> Callable[..., Tensor]:
    if not attributes.get("transB"):
        raise ExportError("the graph holds a Gemm without transB, which torch's exporter does not write")
    return F.linear


def _reduce(total: Callable[..., Tensor]) -> Callable[[Mapping[str, Any]], Callable[..., Tensor]]:
    def told(attributes: Mapping[str, Any]) -> Callable[..., Tensor]:
        keep = bool(attributes.get("keepdims", 1))
        return lambda x, axes: total(x, dim=tuple(axes), keepdim=keep)

    return told


def _gather(attributes: Mapping[str, Any]) -> Callable[..., Tensor]:
    axis = attributes.get("axis", 0)

    def picked(x: Tensor, index: int) -> Tensor:
        # Not select, which makes a scalar of one number, as ncnn does not have it; nor narrow, which it does not know.
        # And no slice that takes all: Core ML's converter does not know what torch makes of it.
        whole = x.shape[axis] == 1
        one: Tensor = x if whole else x[(slice(None),) * axis + (slice(index, index + 1 or None),)]
        return one.flatten(axis - 1, axis)

    return picked


def _norm(attributes: Mapping[str, Any]) -> Callable[..., Tensor]:
    epsilon = attributes.get("epsilon", 1e-5)

    def scaled(x: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
        factor = weight / (variance + epsilon).sqrt()
        scaled_x: Tensor = x * factor[:, None, None] + (bias - mean * factor)[:, None, None]
        return scaled_x

    return scaled


def _plain(call: Callable[..., Tensor]) -> Callable[[Mapping[str, Any]], Callable[..., Tensor]]:
    return lambda _attributes: call


# The other nodes that torch's exporter writes for the networks here, as functions of their attributes.
OPERATIONS: Mapping[str, Callable[[Mapping[str, Any]], Callable[..., Tensor]]] = {
    "Add": _plain(torch.add),
    "BatchNormalization": _norm,
    "Cast": _plain(Tensor.float),
    "Clip": _plain(torch.clamp),
    "Concat": lambda attributes: lambda *parts: torch.cat(parts, attributes["axis"]),
    "Conv": _conv,
    "Exp": _plain(torch.exp),
    "Gather": _gather,
    "Gemm": _gemm,
    "MatMul": _plain(torch.matmul),
    "Mul": _plain(torch.mul),
    "Pow": _plain(torch.pow),
    "ReduceMean": _reduce(torch.mean),
    "ReduceSum": _reduce(torch.sum),
    "Relu": _plain(torch.relu),
    "Sigmoid": _plain(torch.sigmoid),
    "Softmax": lambda attributes: lambda x: x.softmax(attributes.get("axis", -1)),
    "Sqrt": _plain(torch.sqrt),
    "Sub": _plain(torch.sub),
    "Transpose": lambda attributes: lambda x: x.permute(tuple(attributes["perm"])),
}


def graph_module(model: Any) -> GraphModule:
    """GraphModule in evaluation mode, its weights fixed."""
    return GraphModule(model).eval().requires_grad_(False)


def example_crop(spec: ModelSpec, uint8_input: bool) -> Tensor:
    """A blank crop, as the graph takes it."""
    if uint8_input:
        return torch.zeros(1, spec.size, spec.size, 3, dtype=torch.uint8)
    return torch.zeros(1, 3, spec.size, spec.size)
