"""Open a shipped model, an exported file or a checkpoint as a CropModel."""

from __future__ import annotations

from pathlib import Path

from lightmark.errors import MissingExtraError
from lightmark.runtime.exported_model import CropModel
from lightmark.runtime.model_file import open_exported
from lightmark.runtime.shipped import model_path


def open_model(path: str | Path, threads: int | None = None) -> CropModel:
    """Open the model at `path`: a shipped name, an exported file or a `.safetensors` checkpoint.

    `threads` is used for exported files only. Raises `CheckpointError` or `SpecError` naming the file,
    `MissingExtraError` for a checkpoint without torch or a format whose runtime is not installed.
    """
    path = model_path(path)
    return _open_checkpoint(path) if path.suffix == ".safetensors" else open_exported(path, threads)


def _open_checkpoint(path: Path) -> CropModel:
    try:
        from lightmark.nets.checkpoint import load_model
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            f'{path}: a checkpoint needs {error.name}: pip install "lightmark[train]", or evaluate an .onnx export'
        ) from error
    return load_model(path)
