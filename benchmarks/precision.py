"""What each precision costs and gains: NME on 300W's common test faces, size, memory, and time a face on one core.

    python benchmarks/precision.py --data 300w --model fast

Every student given is exported to fp32, fp16, int8 and int8-reduced, each once for planes and once for bytes as
input, calibrated on training faces of --data (256, seed 0), and measured beside the float32 file for planes: NME in the
crops of the labels' boxes, with the paired bootstrap interval of the difference; time from crops to points by
`lightmark.bench`, the process pinned to one core. No setting is chosen by these faces. The bar: int8 for bytes within
2 % of the NME, relatively, and, by the median of the rounds' ratios, at least twice as fast with one crop a call. Exit
status 1 if it is missed. Writes benchmarks/results/precision.json.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lightmark.bench import HOW, bench_models
from lightmark.cli.training import training_samples
from lightmark.data.sample import Sample
from lightmark.evaluate.compare import PairedSummary
from lightmark.evaluate.degradation import measure_degradation
from lightmark.evaluate.provenance import git_commit, versions
from lightmark.export.formats import PRECISIONS
from lightmark.export.forms import Exported, export_forms
from lightmark.files import replacing, sha256_of
from lightmark.runtime.machine import multiplies_bytes, processor
from lightmark.runtime.shipped import model_path

RUNTIME = "onnxruntime, CPU"
SUBSET = "common"
BATCHES = (1, 32)
INPUTS = {"planes": False, "bytes": True}
LOSS, TIMES = 0.02, 2.0  # the bar
RESULT = Path(__file__).parent / "results" / "precision.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="300W")
    parser.add_argument("--model", action="append", required=True, help="shipped name, float32 ONNX file or checkpoint")
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--core", type=int, default=0)
    parser.add_argument("--out", type=Path, default=RESULT)
    options = parser.parse_args()
    os.sched_setaffinity(0, {options.core})
    faces = training_samples([options.data])
    students = {model: measure(model, faces, options.data, options.rounds) for model in options.model}
    met = {model: meets_bar(rows) for model, rows in students.items()}
    result = {
        "command": ["python", *sys.argv],
        "commit": git_commit(),
        "versions": versions(),
        "machine": {"processor": processor(), "vnni": multiplies_bytes(), "cores": 1},
        "how": HOW,
        "rounds": options.rounds,
        "subset": SUBSET,
        "bar": {"loss": LOSS, "times": TIMES, "met": met},
        "runtimes": {RUNTIME: students},
    }
    with replacing(options.out) as path:
        path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    for model, rows in students.items():
        print("\n".join(line(model, precision, row) for precision, row in rows.items()))
    sys.exit(0 if all(met.values()) else 1)


def measure(model: str, faces: Sequence[Sample], data: Path, rounds: int) -> dict[str, dict[str, Any]]:
    """Accuracy, size and speed of each precision of one student, the float32 file for planes first."""
    with tempfile.TemporaryDirectory() as scratch:
        written: dict[str, Exported] = {}
        for taken, uint8_input in INPUTS.items():
            outs = {form: Path(scratch) / f"{word}-{taken}.onnx" for form, word in PRECISIONS.items()}
            for one in export_forms(model_path(model), outs, faces, uint8_input):
                written[f"{PRECISIONS[one.form]}, {taken}"] = one
        paths = [one.path for one in written.values()]
        lost = measure_degradation(paths[0], paths, data, SUBSET)
        timed = bench_models([str(path) for path in paths], batches=BATCHES, rounds=rounds)
        return {name: describe(one, lost[str(one.path)], timed) for name, one in written.items()}


def describe(one: Exported, lost: PairedSummary, timed: Mapping[str, Any]) -> dict[str, Any]:
    """What is known of one file; times and losses are those beside the float32 file for planes."""
    assert one.parity is not None  # onnxruntime runs each
    facts, change = timed["models"][str(one.path)], lost.difference
    speeds = [speed for speed in timed["speeds"] if speed["model"] == str(one.path)]
    return {
        "faces": lost.faces,
        "nme": lost.b,
        "difference": change.to_dict(),
        "relative": change.value / lost.a,
        "parity_px": {"mean": one.parity.mean, "largest": one.parity.largest},
        "bytes": one.path.stat().st_size,
        "sha256": sha256_of(one.path),
        "peak_memory": facts["peak_memory"],
        "speeds": {str(speed["batch"]): {key: speed[key] for key in speed if key != "model"} for speed in speeds},
    }


def meets_bar(rows: Mapping[str, Mapping[str, Any]]) -> bool:
    """Whether int8 loses little enough and gains enough."""
    int8 = rows["int8, bytes"]
    return bool(int8["relative"] <= LOSS and int8["speeds"]["1"]["times"] >= TIMES)


def line(model: str, precision: str, row: Mapping[str, Any]) -> str:
    """One precision of one student, for a terminal."""
    change, one = row["difference"], row["speeds"]["1"]
    return (
        f"{model}, {precision}: NME {100 * row['nme']:.3f} %, {100 * change['value']:+.3f} "
        f"[{100 * change['low']:+.3f}, {100 * change['high']:+.3f}], relatively {100 * row['relative']:+.2f} %; "
        f"{row['bytes'] / 1e6:.2f} MB; {one['ms'][1]:.2f} ms a face, best {one['best_ms']:.2f}; times "
        f"{one['times']:.2f}, best {one['best_times']:.2f}"
    )


if __name__ == "__main__":
    main()
