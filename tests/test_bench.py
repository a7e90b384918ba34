"""Tests of the benchmark's results for one and several models; none depends on the speed of the machine."""

from __future__ import annotations

import json
from itertools import count
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from lightmark.bench import speed as bench
from lightmark.bench.speed import SLICE_SECONDS, bench_models, bench_tables, time_slice
from lightmark.cli import main
from lightmark.errors import CheckpointError, ConfigError
from lightmark.schema import plain_schema
from lightmark.spec import ModelSpec, spec_to_json

SPEC = ModelSpec(plain_schema(3), size=16, provenance={"parameters": 12, "multiply_adds": 3000, "precision": "fp16"})


@pytest.fixture
def tiny(write_onnx) -> str:
    """A model of three points that ignores the picture."""
    return str(write_onnx("tiny.onnx", np.full((3, 2), 0.5), 16, spec_to_json(SPEC)))


def test_every_model_threads_and_batch_is_measured(tiny, write_onnx) -> None:
    """Each combination has its speed, the first model being once as fast as itself."""
    other = str(write_onnx("other.onnx", np.full((3, 2), 0.5), 16, spec_to_json(SPEC)))
    report = bench_models([tiny, other], threads=(1, 2), batches=(1, 3), rounds=2)
    found = [(speed["model"], speed["threads"], speed["batch"]) for speed in report["speeds"]]
    assert sorted(found) == sorted((name, t, b) for name in (tiny, other) for t in (1, 2) for b in (1, 3))
    for speed in report["speeds"]:
        low, median, high = speed["ms"]
        assert 0 < speed["best_ms"] <= low <= median <= high
        assert speed["faces_per_second"] == pytest.approx(1000 / median)
        assert speed["share"] > 0
        if speed["model"] == tiny:
            assert speed["times"] == speed["best_times"] == 1


def test_costs_are_reported(tiny) -> None:
    """Size, parameters, multiply-adds, precision and memory, and what was not measured."""
    report = bench_models([tiny], batches=(1,), rounds=1)
    facts = report["models"][tiny]
    assert facts["bytes"] == Path(tiny).stat().st_size
    assert (facts["parameters"], facts["multiply_adds"], facts["precision"]) == (12, 3000, "fp16")
    assert facts["peak_memory"] is None or facts["peak_memory"]["after"] >= facts["peak_memory"]["before"] > 1e6
    assert "phones" in report["not_measured"]
    costs, speeds = bench_tables(report)
    assert [next(iter(column.cells)) for column in costs.columns][:3] == [tiny, "fp16", "16 px"]
    assert next(iter(speeds.columns[1].cells)) == "1"


def test_a_turn_is_the_median_after_a_call_that_does_not_count() -> None:
    """A clock that takes 1, 2, 3 … hundredths of a second a call."""
    called = []
    times = (sum(range(index // 2 + index % 2 + 1)) / 100 for index in count())
    assert time_slice(lambda: called.append(1), lambda: next(times)) == pytest.approx(0.015)
    assert len(called) == 3  # one warm-up, then 0.01 and 0.02 s, which fill a turn
    assert 0.01 < SLICE_SECONDS <= 0.03


@pytest.mark.parametrize(
    ("names", "options", "words"),
    [
        ([], {}, "models none: needs at least one, each once"),
        (["fast", "fast"], {}, "models fast, fast: needs at least one, each once"),
        (["fast"], {"rounds": 0}, "rounds 0: each must be 1 or more"),
        (["fast"], {"batches": (0,)}, r"batches \(0,\)"),
    ],
)
def test_what_cannot_be_measured_is_refused(names, options, words) -> None:
    """Invalid models and numbers raise an error before anything is measured."""
    with pytest.raises(ConfigError, match=words):
        bench_models(names, **options)


def test_a_name_that_is_none_lists_the_shipped() -> None:
    """A typing error is answered as everywhere."""
    with pytest.raises(CheckpointError, match=r"fasst: no model file and no shipped model \(.*fast"):
        bench_models(["fasst"])


def test_the_command_prints_tables_and_writes_json(tiny, tmp_path) -> None:
    """The command prints tables and writes JSON, and replaces no file without --force."""
    out = tmp_path / "bench.json"
    options = ["bench", tiny, "--batch", "1,2", "--rounds", "1", "--json", str(out)]
    result = CliRunner().invoke(main, options)
    assert result.exit_code == 0, result.output
    for words in ("Speeds on", "peak MB", "Not measured: phones"):
        assert words in result.output
    report = json.loads(out.read_text())
    assert [speed["batch"] for speed in report["speeds"]] == [1, 2]
    assert {"command", "commit", "versions", "machine"} <= report.keys()
    assert CliRunner().invoke(main, options).exit_code == 2
    assert CliRunner().invoke(main, [*options, "--force"]).exit_code == 0


@pytest.mark.parametrize("words", ["one", "0", "", "1,,2"])
def test_lists_of_numbers_are_explained(words) -> None:
    """An invalid list of numbers raises an error with an example."""
    result = CliRunner().invoke(main, ["bench", "fast", "--batch", words])
    assert result.exit_code == 2
    assert "such as 1,32" in result.output


def test_all_shipped_models_by_default(monkeypatch) -> None:
    """Without a name, everything in the package."""
    asked = []
    monkeypatch.setattr(
        bench, "bench_models", lambda names, *_: asked.extend(names) or (_ for _ in ()).throw(SystemExit)
    )
    CliRunner().invoke(main, ["bench"])
    assert "fast" in asked
