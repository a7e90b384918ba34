"""Export of a face detector for devices, whose runtimes need a fixed input: LiteRT and Core ML."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lightmark.detectors.face_detector import read_settings
from lightmark.errors import ConfigError, ExportError
from lightmark.export.formats import FileFormat
from lightmark.export.graph import import_onnx, read_graph
from lightmark.export.onnx_to_torch import GraphModule, graph_module
from lightmark.export.parity import TOLERANCE_PX
from lightmark.files import replacing
from lightmark.runtime.onnx_model import open_session

INPUT = (320, 320)  # width and height in pixels: more than FaceDetector, since a file of one size searches once
TOLERANCE_SCORE = 1e-4


def convert_detector(
    source: Path, out: Path, file_format: FileFormat, size: tuple[int, int] = INPUT
) -> dict[str, float]:
    """Write the face detector in the ONNX file `source` as `out`, for pictures of `size`, width and height in pixels.

    The input is RGB (1, height, width, 3): uint8 for LiteRT, floats from 0 to 255 for Core ML, in which a picture lies
    as `fit_input` puts it. The outputs are those of the ONNX file. Returns the two thresholds of the file, which the
    app applies. Raises `ConfigError` for a size that is no multiple of the network's stride, `ExportError` for a file
    whose outputs differ from onnxruntime's (Core ML packages run on Apple's systems only and are not verified).
    """
    session = open_session(source, threads=None)
    settings, (width, height) = read_settings(session, source), size
    multiple = int(settings["multiple"])
    if min(size) < multiple or width % multiple or height % multiple:
        raise ConfigError(
            f"input {width}x{height}: width and height need to be multiples of {multiple}, such as 320x320"
        )
    graph = read_graph(source)
    metadata = {entry.key: entry.value for entry in graph.metadata_props}
    module = graph_module(fixed_size(graph, width, height), landmarks=False)
    picture = np.random.default_rng(0).integers(0, 256, (1, height, width, 3), dtype=np.uint8)
    with replacing(out) as temporary:
        if file_format == "coreml":
            from lightmark.export.coreml import write_package

            write_package(module, torch.from_numpy(picture).float(), "image", metadata, temporary)
        else:
            _write_litert(module, picture, metadata, temporary)
            _require_same(temporary, picture, session.run(module.output_names, {"image": picture}), out)
    return {name: float(settings[name]) for name in ("threshold", "possible")}


def fixed_size(model: Any, width: int, height: int) -> Any:
    """ModelProto for one picture size, in which onnxruntime has computed everything that depends only on it."""
    import onnxruntime

    onnx = import_onnx()
    for dimension, value in zip(model.graph.input[0].type.tensor_type.shape.dim, (1, height, width, 3), strict=True):
        dimension.Clear()
        dimension.dim_value = value
    with tempfile.TemporaryDirectory() as scratch:
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.optimized_model_filepath = str(Path(scratch) / "fixed.onnx")
        onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        return onnx.load(options.optimized_model_filepath)


def _write_litert(module: GraphModule, picture: np.ndarray, metadata: dict[str, str], out: Path) -> None:
    from lightmark.export.litert import convert_module, write_tflite

    write_tflite(convert_module(module, torch.from_numpy(picture)), metadata, out)


def _require_same(path: Path, picture: np.ndarray, expected: list[np.ndarray], out: Path) -> None:
    """Raise `ExportError` if the LiteRT file's outputs differ from `expected`, which have different shapes."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(path))
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], picture)
    interpreter.invoke()
    given = {tuple(one["shape"]): interpreter.get_tensor(one["index"]) for one in interpreter.get_output_details()}
    for output in expected:
        difference = float(abs(given[output.shape] - output).max())
        if difference > (TOLERANCE_SCORE if output.ndim == 2 else TOLERANCE_PX):
            raise ExportError(
                f"{out}: outputs {output.shape} differ from onnxruntime's by up to {difference:.5f}, so no file was "
                "left; another release of litert-torch may convert it right"
            )
