"""Repeat the measurements of all published numbers that belong to an older model file, with their commands.

    python benchmarks/results.py --list
    python benchmarks/results.py --data FOLDER --force          # what is stale
    python benchmarks/results.py --data FOLDER --force --only shipped/fast.report.json pose.json

FOLDER holds the data sets by their usual names: 300w, 300w_lp, scut86, helen29, wflw, face-free
(benchmarks/face_free.py makes it). A result is stale where the sha256 of a model that it is about is not in it. Each
command runs in a folder of its own, in which the data sets and the scripts have these names; what it made takes the
place of the old file once it has ended well. Where one fails, its old files stay, the others run, and the status is 1.
What needs more than the development install (MediaPipe, a browser) says so and is left out unless --only names it.
Tables in README and docs are copied by hand from what this prints and writes; `make results` is the first command of a
release.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lightmark.outputs import require_free
from lightmark.runtime.shipped import shipped_hashes, shipped_models

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
STUDENTS = ("standard", "fast")
SUBSETS = ("common", "challenging", "full")


@dataclass(frozen=True)
class Result:
    """A JSON file under `RESULTS`, the models that it is about, and the command that writes it.

    {out} in the command is the file; `made` maps files of the command's working folder to where they go in the
    checkout, if it writes anything else. `needs` is what the development install lacks.
    """

    file: str
    models: tuple[str, ...]
    command: tuple[str, ...]
    made: Mapping[str, str] = field(default_factory=dict)
    needs: str = ""

    def targets(self) -> dict[Path, Path]:
        """Files of the working folder, and their places in the checkout."""
        made = self.made or {self.file: f"benchmarks/results/{self.file}"}
        return {Path(source): ROOT / target for source, target in made.items()}


def script(name: str, *words: str) -> tuple[str, ...]:
    """Command of the script `name`."""
    return ("python", f"benchmarks/{name}.py", *words, "--out", "{out}")


def report(model: str) -> Result:
    """Accuracy on 300W's test faces, confidence included, with the plots that the model card shows."""
    folder = f"reports/{model}"
    plots = {f"{folder}/{name}.png": f"docs/figures/{model}-{name}.png" for name in ("calibration", "roc")}
    return Result(
        f"shipped/{model}.report.json",
        (model,),
        ("lightmark", "evaluate", model, "--data", "300w", "--report", folder),
        {f"{folder}/report.json": f"benchmarks/results/shipped/{model}.report.json"}
        | (plots if model in STUDENTS else {}),
    )


def robustness(model: str) -> Result:
    """Curves for small, blurred, compressed and noisy faces and for boxes that are off."""
    folder = f"reports/{model}-robustness"
    return Result(
        f"shipped/{model}.robustness.json",
        (model,),
        ("lightmark", "evaluate", model, "--data", "300w", "--robustness", "--report", folder),
        {
            f"{folder}/report.json": f"benchmarks/results/shipped/{model}.robustness.json",
            f"{folder}/robustness.png": f"docs/figures/{model}-robustness.png",
        },
    )


def against_mediapipe(model: str, *words: str) -> Result:
    """NME beside MediaPipe's on WFLW."""
    kinds = ["refined" if word == "--refine" else word for word in words if word != "--margin"]
    name = "-".join(["mediapipe-wflw", model, *kinds])
    return Result(
        f"{name}.json",
        (model,),
        script("compare_mediapipe", "--model", model, "--train", "300w/lfpw/trainset", "--data", "wflw", *words),
        needs="mediapipe 0.10.21",
    )


RECALL = ("--data", "300w", "--turned", "300w_lp", "--scenes", "wflw", "--face-free", "face-free/test")
WILD = ("--model", "fast", "--model", "standard")
EVERY = ("standard", "standard-int8", "fast", "fast-int8")
RECORDED = (
    *(report(model) for model in EVERY),
    *(robustness(model) for model in STUDENTS),
    Result("pose.json", ("fast",), script("measure_pose", "--turned", "300w_lp/afw", "--data", "300w")),
    Result("jitter.json", ("fast",), script("jitter", "--data", "300w")),
    Result(
        "detector-recall.json",
        ("fast", "face"),
        script("detector_recall", *RECALL, "--detector", "face+fast", "--detector", "face", "--detector", "cascade"),
    ),
    Result(
        "wild.json",
        (*STUDENTS, "face"),
        (
            *script("wild", "--data", ".", *WILD, "--split", "test", "--every", "16", "--mediapipe"),
            *("--figure", "wild.png"),
        ),
        {"wild.json": "benchmarks/results/wild.json", "wild.png": "docs/figures/wild.png"},
        needs="mediapipe 0.10.21",
    ),
    Result("serve-load.json", ("fast",), script("serve_load")),
    Result("serve-abuse.json", ("fast",), script("serve_abuse")),
    Result("annotate.json", ("fast",), script("annotate"), needs="the extra ray"),
    Result(
        "precision.json",
        STUDENTS,
        script("precision", "--data", "300w", "--model", "standard", "--model", "fast", "--rounds", "30"),
        {name: f"benchmarks/results/{name}" for name in ("precision.json", "precision.md")},
        needs="the extras openvino, litert, ncnn and executorch, not all in one environment",
    ),
    Result(
        "pipeline.json",
        (*EVERY, "face"),
        script("pipeline", "--data", "300w", "--rounds", "96", *(w for model in EVERY for w in ("--model", model))),
        needs="mediapipe 0.10.21",
    ),
    against_mediapipe("standard"),
    against_mediapipe("standard", "--margin", "2.5"),
    against_mediapipe("standard", "--refine"),
    against_mediapipe("standard", "--refine", "--margin", "2.5"),
    against_mediapipe("fast"),
    against_mediapipe("fast", "--margin", "2.5"),
    Result(
        "label-convention.json",
        STUDENTS,
        script("label_convention", "--data", "300w", *(w for model in STUDENTS for w in ("--model", model))),
    ),
    Result("box-map.json", ("fast",), script("box_map", "--data", ".")),
    Result("own-points.json", ("fast",), script("own_points", "--data", ".")),
    Result(
        "learning-curves.json",
        ("fast",),
        (*script("learning_curves", "--data", "."), "--figure", "learning-curves.png"),
        {
            "learning-curves.json": "benchmarks/results/learning-curves.json",
            "learning-curves.png": "docs/figures/learning-curves.png",
        },
    ),
    Result(
        "own-points-teachers.json",
        STUDENTS,
        script(
            "learning_curves", "--data", ".", "--faces", "50", "--ways",
            "fine-tuned,distilled,unlabelled,long-from-scratch",
        ),
    ),
    Result(
        "measures.json",
        STUDENTS,
        script(
            "measures", "--data", "300w", "--turned", "300w_lp/afw", "--helen29", "helen29",
            "--figure", "openness.png",
        ),
        {"measures.json": "benchmarks/results/measures.json", "openness.png": "docs/figures/openness.png"},
    ),
    Result("measures-time.json", ("fast",), script("measures_time", "--rounds", "40")),
    Result(
        "blinks.json",
        ("fast", "face"),
        script("blinks", "--figure", "signals.png"),
        {"blinks.json": "benchmarks/results/blinks.json", "signals.png": "docs/figures/signals.png"},
    ),
    Result(
        "page-speed.json",
        STUDENTS,
        ("node", f"{ROOT}/web/e2e/speed.mjs", "--python", sys.executable, "--out", "{out}"),
        needs="the built page (web/) and Chromium",
    ),
    Result(
        "arm.json",
        EVERY,
        ("bash", "benchmarks/arm.sh", "300w", "arm", "{out}"),
        needs="apt of Debian 12 on x86-64 and the extra litert",
    ),
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of the data sets")
    parser.add_argument("--only", nargs="+", choices=[result.file for result in RECORDED], help="these, stale or not")
    parser.add_argument("--list", action="store_true", help="only tell which are stale")
    parser.add_argument("--force", action="store_true", help="write over what is there")
    options = parser.parse_args()
    chosen = [result for result in RECORDED if result.file in options.only] if options.only else stale_results()
    if options.list:
        for result in chosen:
            print(result.file, f"({', '.join(stale_models(result))})", result.needs and f"needs {result.needs}")
        return
    if options.data is None:
        parser.error("--data is needed, but for --list")
    runnable = [result for result in chosen if options.only or not result.needs]
    require_free([path for result in runnable for path in result.targets().values()], force=options.force)
    failed = [result.file for result in runnable if not make(result, options.data)]
    for result in chosen:
        if result not in runnable:
            print(f"{result.file}: left out, needs {result.needs}; ask for it by --only", file=sys.stderr)
    print(accuracy_table())
    if failed:
        sys.exit(f"not made: {', '.join(failed)}")


def stale_results() -> list[Result]:
    """Those of which a file is missing or about another model."""
    return [result for result in RECORDED if stale_models(result)]


def stale_models(result: Result) -> list[str]:
    """The result's models whose sha256, or an earlier one of a file that computed the same, is not in its JSON."""
    path = RESULTS / result.file
    found = set(strings_of(json.loads(path.read_text(encoding="utf-8")))) if path.exists() else set()
    models = shipped_models()
    same = {name: models[name].earlier_sha256 if name in models else () for name in result.models}
    return [name for name, sha256 in shipped_hashes(*result.models).items() if found.isdisjoint((sha256, *same[name]))]


def strings_of(node: Any) -> Iterator[str]:
    """Every string in a JSON document."""
    if isinstance(node, str):
        yield node
    elif isinstance(node, dict):
        for value in node.values():
            yield from strings_of(value)
    elif isinstance(node, list):
        for value in node:
            yield from strings_of(value)


def make(result: Result, data: Path) -> bool:
    """Run the command of `result` and replace its files; prints the reason and returns False where it fails."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        for source in (ROOT / "benchmarks", *(path for path in data.resolve().iterdir() if path.is_dir())):
            (work / source.name).symlink_to(source)
        name, *words = (word.format(out=result.file) for word in result.command)
        program = {"python": [sys.executable], "lightmark": [sys.executable, "-m", "lightmark"]}.get(name, [name])
        print(f"{result.file}: {' '.join([name, *words])}", flush=True)
        environment = os.environ | {"PYTHONPATH": str(ROOT / "src"), "PYTHON": sys.executable}
        if subprocess.run([*program, *words], cwd=work, env=environment, check=False).returncode:
            print(f"{result.file}: its command failed; what was there stays", file=sys.stderr)
            return False
        for source, target in result.targets().items():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(work / source, target)
    print(f"{result.file}: made in {time.monotonic() - began:.0f} s", flush=True)
    return True


def accuracy_table() -> str:
    """Markdown of the shipped models' NME in %, as README has it."""
    lines = ["| model | common | common, inner 51 | challenging (mapped) | full |", "|---|---|---|---|---|"]
    for model in EVERY:
        path = RESULTS / "shipped" / f"{model}.report.json"
        subsets = json.loads(path.read_text(encoding="utf-8"))["subsets"]
        values = [subsets["common"]["nme_inter_ocular"], subsets["common"]["nme_inter_ocular_inner"]]
        values += [subsets[name]["nme_inter_ocular"] for name in SUBSETS[1:]]
        lines.append(" | ".join([f"| {model}", *(interval(value) for value in values)]) + " |")
    return "\n".join(lines)


def interval(value: Mapping[str, float]) -> str:
    """Value and 95 % interval in %."""
    return f"{100 * value['value']:.2f} [{100 * value['low']:.2f}, {100 * value['high']:.2f}]"


if __name__ == "__main__":
    main()
