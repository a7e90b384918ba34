"""Tests of architectures and of building networks from them."""

import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from lightmark.errors import ConfigError, MissingExtraError
from lightmark.nets.network import (
    Architecture,
    architecture_from_dict,
    build_backbone,
    build_network,
    describe,
    multiply_adds,
    parameter_count,
)

SMALL = Architecture("mobilenetv2", "spatial", width=0.35)
MEAN = np.random.default_rng(0).uniform(0.2, 0.8, (7, 2))


def equal_weights(first, second):
    """Whether two networks have the same weights to the bit."""
    weights = zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in weights)


def test_defaults_are_the_papers_student():
    """MobileNetV2 at width 1 with the pooling head; published weights depend on these defaults."""
    assert Architecture() == Architecture("mobilenetv2", "pooling", 1.0, 0.0, 0.0, False)


@pytest.mark.parametrize("backbone", ["mobilenetv2", "efficientnet-b0"])
@pytest.mark.parametrize("head", ["pooling", "spatial", "spatial-separable"])
@pytest.mark.parametrize("size", [64, 96])
def test_network_gives_points(backbone, head, size):
    """Planes of any size give float32 normalized_points, near the mean before training."""
    network = build_network(Architecture(backbone, head, width=0.35), MEAN, seed=0).eval()
    planes = torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        points = network(planes)
    assert points.dtype == torch.float32
    assert points.shape == (2, 7, 2)
    assert np.abs(points.numpy() - MEAN).max() < 0.05


def test_seed_fixes_the_weights():
    """One seed gives one network, another seed another."""
    first, again, other = (build_network(SMALL, MEAN, seed) for seed in (1, 1, 2))
    assert equal_weights(first, again)
    assert not equal_weights(first, other)


def test_global_seed_plays_no_part():
    """Weights are the same whatever was drawn before."""
    torch.manual_seed(5)
    first = build_network(SMALL, MEAN, 1)
    torch.manual_seed(6)
    assert equal_weights(first, build_network(SMALL, MEAN, 1))


def test_global_generator_is_left_alone():
    """Building a network draws nothing that anybody else would have drawn."""
    torch.manual_seed(77)  # not what an earlier test's network left behind
    before = torch.get_rng_state()
    build_network(SMALL, MEAN, 1)
    assert torch.equal(torch.get_rng_state(), before)


def test_spatial_head_has_no_last_convolution():
    """The 1280 channels serve the pooling head alone."""
    assert build_backbone(Architecture(head="pooling")).channels == (96, 1280)
    assert build_backbone(Architecture(head="spatial")).channels == (96, 320)


def test_drop_path_reaches_the_backbone():
    """The architecture's share of dropped blocks is the network's."""
    backbone = build_backbone(Architecture("efficientnet-b0", drop_path=0.4))
    drops = [module.drop for module in backbone.modules() if hasattr(module, "drop")]
    assert drops[0] == 0
    assert drops[-1] == pytest.approx(0.4 * 15 / 16)


def test_dropout_reaches_the_head():
    """The architecture's dropout is the head's."""
    assert build_network(replace(SMALL, dropout=0.3), MEAN, 0).head.dropout.p == 0.3


@pytest.mark.parametrize("backbone", ["mobilenetv3", "efficientnet-b9", "efficientnet", ""])
def test_unknown_backbone_lists_the_known_ones(backbone):
    """The message names every backbone there is."""
    known = "mobilenetv2, mobilenetv2-slim, .*-thirds, efficientnet-b0, .*-b3, .*-lite2, timm/NAME"
    text = rf"no backbone called '{backbone}'; known: {known}"
    with pytest.raises(ConfigError, match=text):
        Architecture(backbone)


def test_unknown_head_lists_the_known_ones():
    """An unknown head raises an error that lists the known ones."""
    with pytest.raises(ConfigError, match="no head called 'heatmap'; known: pooling, spatial"):
        Architecture(head="heatmap")


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"width": 0.0}, r"width 0\.0; needs a positive factor"),
        ({"width": float("nan")}, "width nan; needs a positive factor"),
        ({"dropout": 1.0}, r"dropout 1\.0; needs a share from 0 to below 1"),
        ({"drop_path": -0.1}, r"drop_path -0\.1; needs a share from 0 to below 1"),
    ],
)
def test_impossible_number_is_refused(changes, text):
    """The message says which number and what it needs."""
    with pytest.raises(ConfigError, match=text):
        Architecture(**changes)


def test_architecture_survives_its_dict():
    """What a spec keeps of an architecture gives it back."""
    architecture = Architecture("efficientnet-b2", "spatial", 1.0, 0.1, 0.2)
    assert architecture_from_dict(describe(architecture), "a.safetensors") == architecture


def test_description_asks_for_no_download():
    """The weights are in the file: loading it downloads none."""
    assert describe(Architecture("timm/resnet18", pretrained=True)) == describe(Architecture("timm/resnet18"))


@pytest.mark.parametrize(
    "data",
    [
        {"backbone": "mobilenetv2", "depth": 3},
        {"backbone": 5},
        {"backbone": ["mobilenetv2"]},
        {"backbone": "mobilenetv5"},
        {"head": "heatmap"},
        {"head": ["spatial"]},
        {"width": "wide"},
        {"width": None},
        {"dropout": 7.0},
    ],
)
def test_foreign_description_is_refused(data):
    """A key or value that this release does not know names the file it came from."""
    with pytest.raises(ConfigError, match=r"^a\.safetensors: not an architecture of this release: "):
        architecture_from_dict(data, "a.safetensors")


class Tiny(nn.Module):
    """A convolution, a depthwise one and a linear layer."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, stride=2, padding=1)
        self.depthwise = nn.Conv2d(4, 4, 3, padding=1, groups=4, bias=False)
        self.linear = nn.Linear(4, 5)

    def forward(self, x):
        """(B, 3, S, S) → (B, 5)."""
        return self.linear(self.depthwise(self.conv(x)).mean((2, 3)))


def test_parameters_by_hand():
    """Weights and biases: 3·4·9 + 4, 4·9, 4·5 + 5."""
    assert parameter_count(Tiny()) == 112 + 36 + 25


def test_multiply_adds_by_hand():
    """At 8 px the convolutions have 16 places: 3·4·9·16 + 4·9·16 + 4·5."""
    assert multiply_adds(Tiny(), 8) == 1728 + 576 + 20


@pytest.mark.parametrize("training", [True, False])
def test_counting_leaves_the_network_alone(training):
    """Mode, hooks and batch norms are as before."""
    network = build_network(SMALL, MEAN, 0).train(training)
    multiply_adds(network, 64)
    assert network.training == training
    assert all(module.training == training for module in network.modules())
    assert not any(module._forward_hooks for module in network.modules())
    assert equal_weights(network, build_network(SMALL, MEAN, 0))


def test_missing_timm_is_an_error_with_the_install_line(monkeypatch):
    """The message holds the install line."""
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(MissingExtraError, match=r'backbone timm/resnet18 needs timm: pip install "lightmark\[timm\]"'):
        build_network(Architecture("timm/resnet18"), MEAN, 0)


class Pyramid(nn.Module):
    """Stands in for a timm network: maps at the given strides, each as deep as its stride."""

    def __init__(self, strides):
        super().__init__()
        self.strides = strides
        self.feature_info = SimpleNamespace(reduction=lambda: strides, channels=lambda: strides)

    def forward(self, x):
        """One map a stride."""
        return [x.new_zeros(len(x), s, x.shape[2] // s, x.shape[3] // s) for s in self.strides]


def stand_in_timm(monkeypatch, create_model):
    """Let `import timm` find a module that has `create_model` alone."""
    monkeypatch.setitem(sys.modules, "timm", SimpleNamespace(create_model=create_model))


def test_timm_maps_are_taken_by_stride(monkeypatch):
    """Its maps at strides 16 and 32 are used; pretrained weights only on request."""
    asked = []

    def create_model(name, **options):
        asked.append((name, options))
        return Pyramid([2, 4, 8, 16, 32])

    stand_in_timm(monkeypatch, create_model)
    network = build_network(Architecture("timm/resnet18", "spatial"), MEAN, 0).eval()
    assert asked == [("resnet18", {"pretrained": False, "features_only": True})]
    assert network.backbone.channels == (16, 32)
    assert network(torch.zeros(1, 3, 64, 64)).shape == (1, 7, 2)


def test_timm_network_without_the_strides_is_refused(monkeypatch):
    """The message lists the strides it has."""
    stand_in_timm(monkeypatch, lambda *_, **__: Pyramid([4, 8, 16]))
    with pytest.raises(ConfigError, match=r"timm/vit: has maps at strides \[4, 8, 16\]; strides 16 and 32 are needed"):
        build_network(Architecture("timm/vit"), MEAN, 0)


def test_timm_error_is_passed_on(monkeypatch):
    """The message contains timm's own error about an unknown name."""

    def create_model(*_, **__):
        raise RuntimeError("Unknown model (resnet19)")

    stand_in_timm(monkeypatch, create_model)
    with pytest.raises(ConfigError, match=r"timm/resnet19: timm cannot build it .*Unknown model \(resnet19\)"):
        build_network(Architecture("timm/resnet19"), MEAN, 0)
