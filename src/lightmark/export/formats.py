"""Export formats: names and suffixes of their files, and the packages and extras that they need."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lightmark.extras import require_extra
from lightmark.runtime.exported_model import sidecar_path

FileFormat = Literal[
    "onnx", "onnx-fp16", "onnx-int8", "onnx-int8-vnni",
    "openvino", "litert", "litert-int8", "coreml", "ncnn", "executorch",
]  # fmt: skip


@dataclass(frozen=True)
class Format:
    """Properties of a format.

    Its files end in `suffix`, `weights` (the file of the weights, if it is separate) and, with a `sidecar`,
    `suffix`.json for the ModelSpec. `packages` are needed to write it; all are in the `extra`. A `calibrated` format
    needs faces; a `verified` one has a runtime here; `uint8_input` ones can have crops uint8 (B, S, S, 3) as input.
    """

    suffix: str
    precision: str
    extra: str
    packages: tuple[str, ...]
    weights: str | None = None
    sidecar: bool = False
    calibrated: bool = False
    verified: bool = True
    uint8_input: bool = True


_LITERT = ("onnx", "torch", "litert_torch", "ai_edge_litert")
FORMATS: Mapping[FileFormat, Format] = {
    "onnx": Format(".onnx", "fp32", "onnx", ("onnx",)),
    "onnx-fp16": Format(".onnx", "fp16", "onnx", ("onnx",)),
    "onnx-int8": Format(".onnx", "int8", "onnx", ("onnx",), calibrated=True),
    "onnx-int8-vnni": Format(".onnx", "int8-vnni", "onnx", ("onnx",), calibrated=True),
    "openvino": Format(".xml", "fp32", "openvino", ("onnx", "openvino"), weights=".bin"),
    "litert": Format(".tflite", "fp32", "litert", _LITERT),
    "litert-int8": Format(".tflite", "int8", "litert", (*_LITERT, "ai_edge_quantizer"), calibrated=True),
    "coreml": Format(
        ".mlpackage",
        "fp32",
        "coreml",
        ("onnx", "torch", "coremltools"),
        sidecar=True,
        verified=False,
        uint8_input=False,
    ),
    "ncnn": Format(
        ".ncnn.param", "fp32", "ncnn", ("onnx", "torch", "pnnx", "ncnn"), ".ncnn.bin", sidecar=True, uint8_input=False
    ),
    "executorch": Format(".pte", "fp32", "executorch", ("onnx", "torch", "executorch"), sidecar=True),
}
DETECTOR_FORMATS: tuple[FileFormat, ...] = ("litert", "coreml")  # to which a face detector is exported
PRECISIONS: Mapping[FileFormat, str] = {name: one.precision for name, one in FORMATS.items() if one.suffix == ".onnx"}


def require_format(file_format: FileFormat) -> None:
    """Raise `MissingExtraError` with the install line if a package for writing `file_format` is not installed."""
    require_extra(FORMATS[file_format].packages, FORMATS[file_format].extra, f"export to {file_format}")


def files_of(file_format: FileFormat, path: Path) -> list[Path]:
    """Paths of all files of `file_format` whose main file is `path`."""
    one = FORMATS[file_format]
    weights = [path.with_name(path.name.removesuffix(one.suffix) + one.weights)] if one.weights else []
    return [path, *weights, *([sidecar_path(path)] if one.sidecar else [])]


def name_in_folder(file_format: FileFormat, model: str) -> str:
    """File name of the model `model` in `file_format`, unique among its formats in one folder."""
    precision, suffix = file_format.partition("-")[2], FORMATS[file_format].suffix
    return f"{model}-{precision}{suffix}" if precision else f"{model}{suffix}"
