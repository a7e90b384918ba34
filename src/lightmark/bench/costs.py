"""Costs of a model: file size, parameters and multiply-adds per face."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from lightmark.runtime.model_file import parts_of
from lightmark.runtime.onnx_file import read_onnx
from lightmark.spec import ModelSpec

SCALED = ("QuantizeLinear", "DequantizeLinear")


@dataclass(frozen=True)
class Costs:
    """`bytes` of the file; `parameters` and `multiply_adds` for one crop, None if unknown."""

    bytes: int
    parameters: int | None
    multiply_adds: int | None


def model_costs(path: Path, spec: ModelSpec) -> Costs:
    """Costs of the model at `path`, from the provenance in its spec, otherwise counted in its ONNX graph."""
    counts = [spec.provenance.get(key) for key in ("parameters", "multiply_adds")]
    size = sum(part.stat().st_size for part in parts_of(path))
    if None in counts:
        if path.suffix != ".onnx":
            return Costs(size, *counts)
        try:
            import onnx
        except ImportError:
            return Costs(size, *counts)
        model = onnx.load_model_from_string(read_onnx(path))
        counts = [count_parameters(model), count_multiply_adds(model)]
    return Costs(size, *counts)


def count_parameters(model: Any) -> int:
    """Number of trained parameters in a ModelProto: float and quantised weights, without scales and shapes."""
    scales = {name for node in model.graph.node if node.op_type in SCALED for name in node.input[1:]}
    shape_types = {7, 9}  # int64 and bool in ONNX
    weights = [w for w in model.graph.initializer if w.name not in scales and w.data_type not in shape_types]
    return sum(prod(weight.dims) for weight in weights)


def count_multiply_adds(model: Any) -> int:
    """Multiply-adds of a ModelProto's convolutions and linear layers for one crop, as the MobileNet papers count."""
    shapes = value_shapes(model)
    sources = {node.output[0]: node.input[0] for node in model.graph.node if node.op_type in SCALED}
    weights = {weight.name: list(weight.dims) for weight in model.graph.initializer}
    total = 0
    for node in model.graph.node:
        if node.op_type not in ("Conv", "Gemm", "MatMul"):
            continue
        weight = weights.get(sources.get(node.input[1], node.input[1]))
        if weight is None:  # a product of two activations, which papers do not count
            continue
        transposed = any(one.name == "transB" and one.i for one in node.attribute)
        per_output = prod(weight[1:]) if node.op_type == "Conv" or transposed else weight[-2]
        total += prod(shapes[node.output[0]]) * per_output
    return total


def value_shapes(model: Any) -> dict[str, list[int]]:
    """Shape of each value of a ModelProto for one crop."""
    import onnx

    fixed = onnx.ModelProto()
    fixed.CopyFrom(model)
    del fixed.graph.value_info[:]
    for value in fixed.graph.input:
        value.type.tensor_type.shape.dim[0].dim_value = 1
    for value in fixed.graph.output:
        value.type.tensor_type.ClearField("shape")
    graph = onnx.shape_inference.infer_shapes(fixed, data_prop=True).graph
    values = (*graph.value_info, *graph.output)
    return {value.name: [side.dim_value for side in value.type.tensor_type.shape.dim] for value in values}
