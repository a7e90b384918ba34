"""LiteRT files: one crop a call, float32 or, by LiteRT's own quantiser, with the backbone in eight bits."""

from __future__ import annotations

from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightmark.export.graph import quiet, takes_bytes
from lightmark.export.onnx_to_torch import Backbone, example_crop, graph_module
from lightmark.spec import METADATA_KEY, ModelSpec, normalise_crops, spec_to_json

SIGNATURE = "serving_default"  # litert-torch's name for the one thing that the file does
BACKBONE = rf".*{Backbone.__name__}_backbone.*"  # names of tensors tell the module that they come from


def write_litert(graph: Any, spec: ModelSpec, out: Path) -> None:
    """Write a ModelProto as `out`, float32."""
    _write(_convert(graph, spec), spec, out)


def write_litert_int8(graph: Any, spec: ModelSpec, out: Path, crops: NDArray[np.uint8]) -> None:
    """Write a ModelProto as `out` in eight bits: weights with a scale a channel, activations by what `crops` show.

    The heads stay float32, as they do in int8 ONNX files (`quantise`), and so do input and outputs.
    """
    from ai_edge_litert.interpreter import Interpreter
    from ai_edge_quantizer import qtyping, quantizer

    content, taken = _convert(graph, spec), crops if takes_bytes(graph) else normalise_crops(crops, spec)
    (name,) = Interpreter(model_content=content).get_signature_list()[SIGNATURE]["inputs"]
    with quiet(), redirect_stderr(StringIO()):  # the bar of its progress
        maker = quantizer.Quantizer(content)
        maker.add_static_config(BACKBONE, qtyping.TFLOperationName.ALL_SUPPORTED, 8, 8)
        ranges = maker.calibrate({SIGNATURE: [{name: crop[None]} for crop in taken]}, num_threads=1)
        result = maker.quantize(ranges, enable_progress_bar=False, enable_progress_report=False)
    _write(bytes(result.quantized_model), spec, out)


def _convert(graph: Any, spec: ModelSpec) -> bytes:
    with TemporaryDirectory() as scratch, quiet(), redirect_stderr(StringIO()), redirect_stdout(StringIO()):
        import litert_torch

        path = Path(scratch) / "model.tflite"
        litert_torch.convert(graph_module(graph), (example_crop(spec, takes_bytes(graph)),)).export(str(path))
        return path.read_bytes()


def _write(content: bytes, spec: ModelSpec, out: Path) -> None:
    """Write a LiteRT model with the spec in its metadata."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content))
    for buffer in model.buffers:  # the quantiser puts weights behind the tables, where packing would lose them
        if buffer.offset > 1:
            buffer.data = np.frombuffer(content, np.uint8, buffer.size, buffer.offset)
            buffer.offset = buffer.size = 0
    told = schema.BufferT()
    told.data = np.frombuffer(spec_to_json(spec).encode(), np.uint8)
    entry = schema.MetadataT()
    entry.name, entry.buffer = METADATA_KEY, len(model.buffers)
    model.buffers.append(told)
    model.metadata = [*(model.metadata or []), entry]
    builder = flatbuffers.Builder(len(content))
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    out.write_bytes(builder.Output())
