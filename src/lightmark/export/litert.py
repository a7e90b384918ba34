"""LiteRT files (batch 1), float32 or with an int8 backbone by LiteRT's own quantiser."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from lightmark.export.graph import quiet, takes_bytes
from lightmark.export.onnx_to_torch import Backbone, GraphModule, example_crop, graph_module
from lightmark.spec import METADATA_KEY, ModelSpec, normalise_crops, spec_to_json

SIGNATURE = "serving_default"  # litert-torch's name of the file's only signature
BACKBONE = rf".*{Backbone.__name__}_backbone.*"  # litert-torch names tensors after the module they come from


def write_litert(graph: Any, spec: ModelSpec, out: Path) -> None:
    """Write a ModelProto as `out`, float32."""
    write_tflite(_convert(graph, spec), {METADATA_KEY: spec_to_json(spec)}, out)


def write_litert_int8(graph: Any, spec: ModelSpec, out: Path, crops: NDArray[np.uint8]) -> None:
    """Write a ModelProto as `out` in int8: weights with a scale per channel, activations calibrated on `crops`.

    The heads stay float32, as in int8 ONNX files (`quantise`), and so do the input and the outputs.
    """
    from ai_edge_litert.interpreter import Interpreter
    from ai_edge_quantizer import qtyping, quantizer

    content, inputs = _convert(graph, spec), crops if takes_bytes(graph) else normalise_crops(crops, spec)
    (name,) = Interpreter(model_content=content).get_signature_list()[SIGNATURE]["inputs"]
    with quiet(), redirect_stderr(StringIO()):  # its progress bar
        quantiser = quantizer.Quantizer(content)
        quantiser.add_static_config(BACKBONE, qtyping.TFLOperationName.ALL_SUPPORTED, 8, 8)
        ranges = quantiser.calibrate({SIGNATURE: [{name: crop[None]} for crop in inputs]}, num_threads=1)
        result = quantiser.quantize(ranges, enable_progress_bar=False, enable_progress_report=False)
    write_tflite(bytes(result.quantized_model), {METADATA_KEY: spec_to_json(spec)}, out)


def _convert(graph: Any, spec: ModelSpec) -> bytes:
    """LiteRT model in float32 of a ModelProto, without metadata."""
    return convert_module(graph_module(graph), example_crop(spec, takes_bytes(graph)))


def convert_module(module: GraphModule, example: Tensor) -> bytes:
    """LiteRT model in float32 of a module for inputs like `example`, without metadata."""
    with TemporaryDirectory() as scratch, quiet(), redirect_stderr(StringIO()), redirect_stdout(StringIO()):
        import litert_torch

        path = Path(scratch) / "model.tflite"
        litert_torch.convert(module, (example,)).export(str(path))
        return path.read_bytes()


def write_tflite(content: bytes, metadata: Mapping[str, str], out: Path) -> None:
    """Write the LiteRT model `content` with `metadata` to `out`."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content))
    for buffer in model.buffers:  # the quantiser stores weights after the flatbuffer, and Pack would drop them
        if buffer.offset > 1:
            buffer.data = np.frombuffer(content, np.uint8, buffer.size, buffer.offset)
            buffer.offset = buffer.size = 0
    model.metadata = model.metadata or []
    for name, text in metadata.items():
        buffer, entry = schema.BufferT(), schema.MetadataT()
        buffer.data = np.frombuffer(text.encode(), np.uint8)
        entry.name, entry.buffer = name, len(model.buffers)
        model.buffers.append(buffer)
        model.metadata.append(entry)
    builder = flatbuffers.Builder(len(content))
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    out.write_bytes(builder.Output())
