"""Ablation of the distillation: one student, many objectives, several seeds; one JSON per run, resumable.

    python benchmarks/ablation.py --data 300w --teacher runs/standard224/tough --recipe standard224 \\
        --start runs/mobilenetv2-coco.safetensors --work runs/ablation --out benchmarks/results/ablation --seeds 0 1 2
    python benchmarks/ablation.py --out benchmarks/results/ablation --table
    python benchmarks/ablation.py --experiment direction --data 300w --extra portraits.json --extra scenes.json \\
        --teacher runs/direction/tough --mean-with fast.safetensors \\
        --tolerant teachers/standard224-tolerant.safetensors --start fast112.safetensors --steps 300 \\
        --work runs/direction --out benchmarks/results/direction

The experiment "parts" varies the terms of the KD-Loss. "direction" asks through which form a teacher's points reach the
student, from one long-trained student as --start: forms of the KD-Loss, controls whose teachers know nothing of the
face, L1 towards the teacher, and more faces (--extra: unlabelled ones with boxes, which the Tough-Teacher labels).

Every student has the same data, crops, order, steps, network (MobileNetV2 1.0, 112 px, about 30 passes) and --start,
by default nothing; benchmarks/mobilenetv2_start.py makes the one that `standard` began at. All share the Tough-Teacher
of a finished distillation, seed 0, and, but for the rows that vary it, its Tolerant-Teacher: seeds are the students'.
"L1 at equal wall time" trains plain L1 for as many more steps as both teachers and their points cost, for seed 0 alone.
Runs that are in --out are skipped where the same data, teachers, start, recipe and seed made them, and made again where
others did; a killed one goes on where it was. With --rows, two processes of one thread each can
share the work: on two cores they train 1.4 times as many faces a second as one process of two threads.
"""

from __future__ import annotations

import argparse
import itertools
import json
import re
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import scipy.stats
import torch

from lightmark.cli.training import training_samples
from lightmark.data.crops.dataset import TeacherPoints
from lightmark.data.fingerprint import fingerprint_of_faces
from lightmark.data.read import read_samples
from lightmark.data.sample import Sample
from lightmark.evaluate.predict import predict
from lightmark.files import replacing, sha256_of
from lightmark.metrics import interocular, nme, paired_bootstrap
from lightmark.nets.checkpoint import inference_batch, load_model
from lightmark.outputs import require_free
from lightmark.provenance import git_commit
from lightmark.shape import Align
from lightmark.train.config import EXECUTION, Distillation, Execution, Recipe
from lightmark.train.faces import Split, split_samples
from lightmark.train.fingerprint import Fingerprint, differences, plain, weights_hash
from lightmark.train.folder import MODEL, read_result
from lightmark.train.loop import batches_of, new_spec, new_trainee, train
from lightmark.train.recipes import cpu128, get_distillation
from lightmark.train.step import take_step
from lightmark.train.teachers import Floats32, points_of_teacher

SIZE, STEPS = 112, 3760
SUBSETS = ("common", "challenging", "full")
MADE_FROM = "made-from.json"  # in a run's folder: its fingerprint


@dataclass(frozen=True)
class Row:
    """One line of the table: the student's objective, and the Tolerant-Teacher it learns from if it has one."""

    name: str
    objective: str
    variance: float | None = None
    align: Align = "none"
    equal_time: bool = False
    extra: int = 0  # faces of --extra, labelled by the Tough-Teacher, that the student learns from besides
    steps: int | None = None  # of a fine-tuning; None for a whole training


ALL = 1_000_000
PARTS = (
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
DIRECTION = (
    Row("L1", "l1"),
    Row("KD-Loss (figure)", "kd-figure", 0.90),
    Row("KD-Loss (released)", "kd-released", 0.90),
    Row("KD-Loss (signed)", "kd-signed", 0.90),
    Row("KD-Loss (figure), teachers' errors of other faces", "kd-figure-shuffled", 0.90),
    Row("KD-Loss (figure), teachers without errors", "kd-figure-perfect"),
    Row("L1 to the middle of label and Tough-Teacher", "l1-half-tough", 0.90),
    Row("L1 to the Tough-Teacher", "l1-tough", 0.90),
    Row("L1, 2000 more faces", "l1", extra=2000),
    Row("L1, all more faces", "l1", extra=ALL),
    Row("KD-Loss (figure), all more faces", "kd-figure", 0.90, extra=ALL),
)
# Rows of the table, and the rows that the others are held against.
EXPERIMENTS = {"parts": (PARTS, ("L1", "Loss_Main alone")), "direction": (DIRECTION, ("L1",))}


def main() -> None:
    names = sorted({slug(row.name) for rows, _ in EXPERIMENTS.values() for row in rows})
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--experiment", choices=EXPERIMENTS, default="parts")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--extra", type=Path, action="append", default=[], help="faces for the rows with more of them")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--workers", type=int, default=0, help="processes that cut crops")
    parser.add_argument("--teacher", type=Path, help="folder of the Tough-Teacher's finished run")
    parser.add_argument(
        "--mean-with", type=Path, action="append", default=[], help="checkpoint; the Tough-Teacher is the mean of all"
    )
    parser.add_argument("--tolerant", type=Path, help="a finished Tolerant-Teacher for all rows")
    parser.add_argument("--recipe", default="standard224", help="the distillation that it is the first stage of")
    parser.add_argument("--start", type=Path, help="checkpoint whose weights every student begins at")
    parser.add_argument("--steps", type=int, help="fine-tune --start in so many steps; by default a whole training")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--work", type=Path, default=Path("runs/ablation"))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--rows", nargs="+", choices=names, default=names, help="default: all of the experiment")
    parser.add_argument("--table", action="store_true", help="only print the table of what is there")
    parser.add_argument("--force", action="store_true", help="write the table over the one that is there")
    options = parser.parse_args()
    require_free([options.out / "summary.md"], force=options.force)
    if not options.table:
        if options.data is None or options.teacher is None:
            parser.error("--data and --teacher are needed, but for --table")
        if options.threads:
            torch.set_num_threads(options.threads)
        execution = Execution(options.device, options.workers)
        distillation = get_distillation(options.recipe)
        more = tuple(options.mean_with)
        teachers = Teachers(options.teacher, distillation, options.work, execution, options.tolerant, more)
        rows = [row for row in EXPERIMENTS[options.experiment][0] if slug(row.name) in options.rows]
        rows = [replace(row, steps=options.steps) for row in rows]
        faces = read_faces(options.data, options.extra, teachers)
        run_all(faces, teachers, options.start, options.work, options.out, options.seeds, rows)
    table = render(load_runs(options.out), options.experiment)
    with replacing(options.out / "summary.md") as path:
        path.write_text(table, encoding="utf-8")
    print(table)


@dataclass(frozen=True)
class Faces:
    """Labelled faces to train on, test faces, and unlabelled faces with the Tough-Teacher's points as labels."""

    labelled: list[Sample]
    tests: list[Sample]
    extra: list[Sample]


def read_faces(data: Path, extra: list[Path], teachers: Teachers) -> Faces:
    """Faces of the data set `data` and of the files `extra`, whose own labels give no more than the boxes."""
    more = training_samples(extra) if extra else []
    if more:
        device = teachers.execution.device
        points = np.mean([predict(load_model(path, device), more) for path in teachers.toughs], axis=0)
        more = [replace(face, points=found) for face, found in zip(more, points, strict=True)]
    return Faces(training_samples([data]), read_samples(data, subset="test"), more)


@dataclass(frozen=True)
class Teachers:
    """The Tough-Teacher's run in the folder `tough`, made by `distillation`; other Tolerant-Teachers go into `work`.

    `finished`, if any, is the only Tolerant-Teacher. With `more`, checkpoints, the Tough-Teacher's points are the mean
    of all.
    """

    tough: Path
    distillation: Distillation
    work: Path
    execution: Execution = EXECUTION
    finished: Path | None = None
    more: tuple[Path, ...] = ()

    @property
    def toughs(self) -> tuple[Path, ...]:
        """Checkpoints whose mean is the Tough-Teacher."""
        return (self.tough / MODEL, *self.more)

    def split(self, faces: Faces) -> Split:
        """The labelled faces as the teachers were trained on them: no student is judged on a face that they learnt."""
        return split_samples(faces.labelled, self.distillation.student)

    def points(self, row: Row, recipe: Recipe, split: Split, labelled: Split) -> TeacherPoints:
        """Both teachers' points over the crops of the student's recipe; `labelled` are the faces they learn from."""
        folder = self.work / f"points-seed{recipe.seed}-{len(split.train)}faces"

        def points(path: Path, name: str) -> Floats32:
            return points_of_teacher(recipe, split.train, path, folder / name, self.execution)

        names = ("tough", *(f"tough-{number}" for number in range(1, len(self.toughs))))
        tough = np.mean([points(*pair) for pair in zip(self.toughs, names, strict=True)], axis=0)
        return TeacherPoints(tough, points(self.tolerant(row, labelled), f"tolerant-{teacher_name(row)}"))

    def tolerant(self, row: Row, split: Split) -> Path:
        """Checkpoint of the row's Tolerant-Teacher: finished, the distillation's own, or trained as that was."""
        if self.finished is not None:
            return self.finished
        recipe = self.tolerant_recipe(row)
        own = recipe == self.distillation.tolerant and (self.tough.parent / "tolerant").exists()
        folder = self.tough.parent / "tolerant" if own else self.work / f"tolerant-{teacher_name(row)}"
        return train(recipe, split, folder, None, self.tough / MODEL, self.execution)

    def tolerant_recipe(self, row: Row) -> Recipe:
        """Recipe of the row's Tolerant-Teacher; the distillation's own where the row has none, whose time it takes."""
        if row.variance is None:
            return self.distillation.tolerant
        return replace(self.distillation.tolerant, soft_variance=row.variance, soft_align=row.align)

    def cost(self, student: Recipe, split: Split) -> float:
        """What both cost to train and to ask, in steps of the student, all timed here one after the other.

        The times in result.json are not used: trainings of hours have other work beside them.
        """
        tough, tolerant = self.distillation.tough, self.distillation.tolerant
        seconds = sum(seconds_a_step(recipe, split) * recipe.steps for recipe in (tough, tolerant))
        model = load_model(self.tough / MODEL)
        crops = np.zeros((inference_batch(model.device), model.spec.size, model.spec.size, 3), np.uint8)
        asking = median_seconds(lambda: model(crops)) / len(crops)
        seconds += 2 * asking * (student.copies or 0) * len(split.train)
        return seconds / seconds_a_step(student, split)


def seconds_a_step(recipe: Recipe, split: Split) -> float:
    """Mean seconds of a step over a run of `recipe`, extrapolated from a few steps at each of its sizes."""
    recipe = replace(recipe, architecture=replace(recipe.architecture, pretrained=False))
    spec = new_spec(recipe, split)
    trainee = new_trainee(recipe, split, spec, None, "cpu")
    batches = batches_of(recipe, split, spec, None, 0, 0)

    def at(step: int) -> float:
        return median_seconds(lambda: take_step(trainee, next(batches), step, recipe, spec))

    early, late = at(0), at(recipe.steps - 1)
    return recipe.early_share * early + (1 - recipe.early_share) * late


def median_seconds(work: Callable[[], object], rounds: int = 15) -> float:
    times = []
    for _ in range(rounds):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return float(np.median(times))


def run_all(
    faces: Faces, teachers: Teachers, start: Path | None, work: Path, out: Path, seeds: list[int], rows: list[Row]
) -> None:
    """Every row at every seed, seed by seed, so that a table of one seed is there early."""
    for seed in seeds:
        for row in rows:
            target = out / f"{slug(row.name)}-seed{seed}.json"
            if row.equal_time and seed != 0:
                continue
            fingerprint = fingerprint_of(row, seed, faces, teachers, start)
            if not is_made_from(target, fingerprint):
                folder = work / f"{slug(row.name)}-seed{seed}"
                begin(folder, fingerprint)
                result = run_one(row, seed, faces, teachers, start, folder) | {"fingerprint": fingerprint}
                write_json(target, result)
                print(f"{row.name}, seed {seed}: common {100 * result['nme']['common']:.2f} %", flush=True)


def fingerprint_of(row: Row, seed: int, faces: Faces, teachers: Teachers, start: Path | None) -> Fingerprint:
    """Everything that decides a run's result, but for the time that teachers take."""
    learnt = row.variance is not None or row.equal_time or row.extra > 0
    recipe, finished = teachers.tolerant_recipe(row), teachers.finished
    tolerant = asdict(recipe) if finished is None else {"weights": weights_hash(finished)}
    return plain(
        {
            "row": asdict(row),
            "recipe": asdict(student_recipe(seed, row)),
            "training faces": fingerprint_of_faces([*faces.labelled, *faces.extra[: row.extra]]),
            "test faces": fingerprint_of_faces(faces.tests),
            "start": weights_hash(start),
            "Tough-Teacher": [weights_hash(path) for path in teachers.toughs] if learnt else [],
            "Tolerant-Teacher": tolerant if learnt else {},
        }
    )


def is_made_from(path: Path, fingerprint: Fingerprint) -> bool:
    """Whether the JSON file `path` holds this fingerprint; says what differs where it holds another or none."""
    if not path.exists():
        return False
    kept = json.loads(path.read_text(encoding="utf-8")).get("fingerprint", {})
    if found := differences(kept, fingerprint):
        print(f"{path}: made anew, other than before: {found if kept else 'it does not say what made it'}", flush=True)
    return not found


def begin(folder: Path, fingerprint: Fingerprint) -> None:
    """Make the run's folder; one that other inputs made is set aside under another name."""
    if folder.exists() and not is_made_from(folder / MADE_FROM, fingerprint):
        number = next(n for n in itertools.count(1) if not folder.with_name(f"{folder.name}-before{n}").exists())
        folder.rename(folder.with_name(f"{folder.name}-before{number}"))
    write_json(folder / MADE_FROM, {"fingerprint": fingerprint})


def write_json(path: Path, content: dict[str, Any]) -> None:
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1), encoding="utf-8")


def run_one(
    row: Row, seed: int, faces: Faces, teachers: Teachers, start: Path | None, folder: Path
) -> dict[str, Any]:
    labelled = teachers.split(faces)
    split = Split([*labelled.train, *faces.extra[: row.extra]], labelled.validation)
    recipe = student_recipe(seed, row)
    if row.equal_time:
        steps = steps_of_teachers(folder / "teachers-cost.txt", teachers, recipe, split)
        recipe = replace(recipe, steps=recipe.steps + steps)
    points = None if row.variance is None else teachers.points(row, recipe, split, labelled)
    execution = teachers.execution
    model = load_model(train(recipe, split, folder, points, start, execution), execution.device)
    tests = faces.tests
    found = predict(model, tests)
    truth = np.stack([sample.points for sample in tests])
    errors = nme(found, truth, normaliser=interocular(truth, tests[0].schema))
    training = read_result(folder)
    return {
        "row": asdict(row),
        "seed": seed,
        "nme": {name: float(errors[[name in s.subsets for s in tests]].mean()) for name in SUBSETS},
        "errors": errors.round(6).tolist(),  # a test face each, in their order: differences are paired by face
        "extra_faces": len(split.train) - len(labelled.train),
        "validation_nme": training["validation_nme"],
        "seconds": training["seconds"],
        "recipe": training["recipe"],
        "start_sha256": None if start is None else sha256_of(start),
        "commit": git_commit(),
    }


def steps_of_teachers(path: Path, teachers: Teachers, recipe: Recipe, split: Split) -> int:
    """The teachers' cost in whole steps, timed once and kept in a run's folder: a killed run goes on with the same."""
    if not path.exists():
        steps = round(teachers.cost(recipe, split))
        with replacing(path) as temporary:
            temporary.write_text(str(steps), encoding="utf-8")
    return int(path.read_text(encoding="utf-8"))


def student_recipe(seed: int, row: Row) -> Recipe:
    """The row's recipe: from the beginning, or, where it has `steps`, a short fine-tuning of a long-trained --start."""
    recipe = replace(
        cpu128(seed).student,
        name=f"ablation-{slug(row.name)}",
        objective=row.objective,
        size=SIZE,
        early_size=None,
        early_share=0.0,
        steps=STEPS,
        copies=10,
    )
    if row.steps is None:
        return recipe
    return replace(
        recipe,
        steps=row.steps,
        warmup=row.steps // 10,
        learning_rate=5e-4,
        ema=0.99,
        copies=3,
        validate_every=row.steps,
    )


def teacher_name(row: Row) -> str:
    return f"{100 * (row.variance or 0):.0f}-{row.align}"


def load_runs(out: Path) -> list[dict[str, Any]]:
    return [json.loads(path.read_text(encoding="utf-8")) for path in sorted(out.glob("*-seed*.json"))]


def render(runs: list[dict[str, Any]], experiment: str) -> str:
    """Markdown: mean over seeds and its range; the differences from the baselines, paired over the seeds both have.

    Their 95 % intervals are Student's t over the seeds, what another seed may do; in brackets, where runs keep each
    face's error, the bootstrap's over the test faces, what other faces may do.
    """
    rows, compared = EXPERIMENTS[experiment]
    titles = ["student", "seeds", "common", "challenging (mapped)", "full"]
    titles += [f"full, against {name} (95 %)" for name in compared]
    baselines = {name: by_seed(runs, name) for name in compared}
    lines = [f"| {' | '.join(titles)} |", "|---" * len(titles) + "|"]
    for row in rows:
        if seeds := by_seed(runs, row.name):
            cells = [row.name, str(len(seeds))]
            cells += [spread([100 * run["nme"][name] for run in seeds.values()]) for name in SUBSETS]
            cells += ["–" if row.name == name else against(seeds, base) for name, base in baselines.items()]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def by_seed(runs: list[dict[str, Any]], name: str) -> dict[int, dict[str, Any]]:
    return {run["seed"]: run for run in runs if run["row"]["name"] == name}


def against(seeds: dict[int, dict[str, Any]], baseline: dict[int, dict[str, Any]]) -> str:
    shared = sorted(seeds.keys() & baseline.keys())
    differences = [100 * (seeds[seed]["nme"]["full"] - baseline[seed]["nme"]["full"]) for seed in shared]
    if not differences:
        return "–"
    text = f"{np.mean(differences):+.2f}"
    if len(differences) > 1:
        half = scipy.stats.t.ppf(0.975, len(differences) - 1) * scipy.stats.sem(differences)
        text += f" ± {half:.2f}"
    if all("errors" in run for run in (*seeds.values(), *baseline.values())):
        ours, theirs = (np.mean([runs[seed]["errors"] for seed in shared], axis=0) for runs in (seeds, baseline))
        faces = paired_bootstrap(theirs, ours)
        text += f" [{100 * faces.low:+.2f}, {100 * faces.high:+.2f}]"
    return text


def spread(values: list[float]) -> str:
    text = f"{np.mean(values):.2f}"
    return text if len(values) == 1 else f"{text} ({min(values):.2f} … {max(values):.2f})"


def slug(name: str) -> str:
    return "-".join(re.findall(r"[a-z0-9]+", name.lower()))


if __name__ == "__main__":
    main()
