"""ExecuTorch files (batch 1, float32), with the operators that XNNPACK supports delegated to it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lightmark.export.graph import quiet, takes_bytes
from lightmark.export.onnx_to_torch import example_crop, graph_module
from lightmark.spec import ModelSpec


def write_executorch(graph: Any, spec: ModelSpec, out: Path) -> None:
    """Write a ModelProto as `out`, ending in .pte."""
    import torch
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower

    with quiet():
        exported = torch.export.export(graph_module(graph), (example_crop(spec, takes_bytes(graph)),))
        program = to_edge_transform_and_lower(exported, partitioner=[XnnpackPartitioner()]).to_executorch()
        out.write_bytes(program.buffer)
