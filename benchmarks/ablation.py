"""What distillation is worth: one student, many objectives, several seeds; one JSON a run, resumed over days.

    python benchmarks/ablation.py --data 300w --work runs/ablation --out benchmarks/results/ablation --seeds 0 1 2
    python benchmarks/ablation.py --out benchmarks/results/ablation --table

Every student has the same data, crops, order, steps and network (MobileNetV2 1.0, 112 px, about 30 passes). All share
one Tough-Teacher and, but for the rows that vary it, one Tolerant-Teacher: seeds are the students'. `l1-equal-time`
trains plain L1 for as many more steps as both teachers and their points cost. Runs that are in --out are skipped, a
killed one goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import re
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from lightmark.cli.training import training_samples
from lightmark.data.read import read_samples
from lightmark.data.sample import Sample
from lightmark.evaluate.predict import predict
from lightmark.evaluate.provenance import git_commit
from lightmark.files import replacing
from lightmark.metrics import interocular, nme
from lightmark.nets.checkpoint import load_model
from lightmark.shape import Align
from lightmark.train.config import Recipe
from lightmark.train.faces import Split, carve
from lightmark.train.folder import read_result
from lightmark.train.loop import train
from lightmark.train.recipes import cpu128
from lightmark.train.teachers import cache_teacher_points

SIZE, STEPS, TEACHER_STEPS = 112, 3760, 9000
SUBSETS = ("common", "challenging", "full")


@dataclass(frozen=True)
class Row:
    """One line of the table: the student's objective, and the Tolerant-Teacher it learns from if it has one."""

    name: str
    objective: str
    variance: float | None = None
    align: Align = "none"
    equal_time: bool = False


ROWS = (
    Row("L2", "l2"),
    Row("L1", "l1"),
    Row("Wing", "wing"),
    Row("Loss_Main alone", "main-figure"),
    Row("Loss_Main + Tough", "kd-figure-tough", 0.90),
    Row("Loss_Main + Tolerant", "kd-figure-tolerant", 0.90),
    Row("KD-Loss (figure), Tolerant 90 %", "kd-figure", 0.90),
    Row("KD-Loss (released), Tolerant 90 %", "kd-released", 0.90),
    Row("L1 to the teachers' mean", "l1-teachers", 0.90),
    Row("KD-Loss (figure), Tolerant 85 %", "kd-figure", 0.85),
    Row("KD-Loss (figure), Tolerant 97 %", "kd-figure", 0.97),
    Row("KD-Loss (figure), Tolerant 90 %, Procrustes", "kd-figure", 0.90, "procrustes"),
    Row("L1 at equal wall time", "l1", equal_time=True),
)
BASELINE = "L1"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--work", type=Path, default=Path("runs/ablation"))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--table", action="store_true", help="only print the table of what is there")
    options = parser.parse_args()
    if not options.table:
        if options.data is None:
            parser.error("--data is needed, but for --table")
        run_all(options.data, options.work, options.out, options.seeds)
    table = render(load_runs(options.out))
    with replacing(options.out / "summary.md") as path:
        path.write_text(table, encoding="utf-8")
    print(table)


def run_all(data: Path, work: Path, out: Path, seeds: list[int]) -> None:
    """Every row at every seed, seed by seed, so that a table of one seed is there early."""
    samples = training_samples([data])
    tests = read_samples(data, subset="test")
    for seed in seeds:
        for row in ROWS:
            target = out / f"{slug(row.name)}-seed{seed}.json"
            if not target.exists():
                result = run_one(row, seed, samples, tests, work)
                with replacing(target) as path:
                    path.write_text(json.dumps(result, indent=1), encoding="utf-8")
                print(f"{row.name}, seed {seed}: common {100 * result['nme']['common']:.2f} %", flush=True)


def run_one(row: Row, seed: int, samples: list[Sample], tests: list[Sample], work: Path) -> dict[str, Any]:
    # The split is that of seed 0 for all: a student of another seed must not be judged on faces its teachers learned.
    split = carve(samples, student_recipe(0, row))
    recipe = student_recipe(seed, row)
    if row.equal_time:
        recipe = replace(recipe, steps=recipe.steps + extra_steps(work, seed))
    teachers = None
    if row.variance is not None:
        tough, tolerant = teacher_pair(row, split, work)
        teachers = cache_teacher_points(
            recipe, split.train, tough, tolerant, work / f"points-{teacher_name(row)}-seed{seed}"
        )
    folder = work / f"{slug(row.name)}-seed{seed}"
    model = load_model(train(recipe, split, folder, teachers=teachers))
    points = predict(model, tests)
    truth = np.stack([sample.points for sample in tests])
    errors = nme(points, truth, normaliser=interocular(truth, tests[0].schema))
    training = read_result(folder)
    return {
        "row": asdict(row),
        "seed": seed,
        "nme": {name: float(errors[[name in s.subsets for s in tests]].mean()) for name in SUBSETS},
        "validation_nme": training["validation_nme"],
        "seconds": training["seconds"],
        "recipe": training["recipe"],
        "commit": git_commit(),
    }


def student_recipe(seed: int, row: Row) -> Recipe:
    recipe = one_size(cpu128(seed).student)
    return replace(recipe, name=f"ablation-{slug(row.name)}", objective=row.objective, steps=STEPS, copies=10)


def one_size(recipe: Recipe) -> Recipe:
    return replace(recipe, size=SIZE, early_size=None, early_share=0.0)


def teacher_pair(row: Row, split: Split, work: Path) -> tuple[Path, Path]:
    """Checkpoints of the Tough-Teacher and of the row's Tolerant-Teacher, trained if they are not there yet."""
    recipe = cpu128(0)
    tough = train(replace(one_size(recipe.tough), steps=TEACHER_STEPS), split, work / "tough")
    soft = replace(one_size(recipe.tolerant), soft_variance=row.variance, soft_align=row.align)
    return tough, train(soft, split, work / f"tolerant-{teacher_name(row)}", start=tough)


def teacher_name(row: Row) -> str:
    return f"{100 * (row.variance or 0):.0f}-{row.align}"


def extra_steps(work: Path, seed: int) -> int:
    """Steps of plain L1 that fit into the time both teachers took; their points' time is small beside it."""
    plain = read_result(work / f"{slug(BASELINE)}-seed{seed}")
    spent = sum(read_result(work / name)["seconds"] for name in ("tough", "tolerant-90-none"))
    return int(spent / (plain["seconds"] / STEPS))


def load_runs(out: Path) -> list[dict[str, Any]]:
    return [json.loads(path.read_text(encoding="utf-8")) for path in sorted(out.glob("*-seed*.json"))]


def render(runs: list[dict[str, Any]]) -> str:
    """Markdown: mean over seeds and its range; the paired difference from L1 over the seeds that both have."""
    lines = [
        "| student | seeds | common | challenging (mapped) | full | full, against L1 |",
        "|---|---|---|---|---|---|",
    ]
    baseline = by_seed(runs, BASELINE)
    for row in ROWS:
        seeds = by_seed(runs, row.name)
        if seeds:
            cells = [spread([100 * run["nme"][name] for run in seeds.values()]) for name in SUBSETS]
            lines.append(f"| {row.name} | {len(seeds)} | {' | '.join(cells)} | {against(seeds, baseline)} |")
    return "\n".join(lines) + "\n"


def by_seed(runs: list[dict[str, Any]], name: str) -> dict[int, dict[str, Any]]:
    return {run["seed"]: run for run in runs if run["row"]["name"] == name}


def against(seeds: dict[int, dict[str, Any]], baseline: dict[int, dict[str, Any]]) -> str:
    shared = sorted(seeds.keys() & baseline.keys())
    differences = [100 * (seeds[seed]["nme"]["full"] - baseline[seed]["nme"]["full"]) for seed in shared]
    return spread(differences, sign=True) if differences else "–"


def spread(values: list[float], sign: bool = False) -> str:
    form = "{:+.2f}" if sign else "{:.2f}"
    text = form.format(float(np.mean(values)))
    return text if len(values) == 1 else f"{text} ({form.format(min(values))} … {form.format(max(values))})"


def slug(name: str) -> str:
    return "-".join(re.findall(r"[a-z0-9]+", name.lower()))


if __name__ == "__main__":
    main()
