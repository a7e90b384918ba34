"""Pruning a student: what is not cut stays, and refitted projections make up for what is."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import Tensor, nn

from lightmark.nets import mobilenet
from lightmark.nets.checkpoint import load_checkpoint, save_checkpoint
from lightmark.nets.network import Architecture, LandmarkNet
from lightmark.schemes import IBUG68
from lightmark.spec import ModelSpec

FULL = Architecture("mobilenetv2", "spatial", width=0.25)
SLIM = replace(FULL, backbone="mobilenetv2-slim")


@pytest.fixture
def script(open_script: Callable[[str], ModuleType]) -> ModuleType:
    """benchmarks/prune_student.py."""
    return open_script("prune_student")


@pytest.fixture(scope="module")
def planes() -> Tensor:
    """Smooth random crops: neighbouring pixels agree, as in pictures."""
    coarse = torch.randn(48, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    return nn.functional.interpolate(coarse, size=(128, 128), mode="bilinear")


@pytest.fixture(scope="module")
def network(planes: Tensor) -> LandmarkNet:
    """A network whose batch norms know the crops, with scales and shifts of their own."""
    torch.manual_seed(0)
    network = LandmarkNet(FULL, 5)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, 0.0, 1.0)
            module.momentum = None  # statistics of all batches
    with torch.no_grad():
        network(planes)
    return network.eval()


def shapes(slim: bool) -> list[tuple[int, int, int]]:
    """Hidden channels, channels and stride of each block."""
    return mobilenet.blocks_of(FULL.width, slim)


def require_same(student: LandmarkNet, network: LandmarkNet, planes: Tensor) -> None:
    """Same points on other crops than those of the fit; the ridge costs a little."""
    others = planes.flip(-1)
    with torch.no_grad():
        torch.testing.assert_close(student(others), network(others), atol=5e-3, rtol=0)


def test_a_network_of_the_same_channels_is_computed_again(
    script: ModuleType, network: LandmarkNet, planes: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With nothing to prune, refitting changes nothing."""
    full = shapes(slim=False)
    monkeypatch.setattr(mobilenet, "blocks_of", lambda width, slim: full)
    require_same(script.pruned(network, SLIM, planes), network, planes)


def test_channels_and_blocks_without_effect_are_the_pruned_ones(
    script: ModuleType, network: LandmarkNet, planes: Tensor
) -> None:
    """Where the network has hidden channels that do nothing, in random places, and an idle block, nothing is lost."""
    network = copy.deepcopy(network)
    _, blocks = script.layers_of(network)
    idle = len(blocks) - 2
    nn.init.zeros_(blocks[idle].layers[-1][1].weight)
    nn.init.zeros_(blocks[idle].layers[-1][1].bias)
    kept = [block for index, block in enumerate(blocks) if index != idle]
    for block, (hidden, _, _) in zip(kept, shapes(slim=True), strict=True):
        weight = block.layers[-1][0].weight
        dead = torch.randperm(weight.shape[1], generator=torch.Generator().manual_seed(hidden))[hidden:]
        with torch.no_grad():
            weight[:, dead] = 0
    # The stem's channels are the first block's hidden ones: only its projection reads them.
    require_same(script.pruned(network, SLIM, planes), network, planes)


def test_projection_is_fitted_with_the_statistics_of_its_norm(script: ModuleType) -> None:
    """A linear map is found, and the norm computes the same from its running statistics as from those of the batch."""
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(8, 6, 12, 12, generator=generator) + 3
    target = torch.einsum("oc,bchw->bohw", torch.randn(4, 6, generator=generator), hidden) - 2
    projection = mobilenet.conv_norm(6, 4, 1, None)
    with torch.no_grad():
        script.fit_projection(projection, hidden, target)
        torch.testing.assert_close(projection.eval()(hidden), target, atol=1e-2, rtol=0)
        torch.testing.assert_close(projection.train()(hidden), target, atol=1e-2, rtol=0)


def test_written_start_is_a_slim_student(
    script: ModuleType, real_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The script on a checkpoint and a few faces: a checkpoint of the slim architecture, without confidence."""
    spec = ModelSpec(IBUG68, 64, 1.25)
    network = LandmarkNet(FULL, 68)
    network.add_confidence()
    save_checkpoint(tmp_path / "full.safetensors", network, FULL, spec)
    words = [tmp_path / "full.safetensors", "--data", real_data / "300w" / "lfpw", "--faces", "4"]
    monkeypatch.setattr("sys.argv", ["prune_student.py", *map(str, words), "--out", str(tmp_path / "slim.safetensors")])
    script.main()
    student, written = load_checkpoint(tmp_path / "slim.safetensors")
    assert (written.architecture["backbone"], written.confidence) == ("mobilenetv2-slim", False)
    assert len(script.layers_of(student)[1]) == len(shapes(slim=True))
