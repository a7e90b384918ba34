"""Exported models: an ONNX file run by onnxruntime, described by the ModelSpec in its own metadata."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from lightmark.errors import CheckpointError, ConfigError, SpecError
from lightmark.spec import METADATA_KEY, ModelSpec, Outputs, normalise_crops, require_crops, spec_from_json

# onnxruntime's name for what computes, such as "CUDAExecutionProvider", or the name with its options.
Provider: TypeAlias = str | tuple[str, dict[str, Any]]
CPU = "CPUExecutionProvider"


class OnnxModel:
    """The CropModel in an ONNX file, on `threads` processor threads (None: as many as there are cores).

    The file's graph says what it takes: planes as the spec normalises them, or the crops' bytes as they are.
    `providers` are those of onnxruntime, the first choice first; what none of them can do, the CPU does. One model
    may be called from several threads at once. Raises `CheckpointError` for a file that is missing or no ONNX model
    that runs, `SpecError` for one without a ModelSpec or whose output contradicts it; both name the file. Raises
    `ConfigError` for a provider that is not there or does not start.
    """

    def __init__(self, path: str | Path, threads: int | None = None, providers: Sequence[Provider] = (CPU,)) -> None:
        self._path = Path(path)
        self._session = open_session(self._path, threads, providers)
        self.spec: ModelSpec = _read_spec(self._session, self._path)
        self._input = _only_input(self._session, self._path)
        self._takes_bytes = self._input.type == "tensor(uint8)"
        self._one_by_one = self._input.shape[0] == 1
        # One blank crop shows now what would otherwise surface at the user's first picture.
        self(np.zeros((1, self.spec.size, self.spec.size, 3), np.uint8))

    def __call__(self, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        """unit_points (B, N, 2) of uint8 RGB crops (B, S, S, 3); raises `SpecError` where either has another form."""
        return self._run_all(crops)[0]

    def outputs(self, crops: NDArray[np.uint8]) -> Outputs:
        """All that the model says of uint8 RGB crops (B, S, S, 3); raises `SpecError` as calling it does."""
        return Outputs(*self._run_all(crops))

    def feed(self, crops: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
        """The graph's input, by its name, for uint8 RGB crops (B, S, S, 3); raises `SpecError` for other crops."""
        if not self._takes_bytes:
            return {self._input.name: normalise_crops(crops, self.spec)}
        require_crops(crops, self.spec)
        return {self._input.name: crops}

    def _run_all(self, crops: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
        fed = self.feed(crops)[self._input.name]
        if self._one_by_one and len(fed) != 1:
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
            outputs = self._session.run(None, {self._input.name: fed})
        except Exception as error:  # onnxruntime's errors share no base class but Exception
            raise CheckpointError(
                f"{self._path}: does not run on {fed.dtype} {fed.shape}, as its ModelSpec says it should: {error}"
            ) from error
        got, wanted = [output.shape for output in outputs], [(len(fed), *shape) for shape in self._shapes()]
        if got != wanted:
            raise SpecError(
                f"{self._path}: gives outputs of shape {_listed(got)}, its ModelSpec ({self.spec.schema.name}) "
                f"says {_listed(wanted)}; export it again with the spec that it was trained with"
            )
        return [np.asarray(output, dtype=np.float32) for output in outputs]


def _listed(shapes: list[tuple[int, ...]]) -> str:
    return ", ".join(map(str, shapes)) or "none"


def import_onnxruntime() -> Any:
    """onnxruntime, at the first model: importing it takes longer than the rest of the package together.

    Its telemetry stays off: from 1.29 on its builds for Linux and macOS, too, write a device's number into the home
    folder and send events to Microsoft, models' names among them. The variable is the one switch that it reads before
    it starts (microsoft/onnxruntime#27379); what the user has set stands, as does an import before this one.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime

    return onnxruntime


def open_session(path: Path, threads: int | None, providers: Sequence[Provider] = (CPU,)) -> Any:
    """onnxruntime's session of a model file.

    Raises `CheckpointError` where it is missing or does not open, `ConfigError` for a provider that is not there.
    """
    onnxruntime = import_onnxruntime()
    if not path.is_file():
        raise CheckpointError(f"{path}: no such model file")
    wanted = _provider_names(providers)
    _require_providers(wanted, onnxruntime.get_available_providers(), "onnxruntime here has only")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or 0
    options.log_severity_level = 3  # errors only: they are raised, what is below them is noise
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=list(providers), enable_fallback=0)
    except Exception as error:  # onnxruntime's errors share no base class but Exception
        raise CheckpointError(f"{path}: no ONNX model that onnxruntime opens; cut or foreign? {error}") from error
    # A provider whose libraries are missing is dropped without a word: a user would wait for a GPU that sleeps.
    _require_providers(wanted, session.get_providers(), "its libraries or device are missing; what started is")
    return session


def _provider_names(providers: Sequence[Provider]) -> list[str]:
    if isinstance(providers, str) or not providers:
        raise ConfigError(f"providers {providers!r}: needs a list of onnxruntime's names, such as [{CPU!r}]")
    return [provider if isinstance(provider, str) else provider[0] for provider in providers]


def _require_providers(wanted: Sequence[str], known: Sequence[str], but: str) -> None:
    for name in wanted:
        if name not in known:
            raise ConfigError(
                f"provider {name}: {but} {', '.join(known)}; onnxruntime-gpu and others of its builds bring more"
            )


def _read_spec(session: Any, path: Path) -> ModelSpec:
    metadata = session.get_modelmeta().custom_metadata_map
    if METADATA_KEY not in metadata:
        raise SpecError(f"{path}: an ONNX file without Lightmark's metadata; write it with `lightmark export`")
    return spec_from_json(metadata[METADATA_KEY], str(path))


def _only_input(session: Any, path: Path) -> Any:
    inputs = session.get_inputs()
    if len(inputs) != 1 or len(inputs[0].shape) != 4:
        shapes = ", ".join(f"{one.name} {one.shape}" for one in inputs)
        raise SpecError(
            f"{path}: takes {shapes}; a landmark model takes one input (batch, 3, size, size), or (batch, "
            "size, size, 3) in uint8"
        )
    return inputs[0]
