"""Core ML packages (batch 1, float32); they run only on Apple's systems, so that they are not verified here."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lightmark.export.graph import quiet
from lightmark.export.onnx_to_torch import GraphModule, example_crop, graph_module
from lightmark.spec import METADATA_KEY, ModelSpec, spec_to_json


def write_coreml(graph: Any, spec: ModelSpec, out: Path) -> None:
    """Write a ModelProto whose input is planes as the package `out`, for iOS 16, macOS 13 and later.

    The input is called `crops`; the outputs have the names of the graph's.
    """
    metadata = {METADATA_KEY: spec_to_json(spec)}
    write_package(graph_module(graph), example_crop(spec, uint8_input=False), "crops", metadata, out)


def write_package(module: GraphModule, example: Tensor, name: str, metadata: Mapping[str, str], out: Path) -> None:
    """Write `module` for inputs `name` like `example` as the package `out`; outputs have the names of the graph's."""
    with quiet(), redirect_stderr(StringIO()):  # version warnings and progress bars
        import coremltools

        program = torch.export.export(module, (example,))
        package = coremltools.convert(
            program.run_decompositions({}),
            inputs=[coremltools.TensorType(name=name, shape=tuple(example.shape))],
            outputs=[coremltools.TensorType(name=output) for output in module.output_names],
            minimum_deployment_target=coremltools.target.iOS16,
            compute_precision=coremltools.precision.FLOAT32,
        )
        package.user_defined_metadata.update(metadata)
        package.save(str(out))
