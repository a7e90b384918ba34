"""The ablation reuses a result only where the same data, weights, recipe and seed made it."""

from __future__ import annotations

import importlib.util
import json
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("scipy")

from lightmark.data.synthetic import synthetic_samples
from lightmark.train.recipes import get_distillation

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "ablation.py"
pytestmark = pytest.mark.skipif(not SCRIPT.exists(), reason="the package alone, without its scripts")


@pytest.fixture(scope="module")
def ablation() -> ModuleType:
    """The script as a module."""
    spec = importlib.util.spec_from_file_location("ablation", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["ablation"] = module  # where its dataclasses look for their types
    spec.loader.exec_module(module)
    return module


class Study:
    """A study whose runs are counted instead of trained."""

    def __init__(self, ablation: ModuleType, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ablation, self.folder, self.runs = ablation, folder, 0
        self.faces, self.tests = synthetic_samples(4, seed=1, size=64), synthetic_samples(2, seed=2, size=64)
        (folder / "tough").mkdir()
        self.tough = folder / "tough" / "model.safetensors"
        self.tough.write_bytes(b"weights")
        self.start: Path | None = None
        monkeypatch.setattr(ablation, "training_samples", lambda paths: self.faces)
        monkeypatch.setattr(ablation, "read_samples", lambda path, subset: self.tests)
        monkeypatch.setattr(ablation, "run_one", self.run_one)

    def run_one(self, *words: Any) -> dict[str, Any]:
        """A result, and the file with a cost in the run's folder that goes with it."""
        self.runs += 1
        folder = words[-1]
        (folder / "teachers-cost.txt").write_text(str(self.runs))
        return {"row": {"name": words[0].name}, "seed": words[1], "nme": {"common": 0.03}}

    def run(self, name: str, seed: int = 0) -> int:
        """Runs that were made to have the row's result."""
        before = self.runs
        teachers = self.ablation.Teachers(self.tough.parent, get_distillation("demo64"), self.folder / "work")
        rows = [row for row in self.ablation.ROWS if row.name == name]
        words = (self.folder, teachers, self.start, self.folder / "work", self.folder / "out", [seed], rows)
        self.ablation.run_all(*words)
        return self.runs - before


@pytest.fixture
def study(ablation: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Study:
    return Study(ablation, tmp_path, monkeypatch)


KD = "KD-Loss (figure), Tolerant 90 %"


def test_a_result_of_the_same_inputs_is_kept(study: Study) -> None:
    """Nothing is trained twice."""
    assert [study.run(KD), study.run(KD), study.run(KD, seed=1)] == [1, 0, 1]


@pytest.mark.parametrize("what", ["labels", "test labels", "teacher", "start", "steps"])
def test_a_result_of_other_inputs_is_made_anew(study: Study, what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever has changed; the run's folder, with the teachers' cost in it, is set aside."""
    study.run(KD)
    if what == "labels":
        study.faces = [replace(study.faces[0], points=study.faces[0].points + 1), *study.faces[1:]]
    elif what == "test labels":
        study.tests = study.tests[:1]
    elif what == "teacher":
        study.tough.write_bytes(b"other weights")
    elif what == "start":
        study.start = study.folder / "start.safetensors"
        study.start.write_bytes(b"weights")
    else:
        monkeypatch.setattr(study.ablation, "STEPS", 10)
    assert [study.run(KD), study.run(KD)] == [1, 0]
    name = study.ablation.slug(KD)
    assert (study.folder / "work" / f"{name}-seed0" / "teachers-cost.txt").read_text() == "2"
    assert (study.folder / "work" / f"{name}-seed0-before1" / "teachers-cost.txt").read_text() == "1"


def test_rows_without_teachers_do_not_ask_for_them(study: Study) -> None:
    """Plain L1 is the same whatever the teachers are."""
    study.run("L1")
    study.tough.write_bytes(b"other weights")
    assert study.run("L1") == 0


def test_a_result_that_does_not_say_what_made_it_is_made_anew(study: Study, capsys: pytest.CaptureFixture[str]) -> None:
    """Of an older release of the script."""
    study.run("L1")
    path = study.folder / "out" / "l1-seed0.json"
    result = json.loads(path.read_text())
    path.write_text(json.dumps({name: value for name, value in result.items() if name != "fingerprint"}))
    assert study.run("L1") == 1
    assert "made anew, other than before: it does not say what made it" in capsys.readouterr().out
