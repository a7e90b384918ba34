"""What each form costs and gains: NME on 300W's common test faces, size, memory, and time a face on one core.

    python benchmarks/precision.py --data 300w --model standard --model fast

Every student given is exported to every form that can be written and run here, each once for planes and, where the
form can, once for bytes as input, calibrated on training faces of --data (256, seed 0), and measured beside
onnxruntime's float32 file for planes: NME in the crops of the labels' boxes, with the paired bootstrap interval of the
difference; time from crops to points, one crop a call, by `lightmark.bench.speed`, the process pinned to one core. No
setting is chosen by these faces. The bar: onnxruntime's int8 for bytes within 2 % of the NME, relatively, and, by the
median of the rounds' ratios, at least twice as fast. Exit status 1 if it is missed. Writes
benchmarks/results/precision.json and, the same as a table, precision.md.
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
from lightmark.export.exporter import Exported, export_forms
from lightmark.export.formats import FORMATS, Form, files_of
from lightmark.files import replacing, sha256_of
from lightmark.outputs import require_free
from lightmark.provenance import git_commit, versions
from lightmark.runtime.shipped import model_path

RUNTIMES: dict[str, str] = {"litert": "LiteRT", "openvino": "OpenVINO", "ncnn": "ncnn", "executorch": "ExecuTorch"}
SUBSET = "common"
INPUTS = {"planes": False, "bytes": True}
LOSS, TIMES = 0.02, 2.0  # the bar
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
    forms = [form for form, one in FORMATS.items() if one.verified and all(map(find_spec, one.packages))]
    students = {model: measure(model, forms, faces, options.data, options.rounds) for model in options.model}
    met = {model: meets_bar(rows) for model, rows in students.items()}
    result = {
        "command": ["python", *sys.argv],
        "commit": git_commit(),
        "versions": versions(),
        "machine": processor_kind() | {"cores": 1},
        "how": HOW,
        "rounds": options.rounds,
        "subset": SUBSET,
        "bar": {"loss": LOSS, "times": TIMES, "met": met},
        "not_measured": [form for form in FORMATS if form not in forms],
        "students": students,
    }
    table = "\n".join([*HEAD, *(line(model, name, row) for model in students for name, row in students[model].items())])
    for out, text in ((options.out, json.dumps(result, indent=1)), (options.out.with_suffix(".md"), table)):
        with replacing(out) as path:
            path.write_text(text + "\n", encoding="utf-8")
    print(table)
    sys.exit(0 if all(met.values()) else 1)


def measure(
    model: str, forms: Sequence[Form], faces: Sequence[Sample], data: Path, rounds: int
) -> dict[str, dict[str, Any]]:
    """Accuracy, size and speed of each form of one student, onnxruntime's float32 file for planes first."""
    with tempfile.TemporaryDirectory() as scratch:
        written: dict[str, Exported] = {}
        for taken, uint8_input in INPUTS.items():
            outs = {
                form: Path(scratch) / f"{form}-{taken}{FORMATS[form].suffix}"
                for form in forms
                if FORMATS[form].bytes_in or not uint8_input
            }
            for one in export_forms(model_path(model), outs, faces, uint8_input):
                written[name_of(one.form, taken)] = one
        paths = [one.path for one in written.values()]
        lost = measure_degradation(paths[0], paths, data, SUBSET)
        timed = bench_models([str(path) for path in paths], batches=[1], rounds=rounds)
        return {name: describe(one, lost[str(one.path)], timed) for name, one in written.items()}


def name_of(form: Form, taken: str) -> str:
    """Such as "onnxruntime, int8, bytes"."""
    return f"{RUNTIMES.get(form.partition('-')[0], 'onnxruntime')}, {FORMATS[form].precision}, {taken}"


def describe(one: Exported, lost: PairedSummary, timed: Mapping[str, Any]) -> dict[str, Any]:
    """What is known of one file; times and losses are those beside the float32 file for planes."""
    assert one.parity is not None  # each is run here
    facts, change = timed["models"][str(one.path)], lost.difference
    (speed,) = [speed for speed in timed["speeds"] if speed["model"] == str(one.path)]
    return {
        "faces": lost.faces,
        "nme": lost.b,
        "difference": change.to_dict(),
        "relative": change.value / lost.a,
        "parity_px": {"mean": one.parity.mean, "largest": one.parity.largest},
        "bytes": sum(path.stat().st_size for path in files_of(one.form, one.path)),
        "sha256": sha256_of(one.path),
        "peak_memory": facts["peak_memory"],
        "speed": {key: value for key, value in speed.items() if key != "model"},
    }


def meets_bar(rows: Mapping[str, Mapping[str, Any]]) -> bool:
    """Whether int8 loses little enough and gains enough."""
    int8 = rows[name_of("onnx-int8", "bytes")]
    return bool(int8["relative"] <= LOSS and int8["speed"]["times"] >= TIMES)


def line(model: str, name: str, row: Mapping[str, Any]) -> str:
    """One form of one student, a row of the table."""
    speed = row["speed"]
    value, low, high = (f"{100 * row['difference'][key]:+.3f}" for key in ("value", "low", "high"))
    return (
        f"| `{model}` | {name} | {100 * row['nme']:.3f} | {value} [{low}, {high}] | {row['bytes'] / 1e6:.1f} "
        f"| {speed['ms'][1]:.2f} | {speed['best_ms']:.2f} | {speed['times']:.2f} |"
    )


if __name__ == "__main__":
    main()
