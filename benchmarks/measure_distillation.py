"""Evaluate every finished stage of a `lightmark distill` run on a test set, and save the results with their origin.

    python benchmarks/measure_distillation.py --run runs/cpu128 --data 300w --out benchmarks/results/cpu128

Writes STAGE.report.json, STAGE.training.json, STAGE.log.csv and STAGE.curves.png for each stage,
summary.md (the table in docs/results.md) and, where there is a plain student, student-against-plain.json.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from pathlib import Path

from lightmark.evaluate.compare import compare_runs, comparison_to_json, render_comparison
from lightmark.evaluate.report.summary import Report
from lightmark.evaluate.run import evaluate_model
from lightmark.files import replacing
from lightmark.metrics import Interval
from lightmark.outputs import require_free

NAMES = {
    "tough": "Tough-Teacher",
    "tolerant": "Tolerant-Teacher",
    "student": "student, distilled (KD-Loss)",
    "plain": "student, plain (L1)",
}
STAGE_FILES = ("report.json", "training.json", "log.csv", "curves.png")
SUMMARY_FILES = ("student-against-plain.json", "summary.md")
JITTER = (0.0, 0.05, 0.1, 0.2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--force", action="store_true", help="write over what is there")
    options = parser.parse_args()
    stages = [stage for stage in NAMES if (options.run / stage / "result.json").exists()]
    if not stages:
        sys.exit(f"{options.run}: no finished stage; run `lightmark distill` to its end")
    stage_files = [f"{stage}.{name}" for stage in stages for name in STAGE_FILES]
    require_free([options.out / name for name in (*stage_files, *SUMMARY_FILES)], [options.run], options.force)
    with tempfile.TemporaryDirectory() as scratch:
        reports = {stage: measure(stage, options.run, options.data, Path(scratch)) for stage in stages}
        copy_provenance(stages, options.run, Path(scratch), options.out)
        if {"plain", "student"} <= set(stages):
            comparison = compare_runs(Path(scratch) / "plain", Path(scratch) / "student")
            with replacing(options.out / "student-against-plain.json") as path:
                path.write_text(comparison_to_json(comparison), encoding="utf-8")
            print(render_comparison(comparison))
    table = summary(reports, options.run)
    with replacing(options.out / "summary.md") as path:
        path.write_text(table, encoding="utf-8")
    print(table)


def measure(stage: str, run: Path, data: Path, scratch: Path) -> Report:
    model = run / stage / "model.safetensors"
    return evaluate_model(model, data, None, scratch / stage, JITTER, command=["python", *sys.argv])


def copy_provenance(stages: list[str], run: Path, scratch: Path, out: Path) -> None:
    """Copy reports, training results, logs and curves; faces and predictions are left out."""
    for stage in stages:
        trained = (run / stage / name for name in ("result.json", "log.csv", "curves.png"))
        sources = (scratch / stage / "report.json", *trained)
        for source, name in zip(sources, STAGE_FILES, strict=True):
            with replacing(out / f"{stage}.{name}") as path:
                shutil.copyfile(source, path)


def summary(reports: dict[str, Report], run: Path) -> str:
    """Markdown table: NME with its interval on each subset, parameters, training minutes."""
    lines = [
        "| model | parameters | training, min | common | common, inner 51 | challenging (mapped) | full |",
        "|---|---|---|---|---|---|---|",
    ]
    for stage, report in reports.items():
        training = json.loads((run / stage / "result.json").read_text(encoding="utf-8"))
        common, hard, full = (report.summaries[name] for name in ("common", "challenging", "full"))
        cells = (
            NAMES[stage],
            f"{training['parameters'] / 1e6:.2f} M",
            f"{training['seconds'] / 60:.0f}",
            percent(common.nme),
            percent(common.nme_inner),
            percent(hard.nme, decimals=1),
            percent(full.nme),
        )
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def percent(interval: Interval, decimals: int = 2) -> str:
    value, low, high = (f"{100 * number:.{decimals}f}" for number in (interval.value, interval.low, interval.high))
    return f"{value} [{low}, {high}]"


if __name__ == "__main__":
    main()
