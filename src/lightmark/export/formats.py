"""The forms that a model is exported to: how their files are called and what writing and running them needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lightmark.extras import require_extra
from lightmark.runtime.exported_model import sidecar_path

Form = Literal[
    "onnx", "onnx-fp16", "onnx-int8", "onnx-int8-vnni",
    "openvino", "litert", "litert-int8", "coreml", "ncnn", "executorch",
]  # fmt: skip


@dataclass(frozen=True)
class Format:
    """A form: its files end in `suffix`, `weights` and, with a `sidecar`, `suffix`.json.

    `packages` are what writing it needs, all in the `extra`. A `calibrated` form needs faces; one that is not
    `verified` has no runtime here; one with `bytes_in` can take crops as they are.
    """

    suffix: str
    precision: str
    extra: str
    packages: tuple[str, ...]
    weights: str | None = None
    sidecar: bool = False
    calibrated: bool = False
    verified: bool = True
    bytes_in: bool = True


_LITERT = ("onnx", "torch", "litert_torch", "ai_edge_litert")
FORMATS: Mapping[Form, Format] = {
    "onnx": Format(".onnx", "fp32", "onnx", ("onnx",)),
    "onnx-fp16": Format(".onnx", "fp16", "onnx", ("onnx",)),
    "onnx-int8": Format(".onnx", "int8", "onnx", ("onnx",), calibrated=True),
    "onnx-int8-vnni": Format(".onnx", "int8-vnni", "onnx", ("onnx",), calibrated=True),
    "openvino": Format(".xml", "fp32", "openvino", ("onnx", "openvino"), weights=".bin"),
    "litert": Format(".tflite", "fp32", "litert", _LITERT),
    "litert-int8": Format(".tflite", "int8", "litert", (*_LITERT, "ai_edge_quantizer"), calibrated=True),
    "coreml": Format(
        ".mlpackage", "fp32", "coreml", ("onnx", "torch", "coremltools"), sidecar=True, verified=False, bytes_in=False
    ),
    "ncnn": Format(
        ".ncnn.param", "fp32", "ncnn", ("onnx", "torch", "pnnx", "ncnn"), ".ncnn.bin", sidecar=True, bytes_in=False
    ),
    "executorch": Format(".pte", "fp32", "executorch", ("onnx", "torch", "executorch"), sidecar=True),
}
PRECISIONS: Mapping[Form, str] = {form: one.precision for form, one in FORMATS.items() if one.suffix == ".onnx"}


def require_format(form: Form) -> None:
    """Raise `MissingExtraError` with the install line where what writing `form` needs is not installed."""
    require_extra(FORMATS[form].packages, FORMATS[form].extra, f"export to {form}")


def files_of(form: Form, path: Path) -> list[Path]:
    """All that writing `form` to `path` writes."""
    one = FORMATS[form]
    weights = [path.with_name(path.name.removesuffix(one.suffix) + one.weights)] if one.weights else []
    return [path, *weights, *([sidecar_path(path)] if one.sidecar else [])]


def name_in_folder(form: Form, model: str) -> str:
    """Name of the file of `form` of the model called `model` beside its other forms."""
    precision = form.partition("-")[2]
    return f"{model}-{precision}{FORMATS[form].suffix}" if precision else f"{model}{FORMATS[form].suffix}"
