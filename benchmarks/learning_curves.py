"""Learning curves on points of other kinds: a shipped student fine-tuned, against the same network from scratch.

    python benchmarks/learning_curves.py --data FOLDER --faces 20,50,200,0 --seeds 0,1,2 \\
        --out benchmarks/results/learning-curves.json --figure docs/figures/learning-curves.png

FOLDER holds 300w, scut86 (86 points, trained on train, measured on test) and helen29 (29 points, measured on the
photographs that are not in 300w/helen/trainset, which the shipped students learnt); 0 faces are all. Schemas are those
of `lightmark init`. Both ways have the same steps, batches, faces, order and validation split. Fine-tuning has the
recipe `finetune_recipe`; from scratch there are no initial weights, and the learning rate is that of the recipe cpu128,
the same for all layers; --longer 3 adds runs from scratch with three times the steps. Errors are NME in per cent of the
schema's normaliser, in the labels' boxes. Finished runs in --runs are not repeated; --out and --figure are written
after each set.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure

from lightmark.data.missing import with_normaliser
from lightmark.data.read import read_samples
from lightmark.data.sample import Sample
from lightmark.data.schema_guess import guess_schema
from lightmark.data.split import photos_in_order
from lightmark.evaluate.face_boxes import with_face_boxes
from lightmark.files import replacing
from lightmark.nets.checkpoint import load_model
from lightmark.outputs import require_free
from lightmark.provenance import git_commit
from lightmark.runtime.shipped import model_path, shipped_hashes
from lightmark.train.faces import Split, ValidationCrops
from lightmark.train.finetune import HELD_OUT, finetune_recipe, learning_curve
from lightmark.train.loop import train
from lightmark.train.start import write_start

SETS = ("scut86", "helen29")
WAYS = ("fine-tuned", "from scratch")
SCRATCH_RATE = 2e-3
LONGER = "from scratch, {} × steps"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", default="fast")
    parser.add_argument("--faces", default="20,50,200,0")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--sets", default=",".join(SETS))
    parser.add_argument("--steps", type=int, help="of every run, instead of the recipe's by the number of faces")
    parser.add_argument("--batch", type=int, help="faces a step, instead of the recipe's")
    parser.add_argument("--longer", type=int, help="also train from scratch for so many times the steps")
    parser.add_argument("--tests", type=int, default=0, help="test faces of each set, 0 for all")
    parser.add_argument("--runs", type=Path, default=Path("runs/learning-curves"))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--figure", type=Path, required=True)
    parser.add_argument("--force", action="store_true", help="write over what is there")
    options = parser.parse_args()
    require_free([options.out, options.figure], [options.data], options.force)
    torch.set_num_threads(options.threads)
    model = model_path(options.model)
    counts, seeds = ([int(number) for number in text.split(",")] for text in (options.faces, options.seeds))
    ways = [*WAYS, *([LONGER.format(options.longer)] if options.longer else [])]
    budget = {name: value for name in ("steps", "batch") if (value := getattr(options, name))}
    results: dict[str, Any] = {}
    for name in options.sets.split(","):
        known, tests = faces_of(name, options.data, options.tests, counts, seeds)
        runs = options.runs / name
        errors = {
            way: {
                n or len(known): [error_of(way, model, known, tests, n, s, runs, budget) for s in seeds] for n in counts
            }
            for way in ways
        }
        results[name] = {
            "faces": len(known),
            "test_faces": len(tests),
            "nme_percent": {way: {str(n): rounded(values) for n, values in errors[way].items()} for way in ways},
            "learning_curve": {way: curve_of(errors[way]) for way in ways},
        }
        print(name, json.dumps(results[name], indent=1))
        content = {
            "command": "python benchmarks/learning_curves.py",
            "commit": git_commit(),
            "model": shipped_hashes(options.model),
            "seeds": seeds,
            "budget": budget or "by the number of faces",
            "results": results,
        }
        with replacing(options.out) as temporary:
            temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        plot(results, options.figure)


def faces_of(
    name: str, data: Path, most: int, counts: Sequence[int], seeds: Sequence[int]
) -> tuple[list[Sample], list[Sample]]:
    """Training and test faces of a set, with face boxes and the schema that `lightmark init` guesses.

    Only the training faces that a run with one of `counts` and `seeds` takes, and at most `most` test faces.
    """
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
    if min(counts):
        taken = {photo for seed in seeds for photo in photos_in_order(known, seed)[: max(counts)]}
        known = [sample for sample in known if sample.photo in taken]
    boxed = with_face_boxes([replace(sample, schema=schema, subsets=frozenset()) for sample in [*known, *tests]])
    return boxed[: len(known)], with_normaliser(boxed[len(known) :])


def error_of(
    way: str,
    model: Path,
    known: Sequence[Sample],
    tests: Sequence[Sample],
    count: int,
    seed: int,
    runs: Path,
    budget: dict[str, int],
) -> float:
    """NME on the test faces of a network trained on `count` photographs with the steps and batches of `budget`."""
    photos = photos_in_order(known, seed)[: count or None]  # the same if `known` has more: the order is by photograph
    validation = set(photos[: max(4, round(HELD_OUT * len(photos)))])
    split = Split(
        [sample for sample in known if sample.photo in set(photos) - validation],
        [sample for sample in known if sample.photo in validation],
    )
    folder = runs / f"{way.replace(' ', '-')}-{len(photos)}-{seed}"
    start = write_start(model, split.train, folder / "start.safetensors", seed) if way == WAYS[0] else None
    recipe = replace(finetune_recipe(model, len(photos), seed), patience=None, **budget)  # type: ignore[arg-type]  # by name
    if start is None:
        steps = recipe.steps if way == WAYS[1] else recipe.steps * int(way.split()[-3])
        recipe = replace(recipe, steps=steps, learning_rate=SCRATCH_RATE, head_rate=1.0, batch_statistics=True)
    recipe = replace(recipe, warmup=recipe.steps // 10, validate_every=max(20, recipe.steps // 6))
    trained = load_model(train(recipe, split, folder, start=start))
    return float(ValidationCrops(tests, [sample.points for sample in tests], trained.spec)(trained).mean())


def rounded(values: Sequence[float]) -> list[float]:
    """In per cent, one a seed."""
    return [round(100 * value, 3) for value in values]


def curve_of(errors: dict[int, list[float]]) -> tuple[float, float] | None:
    """Scale and exponent of the learning curve of the means over the seeds."""
    curve = learning_curve({count: float(np.mean(values)) for count, values in errors.items()})
    return None if curve is None else (round(curve[0], 4), round(curve[1], 3))


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
        axes.set_xticks(list(errors), [str(count) for count in errors])
        axes.minorticks_off()
        axes.legend()
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=120)


if __name__ == "__main__":
    main()
