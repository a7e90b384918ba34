"""ExecuTorch files (.pte and the sidecar), run by ExecuTorch on the processor, with XNNPACK."""

from __future__ import annotations

from pathlib import Path
from threading import Lock
from typing import Any

from numpy.typing import NDArray

from lightmark.errors import CheckpointError, reader
from lightmark.extras import require_extra
from lightmark.runtime.exported_model import ExportedModel, read_sidecar


@reader("an ExecuTorch model", CheckpointError)
def open_executorch(path: Path) -> ExportedModel:
    """The model in an ExecuTorch file; raises `MissingExtraError` without executorch, else as `ExportedModel` does.

    Its Python runtime takes and gives torch's tensors, and as many threads as there are cores.
    """
    require_extra(["executorch"], "executorch", f"{path}: an ExecuTorch file")
    import torch
    from executorch.runtime import Runtime

    spec, lock = read_sidecar(path), Lock()
    if not path.is_file():
        raise CheckpointError(f"{path}: no such model file")
    try:
        program = Runtime.get().load_program(path)
        method = program.load_method("forward")
        taken = tuple(method.metadata.input_tensor_meta(0).sizes())
    except Exception as error:  # ExecuTorch's errors share no base class but Exception
        raise CheckpointError(f"{path}: no model that ExecuTorch opens; cut or foreign? {error}") from error

    def run(fed: NDArray[Any]) -> list[NDArray[Any]]:
        with lock:
            return [output.numpy().copy() for output in method.execute([torch.from_numpy(fed)])]

    return ExportedModel(path, spec, run, takes_bytes=taken[-1] == 3, one_by_one=True)
