"""The ablation reuses a result only where the same data, weights, recipe and seed made it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from PIL import Image

pytest.importorskip("torch")
pytest.importorskip("scipy")

from lightmark.data.convert import write_coco
from lightmark.data.formats.pts import format_pts
from lightmark.data.read import read_samples
from lightmark.data.sample import load_image
from lightmark.data.synthetic import synthetic_samples
from lightmark.train.config import Execution
from lightmark.train.distil import distil
from lightmark.train.recipes import get_distillation

QUIET = Execution(quiet=True)

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "ablation.py"
pytestmark = pytest.mark.skipif(not SCRIPT.exists(), reason="the package alone, without its scripts")


@pytest.fixture(scope="module")
def ablation(open_script: Callable[[str], ModuleType]) -> ModuleType:
    """The script as a module."""
    return open_script("ablation")


class Study:
    """A study whose runs are counted instead of trained."""

    def __init__(self, ablation: ModuleType, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ablation, self.folder, self.runs = ablation, folder, 0
        self.faces, self.tests = synthetic_samples(4, seed=1, size=64), synthetic_samples(2, seed=2, size=64)
        (folder / "tough").mkdir()
        self.tough = folder / "tough" / "model.safetensors"
        self.tough.write_bytes(b"weights")
        self.start: Path | None = None
        self.tolerant: Path | None = None
        self.extra = synthetic_samples(3, seed=3, size=64)
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
        teachers = self.ablation.Teachers(
            self.tough.parent, get_distillation("demo64"), self.folder / "work", finished=self.tolerant
        )
        rows = [row for rows, _ in self.ablation.EXPERIMENTS.values() for row in rows if row.name == name][:1]
        faces = self.ablation.Faces(self.faces, self.tests, self.extra)
        words = (faces, teachers, self.start, self.folder / "work", self.folder / "out", [seed], rows)
        self.ablation.run_all(*words)
        return self.runs - before


@pytest.fixture
def study(ablation: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Study:
    return Study(ablation, tmp_path, monkeypatch)


KD = "KD-Loss (figure), Tolerant 90 %"


def test_a_result_of_the_same_inputs_is_kept(study: Study) -> None:
    """Nothing is trained twice."""
    assert [study.run(KD), study.run(KD), study.run(KD, seed=1)] == [1, 0, 1]


@pytest.mark.parametrize("what", ["labels", "test labels", "teacher", "finished tolerant", "start", "steps"])
def test_a_result_of_other_inputs_is_made_anew(study: Study, what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever has changed; the run's folder, with the teachers' cost in it, is set aside."""
    study.run(KD)
    if what == "labels":
        study.faces = [replace(study.faces[0], points=study.faces[0].points + 1), *study.faces[1:]]
    elif what == "test labels":
        study.tests = study.tests[:1]
    elif what == "teacher":
        study.tough.write_bytes(b"other weights")
    elif what == "finished tolerant":
        study.tolerant = study.folder / "tolerant.safetensors"
        study.tolerant.write_bytes(b"weights")
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


def test_a_result_without_provenance_is_measured_again(study: Study, capsys: pytest.CaptureFixture[str]) -> None:
    """Of an older release of the script."""
    study.run("L1")
    path = study.folder / "out" / "l1-seed0.json"
    result = json.loads(path.read_text())
    path.write_text(json.dumps({name: value for name, value in result.items() if name != "fingerprint"}))
    assert study.run("L1") == 1
    assert "made anew, other than before: it does not say what made it" in capsys.readouterr().out


def test_rows_with_more_faces_are_of_those_faces_and_their_teacher(study: Study) -> None:
    """Another unlabelled face, or a teacher that labels them otherwise, is another run; other rows do not mind."""
    more = "L1, all more faces"
    assert [study.run(more), study.run("L1"), study.run(more)] == [1, 1, 0]
    study.extra = study.extra[:2]
    assert [study.run(more), study.run("L1")] == [1, 0]
    study.tough.write_bytes(b"other weights")
    assert [study.run(more), study.run("L1")] == [1, 0]


def test_differences_are_paired_by_seed_and_by_face(ablation: ModuleType) -> None:
    """Two seeds that both gain 0.10 points, by faces of which each gains that: both intervals close around it."""
    base = {seed: {"nme": {"full": 0.04}, "errors": [0.03, 0.05]} for seed in (0, 1)}
    better = {seed: {"nme": {"full": 0.039}, "errors": [0.029, 0.049]} for seed in (0, 1)}
    assert ablation.against(better, base) == "-0.10 ± 0.00 [-0.10, -0.10]"
    uneven = {seed: {"nme": {"full": 0.039}, "errors": [0.028, 0.050]} for seed in (0, 1)}
    assert ablation.against(uneven, base) == "-0.10 ± 0.00 [-0.20, +0.00]"


def write_300w(folder: Path) -> None:
    """Drawn faces in 300W's layout: LFPW's training and test folders, and iBUG."""
    for place, count, seed in (("lfpw/trainset", 48, 1), ("lfpw/testset", 4, 2), ("ibug", 3, 3)):
        (folder / place).mkdir(parents=True)
        for number, face in enumerate(synthetic_samples(count, seed=seed, size=72)):
            Image.fromarray(load_image(face)).save(folder / place / f"image_{number}.png")
            (folder / place / f"image_{number}.pts").write_text(format_pts(face.points))


@pytest.mark.slow
def test_the_direction_experiment_trains_every_row(
    ablation: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A step of each, from one start, with faces that the teacher labels; the table has them all."""
    write_300w(tmp_path / "300w")
    data = read_samples(tmp_path / "300w", subset="train")
    recipe = get_distillation("demo64")
    stages = {name: replace(getattr(recipe, name), steps=1) for name in ("tough", "tolerant", "student", "plain")}
    monkeypatch.setattr(ablation, "get_distillation", lambda name: replace(recipe, **stages))
    distil(replace(recipe, **stages), data, tmp_path / "run", execution=QUIET)
    write_coco(synthetic_samples(6, seed=4, size=72), tmp_path / "extra.json")
    monkeypatch.setattr(ablation, "SIZE", 32)
    words = ["--experiment", "direction", "--data", tmp_path / "300w", "--extra", tmp_path / "extra.json"]
    words += ["--seeds", "0", "--steps", "2"]
    places = ["--teacher", tmp_path / "run/tough", "--work", tmp_path / "work", "--out", tmp_path / "out"]
    monkeypatch.setattr("sys.argv", ["ablation.py", *map(str, [*words, *places])])
    ablation.main()
    rows, _ = ablation.EXPERIMENTS["direction"]
    table = (tmp_path / "out" / "summary.md").read_text()
    assert [line.split(" | ")[0].removeprefix("| ") for line in table.splitlines()[2:]] == [row.name for row in rows]
    made = {run["row"]["name"]: run for run in ablation.load_runs(tmp_path / "out")}
    assert made["L1"]["extra_faces"] == 0
    assert {run["recipe"]["steps"] for run in made.values()} == {2}
    assert made["L1, all more faces"]["extra_faces"] == 6
    assert all(len(run["errors"]) == 7 for run in made.values())
