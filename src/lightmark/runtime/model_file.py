"""Open exported model files of any format by their suffix."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lightmark.errors import CheckpointError, ConfigError
from lightmark.runtime.exported_model import CropModel, sidecar_path
from lightmark.runtime.onnx_model import CPU, OnnxModel, Provider

SUFFIXES = (".onnx", ".tflite", ".xml", ".param", ".pte")
WEIGHTS = (".xml", ".param")  # of formats whose weights are in a .bin


def open_exported(path: Path, threads: int | None = None, providers: Sequence[Provider] = (CPU,)) -> CropModel:
    """Open a file written by `lightmark export`, on `threads` CPU threads (None: one per core).

    `.onnx` is run by onnxruntime, on `providers`; `.tflite` by LiteRT, `.xml` by OpenVINO, `.param` by ncnn, `.pte` by
    ExecuTorch, which chooses its threads itself: all on the processor, each where its extra is installed. Raises
    `MissingExtraError` with the install line where it is not, `CheckpointError` or `SpecError` for a file that cannot
    be used, `ConfigError` for providers of another runtime than onnxruntime.
    """
    if path.suffix not in SUFFIXES:
        if path.suffix == ".safetensors":
            raise CheckpointError(
                f"{path}: a checkpoint, which needs torch; `lightmark export {path} --out {path.stem}.onnx` converts "
                'it (pip install "lightmark[export]")'
            )
        raise CheckpointError(f"{path}: got a file ending in {path.suffix!r}, a model ends in {', '.join(SUFFIXES)}")
    if path.suffix == ".onnx":
        return OnnxModel(path, threads, providers)
    if tuple(providers) != (CPU,):
        raise ConfigError(f"{path}: providers are onnxruntime's, this file runs on the processor; leave them out")
    if not path.is_file():
        raise CheckpointError(f"{path}: no such model file")
    return _open_other(path, threads)


def _open_other(path: Path, threads: int | None) -> CropModel:
    if path.suffix == ".tflite":
        from lightmark.runtime.litert_model import open_litert

        return open_litert(path, threads)
    if path.suffix == ".xml":
        from lightmark.runtime.openvino_model import open_openvino

        return open_openvino(path, threads)
    if path.suffix == ".param":
        from lightmark.runtime.ncnn_model import open_ncnn

        return open_ncnn(path, threads)
    from lightmark.runtime.executorch_model import open_executorch

    return open_executorch(path)


def parts_of(path: Path) -> list[Path]:
    """Existing files of the model at `path`: the file, its weights and its sidecar, or a package's content."""
    if path.is_dir():
        return sorted(part for part in path.rglob("*") if part.is_file())
    weights = [path.with_suffix(".bin")] if path.suffix in WEIGHTS else []
    return [part for part in (path, *weights, sidecar_path(path)) if part.is_file()]
