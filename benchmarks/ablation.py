"""What distillation is worth: one student, many objectives, several seeds; one JSON a run, resumed over days.

    python benchmarks/ablation.py --data 300w --teacher runs/standard224/tough --recipe standard224 \\
        --start runs/mobilenetv2-coco.safetensors --work runs/ablation --out benchmarks/results/ablation --seeds 0 1 2
    python benchmarks/ablation.py --out benchmarks/results/ablation --table

Every student has the same data, crops, order, steps, network (MobileNetV2 1.0, 112 px, about 30 passes) and --start, by
default nothing; benchmarks/mobilenetv2_start.py makes the one that `standard` began at. All share
the Tough-Teacher of a finished run, seed 0, and, but for the rows that vary it, one Tolerant-Teacher that begins at its
weights: seeds are the students'. "L1 at equal wall time" trains plain L1 for as many more steps as both teachers cost,
for the first seed alone. Runs that are in --out are skipped, a killed one goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import re
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lightmark.cli.training import training_samples
from lightmark.data.read import read_samples
from lightmark.data.sample import Sample
from lightmark.evaluate.predict import predict
from lightmark.evaluate.provenance import git_commit
from lightmark.files import replacing, sha256_of
from lightmark.metrics import interocular, nme
from lightmark.nets.checkpoint import load_model
from lightmark.shape import Align
from lightmark.train.config import Recipe
from lightmark.train.faces import Split, carve
from lightmark.train.folder import MODEL, read_result
from lightmark.train.loop import train
from lightmark.train.recipes import cpu128, get_distillation
from lightmark.train.teachers import cache_teacher_points

SIZE, STEPS = 112, 3760
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
    parser.add_argument("--teacher", type=Path, help="folder of the Tough-Teacher's finished run")
    parser.add_argument("--recipe", default="standard224", help="the distillation that it is the first stage of")
    parser.add_argument("--start", type=Path, help="checkpoint whose weights every student begins at")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--work", type=Path, default=Path("runs/ablation"))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--table", action="store_true", help="only print the table of what is there")
    options = parser.parse_args()
    if not options.table:
        if options.data is None or options.teacher is None:
            parser.error("--data and --teacher are needed, but for --table")
        if options.threads:
            torch.set_num_threads(options.threads)
        teachers = Teachers(options.teacher, get_distillation(options.recipe).tolerant, options.work)
        run_all(options.data, teachers, options.start, options.work, options.out, options.seeds)
    table = render(load_runs(options.out))
    with replacing(options.out / "summary.md") as path:
        path.write_text(table, encoding="utf-8")
    print(table)


@dataclass(frozen=True)
class Teachers:
    """The Tough-Teacher's run in the folder `tough`, and how Tolerant-Teachers, in `work`, are trained from it."""

    tough: Path
    tolerant: Recipe
    work: Path

    def of(self, row: Row, split: Split) -> tuple[Path, Path]:
        """Checkpoints of the Tough-Teacher and of the row's Tolerant-Teacher, which is trained if it is not there."""
        tough = self.tough / MODEL
        soft = replace(self.tolerant, soft_variance=row.variance, soft_align=row.align)
        return tough, train(soft, split, self.work / f"tolerant-{teacher_name(row)}", start=tough)

    @property
    def seconds(self) -> float:
        """What both took to train; their points' time is small beside it."""
        return float(sum(read_result(folder)["seconds"] for folder in (self.tough, self.work / "tolerant-90-none")))


def run_all(data: Path, teachers: Teachers, start: Path | None, work: Path, out: Path, seeds: list[int]) -> None:
    """Every row at every seed, seed by seed, so that a table of one seed is there early."""
    samples = training_samples([data])
    tests = read_samples(data, subset="test")
    for seed in seeds:
        for row in ROWS:
            target = out / f"{slug(row.name)}-seed{seed}.json"
            if not target.exists() and not (row.equal_time and seed != seeds[0]):
                result = run_one(row, seed, samples, tests, teachers, start, work)
                with replacing(target) as path:
                    path.write_text(json.dumps(result, indent=1), encoding="utf-8")
                print(f"{row.name}, seed {seed}: common {100 * result['nme']['common']:.2f} %", flush=True)


def run_one(
    row: Row,
    seed: int,
    samples: list[Sample],
    tests: list[Sample],
    teachers: Teachers,
    start: Path | None,
    work: Path,
) -> dict[str, Any]:
    # The split is that of seed 0 for all: a student of another seed must not be judged on faces its teachers learned.
    split = carve(samples, student_recipe(0, row))
    recipe = student_recipe(seed, row)
    if row.equal_time:
        recipe = replace(recipe, steps=recipe.steps + extra_steps(teachers, work, seed))
    points = None
    if row.variance is not None:
        tough, tolerant = teachers.of(row, split)
        points = cache_teacher_points(
            recipe, split.train, tough, tolerant, work / f"points-{teacher_name(row)}-seed{seed}"
        )
    folder = work / f"{slug(row.name)}-seed{seed}"
    model = load_model(train(recipe, split, folder, teachers=points, start=start))
    found = predict(model, tests)
    truth = np.stack([sample.points for sample in tests])
    errors = nme(found, truth, normaliser=interocular(truth, tests[0].schema))
    training = read_result(folder)
    return {
        "row": asdict(row),
        "seed": seed,
        "nme": {name: float(errors[[name in s.subsets for s in tests]].mean()) for name in SUBSETS},
        "validation_nme": training["validation_nme"],
        "seconds": training["seconds"],
        "recipe": training["recipe"],
        "start_sha256": None if start is None else sha256_of(start),
        "commit": git_commit(),
    }


def student_recipe(seed: int, row: Row) -> Recipe:
    return replace(
        cpu128(seed).student,
        name=f"ablation-{slug(row.name)}",
        objective=row.objective,
        size=SIZE,
        early_size=None,
        early_share=0.0,
        steps=STEPS,
        copies=10,
    )


def teacher_name(row: Row) -> str:
    return f"{100 * (row.variance or 0):.0f}-{row.align}"


def extra_steps(teachers: Teachers, work: Path, seed: int) -> int:
    """Steps of plain L1 that fit into the time both teachers took."""
    plain = read_result(work / f"{slug(BASELINE)}-seed{seed}")
    return int(teachers.seconds / (plain["seconds"] / STEPS))


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
