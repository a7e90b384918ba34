"""ONNX files: a checkpoint's network with its ModelSpec in the metadata, checked against torch before it is kept."""

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
    """Write the network of `checkpoint` as an ONNX file, any batch size, float32, and return how far it is from torch.

    Input `crops` (B, 3, S, S) normalised as the spec says, output `unit_points` (B, N, 2) and, of a network with
    confidence, `errors` (B, N) and `presence` (B,). Raises `ExportError` and leaves no file where the written file's
    points or expected errors differ from torch's by more than `tolerance` crop pixels, or its presence by as much;
    `SpecError` for a model that no detector's box serves.
    """
    model = load_model(checkpoint)
    require_face_box(model.spec, str(checkpoint))
    # What is told of the checkpoint already stands: it may be an annotated copy of the one that was trained.
    origin = {"checkpoint_sha256": sha256_of(checkpoint), **model.spec.provenance, "precision": "fp32"}
    with replacing(out) as temporary:
        _write(model, replace(model.spec, provenance=origin), temporary)
        crops = random_crops(model.spec.size, CROPS, np.random.default_rng(0))
        parity = measure_parity(OnnxModel(temporary), model, crops)
        require_same(parity, "torch", out, tolerance)
    return parity


def _write(model: TorchModel, spec: ModelSpec, path: Path) -> None:
    # Two crops: an example of one would make the exporter take the batch for a constant.
    example = torch.zeros(2, 3, model.spec.size, model.spec.size)
    network = model.network.cpu().to(memory_format=torch.contiguous_format)
    names = ["unit_points", "errors", "presence"] if model.spec.confidence else ["unit_points"]
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
    """Write `module`, which takes one tensor like `example` of `dynamic` sides, as ONNX with `metadata`.

    Raises `MissingExtraError` where the exporter is not installed, `ExportError` where it gives nothing.
    """
    import_onnx()
    try:
        import onnxscript  # noqa: F401  # torch's exporter needs it, and says so less plainly
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
    # The exporter leaves the stack of each layer in its nodes, which writing removes.
    write_model(program.model_proto, metadata, path)


class _WithConfidence(torch.nn.Module):
    """The exporter runs `forward`; this one gives all three outputs."""

    def __init__(self, network: LandmarkNet) -> None:
        super().__init__()
        self.network = network

    def forward(self, planes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Planes (B, 3, S, S) → normalized_points (B, N, 2), errors (B, N), presence (B,)."""
        return self.network.with_confidence(planes)
