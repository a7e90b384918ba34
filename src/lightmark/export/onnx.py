"""ONNX files: a checkpoint's network with its ModelSpec in the metadata, checked against torch before it is kept."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch

from lightmark.errors import ExportError, MissingExtraError
from lightmark.export.parity import Parity, measure_parity
from lightmark.files import replacing
from lightmark.nets.checkpoint import TorchModel, load_model
from lightmark.runtime.onnx_model import OnnxModel
from lightmark.spec import METADATA_KEY, spec_to_json

TOLERANCE_PX = 0.01  # fp32 arithmetic in another order moves points by about 1e-4 px


def export_onnx(checkpoint: str | Path, out: str | Path, tolerance: float = TOLERANCE_PX) -> Parity:
    """Write the network of `checkpoint` as an ONNX file, any batch size, float32, and return how far it is from torch.

    Input `crops` (B, 3, S, S) normalised as the spec says, output `unit_points` (B, N, 2). Raises `ExportError` and
    leaves no file where the written file's points differ from torch's by more than `tolerance` crop pixels.
    """
    model = load_model(checkpoint)
    with replacing(out) as temporary:
        _write(model, temporary)
        parity = measure_parity(OnnxModel(temporary), model, np.random.default_rng(0))
        if not parity.largest <= tolerance:
            raise ExportError(
                f"{out}: the exported points differ from torch's by up to {parity.largest:.4f} px, {tolerance} "
                "allowed, so no file was left; another release of torch or onnxscript may write it right"
            )
    return parity


def _write(model: TorchModel, path: Path) -> None:
    try:
        import onnx
        import onnxscript  # noqa: F401  # torch's exporter needs it, and says so less plainly
    except ImportError as error:
        raise MissingExtraError(f'ONNX export needs {error.name}: pip install "lightmark[export]"') from error
    # Two crops: an example of one would make the exporter take the batch for a constant.
    example = torch.zeros(2, 3, model.spec.size, model.spec.size)
    with _quiet():
        program = torch.onnx.export(
            model.network.cpu().to(memory_format=torch.contiguous_format),
            (example,),
            dynamo=True,
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            input_names=["crops"],
            output_names=["unit_points"],
            verbose=False,
        )
    if program is None:
        raise ExportError(f"{path}: torch's exporter gave no program")
    proto = program.model_proto
    onnx.helper.set_model_props(proto, {METADATA_KEY: spec_to_json(model.spec)})
    onnx.save(proto, str(path))


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
