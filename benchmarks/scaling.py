"""Training throughput of one process, two processes by torchrun, and one process with two threads.

    python benchmarks/scaling.py

Rounds of all three follow each other, so that a change of the machine's speed meets all alike; every round starts its
processes anew and times `--steps` steps after some to warm up: cutting crops, forward, backward, gradients shared,
weights moved. The faces are painted ones, the batch is the recipe's whatever the number of processes, and all steps run
at the recipe's full size. Medians over the rounds, and of each round's ratio to one process. Writes
benchmarks/results/scaling.json.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import cv2
import torch

from lightmark.bench.machine import processor
from lightmark.data.synthetic import synthetic_samples
from lightmark.files import replacing
from lightmark.outputs import require_free
from lightmark.provenance import git_commit, versions
from lightmark.train.distributed.collectives import barrier, init_distributed
from lightmark.train.distributed.world import world
from lightmark.train.faces import Split
from lightmark.train.loop import batches_of, new_spec, new_trainee
from lightmark.train.recipes import get_recipe
from lightmark.train.step import take_step

ONE = "1 process × 1 thread"
SETUPS: Mapping[str, tuple[int, int]] = {ONE: (1, 1), "2 processes × 1 thread": (2, 1), "1 process × 2 threads": (1, 2)}
FACES, WARM_UP = 256, 3
RESULT = Path(__file__).parent / "results" / "scaling.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", default="cpu128-plain")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--out", type=Path, default=RESULT)
    parser.add_argument("--force", action="store_true", help="write over what is there")
    parser.add_argument("--worker-threads", type=int, help=argparse.SUPPRESS)  # in the processes that it starts
    options = parser.parse_args()
    require_free([options.out], force=options.force)
    if options.worker_threads:
        work(options.recipe, options.steps, options.worker_threads)
        return
    commit = git_commit()
    rounds = [
        {name: time_setup(*setup, options.recipe, options.steps) for name, setup in SETUPS.items()}
        for _ in range(options.rounds)
    ]
    found = {
        "faces_per_second": {name: statistics.median(one[name] for one in rounds) for name in SETUPS},
        "over_one_process": {name: statistics.median(one[name] / one[ONE] for one in rounds) for name in SETUPS},
    }
    result = {
        "command": ["python", *sys.argv],
        "commit": commit,
        "versions": {**versions(), "torch": torch.__version__},
        "cpu": processor(),
        "cores": os.cpu_count(),
        "recipe": options.recipe,
        "batch": get_recipe(options.recipe).batch,
        "steps": options.steps,
        **found,
        "rounds": rounds,
    }
    with replacing(options.out) as path:
        path.write_text(json.dumps(result, indent=1, ensure_ascii=False), encoding="utf-8")
    print(json.dumps(found, indent=1, ensure_ascii=False))


def time_setup(processes: int, threads: int, recipe: str, steps: int) -> float:
    """Faces a second of a training in new processes."""
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)]
    work = [__file__, "--recipe", recipe, "--steps", str(steps), "--worker-threads", str(threads)]
    command = [sys.executable, *(torchrun if processes > 1 else []), *work]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment)
    return float(done.stdout.split()[-1])


def work(name: str, steps: int, threads: int) -> None:
    """Train, and print the faces a second of all processes together."""
    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)
    device = init_distributed("cpu")
    recipe = replace(get_recipe(name), early_share=0.0)
    split = Split(synthetic_samples(FACES, seed=0), [])
    spec = new_spec(recipe, split)
    trainee = new_trainee(recipe, split, spec, None, device)
    batches = batches_of(recipe, split, spec, None, 0, workers=0)
    for step in range(WARM_UP):
        take_step(trainee, next(batches), step, recipe, spec)
    barrier()
    began = time.perf_counter()
    for step in range(WARM_UP, WARM_UP + steps):
        take_step(trainee, next(batches), step, recipe, spec)
    barrier()
    if world().rank == 0:
        print(steps * recipe.batch / (time.perf_counter() - began))


if __name__ == "__main__":
    main()
