"""OnnxModel: an ONNX file run by onnxruntime, with the ModelSpec in its metadata."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeAlias

from lightmark.errors import CheckpointError, ConfigError, SpecError, foreign_errors_as
from lightmark.runtime.exported_model import ExportedModel
from lightmark.runtime.onnx_file import read_onnx
from lightmark.runtime.saturation import EXACT_INT8, may_saturate, saturates
from lightmark.spec import METADATA_KEY, ModelSpec, spec_from_json

# onnxruntime's execution provider, such as "CUDAExecutionProvider", or the name with its options.
Provider: TypeAlias = str | tuple[str, dict[str, Any]]
CPU = "CPUExecutionProvider"
LOGGER = logging.getLogger(__name__)


class OnnxModel(ExportedModel):
    """The CropModel in an ONNX file, on `threads` CPU threads (None: one per core).

    `providers` are onnxruntime's execution providers, first choice first, with the CPU as the fallback for unsupported
    nodes. One model may be called from several threads at once. Raises `CheckpointError` for a file that is missing or
    no ONNX model that runs, `SpecError` for one without a ModelSpec or whose output contradicts it; both name the file.
    Raises `ConfigError` for a provider that is not there or does not start.
    """

    def __init__(self, path: str | Path, threads: int | None = None, providers: Sequence[Provider] = (CPU,)) -> None:
        path = Path(path)
        session = open_session(path, threads, providers)
        spec = _read_spec(session, path)
        if session.get_providers()[0] == CPU and may_saturate(spec) and saturates(import_onnxruntime()):
            LOGGER.warning(
                "%s: int8 weights that overflow on this processor, which has no VNNI; it runs by slower, exact "
                "products. `lightmark export --to onnx-int8` makes a file for every processor",
                path,
            )
            session = open_session(path, threads, providers, EXACT_INT8)
        taken = _only_input(session, path)
        self.input_name: str = taken.name
        self._made_of = path.absolute(), threads, providers
        super().__init__(
            path,
            spec,
            lambda fed: list(session.run(None, {taken.name: fed})),
            takes_bytes=taken.type == "tensor(uint8)",
            one_by_one=taken.shape[0] == 1,
        )

    def __reduce__(self) -> tuple[type[OnnxModel], tuple[Any, ...]]:
        """Pickle the options only: runtime sessions cannot be pickled."""
        return type(self), self._made_of


def import_onnxruntime() -> Any:
    """Import onnxruntime lazily, with telemetry off: the import takes longer than all of the package.

    Its telemetry stays off: from 1.29 on its builds for Linux and macOS, too, write a device's number into the home
    folder and send events to Microsoft, models' names among them. The variable is the one switch that it reads before
    it starts (microsoft/onnxruntime#27379); what the user has set stands, as does an import before this one.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime

    return onnxruntime


def open_session(
    path: Path,
    threads: int | None,
    providers: Sequence[Provider] = (CPU,),
    settings: Mapping[str, str] = MappingProxyType({}),
) -> Any:
    """onnxruntime's session of a model file, with the `settings` that it calls session config entries.

    Raises `CheckpointError` where it is missing, does not open or is refused by `read_onnx`, `ConfigError` for a
    provider that is not there.
    """
    content = read_onnx(path)
    onnxruntime = import_onnxruntime()
    requested = _provider_names(providers)
    _require_providers(requested, onnxruntime.get_available_providers(), "onnxruntime here has only")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or 0
    options.log_severity_level = 3  # errors only: they are raised, what is below them is noise
    for name, value in settings.items():
        options.add_session_config_entry(name, value)
    try:
        # The bytes that were checked, not the path: the file may have been replaced since.
        session = onnxruntime.InferenceSession(content, options, providers=list(providers), enable_fallback=0)
    except Exception as error:  # onnxruntime's errors share no base class but Exception
        raise CheckpointError(f"{path}: no ONNX model that onnxruntime opens; cut or foreign? {error}") from error
    # onnxruntime silently drops a provider whose libraries are missing: the user would not notice the CPU.
    _require_providers(requested, session.get_providers(), "its libraries or device are missing; what started is")
    return session


def _provider_names(providers: Sequence[Provider]) -> list[str]:
    if isinstance(providers, str) or not providers:
        raise ConfigError(f"providers {providers!r}: needs a list of onnxruntime's names, such as [{CPU!r}]")
    return [provider if isinstance(provider, str) else provider[0] for provider in providers]


def _require_providers(requested: Sequence[str], known: Sequence[str], but: str) -> None:
    for name in requested:
        if name not in known:
            raise ConfigError(
                f"provider {name}: {but} {', '.join(known)}; onnxruntime-gpu and others of its builds bring more"
            )


def _read_spec(session: Any, path: Path) -> ModelSpec:
    with foreign_errors_as(SpecError, f"{path}: metadata that cannot be read"):  # bytes that are no text
        metadata = session.get_modelmeta().custom_metadata_map
    if METADATA_KEY not in metadata:
        raise SpecError(f"{path}: an ONNX file without Lightmark's metadata; write it with `lightmark export`")
    return spec_from_json(metadata[METADATA_KEY], str(path))


def _only_input(session: Any, path: Path) -> Any:
    with foreign_errors_as(SpecError, f"{path}: inputs that cannot be read"):
        inputs = session.get_inputs()
    if len(inputs) != 1 or len(inputs[0].shape) != 4:
        shapes = ", ".join(f"{one.name} {one.shape}" for one in inputs)
        raise SpecError(
            f"{path}: takes {shapes}; a landmark model takes one input (batch, 3, size, size), or (batch, "
            "size, size, 3) in uint8"
        )
    return inputs[0]
