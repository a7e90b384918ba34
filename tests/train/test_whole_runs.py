"""Complete runs that take minutes: the paper's settings, and the script for GPU machines."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from lightmark.data.convert import write_coco
from lightmark.data.synthetic import synthetic_samples
from lightmark.nets.checkpoint import load_model
from lightmark.train.config import Execution
from lightmark.train.distil import distil
from lightmark.train.recipes import STAGES, get_distillation

QUIET = Execution(quiet=True)

pytestmark = pytest.mark.slow
SCRIPT = Path(__file__).parents[2] / "benchmarks" / "train_on_gpu.sh"


@pytest.mark.parametrize("name", ["paper224", "paper224-released"])
def test_the_papers_recipe_runs(tmp_path: Path, name: str) -> None:
    """Two steps of each stage with its own networks, size, losses and Soft-landmarks; all give points on the crop."""
    recipe = get_distillation(name)
    short = {stage: replace(getattr(recipe, stage), steps=2, batch=4, copies=1, validation=0.2) for stage in STAGES}
    samples = synthetic_samples(20, seed=0, size=160)
    made = distil(replace(recipe, **short), samples, tmp_path, with_plain=True, execution=QUIET)
    for stage in STAGES:
        model = load_model(getattr(made, stage))
        assert model.spec.size == 224
        backbone = "mobilenetv2" if stage in ("student", "plain") else "efficientnet-b3"
        assert model.spec.architecture["backbone"] == backbone


@pytest.mark.skipif(not SCRIPT.exists(), reason="the package alone, without its scripts")
def test_the_script_for_lent_gpus_trains_every_stage(tmp_path: Path) -> None:
    """From one folder; a second call skips finished stages; the resulting files can be loaded."""
    samples = synthetic_samples(60, seed=0, size=96, subsets=("train",))
    write_coco(samples, tmp_path / "faces.json")
    carried, out, kept = tmp_path / "carried", tmp_path / "out", tmp_path / "kept"
    environment = os.environ | {"PYTHON": sys.executable, "RECIPE": "demo64", "DEVICE": "cpu", "WORKERS": "0"}
    environment |= {"PRECISION": "bf16"} | {f"STEPS_{stage}": "2" for stage in STAGES}

    def run(*words: object) -> str:
        done = subprocess.run(
            [str(SCRIPT), *map(str, words)], env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    run("pack", tmp_path / "faces.json", "none", carried)
    run("train", carried, out)
    weights = {stage: (out / stage / "model.safetensors").read_bytes() for stage in STAGES}
    run("train", carried, out)
    assert weights == {stage: (out / stage / "model.safetensors").read_bytes() for stage in STAGES}
    run("collect", out, kept)
    names = {path.name for path in kept.iterdir()}
    assert names == {
        "demo64-tough.safetensors", "demo64-tolerant.safetensors", "demo64-plain.safetensors",
        "demo64-student.safetensors", "logs.tar.gz",
    }  # fmt: skip
    for name in names - {"logs.tar.gz"}:
        load_model(kept / name)
