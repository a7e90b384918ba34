"""ncnn files (.param, .bin and the sidecar), run by ncnn on the processor."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightmark.errors import CheckpointError, reader
from lightmark.extras import require_extra
from lightmark.runtime.exported_model import ExportedModel, read_sidecar


@reader("an ncnn model", CheckpointError)
def open_ncnn(path: Path, threads: int | None = None) -> ExportedModel:
    """The model in ncnn's files; raises `MissingExtraError` without ncnn, else as `ExportedModel` does."""
    require_extra(["ncnn"], "ncnn", f"{path}: an ncnn file")
    import ncnn

    spec, weights = read_sidecar(path), path.with_suffix(".bin")
    for file in (path, weights):
        if not file.is_file():  # ncnn would only write to the terminal
            raise CheckpointError(f"{file}: no such file; an ncnn model is {path.name} and {weights.name}")
    net = ncnn.Net()
    if threads:
        net.opt.num_threads = threads
    # float32 throughout: half precision, which is ncnn's choice on phones, moves points by tenths of a pixel.
    for name in ("use_fp16_packed", "use_fp16_storage", "use_fp16_arithmetic", "use_bf16_storage"):
        setattr(net.opt, name, False)
    if net.load_param(str(path)) < 0 or net.load_model(str(weights)) < 0:
        raise CheckpointError(f"{path}: no model that ncnn opens; cut or foreign?")
    shapes = [(1, spec.schema.size, 2), (1, spec.schema.size), (1,)][: 3 if spec.confidence else 1]

    def run(fed: NDArray[Any]) -> list[NDArray[Any]]:
        extractor = net.create_extractor()
        extractor.input("in0", ncnn.Mat(np.ascontiguousarray(fed[0])).clone())  # a Mat does not keep its array alive
        return [_array(extractor.extract(f"out{number}"), shape) for number, shape in enumerate(shapes)]

    return ExportedModel(path, spec, run, takes_bytes=False, one_by_one=True)


def _array(extracted: tuple[int, Any], shape: tuple[int, ...]) -> NDArray[Any]:
    """An output in the shape of a batch of one, which ncnn does not have."""
    status, mat = extracted
    if status != 0:
        raise RuntimeError(f"ncnn gives no such output (status {status})")
    return np.array(mat).reshape(shape)
