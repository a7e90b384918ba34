"""Initial weights of a student from a shipped or trained one, also for other points than it predicts.

An exported file has its batch norms folded into the convolutions. Training needs them, so each gets the mean and
variance that training crops show there, and a scale and shift that undo them: the network computes what the file does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from lightmark.data.sample import Sample, load_image
from lightmark.errors import CheckpointError, ConfigError
from lightmark.evaluate.predict import same_points
from lightmark.geometry import Array
from lightmark.image import warp
from lightmark.nets.checkpoint import TorchModel, load_checkpoint, save_checkpoint
from lightmark.nets.network import Architecture, LandmarkNet, architecture_from_dict, build_network
from lightmark.runtime.onnx_file import float_weights, read_onnx
from lightmark.runtime.onnx_model import OnnxModel
from lightmark.spec import ModelSpec, spec_crop_matrix
from lightmark.train.faces import mean_normalized_points
from lightmark.train.step import is_point_layer, planes_of

START = "start.safetensors"  # in the folder of a run that begins with an exported file
FACES = 64  # whose crops calibrate the batch norms, and give the mean places of the model's points
_PREFIX = "network."  # of the weights' names in an exported file with confidence


def architecture_of(model: Path) -> tuple[Architecture, ModelSpec]:
    """Architecture and spec of an ONNX file or checkpoint; raises `CheckpointError` for one that cannot be a start."""
    spec = load_checkpoint(model)[1] if model.suffix == ".safetensors" else OnnxModel(model, threads=1).spec
    try:
        architecture = architecture_from_dict(dict(spec.architecture), str(model))
    except ConfigError as error:
        raise CheckpointError(f"{error}; give a model that Lightmark trained") from error
    if architecture.head == "pooling":
        raise CheckpointError(f"{model}: has a {architecture.head} head; only spatial heads can be given other points")
    return architecture, spec


def write_start(model: Path, samples: Sequence[Sample], out: Path, seed: int = 0) -> Path:
    """Write a checkpoint for the points of `samples` that begins as `model`, an ONNX file in float32 or a checkpoint.

    Each point begins as the nearest point of the model, shifted by the distance of their mean places in the crops of
    `samples`; the same points begin as the model's own. Raises `CheckpointError` as `architecture_of` does, and for a
    file without float32 weights.
    """
    architecture, old_spec = architecture_of(model)
    chosen = np.random.default_rng(seed).permutation(len(samples))[:FACES]
    faces = [samples[i] for i in sorted(chosen.tolist())]
    crops = np.stack([warp(load_image(face), spec_crop_matrix(old_spec, face.box), old_spec.size) for face in faces])
    old = _old_network(model, architecture, old_spec, crops)
    spec = ModelSpec(samples[0].schema, old_spec.size, old_spec.crop_scale, provenance={"start": model.name})
    mean = mean_normalized_points(samples, spec)
    network = build_network(architecture, mean, seed)
    tensors = old.state_dict()
    predicted = TorchModel(old, replace(old_spec, confidence=False))(crops).mean(axis=0)
    same = same_points(spec.schema, old_spec.schema)
    nearest, shift = (list(range(len(mean))), np.zeros_like(mean)) if same else _nearest(mean, predicted)
    for name in filter(is_point_layer, list(tensors)):
        if "offsets" in name:
            tensors[name] = tensors[name].unflatten(0, (-1, 2))[nearest].flatten(0, 1)
        else:
            tensors[name] = tensors[name][nearest]
        if name.endswith("offsets.bias"):
            tensors[name] = tensors[name] + torch.from_numpy(shift.reshape(-1)).float()
    network.load_state_dict(tensors)
    save_checkpoint(out, network, architecture, spec)
    return out


def _nearest(mean: Array, old: Array) -> tuple[list[int], Array]:
    """Index of the nearest of the `old` points for each point of `mean`, and the way from it."""
    nearest = np.linalg.norm(mean[:, None] - old[None], axis=-1).argmin(axis=1)
    return nearest.tolist(), mean - old[nearest]


def _old_network(model: Path, architecture: Architecture, spec: ModelSpec, crops: np.ndarray) -> LandmarkNet:
    """The model's network without its confidence head, in evaluation mode."""
    if model.suffix == ".safetensors":
        network = load_checkpoint(model)[0]
        network.confidence = None
        return network
    network = LandmarkNet(replace(architecture, pretrained=False), spec.schema.size).eval()
    missing = take_folded(network, network_weights(model))
    if missing:
        raise CheckpointError(
            f"{model}: has no float32 weights of {missing[0]}; give the float32 file (standard, not standard-int8)"
        )
    with torch.no_grad():
        network(planes_of(torch.from_numpy(crops).permute(0, 3, 1, 2), spec, spec.size))
    return network


def network_weights(model: Path) -> dict[str, Tensor]:
    """float32 weights of the network that was exported to the ONNX file `model`, by their names in it."""
    return {
        name.removeprefix(_PREFIX): torch.from_numpy(values.copy())
        for name, values in float_weights(read_onnx(model)).items()
    }


def take_folded(network: nn.Module, weights: Mapping[str, Tensor]) -> list[str]:
    """Copy the weights of an exported network; folded norms take the shifts at the first batch. Names that it lacks."""
    modules, state = dict(network.named_modules()), network.state_dict()
    folded, missing = set(), []
    for name, layer in modules.items():
        if isinstance(layer, nn.Conv2d) and f"{name}.weight_bias" in weights:
            norm = modules[_norm_of(name)]
            assert isinstance(norm, nn.BatchNorm2d)
            undo_at_first(norm, weights[f"{name}.weight_bias"])
            folded.add(_norm_of(name))
    for name, tensor in state.items():
        if name.rpartition(".")[0] in folded or name.endswith("num_batches_tracked"):
            continue
        if name not in weights or weights[name].shape != tensor.shape:
            missing.append(name)
            continue
        tensor.copy_(weights[name])
    return missing


def _norm_of(convolution: str) -> str:
    """Name of the batch norm behind a convolution: the next of a Sequential, or called like it."""
    parent, _, index = convolution.rpartition(".")
    return f"{parent}.{int(index) + 1}" if index.isdigit() else f"{convolution}_norm"


def undo_at_first(norm: nn.BatchNorm2d, shift: Tensor) -> None:
    """Let `norm` add `shift` (C,), with the statistics of the first batch it sees as its own."""

    def take(_: nn.Module, inputs: tuple[Tensor]) -> None:
        assert norm.running_mean is not None
        assert norm.running_var is not None
        variance, mean = torch.var_mean(inputs[0], (0, 2, 3))
        norm.running_mean.copy_(mean)
        norm.running_var.copy_(variance)
        with torch.no_grad():
            norm.weight.copy_((variance + norm.eps).sqrt())
            norm.bias.copy_(mean + shift)
        hook.remove()

    hook = norm.register_forward_pre_hook(take)
