"""Tests of MobileNetV2 against the published counts and against its blocks written out."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lightmark.nets.mobilenet import InvertedResidual, MobileNetV2, round_channels
from lightmark.nets.network import multiply_adds, parameter_count

CLASSES = 1000


def with_classifier(width, count):
    """`count` of the network and of the linear layer that classifies ImageNet after it."""
    network = MobileNetV2(width)
    return network, count(network) + network.channels[1] * CLASSES


@pytest.mark.parametrize(("width", "published"), [(0.5, 1_968_680), (1.0, 3_504_872), (1.4, 6_108_776)])
def test_parameters_are_the_published_ones(width, published):
    """With a linear layer for 1000 classes, the count is that of the well-known PyTorch ports."""
    assert with_classifier(width, parameter_count)[1] + CLASSES == published


@pytest.mark.parametrize(
    ("width", "millions", "mega_adds"),
    [(0.35, 1.66, 59), (0.5, 1.95, 97), (0.75, 2.61, 209), (1.0, 3.47, 300), (1.4, 6.06, 582)],
)
def test_authors_table(width, millions, mega_adds):
    """The authors' table at 224 px: parameters without batch norms, rounded, and multiply-adds, cut."""
    network, parameters = with_classifier(width, parameter_count)
    norms = sum(parameter_count(module) for module in network.modules() if isinstance(module, nn.BatchNorm2d))
    assert round((parameters + CLASSES - norms) / 1e6, 2) == millions
    assert with_classifier(width, lambda net: multiply_adds(net, 224))[1] // 1_000_000 == mega_adds


@pytest.mark.parametrize(("size", "mega_adds"), [(192, 221), (160, 154), (128, 99), (96, 56)])
def test_authors_multiply_adds_at_smaller_sizes(size, mega_adds):
    """Multiply-adds agree with the authors' table for width 1."""
    assert with_classifier(1.0, lambda net: multiply_adds(net, size))[1] // 1_000_000 == mega_adds


@pytest.mark.parametrize("slim", [False, True])
@pytest.mark.parametrize(("width", "last"), [(0.35, True), (1.0, True), (1.0, False), (1.4, True)])
def test_maps_have_the_promised_strides_and_widths(width, last, slim):
    """One map at stride 16, one at stride 32, as wide as `channels` says, at every usual size."""
    network = MobileNetV2(width, last, slim).eval()
    for size in (96, 128, 224):
        with torch.no_grad():
            fine, coarse = network(torch.zeros(1, 3, size, size))
        assert fine.shape == (1, network.channels[0], size // 16, size // 16)
        assert coarse.shape == (1, network.channels[1], size // 32, size // 32)


def test_channels_by_hand():
    """The paper's: 96 at stride 16, 1280 or 320 at stride 32; the last layer only grows above width 1."""
    assert MobileNetV2(1.0).channels == (96, 1280)
    assert MobileNetV2(1.0, last=False).channels == (96, 320)
    assert MobileNetV2(0.5).channels == (48, 1280)
    assert MobileNetV2(1.4).channels == (136, 1792)


def test_slim_network_by_hand():
    """The maps of the slim network are as wide as the other's; it has a block less and narrower hidden layers."""
    slim, full = (MobileNetV2(1.0, last=False, slim=slim) for slim in (True, False))
    assert slim.channels == full.channels
    # The stem, then expansion, depthwise layer and projection of the first blocks, counted at 64×64 and 32×32 cells.
    first = 27 * 16 * 64**2 + (9 * 16 + 16 * 16) * 64**2 + 16 * 48 * 64**2 + (9 * 48 + 48 * 24) * 32**2
    first += (24 * 72 + 9 * 72 + 72 * 24) * 32**2
    assert multiply_adds(slim.fine[:4], 128) == first
    assert multiply_adds(slim, 128) < 0.56 * multiply_adds(full, 128)
    blocks = [sum(isinstance(module, InvertedResidual) for module in net.modules()) for net in (slim, full)]
    assert blocks == [16, 17]


@pytest.mark.parametrize(
    ("channels", "rounded"), [(32 * 0.35, 16), (24 * 0.35, 8), (1, 8), (96 * 1.4, 136), (12, 16), (11.9, 16), (64, 64)]
)
def test_rounding_of_channels(channels, rounded):
    """Multiples of 8, at least 8, never more than a tenth below the requested width."""
    assert round_channels(channels) == rounded
    assert rounded >= 0.9 * channels


def block_by_hand(block, x, expands):
    """An inverted residual in evaluation mode, without running means: batch norm divides by √(1 + 1e-5)."""
    norm = 1 / math.sqrt(1 + 1e-5)
    *first, depthwise, project = [module.weight for module in block.modules() if isinstance(module, nn.Conv2d)]
    hidden = F.relu6(F.conv2d(x, first[0]) * norm) if expands else x
    hidden = F.relu6(F.conv2d(hidden, depthwise, padding=1, groups=len(depthwise)) * norm)
    return F.conv2d(hidden, project) * norm


@pytest.mark.parametrize("expansion", [1, 6])
@pytest.mark.parametrize("outputs", [8, 16])
def test_block_is_the_papers(expansion, outputs):
    """Expand, filter, project; the input is added where the shapes agree, and only there."""
    torch.manual_seed(0)
    block = InvertedResidual(8, 8 * expansion, outputs, stride=1).eval()
    x = torch.randn(2, 8, 10, 10)
    projected = block_by_hand(block, x, expansion > 1)
    torch.testing.assert_close(block(x), x + projected if outputs == 8 else projected)


def test_stride_drops_the_residual():
    """A block that halves the map cannot add its input."""
    block = InvertedResidual(8, 48, 8, stride=2).eval()
    assert not block.residual
    assert block(torch.randn(1, 8, 10, 10)).shape == (1, 8, 5, 5)


def test_projection_is_linear():
    """No activation follows the projection: values below 0 and above 6 pass."""
    torch.manual_seed(0)
    block = InvertedResidual(8, 48, 16, stride=1).eval()
    y = block(100 * torch.randn(2, 8, 10, 10))
    assert y.min() < 0
