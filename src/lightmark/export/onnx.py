"""ONNX files: a checkpoint's network with its ModelSpec in the metadata, checked against torch before it is kept."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch

from lightmark.errors import ExportError, MissingExtraError
from lightmark.export.parity import Parity, measure_parity
from lightmark.files import replacing
from lightmark.nets.checkpoint import TorchModel, load_model
from lightmark.nets.network import LandmarkNet
from lightmark.runtime.onnx_model import OnnxModel
from lightmark.spec import METADATA_KEY, spec_to_json

TOLERANCE_PX = 0.01  # fp32 arithmetic in another order moves points by about 1e-4 px


def export_onnx(checkpoint: str | Path, out: str | Path, tolerance: float = TOLERANCE_PX) -> Parity:
    """Write the network of `checkpoint` as an ONNX file, any batch size, float32, and return how far it is from torch.

    Input `crops` (B, 3, S, S) normalised as the spec says, output `unit_points` (B, N, 2) and, of a network with
    confidence, `errors` (B, N) and `presence` (B,). Raises `ExportError` and leaves no file where the written file's
    points or expected errors differ from torch's by more than `tolerance` crop pixels, or its presence by as much.
    """
    model = load_model(checkpoint)
    with replacing(out) as temporary:
        _write(model, temporary)
        parity = measure_parity(OnnxModel(temporary), model, np.random.default_rng(0))
        if not all(found <= tolerance for found in (parity.largest, parity.errors, parity.presence)):
            raise ExportError(
                f"{out}: the exported points differ from torch's by up to {parity.largest:.4f} px (expected errors "
                f"{parity.errors:.4f} px, presence {parity.presence:.4f}), {tolerance} "
                "allowed, so no file was left; another release of torch or onnxscript may write it right"
            )
    return parity


def _write(model: TorchModel, path: Path) -> None:
    # Two crops: an example of one would make the exporter take the batch for a constant.
    example = torch.zeros(2, 3, model.spec.size, model.spec.size)
    network = model.network.cpu().to(memory_format=torch.contiguous_format)
    names = ["unit_points", "errors", "presence"] if model.spec.confidence else ["unit_points"]
    module = _WithConfidence(network).eval() if model.spec.confidence else network
    shapes = {0: torch.export.Dim("batch")}
    write_graph(module, example, shapes, ["crops"], names, {METADATA_KEY: spec_to_json(model.spec)}, path)


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
    try:
        import onnx
        import onnxscript  # noqa: F401  # torch's exporter needs it, and says so less plainly
    except ImportError as error:
        raise MissingExtraError(f'ONNX export needs {error.name}: pip install "lightmark[export]"') from error
    with _quiet():
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
    proto = program.model_proto
    for node in proto.graph.node:  # the exporter leaves the stack of each layer here, paths of this machine and all
        del node.metadata_props[:]
        node.doc_string = ""
    onnx.helper.set_model_props(proto, dict(metadata))
    onnx.save(proto, str(path))


class _WithConfidence(torch.nn.Module):
    """The exporter runs `forward`; this one gives all three outputs."""

    def __init__(self, network: LandmarkNet) -> None:
        super().__init__()
        self.network = network

    def forward(self, planes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Planes (B, 3, S, S) → unit_points (B, N, 2), errors (B, N), presence (B,)."""
        return self.network.with_confidence(planes)


@contextmanager
def _quiet() -> Iterator[None]:
    """Hold back the exporter's notes about its own internals."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
