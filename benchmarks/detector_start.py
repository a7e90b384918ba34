"""A checkpoint that the face detector's training begins at, from an exported detector: its weights in trainable form.

    python benchmarks/detector_start.py src/lightmark/models/face.onnx --data 300w --face-free face-free/train \\
        --out runs/face-start.safetensors

An ONNX file has its batch norms folded into the convolutions. Training needs them, so each gets the mean and variance
that training mosaics show there, and a scale and shift that undo them: the network still computes what the file does.
Layers that the file lacks, such as the keypoints of older ones, stay untrained.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import onnx
import torch

from lightmark.cli.auxiliary_training import pictures_of
from lightmark.cli.training import training_samples
from lightmark.detectors.face_detector import DETECTOR_KEY
from lightmark.nets.checkpoint import write_tensors
from lightmark.nets.face_detector import FaceDetectorNet
from lightmark.outputs import require_free
from lightmark.train.detector.mosaic import MosaicRules, Sources, draw_mosaic
from lightmark.train.start import network_weights, take_folded


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="exported detector, .onnx")
    parser.add_argument("--data", type=Path, required=True, help="training faces whose mosaics calibrate the norms")
    parser.add_argument("--face-free", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--mosaics", type=int, default=64)
    parser.add_argument("--force", action="store_true", help="write over what is there")
    options = parser.parse_args()
    require_free([options.out], [options.model], options.force)
    sources = Sources(training_samples([options.data]), pictures_of([options.face_free]))
    images = [draw_mosaic(sources, MosaicRules(), np.random.default_rng(n)).image for n in range(options.mosaics)]
    torch.manual_seed(0)
    network = FaceDetectorNet().eval()
    untrained = take_folded(network, network_weights(options.model))
    with torch.no_grad():
        network(torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float())
    metadata = {entry.key: entry.value for entry in onnx.load(options.model).metadata_props}
    write_tensors(options.out, network.state_dict(), {DETECTOR_KEY: metadata[DETECTOR_KEY]})
    layers = dict.fromkeys(name.rpartition(".")[0] for name in untrained)
    print(f"{options.out}: untrained {', '.join(layers) or 'nothing'}")


if __name__ == "__main__":
    main()
