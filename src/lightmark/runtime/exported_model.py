"""Landmark models: their interface, and exported files behind any runtime, checked against their ModelSpec."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from lightmark.errors import CheckpointError, SpecError
from lightmark.spec import ModelSpec, Outputs, normalise_crops, require_crops, spec_from_json, spec_to_json


class CropModel(Protocol):
    """Landmark model: uint8 RGB crops (B, S, S, 3), cut by `spec` → normalized_points (B, N, 2)."""

    @property
    def spec(self) -> ModelSpec:
        """Schema, crop rule and normalisation of the model."""

    def __call__(self, crops: NDArray[np.uint8]) -> NDArray[np.floating[Any]]:
        """normalized_points (B, N, 2) of crops (B, S, S, 3)."""

    def outputs(self, crops: NDArray[np.uint8]) -> Outputs:
        """All outputs of the model for crops (B, S, S, 3)."""


class ExportedModel:
    """The CropModel in the file at `path`, executed by `run`: input array → outputs in order.

    With `takes_bytes` the input is uint8 crops (B, S, S, 3), else normalised planes; with `one_by_one` the batch size
    is fixed at 1. Raises `CheckpointError` if the file does not run on the input of its spec, `SpecError` if outputs
    contradict the spec; both name it.
    """

    def __init__(
        self,
        path: Path,
        spec: ModelSpec,
        run: Callable[[NDArray[Any]], list[NDArray[Any]]],
        takes_bytes: bool,
        one_by_one: bool,
    ) -> None:
        self.path, self.spec, self.run = path, spec, run
        self.takes_bytes, self.one_by_one = takes_bytes, one_by_one
        # A blank crop reveals a broken file now instead of at the user's first picture.
        self(np.zeros((1, spec.size, spec.size, 3), np.uint8))

    def __call__(self, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        """normalized_points (B, N, 2) of uint8 RGB crops (B, S, S, 3); raises `SpecError` for other shapes."""
        return self._run_all(crops)[0]

    def outputs(self, crops: NDArray[np.uint8]) -> Outputs:
        """All outputs of the model for uint8 RGB crops (B, S, S, 3); raises `SpecError` as calling it does."""
        return Outputs(*self._run_all(crops))

    def feed(self, crops: NDArray[np.uint8]) -> NDArray[Any]:
        """Model input for uint8 RGB crops (B, S, S, 3); raises `SpecError` for other crops."""
        if not self.takes_bytes:
            return normalise_crops(crops, self.spec)
        require_crops(crops, self.spec)
        return crops

    def _run_all(self, crops: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
        fed = self.feed(crops)
        if self.one_by_one and len(fed) != 1:
            empty = [np.empty((0, *shape), np.float32) for shape in self._shapes()]
            parts = [empty, *(self._run(one[None]) for one in fed)]
            return [np.concatenate(part) for part in zip(*parts, strict=True)]
        return self._run(fed)

    def _shapes(self) -> list[tuple[int, ...]]:
        """Shape of each output for one crop."""
        points = self.spec.schema.size
        return [(points, 2), (points,), ()] if self.spec.confidence else [(points, 2)]

    def _run(self, fed: NDArray[Any]) -> list[NDArray[np.float32]]:
        try:
            outputs = self.run(fed)
        except Exception as error:  # the runtimes' errors have no common base class but Exception
            raise CheckpointError(
                f"{self.path}: does not run on {fed.dtype} {fed.shape}, as its ModelSpec requires: {error}"
            ) from error
        got, expected = [output.shape for output in outputs], [(len(fed), *shape) for shape in self._shapes()]
        if got != expected:
            raise SpecError(
                f"{self.path}: gives outputs of shape {_listed(got)}, its ModelSpec ({self.spec.schema.name}) "
                f"says {_listed(expected)}; export it again with the spec that it was trained with"
            )
        return [np.asarray(output, dtype=np.float32) for output in outputs]


def _listed(shapes: list[tuple[int, ...]]) -> str:
    return ", ".join(map(str, shapes)) or "none"


# Formats without a place for the ModelSpec have it in a sidecar, `<file>.json`.


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
