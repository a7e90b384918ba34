"""Accuracy, size, memory and latency of each export format, on 300W's common test faces and one core.

    python benchmarks/precision.py --data 300w --model standard --model fast

Every student is exported to all formats with an installed converter and runtime, with planes and, if possible, with
uint8 crops as input, calibrated on 256 training faces of --data (seed 0). Each file is compared with onnxruntime's
float32 file with planes as input: NME in the crops of the labels' boxes, with the paired bootstrap interval of the
difference, and latency from crop to points in batches of 1 by `lightmark.bench.speed`, pinned to one core. These faces
choose no setting. The target: the NME of onnxruntime's int8 with uint8 input within 2 %, relatively, and its median
speed, as ratio within a round, at least doubled. Exit status 1 if it is missed. Writes
benchmarks/results/precision.json and the same numbers as a table, precision.md.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from lightmark.bench.machine import processor_kind
from lightmark.bench.speed import HOW, bench_models
from lightmark.cli.training import training_samples
from lightmark.data.sample import Sample
from lightmark.evaluate.compare import PairedSummary
from lightmark.evaluate.degradation import measure_degradation
from lightmark.export.exporter import Exported, export_formats
from lightmark.export.formats import FORMATS, FileFormat, files_of
from lightmark.files import replacing, sha256_of
from lightmark.outputs import require_free
from lightmark.provenance import git_commit, versions
from lightmark.runtime.shipped import model_path, shipped_hashes

RUNTIMES: dict[str, str] = {"litert": "LiteRT", "openvino": "OpenVINO", "ncnn": "ncnn", "executorch": "ExecuTorch"}
SUBSET = "common"
INPUTS = {"planes": False, "bytes": True}
LOSS, TIMES = 0.02, 2.0  # the target
HEAD = (
    "| student | runtime, precision, input | common NME, % | against fp32, points | MB | ms | best ms | times |",
    "|---|---|---:|---:|---:|---:|---:|---:|",
)
RESULT = Path(__file__).parent / "results" / "precision.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="300W")
    parser.add_argument("--model", action="append", required=True, help="shipped name, float32 ONNX file or checkpoint")
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--core", type=int, default=0)
    parser.add_argument("--out", type=Path, default=RESULT)
    parser.add_argument("--force", action="store_true", help="write over what is there")
    options = parser.parse_args()
    require_free([options.out, options.out.with_suffix(".md")], force=options.force)
    os.sched_setaffinity(0, {options.core})
    faces = training_samples([options.data])
    formats = [name for name, one in FORMATS.items() if one.verified and all(map(find_spec, one.packages))]
    students = {model: measure(model, formats, faces, options.data, options.rounds) for model in options.model}
    met = {model: meets_bar(rows) for model, rows in students.items()}
    result = {
        "command": ["python", *sys.argv],
        "commit": git_commit(),
        "models": shipped_hashes(*options.model),
        "versions": versions(),
        "machine": processor_kind() | {"cores": 1},
        "how": HOW,
        "rounds": options.rounds,
        "subset": SUBSET,
        "bar": {"loss": LOSS, "times": TIMES, "met": met},
        "not_measured": [file_format for file_format in FORMATS if file_format not in formats],
        "students": students,
    }
    table = "\n".join([*HEAD, *(line(model, name, row) for model in students for name, row in students[model].items())])
    for out, text in ((options.out, json.dumps(result, indent=1)), (options.out.with_suffix(".md"), table)):
        with replacing(out) as path:
            path.write_text(text + "\n", encoding="utf-8")
    print(table)
    sys.exit(0 if all(met.values()) else 1)


def measure(
    model: str, formats: Sequence[FileFormat], faces: Sequence[Sample], data: Path, rounds: int
) -> dict[str, dict[str, Any]]:
    """Accuracy, size and speed of each format of one student; first onnxruntime's float32 file with planes as input."""
    with tempfile.TemporaryDirectory() as scratch:
        written: dict[str, Exported] = {}
        for kind, uint8_input in INPUTS.items():
            outs = {
                file_format: Path(scratch) / f"{file_format}-{kind}{FORMATS[file_format].suffix}"
                for file_format in formats
                if FORMATS[file_format].uint8_input or not uint8_input
            }
            for one in export_formats(model_path(model), outs, faces, uint8_input):
                written[name_of(one.file_format, kind)] = one
        paths = [one.path for one in written.values()]
        lost = measure_degradation(paths[0], paths, data, SUBSET)
        timed = bench_models([str(path) for path in paths], batches=[1], rounds=rounds)
        return {name: describe(one, lost[str(one.path)], timed) for name, one in written.items()}


def name_of(file_format: FileFormat, kind: str) -> str:
    """Name of a row: runtime, precision and input, such as "onnxruntime, int8, bytes"."""
    return f"{RUNTIMES.get(file_format.partition('-')[0], 'onnxruntime')}, {FORMATS[file_format].precision}, {kind}"


def describe(one: Exported, lost: PairedSummary, timed: Mapping[str, Any]) -> dict[str, Any]:
    """Results of one file as a JSON-ready dict; times and losses are relative to the float32 file with planes."""
    assert one.parity is not None  # only verified formats are exported
    facts, change = timed["models"][str(one.path)], lost.difference
    (speed,) = [speed for speed in timed["speeds"] if speed["model"] == str(one.path)]
    return {
        "faces": lost.faces,
        "nme": lost.b,
        "difference": change.to_dict(),
        "relative": change.value / lost.a,
        "parity_px": {"mean": one.parity.mean, "largest": one.parity.largest},
        "bytes": sum(path.stat().st_size for path in files_of(one.file_format, one.path)),
        "sha256": sha256_of(one.path),
        "peak_memory": facts["peak_memory"],
        "speed": {key: value for key, value in speed.items() if key != "model"},
    }


def meets_bar(rows: Mapping[str, Mapping[str, Any]]) -> bool:
    """Whether onnxruntime's int8 meets the target."""
    int8 = rows[name_of("onnx-int8", "bytes")]
    return bool(int8["relative"] <= LOSS and int8["speed"]["times"] >= TIMES)


def line(model: str, name: str, row: Mapping[str, Any]) -> str:
    """Row of the Markdown table: one format of one student."""
    speed = row["speed"]
    value, low, high = (f"{100 * row['difference'][key]:+.3f}" for key in ("value", "low", "high"))
    return (
        f"| `{model}` | {name} | {100 * row['nme']:.3f} | {value} [{low}, {high}] | {row['bytes'] / 1e6:.1f} "
        f"| {speed['ms'][1]:.2f} | {speed['best_ms']:.2f} | {speed['times']:.2f} |"
    )


if __name__ == "__main__":
    main()
