"""The machine is described, its rate measured on the threads asked for, a model's memory in a process of its own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lightmark.bench import machine
from lightmark.bench.machine import MatrixRate, has_vnni, peak_bytes, peak_memory, processor
from lightmark.errors import ConfigError
from lightmark.runtime.shipped import model_path


def test_matrix_products_have_a_rate() -> None:
    """The rate is measured on each call, and the process ends with the block."""
    with MatrixRate(threads=1) as rate:
        rates = [rate(), rate()]
    assert all(1e8 < one < 1e14 for one in rates)
    assert rate._child.returncode == 0


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux tells a process's own peak")
def test_memory_is_that_of_a_fresh_process() -> None:
    """However much this one holds; a larger batch takes more."""
    held = np.ones(50_000_000)  # 400 MB
    one, many = (peak_memory(model_path("fast"), 1, batch) for batch in (1, 32))
    assert one is not None
    assert many is not None
    assert peak_bytes() > held.nbytes > one[1] > one[0] > 1e6
    assert many[1] > one[1]


def test_a_model_that_does_not_run_is_named(tmp_path) -> None:
    """With the last line that the process left."""
    with pytest.raises(ConfigError, match=r"m\.onnx: a fresh process cannot run it.*no such model file"):
        peak_memory(tmp_path / "m.onnx", 1, 1)


def test_processors_are_named_where_the_system_names_them(monkeypatch) -> None:
    """From Linux's list; elsewhere the name comes from Python and VNNI is not known."""
    lines = {"model name": "Abacus 9000", "flags": "fpu avx512_vnni sse"}
    monkeypatch.setattr(machine, "_cpu_lines", lambda: lines)
    assert (processor(), has_vnni()) == ("Abacus 9000", True)
    lines["flags"] = "fpu avx2"
    assert has_vnni() is False
    lines.clear()
    assert processor()
    assert has_vnni() is None
