"""OpenVINO files (.xml and .bin), run by OpenVINO on the processor."""

from __future__ import annotations

from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightmark.errors import CheckpointError, SpecError, reader
from lightmark.extras import require_extra
from lightmark.runtime.exported_model import ExportedModel
from lightmark.spec import METADATA_KEY, spec_from_json


@reader("an OpenVINO model", CheckpointError)
def open_openvino(path: Path, threads: int | None = None) -> ExportedModel:
    """The model in an OpenVINO file; raises `MissingExtraError` without openvino, else as `ExportedModel` does."""
    require_extra(["openvino"], "openvino", f"{path}: an OpenVINO file")
    import openvino

    core = openvino.Core()
    try:
        model = core.read_model(str(path))
        looping = {op.get_type_name() for op in model.get_ops()} & {"Loop", "TensorIterator", "If"}
        if looping:
            raise CheckpointError(f"{path}: holds {', '.join(sorted(looping))}, which may run for ever; no such model")
        # By default processors with bfloat16 compute in it, which moves points by half a pixel.
        options: dict[str, Any] = {"INFERENCE_PRECISION_HINT": "f32"}
        compiled = core.compile_model(model, "CPU", options | ({"INFERENCE_NUM_THREADS": threads} if threads else {}))
    except CheckpointError:
        raise
    except Exception as error:  # OpenVINO's errors share no base class but Exception
        raise CheckpointError(f"{path}: no model that OpenVINO opens; is its .bin beside it? {error}") from error
    if METADATA_KEY not in model.rt_info:
        raise SpecError(f"{path}: an OpenVINO file without Lightmark's metadata; write it with `lightmark export`")
    spec, lock = spec_from_json(model.rt_info[METADATA_KEY].value, str(path)), Lock()

    def run(fed: NDArray[Any]) -> list[NDArray[Any]]:
        with lock:  # calls of a compiled model share one request
            return [np.array(output) for output in compiled(fed).values()]

    takes_bytes = compiled.input(0).element_type == openvino.Type.u8
    return ExportedModel(path, spec, run, takes_bytes, one_by_one=False)
