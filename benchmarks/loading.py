"""Throughput of crop loaders against training steps, and of distillation against plain training.

    python benchmarks/loading.py                                     # on the CPU, at 128 px
    python benchmarks/loading.py --device cuda --workers 12 --out benchmarks/results/loading-cuda.json

Faces are painted, networks the recipes', the augmentation is the default one, all of it. Rounds of all measures follow
each other, so that a change of the machine's speed meets all alike; numbers are medians over the rounds, ratios
medians of each round's ratio. On the CPU: faces a second of a loader alone, by `--workers` processes of one thread,
that gives crops; of the student's step by `--threads` on batches that lie ready, plain, and distilled with kept
teacher points. On a GPU, at 224 px in bfloat16: images a second of training, over those of the network alone on one
batch that stays on the device.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from itertools import cycle, islice
from pathlib import Path

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader

from lightmark.bench.machine import processor
from lightmark.data.crops.augment import Augmentation
from lightmark.data.crops.dataset import Batch, CropDataset, Shuffle, TeacherPoints
from lightmark.data.synthetic import synthetic_samples
from lightmark.files import replacing
from lightmark.outputs import require_free
from lightmark.provenance import git_commit, versions
from lightmark.train.config import Recipe
from lightmark.train.faces import Split
from lightmark.train.loop import batches_of, new_spec, new_trainee
from lightmark.train.recipes import get_recipe
from lightmark.train.step import take_step

SEED = 0
RESULT = Path(__file__).parent / "results" / "loading.json"
Rates = Mapping[str, float]  # faces a second
Measure = Callable[[], float]
# What each kind of machine is judged by: the ratio of the first measure to the second.
CPU_RATIOS = {
    "crops over plain steps": ("loader", "step, plain"),
    "time of a distilled step over a plain one": ("step, plain", "step, distilled"),
}
NETWORKS = {"teacher": "standard224-tough", "student": "standard224-plain"}
CUDA_RATIOS = {
    f"{network}, with its loader over network alone": (f"{network}, with its loader", f"{network}, network alone")
    for network in NETWORKS
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--batches", type=int, default=40, help="of one measure in one round")
    parser.add_argument("--batch", type=int, help="faces; by default 16 on the CPU, 256 on a GPU")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--faces", type=int, default=256)
    parser.add_argument("--pixels", type=int, default=320, help="side of the painted pictures")
    parser.add_argument("--out", type=Path, default=RESULT)
    parser.add_argument("--force", action="store_true", help="write over what is there")
    options = parser.parse_args()
    require_free([options.out], force=options.force)
    if options.device != "cpu" and not torch.cuda.is_available():
        parser.error(f"--device {options.device}: torch finds no GPU here")
    commit = git_commit()
    torch.set_num_threads(options.threads)
    cv2.setNumThreads(1)  # in the workers, which are as many as there are cores
    on_cpu = options.device == "cpu"
    options.batch = options.batch or (16 if on_cpu else 256)
    split = Split(synthetic_samples(options.faces, SEED, options.pixels), [])
    measures = cpu_measures(split, options) if on_cpu else cuda_measures(split, options)
    rounds = [{name: measure() for name, measure in measures.items()} for _ in range(options.rounds)]
    ratios = CPU_RATIOS if on_cpu else CUDA_RATIOS
    found = {
        "faces_per_second": {name: statistics.median(one[name] for one in rounds) for name in measures},
        "ratios": {
            name: statistics.median(one[first] / one[second] for one in rounds)
            for name, (first, second) in ratios.items()
        },
    }
    settings = {name: value for name, value in vars(options).items() if name != "out"}
    result = {
        "command": ["python", *sys.argv],
        "commit": commit,
        "seed": SEED,
        "versions": {**versions(), "torch": torch.__version__},
        "cpu": processor(),
        "cores": os.cpu_count(),
        "gpu": None if on_cpu else torch.cuda.get_device_name(options.device),
        "settings": settings,
        **found,
        "rounds": rounds,
    }
    with replacing(options.out) as path:
        path.write_text(json.dumps(result, indent=1, ensure_ascii=False), encoding="utf-8")
    print(json.dumps(found, indent=1, ensure_ascii=False))


def cpu_measures(split: Split, options: argparse.Namespace) -> Mapping[str, Measure]:
    """The loaders and the student's steps at 128 px."""
    student = replace(get_recipe("cpu128-student", SEED), batch=options.batch, early_share=0.0, copies=2)
    student = replace(student, augmentation=Augmentation())
    plain = replace(student, name="plain", objective="l1")
    spec = new_spec(student, split)
    points = np.random.default_rng(SEED).uniform(0, 1, (2, len(split.train), spec.schema.size, 2)).astype(np.float32)
    teachers = TeacherPoints(points, points)
    targets = [sample.points for sample in split.train]
    dataset = CropDataset(split.train, targets, spec, student.augmentation, SEED, student.copies, teachers)
    ready = list(islice(batches_of(student, split, spec, teachers, 0, 0), 4))
    steps = {
        f"step, {name}": partial(time_steps, recipe, split, cycle(ready), options)
        for name, recipe in (("plain", plain), ("distilled", student))
    }
    return {"loader": partial(time_loader, dataset, options), **steps}


def cuda_measures(split: Split, options: argparse.Namespace) -> Mapping[str, Measure]:
    """Training of teacher and student at 224 px, with a loader and without."""
    measures: dict[str, Measure] = {}
    for network, name in NETWORKS.items():
        recipe = replace(get_recipe(name, SEED), size=224, early_share=0.0, batch=options.batch, precision="bf16")
        recipe = replace(
            recipe, architecture=replace(recipe.architecture, pretrained=False), augmentation=Augmentation()
        )
        spec = new_spec(recipe, split)
        one = next(batches_of(recipe, split, spec, None, 0, 0, options.device))
        ready = Batch(*(tensor.to(options.device) for tensor in one))
        measures[f"{network}, network alone"] = partial(time_steps, recipe, split, cycle([ready]), options)
        measures[f"{network}, with its loader"] = partial(time_training, recipe, split, options)
    return measures


def time_loader(dataset: CropDataset, options: argparse.Namespace) -> float:
    """Faces a second that come from new worker processes once they run."""
    order = Shuffle(len(dataset), options.batch, SEED)
    batches = iter(DataLoader(dataset, batch_sampler=order, num_workers=options.workers))
    return _rate(lambda: next(batches), options, warm_up=4 * options.workers)


def time_steps(recipe: Recipe, split: Split, batches: Iterator[Batch], options: argparse.Namespace) -> float:
    """Faces a second of a new network that learns from `batches`."""
    spec = new_spec(recipe, split)
    trainee, steps = new_trainee(recipe, split, spec, None, options.device), iter(range(recipe.steps))
    return _rate(lambda: take_step(trainee, next(batches), next(steps), recipe, spec), options)


def time_training(recipe: Recipe, split: Split, options: argparse.Namespace) -> float:
    """Faces a second of a training with its loader."""
    batches = batches_of(recipe, split, new_spec(recipe, split), None, 0, options.workers, options.device)
    return time_steps(recipe, split, batches, options)


def _rate(act: Callable[[], object], options: argparse.Namespace, warm_up: int = 5) -> float:
    for _ in range(warm_up):
        act()
    _finish(options.device)
    began = time.perf_counter()
    for _ in range(options.batches):
        act()
    _finish(options.device)
    return float(options.batches * options.batch / (time.perf_counter() - began))


def _finish(device: str) -> None:
    if device != "cpu":
        torch.cuda.synchronize(device)


if __name__ == "__main__":
    main()
