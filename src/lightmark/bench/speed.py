"""Latency, throughput and memory of exported models, relative to the GEMM rate of the machine."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lightmark.bench.costs import Costs, model_costs
from lightmark.bench.machine import MatrixRate, peak_memory, processor_kind
from lightmark.errors import ConfigError
from lightmark.files import sha256_of
from lightmark.provenance import git_commit, versions
from lightmark.runtime.model_file import open_exported
from lightmark.runtime.shipped import model_path
from lightmark.spec import ModelSpec

if TYPE_CHECKING:
    from rich.table import Table

ROUNDS = 30
SLICE_SECONDS = 0.02  # of one model in one round: longer than a call, shorter than changes of the machine's speed
NOT_MEASURED = "Not measured: phones and other Arm processors, GPUs, browsers."
HOW = (
    "A call goes from uint8 crops to points, normalisation included. In every round each model runs for 20 ms, "
    "after one warm-up call; its value is the median of these calls. ms gives the quartiles over the "
    "rounds, times and share the median over the rounds of ratios within one; best is the fastest round's value, to be "
    "compared where other work ran on the same cores (taskset -c pins to an idle one)."
)


@dataclass(frozen=True)
class Speed:
    """Speed of a model in batches of `batch` crops on `threads` threads.

    `ms` are the lower quartile, median and upper quartile of milliseconds per face over the rounds, `best_ms` the
    fastest round. `times` is the speed relative to the first model, `best_times` the same by the fastest rounds.
    `gflops` is the machine's GEMM rate, `share` the rate of the model's operations relative to it (None if its
    multiply-adds are unknown).
    """

    model: str
    threads: int
    batch: int
    ms: tuple[float, float, float]
    best_ms: float
    faces_per_second: float
    times: float
    best_times: float
    share: float | None
    gflops: float


@dataclass(frozen=True)
class _Subject:
    name: str
    path: Path
    spec: ModelSpec
    costs: Costs


def bench_models(
    names: Sequence[str], threads: Sequence[int] = (1,), batches: Sequence[int] = (1, 32), rounds: int = ROUNDS
) -> dict[str, Any]:
    """Measure speed and costs of shipped models or exported files in interleaved rounds, as a JSON-ready dict.

    Models are interleaved, since the speed of a machine changes over seconds. Raises `ConfigError` for no model, a
    repeated one or numbers below 1, and what `open_exported` raises.
    """
    if not names or len(set(names)) < len(names):
        raise ConfigError(f"models {', '.join(names) or 'none'}: needs at least one, each once")
    if min(*threads, *batches, rounds) < 1:
        raise ConfigError(f"threads {threads}, batches {batches}, rounds {rounds}: each must be 1 or more")
    subjects = [_subject(name) for name in names]
    speeds = [speed for count in threads for speed in _measure(subjects, count, batches, rounds)]
    return {
        "how": HOW,
        "not_measured": NOT_MEASURED,
        "machine": processor_kind(),
        "versions": versions(),
        "commit": git_commit(),
        "rounds": rounds,
        "models": {one.name: _facts(one, threads[0], max(batches)) for one in subjects},
        "speeds": [asdict(speed) for speed in speeds],
    }


def _subject(name: str) -> _Subject:
    path = model_path(name)
    spec = open_exported(path, threads=1).spec
    return _Subject(name, path, spec, model_costs(path, spec))


def _facts(one: _Subject, threads: int, batch: int) -> dict[str, Any]:
    memory = peak_memory(one.path, threads, batch)
    return {
        **asdict(one.costs),
        "precision": one.spec.provenance.get("precision", "fp32"),
        "size": one.spec.size,
        "sha256": sha256_of(one.path),
        "peak_memory": memory and {"before": memory[0], "after": memory[1], "threads": threads, "batch": batch},
    }


def _measure(subjects: Sequence[_Subject], threads: int, batches: Sequence[int], rounds: int) -> list[Speed]:
    calls = {(one.name, batch): _call(one, threads, batch) for one in subjects for batch in batches}
    seconds: dict[tuple[str, int], list[float]] = {key: [] for key in calls}
    rates = []
    with MatrixRate(threads) as rate:
        rate()  # a warm-up
        for _ in range(rounds):
            rates.append(rate())
            for key, call in calls.items():
                seconds[key].append(time_slice(call) / key[1])
    keys = [(one, batch) for batch in batches for one in subjects]
    first = subjects[0].name
    return [_speed(one, threads, batch, seconds[one.name, batch], seconds[first, batch], rates) for one, batch in keys]


def _call(one: _Subject, threads: int, batch: int) -> Callable[[], object]:
    model = open_exported(one.path, threads)
    shape = (batch, one.spec.size, one.spec.size, 3)
    crops = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    return lambda: model.outputs(crops)


def time_slice(call: Callable[[], object], clock: Callable[[], float] = time.perf_counter) -> float:
    """Median seconds of calls that take at least `SLICE_SECONDS` together, after a warm-up call."""
    call()
    durations: list[float] = []
    while sum(durations) < SLICE_SECONDS:
        start = clock()
        call()
        durations.append(clock() - start)
    return float(np.median(durations))


def _speed(
    one: _Subject, threads: int, batch: int, seconds: list[float], first: list[float], rates: list[float]
) -> Speed:
    """Speed from the seconds per face of the model and of the `first` one, and the GEMM rates, of all rounds."""
    durations, rate = np.array(seconds), np.array(rates)
    low, median, high = (float(1000 * value) for value in np.quantile(durations, [0.25, 0.5, 0.75]))
    adds = one.costs.multiply_adds
    return Speed(
        model=one.name,
        threads=threads,
        batch=batch,
        ms=(low, median, high),
        best_ms=1000 * min(seconds),
        faces_per_second=1000 / median,
        times=float(np.median(np.array(first) / durations)),
        best_times=min(first) / min(seconds),
        share=None if adds is None else float(np.median(2 * adds / durations / rate)),
        gflops=float(np.median(rate)) / 1e9,
    )


def bench_tables(report: Mapping[str, Any]) -> list[Table]:
    """Tables of costs and of speeds from a result of `bench_models`."""
    from rich.table import Table

    costs = Table(title="Costs; peak memory of a process that runs one batch, and before the model was loaded")
    for column in ("model", "precision", "crop", "MB", "params M", "MAdds M", "peak MB"):
        costs.add_column(column, justify="left" if column in ("model", "precision") else "right")
    for name, facts in report["models"].items():
        memory = facts["peak_memory"]
        peak = f"{memory['after'] / 1e6:.0f} ({memory['before'] / 1e6:.0f})" if memory else "–"
        figures = [_millions(facts[key]) for key in ("bytes", "parameters", "multiply_adds")]
        costs.add_row(name, facts["precision"], f"{facts['size']} px", *figures, peak)
    machine = report["machine"]
    vnni = {True: ", VNNI", False: ", no VNNI", None: ""}[machine["vnni"]]
    rates = {speed["threads"]: speed["gflops"] for speed in report["speeds"]}
    rated = ", ".join(f"{rate:.0f} GFLOP/s on {count}" for count, rate in rates.items())
    speeds = Table(title=f"Speeds on {machine['processor']}{vnni}; float32 matrices (GEMM): {rated}")
    for column in ("model", "threads", "batch", "ms a face", "best", "faces/s", "times", "of GEMM"):
        speeds.add_column(column, justify="left" if column == "model" else "right")
    for speed in report["speeds"]:
        low, median, high = speed["ms"]
        times = f"{speed['times']:.2f} ({speed['best_times']:.2f})"
        share = "–" if speed["share"] is None else f"{100 * speed['share']:.0f} %"
        span, rate = f"{median:.2f} [{low:.2f}, {high:.2f}]", f"{speed['faces_per_second']:.0f}"
        count, batch, best = str(speed["threads"]), str(speed["batch"]), f"{speed['best_ms']:.2f}"
        speeds.add_row(speed["model"], count, batch, span, best, rate, times, share)
    return [costs, speeds]


def bench_json(report: Mapping[str, Any]) -> str:
    """JSON text of a result of `bench_models`."""
    return json.dumps(report, indent=1, ensure_ascii=False) + "\n"


def _millions(number: int | None) -> str:
    return "–" if number is None else f"{number / 1e6:.2f}"
