"""ExportedModel: an exported model file behind any runtime, checked against its ModelSpec."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightmark.errors import CheckpointError, SpecError
from lightmark.spec import ModelSpec, Outputs, normalise_crops, require_crops


@dataclass(frozen=True, eq=False)
class ExportedModel:
    """The CropModel in the file at `path`, executed by `run`: input array → outputs in order.

    With `takes_bytes` the input is uint8 crops (B, S, S, 3), else normalised planes; with `one_by_one` the batch size
    is fixed at 1. Raises `CheckpointError` if the file does not run on the input of its spec, `SpecError` if outputs
    contradict the spec; both name it.
    """

    path: Path
    spec: ModelSpec
    run: Callable[[NDArray[Any]], list[NDArray[Any]]]
    takes_bytes: bool
    one_by_one: bool

    def __post_init__(self) -> None:
        # A blank crop reveals a broken file now instead of at the user's first picture.
        self(np.zeros((1, self.spec.size, self.spec.size, 3), np.uint8))

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
                f"{self.path}: does not run on {fed.dtype} {fed.shape}, as its ModelSpec says it should: {error}"
            ) from error
        got, wanted = [output.shape for output in outputs], [(len(fed), *shape) for shape in self._shapes()]
        if got != wanted:
            raise SpecError(
                f"{self.path}: gives outputs of shape {_listed(got)}, its ModelSpec ({self.spec.schema.name}) "
                f"says {_listed(wanted)}; export it again with the spec that it was trained with"
            )
        return [np.asarray(output, dtype=np.float32) for output in outputs]


def _listed(shapes: list[tuple[int, ...]]) -> str:
    return ", ".join(map(str, shapes)) or "none"
