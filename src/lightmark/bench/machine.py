"""Machine facts for benchmarks: CPU, GEMM rate, peak memory of a model."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path
from types import TracebackType

from lightmark.errors import ConfigError

SIDE = 1024  # of the matrices: 4 MB each, larger than the L1 and L2 caches, 20 ms at 100 GFLOP/s
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
VNNI_FLAGS = {"avx512_vnni", "avx_vnni", "avxvnni"}

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
    """Rate of numpy's float32 matrix product on `threads` threads, in floating-point operations per second.

    Measured in a separate process, since numpy's number of threads is fixed when it is loaded. Use it in a `with`
    statement.
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
        """Rate of one product of 2 · side³ operations."""
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
    """Peak memory in bytes of a fresh process before it opens the model at `path`, and after it runs `batch` crops.

    None if the system does not report it. Raises `ConfigError` if the process fails.
    """
    command = [sys.executable, "-c", _RUN_ONCE, str(path), str(threads), str(batch)]
    process = subprocess.run(command, check=False, capture_output=True, text=True)
    if process.returncode:
        last_line = process.stderr.strip().rpartition("\n")[2]
        raise ConfigError(f"{path}: a fresh process cannot run it, so its memory is not known: {last_line}")
    before, after = process.stdout.split()
    return None if "None" in (before, after) else (int(before), int(after))


def peak_bytes() -> int | None:
    """Peak memory of this process in bytes, None if the system does not report it."""
    status = Path("/proc/self/status")
    if status.exists():
        # Not ru_maxrss, which on Linux is inherited from the parent process.
        lines = status.read_text(encoding="utf-8").splitlines()
        return next((1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM:")), None)
    try:
        import resource
    except ImportError:  # Windows
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def processor() -> str:
    """Name of the processor."""
    return _cpu_lines().get("model name") or platform.processor() or platform.machine()


def processor_kind() -> dict[str, str | bool | None]:
    """Name of the processor and whether it has VNNI, on which speed and exactness of int8 depend."""
    return {"processor": processor(), "vnni": has_vnni()}


def has_vnni() -> bool | None:
    """Whether the processor has VNNI, without which int8 is slow on x86; None if the system does not report it."""
    flags = _cpu_lines().get("flags")
    return None if flags is None else not VNNI_FLAGS.isdisjoint(flags.split())


def _cpu_lines() -> dict[str, str]:
    path = Path("/proc/cpuinfo")
    if not path.exists():
        return {}
    pairs = (line.partition(":") for line in path.read_text(encoding="utf-8").splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs}
