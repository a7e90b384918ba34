"""Static int8 quantisation of the convolutions of a float32 ONNX graph, calibrated on crops of faces."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightmark.export.graph import copy_of, head_nodes, import_onnx, quiet, replace_einsums, takes_bytes
from lightmark.export.int8_bias import correct_biases
from lightmark.runtime.onnx_model import OnnxModel
from lightmark.spec import ModelSpec, normalisation

# With additions and activations, so that nothing between two convolutions is computed in float32.
QUANTISED = ("Conv", "Add", "Clip", "Relu")
BATCH = 16


def quantise(model: Any, original: OnnxModel, crops: NDArray[np.uint8]) -> Any:
    """int8 copy of the float32 ModelProto `model`, which `original` runs; for every processor.

    Activations are unsigned, since x86 multiplies unsigned by signed bytes in one instruction; their ranges are the
    smallest and largest values on `crops` (B, S, S, 3). Weights are signed with a scale per channel, chosen so that no
    two weights of the same sign sum to more than `PAIR_LIMIT`: their products then cannot overflow (`pair_ranges`).
    Biases take back the shift of the mean that rounding the weights causes (`correct_biases`).

    The heads stay float32: their softmax-weighted means turn small errors of the scores into pixels, and they take 2 %
    of the time (lab notes, 2026-11-21). Raises `MissingExtraError` without onnx, `ExportError` for a graph whose heads
    cannot be identified.
    """
    return _quantise(model, original, crops, pair_ranges(model))


def quantise_full_range(model: Any, original: OnnxModel, crops: NDArray[np.uint8]) -> Any:
    """`quantise` without the limit for pairs of weights; products of pairs may overflow on x86 CPUs without VNNI."""
    return _quantise(model, original, crops, {})


def pair_ranges(model: Any) -> dict[str, NDArray[np.float32]]:
    """Quantisation range of each output channel of each convolution's weights, by the name of the weights.

    x86 without VNNI adds the products of two neighbouring bytes in saturating 16-bit arithmetic. The range of a channel
    is therefore the largest sum of two of its weights of the same sign: quantised to 127 steps and rounded, any two
    sum to 128 at most, whichever a kernel pairs. onnxruntime's reduce_range, 7 bits for each weight, loses more
    precision: it allows for two weights of the largest value where there is one.
    """
    arrays = {one.name: import_onnx().numpy_helper.to_array(one) for one in model.graph.initializer}
    kernels = {node.input[1]: arrays.get(node.input[1]) for node in model.graph.node if node.op_type == "Conv"}
    return {name: _largest_pairs(kernel) for name, kernel in kernels.items() if kernel is not None}


def _largest_pairs(kernel: NDArray[np.float32]) -> NDArray[np.float32]:
    """Largest sum (C,) of two weights of the same sign in each output channel of `kernel` (C, …)."""
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
    replace_einsums(changed)
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
        quantised = onnx.load(str(out))
    correct_biases(quantised, model, original, crops)
    return quantised


def _pixel_range(model: Any, spec: ModelSpec) -> dict[str, list[dict[str, Any]]]:
    """Quantisation range of the input planes, which is known from the spec instead of measured.

    The quantised planes of a spec without `mean` are then the original bytes, so that `take_bytes` can remove the step.
    """
    if takes_bytes(model):
        return {}
    factor, subtrahend = normalisation(spec)
    bounds = {"rmin": np.min(-subtrahend), "rmax": np.max(255 * factor - subtrahend)}
    return {model.graph.input[0].name: [bounds]}


class _Feeds:
    """CalibrationDataReader of onnxruntime: inputs of the graph in batches."""

    def __init__(self, original: OnnxModel, crops: NDArray[np.uint8]) -> None:
        self._feeds: Iterator[dict[str, NDArray[Any]]] = (
            {original.input_name: original.feed(crops[start : start + BATCH])}
            for start in range(0, len(crops), BATCH)
        )

    def get_next(self) -> dict[str, NDArray[Any]] | None:
        """Next batch, None after the last."""
        return next(self._feeds, None)
