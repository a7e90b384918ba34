"""Checkpoints: safetensors with the ModelSpec as metadata; loading runs no pickle."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from lightmark.errors import CheckpointError, ConfigError, SpecError, reader
from lightmark.files import replacing
from lightmark.geometry import Array
from lightmark.nets.network import Architecture, LandmarkNet, architecture_from_dict, describe
from lightmark.spec import METADATA_KEY, ModelSpec, Outputs, normalise_crops, spec_from_json, spec_to_json


def write_tensors(path: str | Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write tensors and metadata as safetensors, atomically; raises `WriteError`."""
    plain = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    with replacing(path) as temporary:
        # Not save_file: its failures are not OSErrors, and a killed process leaves a temporary file of another name.
        temporary.write_bytes(save(plain, dict(metadata)))


@reader("safetensors", CheckpointError)
def read_tensors(path: str | Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of a safetensors file; raises `CheckpointError` naming the file and the fault."""
    with _opened(path) as file:
        names = list(file.keys())  # safe_open returns no mapping and cannot be iterated
        return {name: file.get_tensor(name) for name in names}, file.metadata() or {}


@reader("safetensors", CheckpointError)
def read_metadata(path: str | Path) -> dict[str, str]:
    """Metadata of a safetensors file without its tensors; raises as `read_tensors` does."""
    with _opened(path) as file:
        metadata: dict[str, str] = file.metadata() or {}
    return metadata


@contextmanager
def _opened(path: str | Path) -> Iterator[Any]:
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except FileNotFoundError as error:
        raise CheckpointError(f"{path}: no such file") from error
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(f"{path}: not a complete safetensors file ({error}); copy or train it again") from error


def save_checkpoint(
    path: str | Path,
    network: LandmarkNet,
    architecture: Architecture,
    spec: ModelSpec,
    dtype: torch.dtype | None = None,
) -> None:
    """Write a network's weights and spec as a checkpoint; `dtype` torch.float16 halves the file, None keeps float32."""
    tensors = {
        name: tensor.to(dtype) if dtype is not None and tensor.is_floating_point() else tensor
        for name, tensor in network.state_dict().items()
    }
    spec = replace(spec, architecture=describe(architecture), confidence=network.confidence is not None)
    write_tensors(path, tensors, {METADATA_KEY: spec_to_json(spec)})


@reader("a checkpoint", CheckpointError)
def load_checkpoint(path: str | Path) -> tuple[LandmarkNet, ModelSpec]:
    """Load a checkpoint: the network in float32 and evaluation mode, and its spec.

    Raises `CheckpointError` for a truncated file, a file without a spec, or weights that do not fit the architecture.
    """
    tensors, metadata = read_tensors(path)
    if METADATA_KEY not in metadata:
        raise CheckpointError(f"{path}: holds no ModelSpec; only files that Lightmark saved can be loaded")
    try:
        spec = spec_from_json(metadata[METADATA_KEY], str(path))
        architecture = architecture_from_dict(dict(spec.architecture), str(path))
    except (SpecError, ConfigError) as error:
        raise CheckpointError(str(error)) from error  # its text names the file
    # The spec is untrusted, and a width of 1000 would fill the memory: the network is first built on the meta device,
    # which allocates nothing, and compared with the file's weights. The size of timm's networks is fixed by their name,
    # and some of them cannot be built on the meta device.
    if not architecture.backbone.startswith("timm/"):
        with torch.device("meta"):
            shapes = _build(architecture, spec, path).state_dict()
        require_fitting(shapes, tensors, str(path))
    network = _build(architecture, spec, path)
    load_weights(network, tensors, str(path))
    return network.eval(), spec


def _build(architecture: Architecture, spec: ModelSpec, path: str | Path) -> LandmarkNet:
    """Network for the weights of a checkpoint, without loading the ImageNet weights from which its training started."""
    try:
        network = LandmarkNet(replace(architecture, pretrained=False), spec.schema.size)
        if spec.confidence:
            network.add_confidence()
    except ConfigError as error:  # timm's list of networks depends on its version
        raise CheckpointError(f"{path}: {error}") from error
    return network


def load_weights(network: nn.Module, tensors: Mapping[str, Tensor], where: str) -> None:
    """Copy `tensors` into `network`; raises `CheckpointError` listing missing, foreign and misshapen tensors."""
    expected = network.state_dict()
    require_fitting(expected, tensors, where)
    network.load_state_dict({name: tensor.to(expected[name].dtype) for name, tensor in tensors.items()})


def require_fitting(expected: Mapping[str, Tensor], tensors: Mapping[str, Tensor], where: str) -> None:
    """Raise `CheckpointError` unless `tensors` have the names and shapes of the state dict `expected`."""
    wrong = sorted(
        [f"{name} is missing" for name in expected.keys() - tensors.keys()]
        + [f"{name} is foreign" for name in tensors.keys() - expected.keys()]
        + [
            f"{name} is {tuple(tensors[name].shape)}, needs {tuple(expected[name].shape)}"
            for name in expected.keys() & tensors.keys()
            if tensors[name].shape != expected[name].shape
        ]
    )
    if wrong:
        more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise CheckpointError(f"{where}: weights do not fit the architecture: {'; '.join(wrong[:3])}{more}")


class TorchModel:
    """A checkpoint as a crop model: uint8 RGB crops (B, S, S, 3) in, normalized_points (B, N, 2) out."""

    def __init__(self, network: LandmarkNet, spec: ModelSpec, device: str = "cpu") -> None:
        self.network = network.eval().to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch types only tensors' overload
        self.spec, self.device = spec, device

    def __call__(self, crops: NDArray[np.uint8]) -> Array:
        """normalized_points float64 (B, N, 2) of uint8 crops (B, S, S, 3)."""
        with torch.inference_mode():
            return np.asarray(self.network(self._planes(crops)).cpu().numpy(), dtype=np.float64)

    def outputs(self, crops: NDArray[np.uint8]) -> Outputs:
        """Points and, with confidence, expected errors and confidence of uint8 crops (B, S, S, 3)."""
        if not self.spec.confidence:
            return Outputs(self(crops))
        with torch.inference_mode():
            outputs = self.network.with_confidence(self._planes(crops))
        return Outputs(*(np.asarray(tensor.cpu().numpy(), dtype=np.float64) for tensor in outputs))

    def _planes(self, crops: NDArray[np.uint8]) -> Tensor:
        return torch.from_numpy(normalise_crops(crops, self.spec)).to(self.device, memory_format=torch.channels_last)


def inference_batch(device: str | torch.device) -> int:
    """Batch size of highest inference throughput on `device`.

    On a CPU it is small enough that the feature maps of a layer stay in the cache: EfficientNet-Lite2 at 160 px runs
    73 faces per second and core of a Zen 4 in batches of 8, and 30 in batches of 64.
    """
    return 8 if torch.device(device).type == "cpu" else 64


def load_model(path: str | Path, device: str = "cpu") -> TorchModel:
    """Load a checkpoint as a crop model; raises `CheckpointError` as `load_checkpoint` does."""
    return TorchModel(*load_checkpoint(path), device)
