"""ONNX graphs as torch modules, for converters that take only torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lightmark.bench.costs import value_shapes
from lightmark.errors import ExportError
from lightmark.export.graph import copy_of, head_nodes, import_onnx, replace_einsums
from lightmark.spec import ModelSpec

Values = dict[str, Any]  # tensors by their names in the graph


class GraphModule(nn.Module):
    """A float32 ModelProto as a torch module for a batch of 1, with the graph's outputs in their order.

    The nodes of the backbone and of the heads are separate modules, since converters derive the names of tensors from
    modules: LiteRT's quantiser selects the backbone by them. Without `landmarks` the graph is no landmark model's and
    all of its nodes are the backbone's. Raises `ExportError` for an unsupported operator.
    """

    def __init__(self, model: Any, landmarks: bool = True) -> None:
        super().__init__()
        changed = copy_of(model)
        replace_einsums(changed)  # most converters do not support einsums
        heads, graph = set(head_nodes(changed, "the graph")) if landmarks else set(), changed.graph
        shapes = value_shapes(changed)
        weights = {weight.name: import_onnx().numpy_helper.to_array(weight).copy() for weight in graph.initializer}
        before = [node for node in graph.node if node.name not in heads]
        after = [node for node in graph.node if node.name in heads]
        self.backbone, self.heads = Backbone(before, weights, shapes), Heads(after, weights, shapes)
        self.input_name, self.output_names = graph.input[0].name, [output.name for output in graph.output]

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """The graph's input for one crop or picture → its outputs."""
        values = self.heads(self.backbone({self.input_name: image}))
        return tuple(values[name] for name in self.output_names)


class _Nodes(nn.Module):
    """Sequence of nodes; floating-point weights are buffers, scalars and integers are constants."""

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
        """`values` and the outputs of all nodes."""
        arguments = {**values, **self.constants, "": None}  # "" stands for an omitted optional input
        arguments |= {name: getattr(self, buffer) for name, buffer in self.buffer_names.items()}
        outputs = dict(values)
        for call, inputs, output in self.steps:
            outputs[output] = arguments[output] = call(*(arguments[name] for name in inputs))
        return outputs


class Backbone(_Nodes):
    """Nodes before those of the heads."""


class Heads(_Nodes):
    """Nodes that read the heads' weights, and all nodes that depend on them."""


def _step(node: Any, shapes: Mapping[str, Sequence[int]]) -> tuple[Callable[..., Any], list[str], str] | None:
    """A node as a function, the names of its inputs and the name of its output; None for a node that is not needed.

    All shapes are known for a batch of 1, so nodes that compute shapes are not needed.
    """
    attributes = {one.name: import_onnx().helper.get_attribute_value(one) for one in node.attribute}
    inputs, output = list(node.input), node.output[0]
    if node.op_type in SHAPED:
        return SHAPED[node.op_type](shapes[output]), inputs[:1], output
    if node.op_type == "Shape" or (node.op_type == "Concat" and len(shapes[output]) == 1):
        return None
    if node.op_type not in OPERATIONS:
        raise ExportError(
            f"the graph holds {node.op_type}, which is not supported here; export it to onnx or openvino, which take "
            "any graph"
        )
    return OPERATIONS[node.op_type](attributes), inputs, output


def _reshape(shape: Sequence[int]) -> Callable[[Tensor], Tensor]:
    return lambda x: x.reshape(tuple(shape))


def _nearest(shape: Sequence[int]) -> Callable[[Tensor], Tensor]:
    return lambda x: F.interpolate(x, size=tuple(shape[2:]), mode="nearest")


def _expand(shape: Sequence[int]) -> Callable[[Tensor], Tensor]:
    return lambda x: x.expand(tuple(shape))


# Operators as functions of the shape of their output.
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
    padding = (left, right, top, bottom)
    return lambda x, weight, bias=None: F.conv2d(F.pad(x, padding), weight, bias, strides, 0, dilations, group)


def _gemm(attributes: Mapping[str, Any]) -> Callable[..., Tensor]:
    if not attributes.get("transB"):
        raise ExportError("the graph holds a Gemm without transB, which torch's exporter does not write")
    return F.linear


def _reduce(reduction: Callable[..., Tensor]) -> Callable[[Mapping[str, Any]], Callable[..., Tensor]]:
    def with_attributes(attributes: Mapping[str, Any]) -> Callable[..., Tensor]:
        keepdim = bool(attributes.get("keepdims", 1))
        return lambda x, axes: reduction(x, dim=tuple(axes), keepdim=keepdim)

    return with_attributes


def _gather(attributes: Mapping[str, Any]) -> Callable[..., Tensor]:
    axis = attributes.get("axis", 0)

    def gather(x: Tensor, index: int) -> Tensor:
        # A slice and flatten, since ncnn has neither narrow nor the scalars that select may return. No slice of a
        # dimension of length 1: Core ML's converter does not support the full slice that torch makes of it.
        one: Tensor = x if x.shape[axis] == 1 else x[(slice(None),) * axis + (slice(index, index + 1 or None),)]
        return one.flatten(axis - 1, axis)

    return gather


def _norm(attributes: Mapping[str, Any]) -> Callable[..., Tensor]:
    epsilon = attributes.get("epsilon", 1e-5)

    def normalise(x: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
        factor = weight / (variance + epsilon).sqrt()
        normalised: Tensor = x * factor[:, None, None] + (bias - mean * factor)[:, None, None]
        return normalised

    return normalise


def _slice(_attributes: Mapping[str, Any]) -> Callable[..., Tensor]:
    def slice_one(x: Tensor, starts: Sequence[int], ends: Sequence[int], axes: Sequence[int], *_steps: Any) -> Tensor:
        (start,), (end,), (axis,) = starts, ends, axes
        return x.narrow(axis, start, min(end, x.shape[axis]) - start)

    return slice_one


def _plain(call: Callable[..., Tensor]) -> Callable[[Mapping[str, Any]], Callable[..., Tensor]]:
    """Operator without attributes."""
    return lambda _attributes: call


# The other operators that torch's exporter writes for these networks, as functions of their attributes.
OPERATIONS: Mapping[str, Callable[[Mapping[str, Any]], Callable[..., Tensor]]] = {
    "Add": _plain(torch.add),
    "BatchNormalization": _norm,
    "Cast": _plain(Tensor.float),
    "Clip": _plain(torch.clamp),
    "Concat": lambda attributes: lambda *parts: torch.cat(parts, attributes["axis"]),
    "Conv": _conv,
    "Div": _plain(torch.div),
    "Exp": _plain(torch.exp),
    "Gather": _gather,
    "Gemm": _gemm,
    "MatMul": _plain(torch.matmul),
    "Min": _plain(torch.clamp_max),
    "Mul": _plain(torch.mul),
    "Pow": _plain(torch.pow),
    "ReduceMean": _reduce(torch.mean),
    "ReduceSum": _reduce(torch.sum),
    "Relu": _plain(torch.relu),
    "Sigmoid": _plain(torch.sigmoid),
    "Slice": _slice,
    "Softmax": lambda attributes: lambda x: x.softmax(attributes.get("axis", -1)),
    "Sqrt": _plain(torch.sqrt),
    "Sub": _plain(torch.sub),
    "Transpose": lambda attributes: lambda x: x.permute(tuple(attributes["perm"])),
}


def graph_module(model: Any, landmarks: bool = True) -> GraphModule:
    """GraphModule in evaluation mode, without gradients."""
    return GraphModule(model, landmarks).eval().requires_grad_(False)


def example_crop(spec: ModelSpec, uint8_input: bool) -> Tensor:
    """Input of a graph for one black crop: uint8 (1, S, S, 3) or planes (1, 3, S, S)."""
    if uint8_input:
        return torch.zeros(1, spec.size, spec.size, 3, dtype=torch.uint8)
    return torch.zeros(1, 3, spec.size, spec.size)
