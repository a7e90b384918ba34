"""Runs that are interrupted or refused by the system: status, one line, and what the same command goes on from."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

pytest.importorskip("torch")

from lightmark.cli import main
from lightmark.data.synthetic.head import mean_points
from lightmark.evaluate import face_boxes
from lightmark.export.onnx import export_onnx
from lightmark.files import sha256_of
from lightmark.nets.network import Architecture
from lightmark.train import config, loop, recipes
from lightmark.train.config import Distillation, Recipe
from lightmark.train.detector import train as face_detector
from lightmark.train.detector.mosaic import MosaicRules
from lightmark.train.folder import read_result

TINY = Recipe(
    name="tiny",
    architecture=Architecture("mobilenetv2", "spatial", width=0.25),
    size=32,
    objective="l1",
    steps=6,
    batch=2,
    warmup=1,
    validation=0.4,
    validate_every=2,
    log_every=2,
    copies=1,
)
DISTILLED = Distillation(
    "tiny",
    replace(TINY, name="tiny-tough"),
    replace(TINY, name="tiny-tolerant", soft_variance=0.5),
    replace(TINY, name="tiny-student", objective="kd-figure"),
    replace(TINY, name="tiny-plain"),
    tolerant_starts_from_tough=True,
)
SHAPE = np.array([[14.0, 16.0], [34.0, 16.0], [24.0, 24.0], [16.0, 34.0], [32.0, 34.0]])


@dataclass(frozen=True)
class Runs:
    """Commands that train for a few steps; `interrupt_at` ends them at a step, as Ctrl-C does."""

    faces: Path
    out: Path
    commands: dict[str, list[str]]
    interrupt_at: Callable[[int | None], None]

    def invoke(self, command: str) -> Result:
        """Run one of the commands."""
        return CliRunner().invoke(main, self.commands[command])


def write_faces(folder: Path, shape: np.ndarray, rng: np.random.Generator) -> None:
    """Twelve pictures of noise, labelled with the points `shape`, moved a little."""
    folder.mkdir()
    for index in range(12):
        points = shape + rng.normal(0, 2, shape.shape)
        Image.fromarray(rng.integers(0, 255, (48, 48, 3), dtype=np.uint8)).save(folder / f"{index}.png")
        rows = [f"{x + 1:.2f} {y + 1:.2f}" for x, y in points]
        (folder / f"{index}.pts").write_text("\n".join(["version: 1", f"n_points: {len(shape)}", "{", *rows, "}"]))


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Runs:
    """Twelve faces of five points, as many of 68, pictures without any, and tiny recipes in place of the package's."""
    faces, rng = tmp_path / "faces", np.random.default_rng(0)
    (tmp_path / "empty").mkdir()
    write_faces(faces, SHAPE, rng)
    write_faces(tmp_path / "faces68", 12 * mean_points()[:, :2] + 20, rng)
    for index in range(12):
        Image.fromarray(rng.integers(0, 255, (48, 48, 3), dtype=np.uint8)).save(tmp_path / "empty" / f"{index}.png")
    schema = {"name": "five", "mirror": [1, 0, 2, 4, 3], "normaliser": [0, 1]}
    (tmp_path / "five.json").write_text(json.dumps(schema))
    # As it would find in pictures of noise, without looking at them again in every command.
    monkeypatch.setattr(face_boxes, "find_face_boxes", lambda samples: [None] * len(samples))
    monkeypatch.setattr(recipes, "get_recipe", lambda name, seed: TINY)
    monkeypatch.setattr(recipes, "get_distillation", lambda name, seed: DISTILLED)
    rules = MosaicRules(size=64)
    steps = {"steps": 6, "batch": 2, "validate_every": 2, "validation_mosaics": 2}
    tiny = config.DetectorRecipe(rules=rules, validation=0.4, **steps)  # type: ignore[arg-type]  # whole numbers
    monkeypatch.setattr(config, "DetectorRecipe", lambda seed: tiny)
    last: list[int | None] = [None]

    def watched(take: Callable[..., object]) -> Callable[..., object]:
        def take_or_end(trainee: object, batch: object, step: int, *words: object) -> object:
            if last[0] is not None and step >= last[0]:
                raise KeyboardInterrupt
            return take(trainee, batch, step, *words)

        return take_or_end

    monkeypatch.setattr(loop, "take_step", watched(loop.take_step))
    monkeypatch.setattr(face_detector, "take_detector_step", watched(face_detector.take_detector_step))
    out = tmp_path / "run"
    options = ["--data", str(faces), "--schema", str(tmp_path / "five.json"), "--out", str(out)]
    for_detector = ["--data", str(tmp_path / "faces68"), "--out", str(out)]
    commands = {
        "train": ["train", "tiny", *options],
        "distill": ["distill", "--recipe", "tiny", *options],
        "train-detector": ["train-detector", "--background", str(tmp_path / "empty"), *for_detector],
    }
    return Runs(faces, out, commands, lambda step: last.__setitem__(0, step))


@pytest.mark.parametrize(("command", "stage"), [("train", ""), ("distill", "tough"), ("train-detector", "")])
def test_an_interrupted_run_prints_how_to_resume(runs: Runs, command: str, stage: str) -> None:
    """Status 130 and the step saved last; the same command then does the steps after it alone."""
    runs.interrupt_at(5)
    first = runs.invoke(command)
    assert first.exit_code == 130
    assert first.stderr.splitlines()[-1] == (
        f"lightmark: interrupted; the same command goes on from step 4, saved in {runs.out / stage}"
    )
    runs.interrupt_at(4)
    assert "from step 4" in runs.invoke(command).stderr  # which it would not say, had it begun anew
    runs.interrupt_at(None)
    assert runs.invoke(command).exit_code == 0


def test_a_run_begins_with_an_exported_file(runs: Runs, tmp_path: Path) -> None:
    """The file's weights are the initial ones, and the same command resumes the run that began so."""
    command = ["train", "tiny", "--data", str(tmp_path / "faces68"), "--out"]
    assert CliRunner().invoke(main, [*command, str(runs.out)]).exit_code == 0
    student = tmp_path / "student.onnx"
    export_onnx(runs.out / "model.safetensors", student)
    command += [str(tmp_path / "second"), "--start", str(student)]
    runs.interrupt_at(4)
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 130, result.output
    assert (tmp_path / "second" / "start.safetensors").is_file()
    runs.interrupt_at(None)
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 0, result.output
    origin = read_result(tmp_path / "second")["fingerprint"]["start"]
    assert origin == sha256_of(tmp_path / "second" / "start.safetensors")


def test_extra_faces_are_trained_on_alone(runs: Runs, tmp_path: Path) -> None:
    """Validation faces are those of --data, however many are added."""
    write_faces(tmp_path / "more", SHAPE, np.random.default_rng(5))
    assert runs.invoke("train").exit_code == 0
    command = [*runs.commands["train"][:-1], str(tmp_path / "second"), "--extra", str(tmp_path / "more")]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 0, result.output
    alone, both = read_result(runs.out), read_result(tmp_path / "second")
    assert both["train_faces"] == alone["train_faces"] + 12
    validation = "validation faces"
    assert both["fingerprint"][validation] == alone["fingerprint"][validation]


def test_a_split_seed_chooses_the_validation_faces(runs: Runs) -> None:
    """Whatever the seed is."""
    result = CliRunner().invoke(main, [*runs.commands["train"], "--split-seed", "9"])
    assert result.exit_code == 0, result.output
    assert read_result(runs.out)["fingerprint"]["recipe"]["split_seed"] == 9


def test_an_interrupt_before_the_first_save_promises_nothing(runs: Runs) -> None:
    """An interrupt before the first saved state does not promise to resume."""
    runs.interrupt_at(1)
    result = runs.invoke("train")
    assert result.exit_code == 130
    assert result.stderr.splitlines()[-1] == (
        "lightmark: interrupted; no step was saved yet, so the same command begins anew"
    )


def test_a_stage_that_is_finished_is_gone_on_after(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between two stages of a distillation, and before the second has saved a step."""
    assert runs.invoke("train").exit_code == 0
    runs.out.rename(runs.out.with_name("tough"))
    runs.out.mkdir()
    runs.out.with_name("tough").rename(runs.out / "tough")
    monkeypatch.setattr(recipes, "get_distillation", lambda name, seed: replace(DISTILLED, tough=TINY))
    runs.interrupt_at(1)
    ended = runs.invoke("distill")
    assert ended.exit_code == 130
    assert ended.stderr.splitlines()[-1].endswith(
        f"the same command goes on after the stage in {runs.out / 'tough'}, which is finished"
    )


@pytest.mark.parametrize(
    ("count", "more", "advice"),
    [
        (1, (), "give faces of at least two photographs"),
        (2, (), "1 training faces do not fill one batch of 2; give more faces"),
        (3, ("--batch", "1"), "a batch of 1; layers are normalised over a batch, give 2 or more"),
        (5, ("--batch", "12"), "training faces do not fill one batch of 12; give a batch of "),
    ],
)
@pytest.mark.parametrize("command", ["train", "distill"])
def test_small_sets_get_advice(runs: Runs, command: str, count: int, more: tuple[str, ...], advice: str) -> None:
    """One line with the next step; following it works or leads to the next such line."""
    for index in range(count, 12):
        (runs.faces / f"{index}.pts").unlink()
    runs.commands[command] += more
    result = runs.invoke(command)
    assert (result.exit_code, isinstance(result.exception, SystemExit)) == (2, True), result.exception
    assert advice in result.stderr.splitlines()[-1]


@pytest.mark.parametrize(("command", "expected"), [("train", "few128-plain"), ("distill", "few128")])
def test_the_default_recipe_is_that_of_few_faces(
    runs: Runs, monkeypatch: pytest.MonkeyPatch, command: str, expected: str
) -> None:
    """Twelve faces without a recipe are trained by few128, whose name the commands ask for."""
    names: list[str] = []
    monkeypatch.setattr(recipes, "get_recipe", lambda name, seed: names.append(name) or TINY)
    monkeypatch.setattr(recipes, "get_distillation", lambda name, seed: names.append(name) or DISTILLED)
    runs.commands[command] = [word for word in runs.commands[command] if word not in ("tiny", "--recipe")]
    assert runs.invoke(command).exit_code == 0
    assert names == [expected]


REFUSED = ("state.safetensors", "model.safetensors", "result.json")  # first, at a checkpoint, last


@pytest.mark.parametrize(
    ("command", "name"),
    [
        *(("train", name) for name in REFUSED),
        ("distill", "copy-000.npz"),
        ("train-detector", "model.safetensors"),
    ],
)
def test_a_full_disk_is_one_line_and_the_run_goes_on(
    runs: Runs, command: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever file finds no room, from the first checkpoint to the end; with room again the same command ends."""
    from lightmark import files

    move = files._move_over

    def refuse(part: Path, target: Path) -> None:
        if target.name == name:
            raise OSError(28, "No space left on device")
        move(part, target)

    with monkeypatch.context() as full:
        full.setattr(files, "_move_over", refuse)
        result = runs.invoke(command)
    assert result.exit_code == 2, result.output
    error = result.stderr.splitlines()[-1]
    assert error.startswith(f"lightmark: {runs.out}")
    assert f"{name}: cannot be written: No space left on device; is it a place to write to, with room left? (" in error
    assert not list(runs.out.rglob(".lightmark-*"))
    assert runs.invoke(command).exit_code == 0


def test_a_folder_that_cannot_be_made_is_one_line(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    """A read-only file system is detected at the first write."""

    def refuse(self: Path, *words: object, **options: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(Path, "mkdir", refuse)
    result = runs.invoke("train")
    assert result.exit_code == 2
    assert f"lightmark: {runs.out}: cannot be written: Read-only file system" in result.stderr


def test_a_full_tensorboard_is_ours(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its writer's errors come from a thread of its own."""
    pytest.importorskip("tensorboard")

    def refuse(self: object, *words: object, **options: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("torch.utils.tensorboard.SummaryWriter.flush", refuse)
    runs.commands["train"].append("--tensorboard")
    result = runs.invoke("train")
    assert (result.exit_code, isinstance(result.exception, SystemExit)) == (2, True)
    assert f"{runs.out}: cannot be written: No space left on device" in result.stderr
