"""Machine facts for benchmarks: CPU, GEMM rate, peak memory of a model."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path
from types import TracebackType

from lightmark.errors import ConfigError

SIDE = 1024  # of the matrices: 4 MB each, far beyond the first caches, 20 ms at 100 GFLOP/s
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
EIGHT_BIT = {"avx512_vnni", "avx_vnni", "avxvnni"}  # flags of processors that sum four products of bytes at once

_MULTIPLY = f"""
import sys, time
import numpy
a, b = numpy.random.default_rng(0).random((2, {SIDE}, {SIDE}), dtype=numpy.float32)
out = a @ b
for _ in sys.stdin:
    start = time.perf_counter()
    numpy.matmul(a, b, out=out)
    print(time.perf_counter() - start, flush=True)
"""

_RUN_ONCE = """
import sys
from pathlib import Path
import numpy
from lightmark.bench.machine import peak_bytes
from lightmark.runtime.model_file import open_exported
path, threads, batch = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
if path.suffix == ".onnx":
    from lightmark.runtime.onnx_model import import_onnxruntime
    import_onnxruntime()
before = peak_bytes()
model = open_exported(path, threads)
model.outputs(numpy.zeros((batch, model.spec.size, model.spec.size, 3), numpy.uint8))
print(before, peak_bytes())
"""


class MatrixRate:
    """Rate of numpy's float32 matrix product on `threads` threads, in floating-point operations a second.

    It is measured in a process of its own, since numpy takes its number of threads when it is loaded, which waits
    between calls. Use it in a `with` statement.
    """

    def __init__(self, threads: int) -> None:
        self._threads = threads

    def __enter__(self) -> MatrixRate:
        """Start the process."""
        environment = os.environ | dict.fromkeys(THREAD_VARIABLES, str(self._threads))
        self._child = subprocess.Popen(
            [sys.executable, "-c", _MULTIPLY],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        return self

    def __call__(self) -> float:
        """Multiply once: 2 · side³ operations."""
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        self._child.stdin.write("\n")
        self._child.stdin.flush()
        return 2 * SIDE**3 / float(self._child.stdout.readline())

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the process."""
        self._child.communicate()


def peak_memory(path: Path, threads: int, batch: int) -> tuple[int, int] | None:
    """Most bytes that a fresh process held before it opened the model at `path`, and after it ran `batch` crops.

    None where the system does not tell. Raises `ConfigError` where the process fails.
    """
    command = [sys.executable, "-c", _RUN_ONCE, str(path), str(threads), str(batch)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        last = done.stderr.strip().rpartition("\n")[2]
        raise ConfigError(f"{path}: a fresh process cannot run it, so its memory is not known: {last}")
    before, after = done.stdout.split()
    return None if "None" in (before, after) else (int(before), int(after))


def peak_bytes() -> int | None:
    """Most memory that this process held at any time, None where the system does not tell."""
    status = Path("/proc/self/status")
    if status.exists():
        # Linux keeps ru_maxrss of the process that started this one, which may have held far more.
        lines = status.read_text(encoding="utf-8").splitlines()
        return next((1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM:")), None)
    try:
        import resource
    except ImportError:  # Windows
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def processor() -> str:
    """What the system calls its processor."""
    return _cpu_lines().get("model name") or platform.processor() or platform.machine()


def processor_kind() -> dict[str, str | bool | None]:
    """What numbers of int8 files may depend on: the processor's name and whether it has VNNI."""
    return {"processor": processor(), "vnni": multiplies_bytes()}


def multiplies_bytes() -> bool | None:
    """Whether the processor has VNNI, by which int8 is fast on x86; None where the system does not tell."""
    flags = _cpu_lines().get("flags")
    return None if flags is None else not EIGHT_BIT.isdisjoint(flags.split())


def _cpu_lines() -> dict[str, str]:
    path = Path("/proc/cpuinfo")
    if not path.exists():
        return {}
    pairs = (line.partition(":") for line in path.read_text(encoding="utf-8").splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs}
