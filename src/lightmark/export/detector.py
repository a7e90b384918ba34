"""Export of the face detector as ONNX, from uint8 pixels to boxes and keypoints, verified against torch."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lightmark.detectors.face_detector import DETECTOR_KEY, OUTPUTS
from lightmark.errors import CheckpointError, ExportError
from lightmark.export.onnx import write_graph
from lightmark.export.parity import TOLERANCE_PX
from lightmark.files import replacing
from lightmark.nets.checkpoint import load_weights, read_tensors
from lightmark.nets.face_detector import MULTIPLE, FaceDetectorNet
from lightmark.runtime.onnx_model import open_session


class _FromPixels(torch.nn.Module):
    """Face detector with uint8 pixels as input and scores instead of logits as output."""

    def __init__(self, network: FaceDetectorNet) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """uint8 (B, H, W, 3) → boxes (B, C, 4) in its pixels, scores (B, C) from 0 to 1, keypoints (B, C, 5, 2)."""
        logits, boxes, keypoints = self.network(image.permute(0, 3, 1, 2).float())
        return boxes, logits.sigmoid(), keypoints


def load_face_detector(checkpoint: Path) -> tuple[FaceDetectorNet, dict[str, object]]:
    """Load a face detector's checkpoint: the network in evaluation mode, and the provenance of its training.

    Raises `CheckpointError` for a file that is no checkpoint of a face detector.
    """
    tensors, metadata = read_tensors(checkpoint)
    if DETECTOR_KEY not in metadata:
        raise CheckpointError(f"{checkpoint}: no face detector; `lightmark train-detector` makes one")
    network = FaceDetectorNet()
    load_weights(network, tensors, str(checkpoint))
    return network.eval(), json.loads(metadata[DETECTOR_KEY])


def export_detector(checkpoint: Path, out: Path, threshold: float, possible: float | None = None) -> float:
    """Write the detector of `checkpoint` as ONNX; returns the largest difference from torch in pixels.

    Input `image` uint8 RGB (B, H, W, 3), H and W multiples of 32; outputs `boxes` (B, C, 4) and `keypoints`
    (B, C, 5, 2) in its pixels and `scores` (B, C). `threshold` is the score from which a box is a detection, `possible`
    (None: the same) the score from which it is a candidate that a landmark model with confidence has to confirm. Raises
    `ExportError`, and writes no file, if boxes or keypoints differ by more than 0.01 px or scores by more than 0.0001.
    """
    network, provenance = load_face_detector(checkpoint)
    module = _FromPixels(network).eval()
    scores = {"threshold": threshold, "possible": threshold if possible is None else possible}
    metadata = {DETECTOR_KEY: json.dumps({**scores, "multiple": MULTIPLE, "provenance": provenance})}
    rows, columns = (MULTIPLE * torch.export.Dim(name, min=2) for name in ("rows", "columns"))
    example = torch.zeros(2, 4 * MULTIPLE, 5 * MULTIPLE, 3, dtype=torch.uint8)
    shapes = {0: torch.export.Dim("batch"), 1: rows, 2: columns}
    with replacing(out) as temporary:
        write_graph(module, example, shapes, ["image"], list(OUTPUTS), metadata, temporary)
        boxes, by_score, keypoints = _differences(temporary, module)
        if max(boxes, keypoints) > TOLERANCE_PX or by_score > 1e-4:
            raise ExportError(
                f"{out}: the exported boxes differ from torch's by up to {boxes:.4f} px, the keypoints by "
                f"{keypoints:.4f} px, the scores by {by_score:.5f}, so no file was left; another release of torch or "
                "onnxscript may write it right"
            )
    return max(boxes, keypoints)


def _differences(path: Path, module: _FromPixels) -> list[float]:
    """Largest difference of each of `OUTPUTS`, over pictures of several sizes and a batch of two."""
    session, rng = open_session(path, threads=None), np.random.default_rng(0)
    largest = [0.0] * len(OUTPUTS)
    for shape in ((1, 256, 320, 3), (1, 320, 64, 3), (2, 128, 128, 3)):
        image = rng.integers(0, 256, shape, dtype=np.uint8)
        with torch.inference_mode():
            expected = [tensor.numpy() for tensor in module(torch.from_numpy(image))]
        outputs = session.run(OUTPUTS, {"image": image})
        largest = [max(a, float(abs(x - y).max())) for a, x, y in zip(largest, outputs, expected, strict=True)]
    return largest
