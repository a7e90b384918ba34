"""ncnn files (batch 1, float32), converted from a torch trace by pnnx."""

from __future__ import annotations

import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from lightmark.errors import ExportError
from lightmark.export.graph import quiet
from lightmark.export.onnx_to_torch import example_crop, graph_module
from lightmark.spec import ModelSpec


def write_ncnn(graph: Any, spec: ModelSpec, out: Path) -> None:
    """Write a ModelProto whose input is planes as `out`, ending in .ncnn.param, and the .ncnn.bin beside it.

    The input is called `in0`, the outputs `out0` and, with confidence, `out1` and `out2`. Raises `ExportError` if pnnx
    fails.
    """
    import pnnx
    import torch

    with TemporaryDirectory() as scratch:
        traced = Path(scratch) / "model.pt"
        with quiet():
            example = example_crop(spec, uint8_input=False)
            torch.jit.trace(graph_module(graph), example).save(str(traced))  # type: ignore[no-untyped-call]  # torch's
        shape = f"inputshape=[1,3,{spec.size},{spec.size}]"
        command = [pnnx.EXEC_PATH, str(traced), shape, "fp16=0"]
        process = subprocess.run(command, check=False, capture_output=True, text=True, errors="replace", cwd=scratch)
        written = [traced.with_name(f"model.ncnn.{part}") for part in ("param", "bin")]
        if process.returncode or not all(part.is_file() for part in written):
            last_line = process.stderr.strip().rpartition("\n")[2]
            raise ExportError(f"{out}: pnnx failed with status {process.returncode}: {last_line}")
        for part, target in zip(written, (out, out.with_suffix(".bin")), strict=True):
            target.write_bytes(part.read_bytes())
