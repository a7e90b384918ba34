"""Sidecars: the ModelSpec beside a model file whose format has no place for it, as `<file>.json`."""

from __future__ import annotations

from pathlib import Path

from lightmark.errors import SpecError
from lightmark.spec import ModelSpec, spec_from_json, spec_to_json


def sidecar_path(path: Path) -> Path:
    """Where the sidecar of the model at `path` lies."""
    return path.with_name(f"{path.name}.json")


def write_sidecar(path: Path, spec: ModelSpec) -> None:
    """Write the spec beside the model at `path`."""
    sidecar_path(path).write_text(spec_to_json(spec) + "\n", encoding="utf-8")


def read_sidecar(path: Path) -> ModelSpec:
    """Spec beside the model at `path`; raises `SpecError` where there is none that can be used."""
    beside = sidecar_path(path)
    try:
        text = beside.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:  # not there; not UTF-8
        raise SpecError(f"{path}: needs {beside.name} beside it, which `lightmark export` wrote; copy both") from error
    return spec_from_json(text, str(beside))
