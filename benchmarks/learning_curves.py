"""Learning curves on points of other kinds: a shipped student fine-tuned, against the same network from scratch.

    python benchmarks/learning_curves.py --data FOLDER --out benchmarks/results/learning-curves.json \
        --figure docs/figures/learning-curves.png
    python benchmarks/learning_curves.py --data FOLDER --out benchmarks/results/own-points-teachers.json \
        --faces 50 --ways fine-tuned,distilled,unlabelled,long-from-scratch

FOLDER holds 300w, scut86 (86 points, trained on train, measured on test) and helen29 (29 points, measured on the
photographs that are not in 300w/helen/trainset, which the shipped students learnt); 0 faces are all. Schemas are those
of `lightmark init`. All ways have the same faces, order and validation split, and --share of the steps of
`finetune_recipe` with --batch faces each:

- fine-tuned: that recipe.
- from-scratch: no initial weights, and the learning rate of the recipe cpu128, the same for all layers;
  long-from-scratch has `LONGER` times the steps.
- distilled: fine-tuned with the KD-Loss (figure) and one teacher, --teacher fine-tuned on the same faces.
- unlabelled: fine-tuned on the same faces and all other training faces of the set, labelled by that teacher.

Errors are NME in per cent of the schema's normaliser, in the labels' boxes. `predicted_percent` is what the curve
through the smaller numbers of faces, from which `lightmark finetune` gives its advice, says of a number. Finished runs
in --runs are not repeated; --out and --figure are written after each set.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure

from lightmark.data.crops.dataset import TeacherPoints
from lightmark.data.missing import with_normaliser
from lightmark.data.read import read_samples
from lightmark.data.sample import Sample
from lightmark.data.schema_guess import guess_schema
from lightmark.data.split import photos_in_order
from lightmark.evaluate.face_boxes import with_face_boxes
from lightmark.evaluate.predict import predict
from lightmark.files import replacing
from lightmark.nets.checkpoint import load_model
from lightmark.outputs import require_free
from lightmark.provenance import git_commit
from lightmark.runtime.shipped import model_path, shipped_hashes
from lightmark.train.config import Recipe
from lightmark.train.faces import Split, ValidationCrops
from lightmark.train.finetune import HELD_OUT, finetune_recipe, learning_curve
from lightmark.train.loop import train
from lightmark.train.start import write_start
from lightmark.train.teachers import points_of_teacher

SETS = ("scut86", "helen29")
SCRATCH_RATE = 2e-3
LONGER = 4  # times the steps of the other ways
TAUGHT = {"distilled": "kd-figure-tough", "unlabelled": "l1"}  # the objectives of those that need a teacher
WAYS = ("fine-tuned", "from-scratch", "long-from-scratch", *TAUGHT)


@dataclass(frozen=True)
class Budget:
    """Models and steps that the runs share, and the folder that they are in."""

    model: Path
    teacher: Path
    share: float
    batch: int
    runs: Path

    def start_of(self, way: str) -> Path:
        """Model that a network fine-tuned in this way begins as, and whose size one from scratch has."""
        return self.teacher if way == "teacher" else self.model

    def recipe(self, way: str, photographs: int, seed: int) -> Recipe:
        """The way's recipe for so many photographs; without early stop, so that all have the same steps."""
        recipe = finetune_recipe(self.start_of(way), photographs, seed)
        steps = round(self.share * recipe.steps) * (LONGER if way.startswith("long") else 1)
        if way.endswith("from-scratch"):
            recipe = replace(recipe, learning_rate=SCRATCH_RATE, head_rate=1.0, batch_statistics=True)
        return replace(
            recipe, objective=TAUGHT.get(way, "l1"), steps=steps, batch=self.batch, warmup=steps // 10,
            validate_every=max(20, steps // 6), patience=None,
        )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", default="fast")
    parser.add_argument("--teacher", default="standard")
    parser.add_argument("--ways", default="fine-tuned,from-scratch")
    parser.add_argument("--faces", default="20,50,200,0")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--sets", default=",".join(SETS))
    parser.add_argument("--share", type=float, default=0.25)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--tests", type=int, default=0, help="test faces of each set, 0 for all")
    parser.add_argument("--runs", type=Path, default=Path("runs/learning-curves"))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--figure", type=Path)
    parser.add_argument("--force", action="store_true", help="write over what is there")
    options = parser.parse_args()
    require_free([path for path in (options.out, options.figure) if path], [options.data], options.force)
    torch.set_num_threads(options.threads)
    counts, seeds = ([int(number) for number in text.split(",")] for text in (options.faces, options.seeds))
    ways = options.ways.split(",")
    if unknown := set(ways) - set(WAYS):
        parser.error(f"no such way: {', '.join(sorted(unknown))}; there are {', '.join(WAYS)}")
    results: dict[str, Any] = {}
    for name in options.sets.split(","):
        known, tests = faces_of(name, options.data, options.tests)
        models = (model_path(options.model), model_path(options.teacher))
        budget = Budget(*models, options.share, options.batch, options.runs / name)
        errors = {
            way: {n or len(known): [error_of(way, budget, known, tests, n, s) for s in seeds] for n in counts}
            for way in ways
        }
        results[name] = {
            "faces": len(known),
            "test_faces": len(tests),
            "nme_percent": {way: {str(n): rounded(values) for n, values in errors[way].items()} for way in ways},
            "learning_curve": {way: curve_of(errors[way]) for way in ways},
            "predicted_percent": {way: predicted(errors[way]) for way in ways},
        }
        print(name, json.dumps(results[name], indent=1), flush=True)
        content = {
            "command": "python benchmarks/learning_curves.py",
            "commit": git_commit(),
            "model": shipped_hashes(options.model, *([options.teacher] if set(ways) & set(TAUGHT) else [])),
            "seeds": seeds,
            "share_of_steps": options.share,
            "batch": options.batch,
            "results": results,
        }
        with replacing(options.out) as temporary:
            temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        if options.figure:
            plot(results, options.figure)


def faces_of(name: str, data: Path, most: int) -> tuple[list[Sample], list[Sample]]:
    """Training and at most `most` test faces of a set, with face boxes and the schema that `lightmark init` guesses."""
    if name == "scut86":
        known, tests = (read_samples(data / name / part) for part in ("train", "test"))
    else:
        samples = read_samples(data / name)
        learnt = {sample.photo for sample in read_samples(data / "300w" / "helen" / "trainset")}
        held_out = {sample.photo for sample in samples} - learnt
        known = [sample for sample in samples if sample.photo not in held_out]
        tests = [sample for sample in samples if sample.photo in held_out]
    schema = guess_schema(known, name).schema
    tests = [tests[i] for i in np.random.default_rng(0).permutation(len(tests))[: most or None]]
    boxed = with_face_boxes([replace(sample, schema=schema, subsets=frozenset()) for sample in [*known, *tests]])
    return boxed[: len(known)], with_normaliser(boxed[len(known) :])


def error_of(
    way: str, budget: Budget, known: Sequence[Sample], tests: Sequence[Sample], count: int, seed: int
) -> float:
    """NME on the test faces of a network trained on `count` photographs."""
    model = load_model(trained(way, budget, known, count, seed))
    return float(ValidationCrops(tests, [sample.points for sample in tests], model.spec)(model).mean())


def trained(way: str, budget: Budget, known: Sequence[Sample], count: int, seed: int) -> Path:
    """Checkpoint of a network trained on `count` photographs; those of `TAUGHT` have the way "teacher" as theirs."""
    photos = photos_in_order(known, seed)[: count or None]
    held_out = set(photos[: max(4, round(HELD_OUT * len(photos)))])
    learnt = [sample for sample in known if sample.photo in set(photos) - held_out]
    others = [sample for sample in known if sample.photo not in set(photos)]
    recipe = budget.recipe(way, len(photos), seed)
    folder = budget.runs / f"{way}-{len(photos)}-{seed}"
    teachers = None
    if way in TAUGHT:
        teacher = trained("teacher", budget, known, count, seed)
        if way == "distilled":
            recipe = replace(recipe, copies=math.ceil(recipe.steps * recipe.batch / len(learnt)))
            points = points_of_teacher(recipe, learnt, teacher, folder / "points")
            teachers = TeacherPoints(points, points)  # the objective uses the first alone
        elif others:
            found = predict(load_model(teacher), others)
            learnt += [replace(face, points=points) for face, points in zip(others, found, strict=True)]
    scratch = way.endswith("from-scratch")
    start = None if scratch else write_start(budget.start_of(way), learnt, folder / "start.safetensors", seed)
    split = Split(learnt, [sample for sample in known if sample.photo in held_out])
    return train(recipe, split, folder, teachers, start)


def rounded(values: Sequence[float]) -> list[float]:
    """In per cent, one a seed."""
    return [round(100 * value, 3) for value in values]


def curve_of(errors: dict[int, list[float]]) -> tuple[float, float] | None:
    """Scale and exponent of the learning curve of the means over the seeds."""
    curve = learning_curve({count: float(np.mean(values)) for count, values in errors.items()})
    return None if curve is None else (round(curve[0], 4), round(curve[1], 3))


def predicted(errors: dict[int, list[float]]) -> dict[str, float]:
    """In per cent, for each number of faces above two smaller ones, what the curve through those says of it."""
    means = {count: float(np.mean(values)) for count, values in sorted(errors.items())}
    found = {}
    for count in list(means)[2:]:
        curve = learning_curve({smaller: mean for smaller, mean in means.items() if smaller < count})
        if curve is not None:
            found[str(count)] = round(100 * curve[0] * count ** -curve[1], 3)
    return found


def plot(results: dict[str, Any], path: Path) -> None:
    """Errors by the number of faces, one panel a set: the mean over the seeds, and each seed as a dot."""
    figure = Figure(figsize=(4 * len(results), 3.2), layout="constrained")
    for axes, (name, result) in zip(figure.subplots(1, len(results), squeeze=False)[0], results.items(), strict=True):
        for way, colour in zip(result["nme_percent"], ("tab:blue", "tab:orange", "tab:red"), strict=False):
            errors = {int(count): values for count, values in result["nme_percent"][way].items()}
            axes.plot(list(errors), [np.mean(values) for values in errors.values()], "o-", color=colour, label=way)
            for count, values in errors.items():
                axes.plot([count] * len(values), values, ".", color=colour, alpha=0.5)
        axes.set(xscale="log", title=name, xlabel="training faces", ylabel="NME % of test faces")
        axes.set_ylim(bottom=0)
        larger = [*list(errors)[1:], math.inf]
        labels = [str(count) if after / count > 1.3 else "" for count, after in zip(errors, larger, strict=True)]
        axes.set_xticks(list(errors), labels)  # two labels side by side would overlap
        axes.minorticks_off()
        axes.legend()
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=120)


if __name__ == "__main__":
    main()
