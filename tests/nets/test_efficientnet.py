"""Tests of EfficientNet against the published counts and against its blocks written out."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lightmark.nets.efficientnet import SCALING, EfficientNet, MBConv, SqueezeExcite
from lightmark.nets.network import multiply_adds, parameter_count

CLASSES = 1000


@pytest.mark.parametrize(
    ("variant", "published"),
    [
        ("b0", 5_288_548),
        ("b1", 7_794_184),
        ("b2", 9_109_994),
        ("b3", 12_233_232),
        ("lite0", 4_652_008),
        ("lite1", 5_416_680),
        ("lite2", 6_092_072),
    ],
)
def test_parameters_are_the_published_ones(variant, published):
    """With a linear layer for 1000 classes, the count is that of the well-known PyTorch ports."""
    network = EfficientNet(variant)
    assert parameter_count(network) + network.channels[1] * CLASSES + CLASSES == published


@pytest.mark.parametrize(("variant", "size", "billions"), [("b0", 224, 0.39), ("b1", 240, 0.70)])
def test_multiply_adds_are_the_papers(variant, size, billions):
    """The paper's table 2, to its two digits."""
    assert multiply_adds(EfficientNet(variant), size) / 1e9 == pytest.approx(billions, abs=0.015)


@pytest.mark.parametrize(
    ("variant", "last", "sizes"),
    [
        ("b0", True, (96, 128, 224)),
        ("b0", False, (96,)),
        ("b1", True, (96,)),
        ("b2", True, (128,)),
        ("b3", True, (224,)),
        ("lite0", False, (96,)),
        ("lite2", True, (128,)),
    ],
)
def test_maps_have_the_promised_strides_and_widths(variant, last, sizes):
    """One map at stride 16, one at stride 32, as wide as `channels` says."""
    network = EfficientNet(variant, last).eval()
    for size in sizes:
        with torch.no_grad():
            fine, coarse = network(torch.zeros(1, 3, size, size))
        assert fine.shape == (1, network.channels[0], size // 16, size // 16)
        assert coarse.shape == (1, network.channels[1], size // 32, size // 32)


def test_channels_by_hand():
    """The paper's B0 has 112 at stride 16 and 1280 or 320 at stride 32; B3 is 1.2 times as wide."""
    assert EfficientNet("b0").channels == (112, 1280)
    assert EfficientNet("b0", last=False).channels == (112, 320)
    assert EfficientNet("b3").channels == (136, 1536)


def test_squeeze_excite_by_hand():
    """Each channel is scaled by a number between 0 and 1 made of all channels' means."""
    torch.manual_seed(0)
    module = SqueezeExcite(6, 2)
    x = torch.randn(3, 6, 4, 4)
    squeezed = F.silu(x.mean((2, 3)) @ module.reduce.weight[:, :, 0, 0].T + module.reduce.bias)
    scale = torch.sigmoid(squeezed @ module.expand.weight[:, :, 0, 0].T + module.expand.bias)
    torch.testing.assert_close(module(x), x * scale[:, :, None, None])


@pytest.mark.parametrize("expansion", [1, 6])
@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize("outputs", [8, 16])
def test_block_is_the_papers(expansion, kernel, outputs):
    """Expand, filter, squeeze and excite, project; the input is added where the shapes agree, and only there."""
    torch.manual_seed(0)
    block = MBConv(8, outputs, kernel, stride=1, expansion=expansion, drop=0.0).eval()
    excite = next(module for module in block.modules() if isinstance(module, SqueezeExcite))
    inside = {excite.reduce, excite.expand}
    *first, depthwise, project = [m.weight for m in block.modules() if isinstance(m, nn.Conv2d) and m not in inside]
    norm = 1 / math.sqrt(1 + 1e-5)  # batch norm before it has seen anything
    x = torch.randn(2, 8, 10, 10)
    hidden = F.silu(F.conv2d(x, first[0]) * norm) if first else x
    hidden = F.silu(F.conv2d(hidden, depthwise, padding=kernel // 2, groups=len(depthwise)) * norm)
    projected = F.conv2d(excite(hidden), project) * norm
    torch.testing.assert_close(block(x), x + projected if outputs == 8 else projected)


def dropping_block(drop):
    """A block in training mode whose batch norms do not change, so that only dropping is random."""
    torch.manual_seed(0)
    block = MBConv(4, 4, 3, stride=1, expansion=1, drop=drop).train()
    block.layers.eval()
    return block


def test_drop_path_keeps_the_mean():
    """A branch is dropped for the configured share of samples and otherwise scaled so that its mean stays."""
    block = dropping_block(0.3)
    x = torch.randn(1, 4, 6, 6).expand(4000, -1, -1, -1)
    branch = block.layers(x[:1])
    added = (block(x) - x).detach()
    kept = added.flatten(1).abs().amax(1) > 1e-6
    torch.testing.assert_close(added[kept], (branch / 0.7).expand(int(kept.sum()), -1, -1, -1), atol=1e-5, rtol=1e-4)
    assert float(kept.float().mean()) == pytest.approx(0.7, abs=4 * math.sqrt(0.21 / 4000))


def test_drop_path_rests_in_evaluation():
    """In evaluation mode the branch is always there, at its own size."""
    block = dropping_block(0.3).eval()
    x = torch.randn(64, 4, 6, 6)
    torch.testing.assert_close(block(x), x + block.layers(x))


@pytest.mark.parametrize("variant", ["b0", "b3"])
def test_drop_path_grows_with_depth(variant):
    """The dropped share rises linearly from 0 at the first block to the configured one."""
    network = EfficientNet(variant, drop_path=0.2)
    drops = [module.drop for module in network.modules() if isinstance(module, MBConv)]
    expected = [0.2 * i / len(drops) for i in range(len(drops))]
    assert drops == pytest.approx(expected)


def test_depths_are_the_papers():
    """B0 has 16 blocks, B1 and B2 23, B3 26; of the Lite family, whose ends keep their depth, 16, 21 and 21."""
    found = [sum(isinstance(m, MBConv) for m in EfficientNet(variant).modules()) for variant in SCALING]
    assert found == [16, 23, 23, 26, 16, 21, 21]
