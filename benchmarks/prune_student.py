"""Initialise a slim student from a trained one by pruning the hidden channels of its blocks.

    python benchmarks/prune_student.py runs/fast.safetensors --data 300w --out runs/slim.safetensors

Of each block those hidden channels are kept that contribute most to its output (standard deviation times the norm of
their projection). The projections are fitted anew, block by block, to the outputs of the trained network (least
squares, as He et al. 2017 do, arXiv 1707.06168), so that each also corrects the errors of those before it. What comes
out is a start for `lightmark train slim128-plain`.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from lightmark.cli.training import training_samples
from lightmark.data.crops.dataset import CropDataset, Key
from lightmark.errors import ConfigError
from lightmark.files import sha256_of
from lightmark.nets.checkpoint import load_checkpoint, save_checkpoint
from lightmark.nets.mobilenet import InvertedResidual, MobileNetV2
from lightmark.nets.network import Architecture, LandmarkNet, architecture_from_dict, multiply_adds
from lightmark.outputs import require_free
from lightmark.spec import ModelSpec
from lightmark.train.config import Recipe
from lightmark.train.faces import split_samples
from lightmark.train.recipes import get_recipe
from lightmark.train.step import planes_of

ROWS = 40_000  # cells of the calibration crops' maps that a projection is fitted on
RIDGE = 1e-4  # added to the diagonal of the least squares, relative to its mean


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="checkpoint of a student with MobileNetV2")
    parser.add_argument("--data", type=Path, required=True, help="faces; the validation photographs are not used")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--faces", type=int, default=160, help="whose augmented crops calibrate")
    parser.add_argument("--split-seed", type=int, default=0)
    parser.add_argument("--force", action="store_true", help="write over what is there")
    options = parser.parse_args()
    require_free([options.out], [options.model, options.data], options.force)
    network, spec = load_checkpoint(options.model)
    network.confidence = None
    architecture = architecture_from_dict(dict(spec.architecture), str(options.model))
    if architecture.backbone != "mobilenetv2":
        raise ConfigError(f"{options.model}: has {architecture.backbone}; only mobilenetv2 can be pruned")
    slim = replace(architecture, backbone="mobilenetv2-slim")
    recipe = replace(get_recipe("slim128-plain"), size=spec.size, split_seed=options.split_seed)
    planes = planes_of(calibration_crops(options.data, recipe, options.faces, spec), spec, spec.size)
    student = pruned(network, slim, planes)
    provenance = {"pruned_sha256": sha256_of(options.model), "faces": options.faces, "split_seed": options.split_seed}
    save_checkpoint(options.out, student, slim, replace(spec, provenance=provenance))
    before, after = (multiply_adds(net, spec.size) / 1e6 for net in (network, student))
    print(f"{options.out}: {after:.0f} M multiply-adds of {before:.0f}")


def calibration_crops(data: Path, recipe: Recipe, count: int, spec: ModelSpec) -> Tensor:
    faces = split_samples(training_samples([data]), recipe).train
    dataset = CropDataset(faces, [face.points for face in faces], spec, recipe.augmentation, recipe.seed)
    chosen = np.random.default_rng(recipe.seed).choice(len(faces), count, replace=False)
    return torch.stack([dataset[Key(0, int(index))].crops for index in chosen])


@torch.no_grad()
def pruned(network: LandmarkNet, architecture: Architecture, planes: Tensor) -> LandmarkNet:
    """Slim network whose blocks give the outputs of `network`'s as nearly as their channels can, on `planes`."""
    student = LandmarkNet(architecture, network.points).eval()
    student.head.load_state_dict(network.head.state_dict())
    stem, blocks = layers_of(student)
    old_stem, old_blocks = layers_of(network)
    # Where there are fewer blocks, the last ones before the network's last are left out.
    partners = dict(zip([*old_blocks[: len(blocks) - 1], old_blocks[-1]], blocks, strict=True))
    old_x = old_stem(planes)
    take_channels(stem, old_stem, strongest(old_blocks[0], old_x, parts(stem)[0].out_channels))
    x = stem(planes)
    for old in old_blocks:
        old_input, old_x = old_x, old(old_x)
        if old not in partners:
            continue
        block = partners[old]
        kept = strongest(old, old_input, parts(block.layers[-1])[0].in_channels)
        for layer, old_layer in zip([*block.layers][:-1], [*old.layers][:-1], strict=True):
            take_channels(layer, old_layer, kept)
        fit_projection(block.layers[-1], block.layers[:-1](x), old_x - x if block.residual else old_x)
        x = block(x)
    return student


def layers_of(network: LandmarkNet) -> tuple[nn.Module, list[InvertedResidual]]:
    """Stem and blocks of a network with MobileNetV2."""
    assert isinstance(network.backbone, MobileNetV2)
    stem, *blocks = [*network.backbone.fine, *network.backbone.coarse]
    return stem, [block for block in blocks if isinstance(block, InvertedResidual)]


def parts(layer: nn.Module) -> tuple[nn.Conv2d, nn.BatchNorm2d]:
    """Convolution and batch norm of a layer that `conv_norm` made."""
    assert isinstance(layer, nn.Sequential)
    convolution, norm = layer[0], layer[1]
    assert isinstance(convolution, nn.Conv2d)
    assert isinstance(norm, nn.BatchNorm2d)
    return convolution, norm


def strongest(block: InvertedResidual, x: Tensor, count: int) -> Tensor:
    """Indices of the `count` hidden channels that contribute most to the block's output for the input `x`."""
    convolution, norm = parts(block.layers[-1])
    scale = norm.weight / (statistics(norm)[1] + norm.eps).sqrt()
    weights = (convolution.weight[:, :, 0, 0] * scale[:, None]).norm(dim=0)
    spread: Tensor = block.layers[:-1](x).std((0, 2, 3))
    kept: Tensor = (spread * weights).topk(count).indices.sort().values
    return kept


def statistics(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Running mean and variance, which batch norms of a LandmarkNet have."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    return norm.running_mean, norm.running_var


def take_channels(layer: nn.Module, old: nn.Module, kept: Tensor) -> None:
    """Copy the output channels `kept` of a convolution and its batch norm."""
    (convolution, norm), (old_convolution, old_norm) = parts(layer), parts(old)
    convolution.weight.copy_(old_convolution.weight[kept])
    ours = (norm.weight, norm.bias, *statistics(norm))
    for new, tensor in zip(ours, (old_norm.weight, old_norm.bias, *statistics(old_norm)), strict=True):
        new.copy_(tensor[kept])


def fit_projection(projection: nn.Module, hidden: Tensor, target: Tensor) -> None:
    """Set a projection and its batch norm to the least-squares fit of `target` by `hidden`, both (B, C, H, W)."""
    convolution, norm = parts(projection)
    rows, targets = (maps.permute(0, 2, 3, 1).flatten(0, 2) for maps in (hidden, target))
    chosen = torch.from_numpy(np.random.default_rng(0).permutation(len(rows))[:ROWS])
    rows, targets = rows[chosen].double(), targets[chosen].double()
    mean, target_mean = rows.mean(0), targets.mean(0)
    rows -= mean
    gram = rows.T @ rows
    gram.diagonal().add_(RIDGE * gram.diagonal().mean())
    weights = torch.linalg.solve(gram, rows.T @ (targets - target_mean)).T
    convolution.weight.copy_(weights[:, :, None, None])
    running_mean, running_var = statistics(norm)
    running_mean.copy_(weights @ mean)
    running_var.copy_((rows @ weights.T).var(0))
    norm.weight.copy_((running_var + norm.eps).sqrt())
    norm.bias.copy_(target_mean)


if __name__ == "__main__":
    main()
