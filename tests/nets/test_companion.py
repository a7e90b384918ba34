"""A network with a companion: both see one crop, and its points are the mean of theirs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from lightmark.errors import ConfigError
from lightmark.nets.checkpoint import load_checkpoint, save_checkpoint
from lightmark.nets.mobilenet import MobileNetV2, stem_for_thirds
from lightmark.nets.network import Architecture, LandmarkNet, architecture_from_dict, build_network, describe
from lightmark.schema import IBUG68
from lightmark.spec import ModelSpec

ALONE = Architecture("mobilenetv2", "spatial", width=0.25)
PAIR = replace(ALONE, companion="mobilenetv2-slim-thirds")


@pytest.fixture
def crops() -> torch.Tensor:
    """Four crops of 96 px with detail of every size."""
    return torch.randn(4, 3, 96, 96, generator=torch.Generator().manual_seed(0))


def test_stem_of_stride_three_resizes_first(crops: torch.Tensor) -> None:
    """To the last bit but rounding, up to the borders, what a bilinear resize and the stem of stride 2 do."""
    weight = torch.randn(8, 3, 3, 3, generator=torch.Generator().manual_seed(1))
    smaller = F.interpolate(crops, size=(64, 64), mode="bilinear", align_corners=False)
    expected = F.conv2d(smaller, weight, stride=2, padding=1)
    torch.testing.assert_close(F.conv2d(crops, stem_for_thirds(weight), stride=3, padding=2), expected)


def test_maps_of_a_network_for_thirds(crops: torch.Tensor) -> None:
    """Strides of 24 and 48."""
    with torch.no_grad():
        fine, coarse = MobileNetV2(0.25, last=False, slim=True, thirds=True).eval()(crops)
    assert (fine.shape[2:], coarse.shape[2:]) == ((4, 4), (2, 2))


def test_points_are_the_mean_of_both(crops: torch.Tensor) -> None:
    """Of two networks that differ; a confidence head also sees how far apart they are."""
    network = build_network(PAIR, np.full((5, 2), 0.5), seed=0).eval()
    assert network.companion is not None
    torch.nn.init.normal_(network.companion.head.offsets.bias, std=0.1)
    alone = LandmarkNet(ALONE, 5).eval()
    alone.load_state_dict({k: v for k, v in network.state_dict().items() if not k.startswith("companion.")})
    with torch.no_grad():
        own, other = alone(crops), network.companion(crops)
        assert (own - other).abs().max() > 1e-4
        torch.testing.assert_close(network(crops), (own + other) / 2)
        points, features, _ = network.forward_features(crops)
    torch.testing.assert_close(points, network(crops), atol=1e-5, rtol=0)
    torch.testing.assert_close(features[..., -2:], (own - other).abs(), atol=1e-5, rtol=0)
    network.add_confidence()
    with torch.no_grad():
        assert [output.shape for output in network.with_confidence(crops)] == [(4, 5, 2), (4, 5), (4,)]


def test_both_begin_at_the_mean_shape(crops: torch.Tensor) -> None:
    """The untrained companion does not draw the points to a corner."""
    network = build_network(PAIR, np.full((5, 2), [0.3, 0.8]), seed=0).eval()
    with torch.no_grad():
        torch.testing.assert_close(network(crops).mean((0, 1)), torch.tensor([0.3, 0.8]), atol=0.05, rtol=0)


def test_description_names_a_companion_only_where_there_is_one() -> None:
    """So that earlier versions read the specs of networks that they know."""
    assert describe(PAIR) == asdict(PAIR)
    assert "companion" not in describe(ALONE)
    assert architecture_from_dict(describe(PAIR), "a") == PAIR
    assert architecture_from_dict(describe(ALONE), "a") == ALONE


@pytest.mark.parametrize("changes", [{"companion": "efficientnet-b0"}, {"companion": ""}, {"head": "pooling"}])
def test_impossible_companion_is_refused(changes: dict[str, str]) -> None:
    """The message names the networks that can be one."""
    with pytest.raises(ConfigError, match=r"companion .*: needs one of mobilenetv2, .* and a spatial head"):
        Architecture(**{**asdict(PAIR), **changes})


def test_joined_students_predict_their_mean(
    tmp_path: Path, open_script: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch, crops: torch.Tensor
) -> None:
    """benchmarks/join_students.py: the mean of one on the crop and of the other on it resized; sizes must fit."""
    script = open_script("join_students")
    slim = replace(ALONE, backbone="mobilenetv2-slim")
    for name, architecture, size in (("large", ALONE, 96), ("small", slim, 64)):
        network = build_network(architecture, np.full((68, 2), 0.5), seed=size)
        network.add_confidence()
        save_checkpoint(tmp_path / f"{name}.safetensors", network, architecture, ModelSpec(IBUG68, size))

    def join(first: str, second: str) -> None:
        words = [str(tmp_path / f"{name}.safetensors") for name in (first, second, "pair")]
        monkeypatch.setattr("sys.argv", ["join_students.py", *words[:2], "--out", words[2]])
        script.main()

    join("large", "small")
    pair, spec = load_checkpoint(tmp_path / "pair.safetensors")
    networks = [load_checkpoint(tmp_path / f"{name}.safetensors")[0] for name in ("large", "small")]
    smaller = F.interpolate(crops, size=(64, 64), mode="bilinear")
    with torch.no_grad():
        expected = (networks[0](crops) + networks[1](smaller)) / 2
        torch.testing.assert_close(pair(crops), expected, atol=1e-5, rtol=0)
    assert (spec.size, spec.confidence) == (96, False)
    (tmp_path / "pair.safetensors").unlink()
    with pytest.raises(ConfigError, match="crops of 96 px; needs two thirds of 64"):
        join("small", "large")
