"""int8: a float32 graph with its convolutions in eight bits, their ranges measured on faces (static quantisation)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightmark.export.graph import copy_of, head_nodes, import_onnx, multiply_and_sum, quiet, takes_bytes
from lightmark.runtime.onnx_model import OnnxModel
from lightmark.spec import ModelSpec, normalisation

# Additions and the activations between two convolutions, too, so that nothing between them goes back to float.
QUANTISED = ("Conv", "Add", "Clip", "Relu")
BATCH = 16


def quantise(model: Any, original: OnnxModel, crops: NDArray[np.uint8]) -> Any:
    """ModelProto in int8 of the float32 ModelProto `model`, which `original` runs; for every processor.

    Ranges of activations are the least and the greatest values seen on `crops` (B, S, S, 3). Weights are signed, with a
    scale a channel, by which no two of one sign sum to more than `PAIR_LIMIT`; activations unsigned, which x86
    multiplies by signed weights in one instruction.

    The heads stay float: their softmax-weighted means turn small errors of the scores into pixels, and they are 2 % of
    the time. Raises `MissingExtraError` without onnx, `ExportError` for a graph whose heads cannot be told.
    """
    return _quantise(model, original, crops, pair_ranges(model))


def quantise_full_range(model: Any, original: OnnxModel, crops: NDArray[np.uint8]) -> Any:
    """`quantise` without a limit for pairs of weights, whose products overflow on x86 before VNNI."""
    return _quantise(model, original, crops, {})


def pair_ranges(model: Any) -> dict[str, NDArray[np.float32]]:
    """Range of each output channel of each convolution's weights, by name: the most that two of one sign sum to.

    127 steps for it leave 128 for two rounded weights, in whatever order a processor pairs them. That wastes less than
    seven bits for each weight, onnxruntime's reduce_range, which allow two of the greatest where there is but one.
    """
    arrays = {one.name: import_onnx().numpy_helper.to_array(one) for one in model.graph.initializer}
    kernels = {node.input[1]: arrays.get(node.input[1]) for node in model.graph.node if node.op_type == "Conv"}
    return {name: _largest_pairs(kernel) for name, kernel in kernels.items() if kernel is not None}


def _largest_pairs(kernel: NDArray[np.float32]) -> NDArray[np.float32]:
    ordered = np.sort(kernel.reshape(len(kernel), -1), axis=1)
    positive, negative = ordered[:, -2:].clip(min=0), -ordered[:, :2].clip(max=0)
    largest: NDArray[np.float32] = np.maximum(positive.sum(axis=1), negative.sum(axis=1))
    return largest


def _quantise(
    model: Any, original: OnnxModel, crops: NDArray[np.uint8], ranges: Mapping[str, NDArray[np.float32]]
) -> Any:
    onnx = import_onnx()
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    excluded, changed = head_nodes(model, "int8"), copy_of(model)
    multiply_and_sum(changed)
    by_channel = {name: [{"axis": 0, "rmin": -most, "rmax": most} for most in ranges[name]] for name in ranges}
    with TemporaryDirectory() as folder, quiet():
        out = Path(folder) / "int8.onnx"
        quantize_static(
            changed,
            out,
            _Feeds(original, crops),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=list(QUANTISED),
            nodes_to_exclude=excluded,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            extra_options={"TensorQuantOverrides": _pixel_range(changed, original.spec) | by_channel},
        )
        return onnx.load(str(out))


def _pixel_range(model: Any, spec: ModelSpec) -> dict[str, list[dict[str, Any]]]:
    """The range of the planes, which is known: with it, the planes of a spec without a mean are the bytes again."""
    if takes_bytes(model):
        return {}
    factor, subtrahend = normalisation(spec)
    known = {"rmin": np.min(-subtrahend), "rmax": np.max(255 * factor - subtrahend)}
    return {model.graph.input[0].name: [known]}


class _Feeds:
    """onnxruntime's CalibrationDataReader: the graph's inputs, a batch at a time."""

    def __init__(self, original: OnnxModel, crops: NDArray[np.uint8]) -> None:
        self._feeds: Iterator[dict[str, NDArray[Any]]] = (
            {original.input_name: original.feed(crops[start : start + BATCH])}
            for start in range(0, len(crops), BATCH)
        )

    def get_next(self) -> dict[str, NDArray[Any]] | None:
        """The next input, None after the last."""
        return next(self._feeds, None)
