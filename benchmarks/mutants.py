"""Mutation testing: small changes to the code (mutants), each of which a test must notice (kill it).

    pip install mutmut==3.8.1
    python benchmarks/mutants.py                    # every file below; hours
    python benchmarks/mutants.py tracker train/step # two of them
    python benchmarks/mutants.py --sample 30 train/loop train/confidence

mutmut changes the functions of one file after the other in a scratch copy of the tracked files, and runs the tests that
`FILES` names for it: those that are about the file, without the slowest. `--sample` tries that many mutants a file,
drawn by `--seed`; the rate then has a 95 % interval (Wilson). Module-level constants and decorated functions are beyond
mutmut; docs/reliability.md lists those that were changed by hand. train/recipes.py is settings, which trainings judge.

Survivors are looked up in benchmarks/equivalent_mutants.json, which says of each why no test could tell it from the
original, or that only a message's wording changes. Those leave the count; all others are printed, below the file's row
of the table in docs/reliability.md (`--judge` prints them all). Without real faces (LIGHTMARK_DATA), so that every run
tests the same. Writes benchmarks/results/mutants.json; a file that was not asked for keeps its entry there.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from lightmark.files import replacing
from lightmark.outputs import require_free

ROOT = Path(__file__).parents[1]
RESULT = ROOT / "benchmarks" / "results" / "mutants.json"
EQUIVALENT = ROOT / "benchmarks" / "equivalent_mutants.json"
KILLED = {"killed", "timeout", "segfault", "suspicious"}


class Part(NamedTuple):
    """Test files of a source file, and the tests among them (`pytest -k`) that are not run for each mutant.

    `fresh` starts pytest anew for each: for functions that are called at import, before mutmut's mutant is active.
    """

    tests: Sequence[str]
    without: Sequence[str] = ()
    fresh: bool = False


# Tests of test_loop.py and test_distil.py that train networks; the others see what each step and stage is given.
LOOP_TRAINED = ("killed_run", "learns_to_look", "not_repeated", "in_a_finished", "best_weights", "later_worse",
                "soft_landmarks_are_fitted", "log_averages", "no_imagenet", "given_weights", "diverging", "cut_state",
                "bf16", "every_row")  # fmt: skip
TRAINED = ("run_once", "share", "students_alone", "apart", "tough_one", "start_where", "as_they_are", "teachers_say",
           "cut_cache", "fixed_copies", "own_size", "wider_crops", "missing_points", "no_face_has")  # fmt: skip
FILES = {
    "losses": Part(["tests/test_losses.py"]),
    "metrics": Part(["tests/test_metrics.py"]),
    "scores": Part(["tests/test_metrics.py"]),
    "geometry": Part(["tests/test_geometry.py"]),
    "shape": Part(["tests/test_shape.py"]),
    "video/tracker": Part(["tests/video/test_tracker.py"], ["long_film"]),
    "train/confidence": Part(["tests/train/test_confidence.py"]),
    "train/config": Part(["tests/train/test_config.py"]),
    "train/curves": Part(["tests/train/test_curves.py"]),
    "train/detector/loss": Part(["tests/train/test_detection_loss.py"]),
    "train/distil": Part(["tests/train/test_distil.py"], TRAINED),
    "train/detector/train": Part(["tests/train/test_detector_training.py"]),
    "train/faces": Part(["tests/train/test_faces.py"]),
    "train/fingerprint": Part(["tests/train/test_fingerprint.py"]),
    "train/folder": Part(["tests/train/test_folder.py"]),
    "train/loop": Part(["tests/train/test_loop.py"], LOOP_TRAINED),
    "train/objectives": Part(["tests/train/test_objectives.py"], fresh=True),
    "train/progress": Part(["tests/train/test_progress.py"]),
    "train/run": Part(["tests/train/test_run.py"]),
    "train/tensorboard": Part(["tests/train/test_tensorboard.py"]),
    "train/distributed/collectives": Part(
        ["tests/train/test_collectives.py", "tests/train/test_distributed.py"], ["killed", "distils", "two_processes"]
    ),
    "train/state": Part(["tests/train/test_state.py", "tests/train/test_step.py"], ["bfloat16", "device"]),
    "train/step": Part(["tests/train/test_trainee.py", "tests/train/test_planes.py", "tests/train/test_step.py"]),
    "train/teachers": Part(["tests/train/test_teachers.py"], ["finished"]),
    "train/distributed/world": Part(["tests/train/test_collectives.py"]),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", metavar="FILE", help=", ".join(FILES))
    parser.add_argument("--sample", type=int, help="mutants a file; all without it")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--again", action="store_true", help="try the known survivors alone, after tests were added")
    parser.add_argument("--judge", action="store_true", help="try nothing, look the known survivors up again")
    parser.add_argument("--out", type=Path, default=RESULT)
    parser.add_argument("--force", action="store_true", help="write over what is there")
    options = parser.parse_args()
    require_free([options.out], force=options.force)
    if unknown := set(options.files) - FILES.keys():
        parser.error(f"no tests are known for {', '.join(unknown)}; known: {', '.join(FILES)}")
    known = json.loads(options.out.read_text(encoding="utf-8")) if options.out.exists() else {}
    for name in known if options.judge else options.files or FILES:
        if not options.judge:
            with tempfile.TemporaryDirectory() as scratch:
                before = known[name] if options.again else None
                known[name] = try_mutants(name, Path(scratch), options.sample, options.seed, before)
        known[name] = judge(name, known[name])
        report(name, known[name])
        with replacing(options.out) as temporary:
            text = json.dumps(dict(sorted(known.items())), indent=1, ensure_ascii=False)
            temporary.write_text(text + "\n", encoding="utf-8")


def try_mutants(
    name: str, scratch: Path, sample: int | None, seed: int, before: dict[str, Any] | None
) -> dict[str, Any]:
    """Counts and survivors of the mutants of the file `name`, tried in a copy of the project in `scratch`.

    Only the survivors of a result `before` are tried again if there is one; it must be of the same source file.
    """
    source = f"src/lightmark/{name}.py"
    copy_project(scratch)
    configure(scratch, source, FILES[name])
    run_mutmut(scratch, "no_such_mutant")  # makes the mutants, and finds out which test calls which function
    names = sorted(verdicts(scratch, source))
    if before:
        chosen = [one["mutant"] for one in before["survived"]]
    else:
        chosen = names if sample is None or sample >= len(names) else random.Random(seed).sample(names, sample)
    if FILES[name].fresh:
        found = {mutant: fresh_verdict(scratch, FILES[name], mutant) for mutant in chosen}
    else:
        done = run_mutmut(scratch, *(chosen or ["no_such_mutant"]))  # none would be all
        if done.returncode and chosen:
            sys.exit(f"{name}: mutmut failed\n{done.stdout[-3000:]}{done.stderr[-3000:]}")
        found = verdicts(scratch, source)
    alive = [change_of(scratch, mutant) for mutant in sorted(chosen) if found[mutant] not in KILLED]
    tried = before["tried"] if before else len(chosen)
    left_out = before["left_out"] if before else []
    return {
        "mutants": len(names),
        "tried": tried,
        "seed": None if tried == len(names) else seed,
        "killed": tried - len(alive) - len(left_out),
        "timeouts": sum(found[mutant] == "timeout" for mutant in chosen),  # among the killed
        "left_out": left_out,
        "survived": alive,
        "commit": subprocess.check_output(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, text=True).strip(),
    }


def judge(name: str, found: dict[str, Any]) -> dict[str, Any]:
    """Counts of a file, its survivors divided into equivalent mutants and those that a test should kill."""
    # Reasons that the result has already: lines of an older commit may have been reworded since.
    judged = [*found["left_out"], *json.loads(EQUIVALENT.read_text())[name]]
    reasons = {of(one): one["why"] for one in judged if "why" in one}
    alive = [{key: one[key] for key in ("mutant", "before", "after")} for one in found["left_out"] + found["survived"]]
    left_out = [one | {"why": reasons[of(one)]} for one in alive if of(one) in reasons]
    counted = found["tried"] - len(left_out)
    return found | {
        "rate": round(found["killed"] / max(counted, 1), 4),
        "interval": wilson(found["killed"], counted) if found["tried"] < found["mutants"] else None,
        "left_out": left_out,
        "survived": [one for one in alive if of(one) not in reasons],
    }


def of(mutant: dict[str, str]) -> tuple[str, str]:
    return mutant["before"], mutant["after"]


def report(name: str, found: dict[str, Any]) -> None:
    """Print a file's row of the table in docs/reliability.md, and below it what no test noticed."""
    interval = " [{:.0f}, {:.0f}]".format(*(100 * end for end in found["interval"])) if found["interval"] else ""
    counts = [found["mutants"], found["tried"], found["killed"], len(found["left_out"])]
    print(f"| `{name}.py` | {' | '.join(map(str, counts))} | {found['rate']:.1%}{interval} |", flush=True)
    for mutant in found["survived"]:
        print(f"  - {mutant['before']}\n  + {mutant['after']}", flush=True)


def copy_project(scratch: Path) -> None:
    """Copy the tracked files, as they are, to `scratch`."""
    for name in subprocess.check_output(["git", "ls-files", "-z"], cwd=ROOT, text=True).split("\0"):
        if name and (ROOT / name).is_file():
            (scratch / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, scratch / name)


def configure(scratch: Path, source: str, part: Part) -> None:
    """Tell mutmut what to change and what to run.

    Doctests are left out: they are collected from the changed files, whose functions have other names.
    """
    path = scratch / "pyproject.toml"
    tests = [test for test in part.tests if (scratch / test).exists()]
    deselect = ["-k", " and ".join(f"not {name}" for name in part.without)] if part.without else []
    settings = {
        "source_paths": ["src/"],
        "only_mutate": [source],
        "pytest_add_cli_args": deselect,
        "pytest_add_cli_args_test_selection": tests,
        "also_copy": ["benchmarks/", "docs/", "web/", "README.md"],
        "process_isolation": "forkserver",
        "forkserver_warmup": "collect",
        # Generous: on a busy machine a mutant that no test notices would count as killed. Only endless loops meet it.
        "timeout_constant": 10.0,
        "timeout_multiplier": 6.0,
    }
    lines = [f"{key} = {json.dumps(value)}" for key, value in settings.items()]
    text = path.read_text(encoding="utf-8").replace(" --doctest-modules", "")
    path.write_text("\n".join([text, "[tool.mutmut]", *lines, ""]), encoding="utf-8")


def run_mutmut(scratch: Path, *mutants: str) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).parent / "mutmut"), "run", "--max-children", "1", *mutants]
    environment = environment_of(scratch)
    return subprocess.run(command, cwd=scratch, env=environment, check=False, capture_output=True, text=True)


def environment_of(scratch: Path) -> dict[str, str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LIGHTMARK")}
    return environment | {"PYTHONPATH": str(scratch / "mutants" / "src")}  # for the processes that tests start, too


def fresh_verdict(scratch: Path, part: Part, mutant: str) -> str:
    """What becomes of a mutant in a pytest of its own; mutmut's code reads its name from the environment."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *part.tests]
    environment = environment_of(scratch) | {"MUTANT_UNDER_TEST": mutant}
    done = subprocess.run(command, cwd=scratch / "mutants", env=environment, check=False, capture_output=True)
    return "killed" if done.returncode else "survived"


def verdicts(scratch: Path, source: str) -> dict[str, str]:
    """What became of each mutant."""
    from mutmut.stats import status_by_exit_code

    meta = json.loads((scratch / "mutants" / f"{source}.meta").read_text())
    return {mutant: status_by_exit_code[code] for mutant, code in meta["exit_code_by_key"].items()}


def change_of(scratch: Path, mutant: str) -> dict[str, str]:
    """A mutant's name, and its line before and after the change."""
    command = [str(Path(sys.executable).parent / "mutmut"), "show", mutant]
    shown = subprocess.run(command, cwd=scratch, check=True, capture_output=True, text=True).stdout.splitlines()
    lines = {sign: [line[1:].strip() for line in shown if line.startswith(sign) and not line.startswith(sign * 3)]
             for sign in "-+"}  # fmt: skip
    return {"mutant": mutant, "before": " ".join(lines["-"]), "after": " ".join(lines["+"])}


def wilson(killed: int, count: int, z: float = 1.96) -> list[float]:
    """95 % interval of a share (Wilson 1927)."""
    share, spread = killed / count, z * z / count
    middle, half = share + spread / 2, z * math.sqrt(share * (1 - share) / count + spread / (4 * count))
    return [round((middle + sign * half) / (1 + spread), 4) for sign in (-1, 1)]


if __name__ == "__main__":
    main()
