"""LiteRT files (.tflite), run by LiteRT on the processor, with XNNPACK."""

from __future__ import annotations

import os
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightmark.errors import CheckpointError, SpecError, reader
from lightmark.extras import require_extra
from lightmark.runtime.exported_model import ExportedModel
from lightmark.spec import METADATA_KEY, ModelSpec, spec_from_json


@reader("a LiteRT model", CheckpointError)
def open_litert(path: Path, threads: int | None = None) -> ExportedModel:
    """The model in a LiteRT file; raises `MissingExtraError` without ai-edge-litert, else as `ExportedModel` does."""
    require_extra(["ai_edge_litert"], "litert", f"{path}: a LiteRT file")
    from ai_edge_litert.interpreter import Interpreter

    try:
        content = path.read_bytes()
        interpreter = Interpreter(model_content=content, num_threads=threads or os.cpu_count())
        interpreter.allocate_tensors()
    except Exception as error:  # ValueError, RuntimeError and others, by what is wrong
        raise CheckpointError(f"{path}: no model that LiteRT opens; cut or foreign? {error}") from error
    (taken,), given, lock = interpreter.get_input_details(), interpreter.get_output_details(), Lock()
    given = sorted(given, key=lambda output: output["name"])  # which ends in its number

    def run(fed: NDArray[Any]) -> list[NDArray[Any]]:
        with lock:
            interpreter.set_tensor(taken["index"], fed)
            interpreter.invoke()
            return [interpreter.get_tensor(output["index"]) for output in given]

    spec = _read_spec(content, path)
    return ExportedModel(path, spec, run, takes_bytes=taken["dtype"] == np.uint8, one_by_one=True)


def _read_spec(content: bytes, path: Path) -> ModelSpec:
    from ai_edge_litert.schema_py_generated import Model

    model = Model.GetRootAs(content)
    for entry in map(model.Metadata, range(model.MetadataLength())):
        if entry.Name() == METADATA_KEY.encode():
            return spec_from_json(model.Buffers(entry.Buffer()).DataAsNumpy().tobytes().decode(), str(path))
    raise SpecError(f"{path}: a LiteRT file without Lightmark's metadata; write it with `lightmark export`")
