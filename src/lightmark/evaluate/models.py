"""Opening a model file of either kind as a CropModel."""

from __future__ import annotations

from pathlib import Path

from lightmark.errors import CheckpointError, MissingExtraError
from lightmark.runtime.crop_model import CropModel
from lightmark.runtime.shipped import model_path


def open_model(path: str | Path, threads: int | None = None) -> CropModel:
    """The shipped model of that name, or that in an exported `.onnx` or a `.safetensors` checkpoint.

    `threads` counts for ONNX files.

    Raises `CheckpointError` or `SpecError` naming the file, `MissingExtraError` for a checkpoint without torch.
    """
    path = model_path(path)
    if path.suffix == ".onnx":
        from lightmark.runtime.onnx_model import OnnxModel

        return OnnxModel(path, threads)
    if path.suffix == ".safetensors":
        return _open_checkpoint(path)
    raise CheckpointError(f"{path}: got a file ending in {path.suffix!r}, a model ends in .onnx or .safetensors")


def _open_checkpoint(path: Path) -> CropModel:
    try:
        from lightmark.nets.checkpoint import load_model
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            f'{path}: a checkpoint needs {error.name}: pip install "lightmark[train]", or evaluate an .onnx export'
        ) from error
    return load_model(path)
