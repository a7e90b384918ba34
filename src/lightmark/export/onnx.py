"""Export of a checkpoint to float32 ONNX with its ModelSpec in the metadata, verified against torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from lightmark.errors import ExportError, MissingExtraError
from lightmark.export.graph import import_onnx, quiet, write_model
from lightmark.export.parity import CROPS, TOLERANCE_PX, Parity, measure_parity, random_crops, require_same
from lightmark.files import replacing, sha256_of
from lightmark.nets.checkpoint import TorchModel, load_model
from lightmark.nets.network import LandmarkNet
from lightmark.runtime.onnx_model import OnnxModel
from lightmark.spec import METADATA_KEY, ModelSpec, require_face_box, spec_to_json


def export_onnx(checkpoint: str | Path, out: str | Path, tolerance: float = TOLERANCE_PX) -> Parity:
    """Export the network of `checkpoint` to the ONNX file `out`, any batch size, and return its parity with torch.

    Input `crops` (B, 3, S, S), normalised by the spec. Outputs `normalized_points` (B, N, 2) and, with confidence,
    `expected_error` (B, N), relative to the crop's side, and `confidence` (B,).
    Raises `ExportError` and writes no file if points or expected errors differ from torch's by more than `tolerance`
    crop pixels, or the confidence by more than that number; `SpecError` for a model that cannot use detectors' boxes.
    """
    model = load_model(checkpoint)
    require_face_box(model.spec, str(checkpoint))
    # An sha256 in the provenance is not replaced: the checkpoint may be an annotated copy of the trained one.
    origin = {"checkpoint_sha256": sha256_of(checkpoint), **model.spec.provenance, "precision": "fp32"}
    with replacing(out) as temporary:
        _write(model, replace(model.spec, provenance=origin), temporary)
        crops = random_crops(model.spec.size, CROPS, np.random.default_rng(0))
        parity = measure_parity(OnnxModel(temporary), model, crops)
        require_same(parity, "torch", out, tolerance)
    return parity


def _write(model: TorchModel, spec: ModelSpec, path: Path) -> None:
    # A batch of two: the exporter would treat a batch size of 1 as a constant.
    example = torch.zeros(2, 3, model.spec.size, model.spec.size)
    network = model.network.cpu().to(memory_format=torch.contiguous_format)
    names = ["normalized_points", *(["expected_error", "confidence"] if model.spec.confidence else [])]
    module = _WithConfidence(network).eval() if model.spec.confidence else network
    shapes = {0: torch.export.Dim("batch")}
    write_graph(module, example, shapes, ["crops"], names, {METADATA_KEY: spec_to_json(spec)}, path)


def write_graph(
    module: torch.nn.Module,
    example: torch.Tensor,
    dynamic: Mapping[int, object],
    inputs: Sequence[str],
    outputs: Sequence[str],
    metadata: Mapping[str, str],
    path: Path,
) -> None:
    """Export `module` with one input tensor like `example` and `dynamic` dimensions as ONNX with `metadata`.

    Raises `MissingExtraError` if the exporter is not installed, `ExportError` if it returns nothing.
    """
    import_onnx()
    try:
        import onnxscript  # noqa: F401  # torch's exporter needs it, but its error has no install line
    except ImportError as error:
        raise MissingExtraError(f'ONNX export needs {error.name}: pip install "lightmark[export]"') from error
    with quiet():
        program = torch.onnx.export(
            module,
            (example,),
            dynamo=True,
            dynamic_shapes=(dynamic,),
            input_names=list(inputs),
            output_names=list(outputs),
            verbose=False,
        )
    if program is None:
        raise ExportError(f"{path}: torch's exporter gave no program")
    write_model(program.model_proto, metadata, path)


class _WithConfidence(torch.nn.Module):
    """Network whose `forward`, which the exporter traces, returns all three outputs."""

    def __init__(self, network: LandmarkNet) -> None:
        super().__init__()
        self.network = network

    def forward(self, planes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Planes (B, 3, S, S) → normalized_points (B, N, 2), expected errors (B, N), confidence (B,)."""
        return self.network.with_confidence(planes)
