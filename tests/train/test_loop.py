"""The loop learns, resumes bit for bit after a real SIGKILL, and refuses what it must not train on."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from lightmark import __version__
from lightmark.data.crops.augment import NO_AUGMENTATION
from lightmark.data.crops.dataset import CropDataset, Shuffle, TeacherPoints
from lightmark.data.sample import Sample
from lightmark.errors import CheckpointError, ConfigError, DataError, MissingExtraError, TrainingError
from lightmark.evaluate.face_boxes import template_of
from lightmark.geometry import Array
from lightmark.nets.checkpoint import TorchModel, load_model, read_tensors, write_tensors
from lightmark.nets.network import Architecture, LandmarkNet, build_network, parameter_count
from lightmark.shape import fit
from lightmark.spec import ModelSpec
from lightmark.train import faces as faces_module
from lightmark.train import loop
from lightmark.train import run as run_module
from lightmark.train.config import Execution, Recipe
from lightmark.train.distributed.world import World
from lightmark.train.faces import (
    Split,
    ValidationCrops,
    mean_normalized_points,
    normalized_points_of,
    split_samples,
    targets_of,
)
from lightmark.train.fingerprint import plain, run_fingerprint
from lightmark.train.loop import batches_of, new_spec, new_trainee, train
from lightmark.train.step import learning_rate

QUIET = Execution(quiet=True)

KILLED_RUN = """
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
import torch
from numpy.typing import NDArray
sys.path.insert(0, {tests!r})
from conftest import blob_faces
from lightmark.nets.network import Architecture
from lightmark.train.config import Execution, Recipe
from lightmark.train.faces import split_samples
from lightmark.train.loop import train
torch.set_num_threads(1)
recipe = Recipe("killed", Architecture("mobilenetv2", "spatial", width=0.25, dropout=0.2), 32, "l1", steps=60, batch=4,
                warmup=2, ema=0.9, validation=0.2, validate_every=2, log_every=3)
train(recipe, split_samples(blob_faces(48), recipe), Path(sys.argv[1]), execution=Execution(quiet=True))
"""


def start_run(script: Path, out: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, str(script), str(out)])


def kill_after_progress(script: Path, out: Path, saves: int) -> None:
    """Start the run, wait until its state was written `saves` times, and SIGKILL it."""
    process = start_run(script, out)
    seen: set[int] = set()
    deadline = time.monotonic() + 120
    while len(seen) < saves and process.poll() is None and time.monotonic() < deadline:
        if (out / "state.safetensors").exists():
            seen.add((out / "state.safetensors").stat().st_mtime_ns)
        time.sleep(0.002)
    assert process.poll() is None, "the run ended before it could be killed"
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL


def rows_without_time(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return [{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(file)]


def test_a_killed_run_ends_with_the_weights_of_an_unbroken_one(tmp_path: Path) -> None:
    """Killed twice by SIGKILL and started again, a run gives the same bytes of weights and the same log."""
    script = tmp_path / "run.py"
    script.write_text(KILLED_RUN.format(tests=str(Path(__file__).parent)))
    assert start_run(script, tmp_path / "whole").wait() == 0
    kill_after_progress(script, tmp_path / "killed", saves=3)
    kill_after_progress(script, tmp_path / "killed", saves=4)
    assert start_run(script, tmp_path / "killed").wait() == 0
    whole, killed = (read_tensors(tmp_path / name / "model.safetensors") for name in ("whole", "killed"))
    assert whole[0].keys() == killed[0].keys()
    assert all(torch.equal(whole[0][name], killed[0][name]) for name in whole[0])
    assert rows_without_time(tmp_path / "whole/log.csv") == rows_without_time(tmp_path / "killed/log.csv")


@pytest.fixture
def one_thread() -> Iterator[None]:
    """As `make test` runs: sums in another order end 300 steps later elsewhere."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("one_thread")
def test_training_learns_to_look_at_the_picture(
    tmp_path: Path, recipe: Recipe, blob_faces: Callable[[int], list[Sample]]
) -> None:
    """After 300 small steps the error on unseen faces is well below that of the mean shape."""
    faces = blob_faces(160)
    moved = replace(NO_AUGMENTATION, scale=0.1, shift=0.08)
    net = replace(recipe.architecture, dropout=0.0)
    recipe = replace(
        recipe, architecture=net, augmentation=moved, size=48, steps=300, batch=8, learning_rate=3e-3, validate_every=99
    )
    split = split_samples(faces, recipe)
    model = load_model(train(recipe, split, tmp_path / "run", execution=QUIET))
    validation = ValidationCrops(split.validation, [s.points for s in split.validation], model.spec)
    always_mean = mean_normalized_points(split.train, model.spec)
    mean_error = validation(lambda crops: np.repeat(always_mean[None], len(crops), 0))  # type: ignore[arg-type]  # no spec needed here
    assert validation(model).mean() < 0.85 * mean_error.mean()


def test_a_finished_run_is_not_repeated(tmp_path: Path, faces: list[Sample], recipe: Recipe) -> None:
    """Training again into the same folder leaves the weights file untouched."""
    split = split_samples(faces, recipe)
    path = train(recipe, split, tmp_path / "run", execution=QUIET)
    before = path.stat().st_mtime_ns
    assert train(recipe, split, tmp_path / "run", execution=QUIET).stat().st_mtime_ns == before
    assert not (tmp_path / "run/state.safetensors").exists()


def test_another_recipe_is_refused_in_a_finished_folder(tmp_path: Path, faces: list[Sample], recipe: Recipe) -> None:
    """A folder that holds another run is not overwritten."""
    train(recipe, split_samples(faces, recipe), tmp_path / "run", execution=QUIET)
    with pytest.raises(ConfigError, match="another recipe, seed or data set"):
        train(replace(recipe, seed=1), split_samples(faces, recipe), tmp_path / "run", execution=QUIET)


def test_the_best_weights_are_kept(tmp_path: Path, faces: list[Sample], recipe: Recipe) -> None:
    """The saved checkpoint is the one whose validation error the result quotes."""
    split = split_samples(faces, recipe)
    model = load_model(train(recipe, split, tmp_path / "run", execution=QUIET))
    result = json.loads((tmp_path / "run/result.json").read_text())
    logged = [float(r["validation_nme"]) for r in rows_without_time(tmp_path / "run/log.csv") if r["validation_nme"]]
    assert result["validation_nme"] == min(logged)
    validation = ValidationCrops(split.validation, [s.points for s in split.validation], model.spec)
    assert validation(model).mean() == pytest.approx(min(logged), rel=1e-6)


def test_a_later_worse_checkpoint_does_not_replace_the_best(
    tmp_path: Path, faces: list[Sample], recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of four validations the second is the best: its weights are saved exactly, with its step."""
    averages = []

    class Scripted:
        def __init__(self, samples: list[Sample], *others: object) -> None:
            self.faces = len(samples)

        def __call__(self, model: TorchModel) -> Array:
            averages.append({name: t.clone() for name, t in model.network.state_dict().items()})
            return np.full(self.faces, (0.3, 0.1, 0.2, 0.4)[len(averages) - 1])

    monkeypatch.setattr(loop, "ValidationCrops", Scripted)
    path = train(replace(recipe, validate_every=2), split_samples(faces, recipe), tmp_path / "run", execution=QUIET)
    tensors = read_tensors(path)[0]
    assert all(torch.equal(tensors[name], tensor) for name, tensor in averages[1].items())
    assert any(not torch.equal(tensors[name], tensor) for name, tensor in averages[3].items())
    assert load_model(path).spec.provenance["step"] == 4
    result = json.loads((tmp_path / "run/result.json").read_text())
    assert (result["best_step"], result["validation_nme"]) == (4, 0.1)


def test_soft_landmarks_are_fitted_on_training_faces_alone(
    tmp_path: Path, faces: list[Sample], recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The shape model of targets and validation targets is fitted on training faces only."""
    soft = replace(recipe, soft_variance=0.5, steps=2)
    split = split_samples(faces, soft)
    fitted = []

    def watched(shapes: Array, *options: object) -> object:
        fitted.append(shapes)
        return fit(shapes, *options)  # type: ignore[arg-type]  # handed on as they came

    monkeypatch.setattr(faces_module, "fit", watched)
    train(soft, split, tmp_path / "run", execution=QUIET)
    training = np.stack([normalized_points_of(sample, new_spec(soft, split)) for sample in split.train])
    assert len(fitted) >= 2
    for shapes in fitted:
        np.testing.assert_array_equal(shapes, training)


def test_log_averages_the_loss_over_its_interval(tmp_path: Path, faces: list[Sample], recipe: Recipe) -> None:
    """Rows every log_every steps and at validations hold a finite mean loss and the learning rate of that step."""
    train(recipe, split_samples(faces, recipe), tmp_path / "run", execution=QUIET)
    rows = rows_without_time(tmp_path / "run/log.csv")
    assert [int(row["step"]) for row in rows] == [2, 3, 4, 6, 8]
    assert [int(row["step"]) for row in rows if row["validation_nme"]] == [3, 6, 8]
    assert all(0 < float(row["loss"]) < 1 for row in rows)
    assert float(rows[0]["learning_rate"]) == learning_rate(recipe, 1)


def test_weights_to_start_from_need_no_imagenet_ones(tmp_path: Path, faces: list[Sample], recipe: Recipe) -> None:
    """A recipe with ImageNet weights trains from a checkpoint if those weights are not installed."""
    split = split_samples(faces, recipe)
    asking = replace(recipe, architecture=replace(recipe.architecture, pretrained=True))
    with pytest.raises(ConfigError, match="no pretrained weights"):
        train(asking, split, tmp_path / "alone", execution=QUIET)
    start = train(recipe, split, tmp_path / "first", execution=QUIET)
    train(asking, split, tmp_path / "second", start=start, execution=QUIET)


def test_a_run_starts_from_the_weights_of_start(tmp_path: Path, faces: list[Sample], recipe: Recipe) -> None:
    """With a learning rate near zero the weights stay those of the start checkpoint."""
    split = split_samples(faces, recipe)
    first = train(recipe, split, tmp_path / "first", execution=QUIET)
    still = replace(recipe, learning_rate=1e-12, weight_decay=0.0)
    second = train(still, split, tmp_path / "second", start=first, execution=QUIET)
    name = "head.offsets.weight"
    assert torch.allclose(read_tensors(first)[0][name], read_tensors(second)[0][name], atol=1e-7)


def test_diverging_training_is_stopped(tmp_path: Path, faces: list[Sample], recipe: Recipe) -> None:
    """A non-finite loss ends the run with an error that names the step and what to change."""
    wild = replace(recipe, learning_rate=1e30, warmup=0)
    with pytest.raises(TrainingError, match="not finite at step 2; lower the learning rate"):
        train(wild, split_samples(faces, wild), tmp_path / "run", execution=QUIET)


def test_a_cut_state_is_refused_by_name(tmp_path: Path, faces: list[Sample], recipe: Recipe) -> None:
    """A cut training state is named, and nothing is overwritten."""
    state = tmp_path / "run/state.safetensors"
    state.parent.mkdir()
    state.write_bytes(b"\x10\x00\x00\x00")
    with pytest.raises(CheckpointError, match=r"state\.safetensors: not a complete"):
        train(recipe, split_samples(faces, recipe), tmp_path / "run", execution=QUIET)
    assert state.read_bytes() == b"\x10\x00\x00\x00"


def test_bf16_trains_and_saves_float32(tmp_path: Path, faces: list[Sample], recipe: Recipe) -> None:
    """Autocast changes the arithmetic, not the weights' type, and the loss stays finite."""
    half = replace(recipe, precision="bf16")
    tensors = read_tensors(train(half, split_samples(faces, half), tmp_path / "run", execution=QUIET))[0]
    assert {t.dtype for t in tensors.values() if t.is_floating_point()} == {torch.float32}
    assert all(np.isfinite(float(row["loss"])) for row in rows_without_time(tmp_path / "run/log.csv") if row["loss"])


def test_tensorboard_gets_every_row(tmp_path: Path, faces: list[Sample], recipe: Recipe) -> None:
    """The event file holds the loss of each logged step."""
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    train(recipe, split_samples(faces, recipe), tmp_path / "run", execution=Execution(quiet=True, tensorboard=True))
    events = EventAccumulator(str(tmp_path / "run"))
    events.Reload()
    assert [event.step for event in events.Scalars("loss")] == [2, 4, 6, 8]


def test_missing_tensorboard_gives_the_install_line(
    tmp_path: Path, faces: list[Sample], recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without TensorBoard the training stops before any work, with the install command."""
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(MissingExtraError, match=r'pip install "lightmark\[tensorboard\]"'):
        train(recipe, split_samples(faces, recipe), tmp_path / "run", execution=Execution(quiet=True, tensorboard=True))
    assert not (tmp_path / "run/model.safetensors").exists()


class Scripted:
    """Fake ValidationCrops with scripted errors, the same for every face, that records its calls."""

    values: ClassVar[list[float]] = []
    made: ClassVar[list[Any]] = []

    def __init__(self, samples: list[Sample], targets: list[Array], spec: ModelSpec) -> None:
        self.given, self.models = (samples, targets, spec), list[Any]()
        Scripted.made.append(self)

    def __call__(self, model: TorchModel) -> Array:
        """The next error, of each face."""
        self.models.append(model)
        return np.full(len(self.given[0]), Scripted.values.pop(0))


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Replaces the training step by one that records its arguments."""
    taken: list[Any] = []

    def take(*given: Any) -> dict[str, torch.Tensor]:
        taken.append(given)
        return {"loss": torch.tensor(0.5)}

    monkeypatch.setattr(loop, "take_step", take)
    monkeypatch.setattr(loop, "ValidationCrops", Scripted)
    monkeypatch.setattr(loop, "plot_curves", lambda rows, path, title: path.write_text(f"{len(rows)} {title}"))
    monkeypatch.setattr(Scripted, "values", [0.3, 0.2])
    monkeypatch.setattr(Scripted, "made", [])
    return taken


def test_each_step_and_validation_gets_its_batch(
    tmp_path: Path, faces: list[Sample], recipe: Recipe, steps: list[Any]
) -> None:
    """Each step gets its batch, the recipe and the spec; the run ends with a result and curves, without a state."""
    recipe = replace(recipe, steps=3, validate_every=2, soft_variance=0.6)
    split, out = split_samples(faces, recipe), tmp_path / "new" / "run"
    assert train(recipe, split, out, execution=QUIET) == out / "model.safetensors"
    spec = new_spec(recipe, split)
    batches = batches_of(recipe, split, spec, None, 0, 0)
    trainee = steps[0][0]
    for number, (same, batch, step, given, shape) in enumerate(steps):
        assert (same, step, given, shape) == (trainee, number, recipe, spec)
        assert all(torch.equal(*pair) for pair in zip(batch, next(batches), strict=True))
    (validation,) = Scripted.made
    assert validation.given[0] == split.validation
    np.testing.assert_array_equal(validation.given[1], targets_of(recipe, split.validation, split.train))
    assert validation.given[2] == spec
    judged = [(model.network, model.spec, model.device) for model in validation.models]
    assert judged == [(trainee.ema, spec, "cpu")] * 2
    assert sorted(path.name for path in out.iterdir()) == ["curves.png", "log.csv", "model.safetensors", "result.json"]
    assert (out / "curves.png").read_text() == "2 tiny"
    result = json.loads((out / "result.json").read_text())
    assert result.pop("fingerprint") == run_fingerprint(recipe, split, None)
    assert result.pop("recipe") == plain(asdict(recipe))
    assert result.pop("seconds") >= 0
    assert result == {
        "train_faces": len(split.train),
        "validation_faces": len(split.validation),
        "parameters": parameter_count(trainee.network),
        "validation_nme": 0.2,
        "best_step": 3,
        "torch": torch.__version__,
        "device": "cpu",
        "threads": torch.get_num_threads(),
        "processes": 1,
    }
    provenance = load_model(out / "model.safetensors").spec.provenance
    assert {name: provenance[name] for name in ("step", "validation_nme")} == {"step": 3, "validation_nme": 0.2}
    assert rows_without_time(out / "log.csv")[-1]["validation_nme"] == "0.2"


def test_an_equal_error_does_not_replace_the_best(
    tmp_path: Path, faces: list[Sample], recipe: Recipe, steps: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    """With equal errors the earlier weights stay; each validation is printed in percent."""
    Scripted.values = [0.25, 0.25, 0.3333]
    recipe = replace(recipe, steps=3, validate_every=1)
    train(recipe, split_samples(faces, recipe), tmp_path)
    assert load_model(tmp_path / "model.safetensors").spec.provenance["step"] == 1
    printed = capsys.readouterr()
    assert "validation NME 33.33 %" in printed.out + printed.err


def test_a_process_beside_the_first_writes_nothing(
    tmp_path: Path, faces: list[Sample], recipe: Recipe, steps: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rank 1 validates its shard, whose errors are gathered, waits at the barrier, and writes no file."""
    waits: list[object] = []
    gathered: list[object] = []
    monkeypatch.setattr(loop, "world", lambda: World(1, 2, 1))
    monkeypatch.setattr(run_module, "world", lambda: World(1, 2, 1))
    monkeypatch.setattr(loop, "shard", lambda items: items[1::2])
    monkeypatch.setattr(loop, "gather", lambda part, count: gathered.append((len(part), count)) or np.array([0.1, 0.3]))
    monkeypatch.setattr(loop, "barrier", lambda: waits.append(sorted(tmp_path.iterdir())))
    monkeypatch.setattr(loop, "init_distributed", lambda device: {"cuda": "cpu"}[device])
    monkeypatch.setattr(loop, "TensorBoardLog", None)
    recipe = replace(recipe, steps=2, validate_every=2)
    split = split_samples(faces, recipe)
    execution = Execution("cuda", tensorboard=True)
    assert train(recipe, split, tmp_path, execution=execution) == tmp_path / "model.safetensors"
    assert waits == [[]]
    (validation,) = Scripted.made
    assert validation.given[0] == split.validation[1::2]
    assert gathered == [(len(split.validation[1::2]), len(split.validation))]
    assert steps[0][0].device == "cpu"


def test_a_board_is_made_where_it_is_asked_for(
    tmp_path: Path, faces: list[Sample], recipe: Recipe, steps: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rank 0 opens TensorBoard in the folder of the run if it is requested."""
    boards: list[object] = []
    monkeypatch.setattr(loop, "TensorBoardLog", lambda folder: f"board in {folder.name}")
    monkeypatch.setattr(loop, "run_steps", lambda *given: boards.append(given[7:9]))
    recipe = replace(recipe, steps=2, validate_every=2)
    split = split_samples(faces, recipe)
    train(recipe, split, tmp_path / "a", execution=QUIET)
    train(recipe, split, tmp_path / "b", execution=Execution(tensorboard=True))
    assert boards == [(True, None), (False, "board in b")]


def test_a_finished_folder_is_left_alone_without_a_step(
    tmp_path: Path, faces: list[Sample], recipe: Recipe, steps: list[Any]
) -> None:
    """The same run returns its weights without a step, another one raises an error."""
    recipe = replace(recipe, steps=2, validate_every=2)
    split = split_samples(faces, recipe)
    for _ in range(2):
        assert train(recipe, split, tmp_path, execution=QUIET) == tmp_path / "model.safetensors"
    with pytest.raises(ConfigError, match="holds a finished run of another recipe, seed or data set"):
        train(replace(recipe, seed=1), split, tmp_path, execution=QUIET)
    assert len(steps) == 2


def test_a_result_has_its_seconds_to_a_tenth(
    tmp_path: Path, faces: list[Sample], recipe: Recipe, steps: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seconds include earlier processes of the run; the ranks compare the fingerprint of the run."""
    compared: list[Any] = []
    monkeypatch.setattr(loop, "_require_one_run", lambda *given: compared.append(given))
    monkeypatch.setattr(loop, "run_steps", lambda recipe, trainee, state, *given: setattr(state, "seconds", 12.345))
    split = split_samples(faces, recipe)
    train(recipe, split, tmp_path)
    assert json.loads((tmp_path / "result.json").read_text())["seconds"] == 12.3
    assert compared == [(recipe, split, run_fingerprint(recipe, split, None))]


def test_a_broken_run_goes_on_from_its_saved_step(
    tmp_path: Path, faces: list[Sample], recipe: Recipe, steps: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An interrupted run resumes with the same start and teachers; another run raises an error with the difference."""
    taken = loop.take_step

    def broken(*given: Any) -> dict[str, torch.Tensor]:
        if len(steps) == 3:
            raise KeyboardInterrupt
        return taken(*given)

    monkeypatch.setattr(loop, "take_step", broken)
    recipe = replace(recipe, steps=4, validate_every=2, copies=2)
    split = split_samples(faces, recipe)
    teachers = TeacherPoints(*np.zeros((2, 2, len(split.train), 5, 2), np.float32))
    start, spec = tmp_path / "start.safetensors", new_spec(recipe, split)
    before = new_trainee(replace(recipe, seed=9), split, spec, None, "cpu").network.state_dict()
    write_tensors(start, before, {})
    with pytest.raises(KeyboardInterrupt):
        train(recipe, split, tmp_path / "run", teachers, start, execution=QUIET)
    assert all(torch.equal(tensor, before[name]) for name, tensor in steps[0][0].network.state_dict().items())
    for other, changed in ((None, "start"), (start, "teachers' points")):
        with pytest.raises(ConfigError, match=f"unfinished run of another recipe, seed or data set: .*{changed}"):
            train(recipe, split, tmp_path / "run", None if other else teachers, other, execution=QUIET)
    monkeypatch.setattr(loop, "take_step", taken)
    train(recipe, split, tmp_path / "run", teachers, start, execution=QUIET)
    assert [given[2] for given in steps] == [0, 1, 2, 2, 3]
    fingerprint = json.loads((tmp_path / "run/result.json").read_text())["fingerprint"]
    assert fingerprint == run_fingerprint(recipe, split, start, teachers)


def test_device_workers_and_teachers_reach_the_batches(
    tmp_path: Path, faces: list[Sample], recipe: Recipe, steps: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Batches begin at the resumed step, for this rank's device; by default without workers."""
    given: list[Any] = []
    monkeypatch.setattr(loop, "batches_of", lambda *parts: given.append(parts) or iter([0, 0, 0, 0]))
    monkeypatch.setattr(loop, "init_distributed", lambda device: f"{device}:0")
    recipe = replace(recipe, steps=2, validate_every=2, copies=2)
    split = split_samples(faces, recipe)
    teachers = TeacherPoints(*np.zeros((2, 2, len(split.train), 5, 2), np.float32))
    train(recipe, split, tmp_path / "a", teachers, execution=Execution(workers=3))
    Scripted.values = [0.5]
    train(recipe, split, tmp_path / "b")
    spec = new_spec(recipe, split)
    assert given == [(recipe, split, spec, teachers, 0, 3, "cpu:0"), (recipe, split, spec, None, 0, 0, "cpu:0")]
    assert steps[0][0].device == "cpu:0"


def test_imagenet_weights_are_only_for_a_run_without_start(
    tmp_path: Path, faces: list[Sample], recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The weights of `start` replace the ImageNet weights."""
    split, asked = split_samples(faces, recipe), list[bool]()
    spec = new_spec(recipe, split)
    path = tmp_path / "start.safetensors"
    write_tensors(path, new_trainee(recipe, split, spec, None, "cpu").network.state_dict(), {})

    def built(architecture: Architecture, *given: Any) -> LandmarkNet:
        asked.append(architecture.pretrained)
        return build_network(replace(architecture, pretrained=False), *given)

    monkeypatch.setattr(loop, "build_network", built)
    recipe = replace(recipe, architecture=replace(recipe.architecture, pretrained=True))
    for start in (None, path):
        new_trainee(recipe, split, spec, start, "cpu")
    assert asked == [True, False]


def test_faces_without_a_normaliser_do_not_judge(
    tmp_path: Path, faces: list[Sample], recipe: Recipe, steps: list[Any]
) -> None:
    """Validation drops faces without a normaliser, training keeps them; a face outside its picture raises an error."""
    recipe = replace(recipe, steps=2, validate_every=2)
    split = split_samples(faces, recipe)
    lacking = [replace(face, points=np.where(np.arange(5)[:, None] == 0, np.nan, face.points)) for face in faces]
    mixed = Split([*split.train, lacking[0]], [*split.validation, lacking[1]])
    train(recipe, mixed, tmp_path / "run", execution=QUIET)
    result = json.loads((tmp_path / "run/result.json").read_text())
    assert (result["train_faces"], result["validation_faces"]) == (len(split.train) + 1, len(split.validation))
    for side in ("train", "validation"):
        lost = [replace(face, points=face.points + 500, box=face.box + 500) for face in getattr(split, side)[:1]]
        with pytest.raises(DataError, match=r"blobs/\d+\.png: its points lie in x"):
            train(recipe, replace(split, **{side: lost + getattr(split, side)[1:]}), tmp_path / side, execution=QUIET)


def test_a_spec_records_what_the_network_learns_from(faces: list[Sample], recipe: Recipe) -> None:
    """The spec has schema, crop and provenance, and a template if the boxes are not those of the points."""
    recipe = replace(recipe, seed=4, crop_scale=1.5)
    split = split_samples(faces, recipe)
    spec = new_spec(recipe, split)
    provenance = {"recipe": "tiny", "seed": 4, "validation": 0.2, "faces": len(split.train), "lightmark": __version__}
    assert spec == ModelSpec(faces[0].schema, 32, 1.5, provenance=provenance)
    wide = Split([replace(face, box=face.box + np.array([-4.0, -9.0, 4.0, 3.0])) for face in split.train], [])
    template, box_map = template_of(wide.train) or (None, None)
    assert template is not None
    assert new_spec(recipe, wide) == ModelSpec(faces[0].schema, 32, 1.5, template, box_map, provenance=provenance)
    assert new_spec(replace(recipe, split_seed=0), split).provenance == provenance | {"split_seed": 0}


def test_a_network_begins_at_the_mean_shape_of_its_seed(faces: list[Sample], recipe: Recipe) -> None:
    """The network predicts the mean shape first, with the seed's weights and the recipe's learning rate and decay."""
    recipe = replace(recipe, seed=4, learning_rate=0.25, weight_decay=0.75)
    split = split_samples(faces, recipe)
    spec = new_spec(recipe, split)
    made = new_trainee(recipe, split, spec, None, "cpu")
    expected = build_network(recipe.architecture, mean_normalized_points(split.train, spec), 4).state_dict()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in made.network.state_dict().items())
    group = made.optimiser.param_groups[0]
    assert (group["lr"], group["weight_decay"], made.device) == (0.25, 0.75, "cpu")


def test_a_start_is_named_where_it_does_not_fit(tmp_path: Path, faces: list[Sample], recipe: Recipe) -> None:
    """A start of another architecture raises an error naming its file; a confidence head in it is ignored."""
    split = split_samples(faces, recipe)
    spec = new_spec(recipe, split)
    made = new_trainee(replace(recipe, seed=8), split, spec, None, "cpu").network
    before = {name: tensor.clone() for name, tensor in made.state_dict().items()}
    made.add_confidence()
    path = tmp_path / "start.safetensors"
    write_tensors(path, made.state_dict(), {})
    found = new_trainee(recipe, split, spec, path, "cpu").network.state_dict()
    assert found.keys() == before.keys()
    assert all(torch.equal(tensor, before[name]) for name, tensor in found.items())
    wider = replace(recipe, architecture=replace(recipe.architecture, width=0.5))
    with pytest.raises(CheckpointError, match=str(path)):
        new_trainee(wider, split, spec, path, "cpu")


def test_batches_are_those_of_the_recipe(
    faces: list[Sample], recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Batches from any step are this rank's slices, with the teachers' points; memory is pinned for GPUs only."""
    recipe = replace(recipe, seed=4, copies=2, soft_variance=0.6)
    split = split_samples(faces, recipe)
    spec, rng = new_spec(recipe, split), np.random.default_rng(0)
    teachers = TeacherPoints(*rng.random((2, 2, len(split.train), 5, 2)).astype(np.float32))
    targets = targets_of(recipe, split.train, split.train)
    dataset = CropDataset(split.train, targets, spec, recipe.augmentation, 4, 2, teachers)
    monkeypatch.setattr(loop, "batch_slice", lambda batch: slice(batch // 2, batch))
    found = batches_of(recipe, split, spec, teachers, 11, 0)
    order = iter(Shuffle(len(dataset), 4, 4, start=11, part=slice(2, 4)))
    for _ in range(3):
        expected = [dataset[key] for key in next(order)]
        for tensor, parts in zip(next(found), zip(*expected, strict=True), strict=True):
            assert torch.equal(tensor, torch.stack(parts))
    options: list[object] = []

    def loader(dataset: object, batch_sampler: object, num_workers: int, pin_memory: bool) -> list[object]:
        options.append((num_workers, pin_memory))
        return []

    monkeypatch.setattr(loop, "DataLoader", loader)
    for device in ((), ("cpu",), ("cuda:1",), ("cuda",)):
        assert list(batches_of(recipe, split, spec, None, 0, 3, *device)) == []
    assert options == [(3, False), (3, False), (3, True), (3, True)]


def test_processes_that_do_not_fit_the_run_are_refused(
    tmp_path: Path, faces: list[Sample], recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ranks with another recipe or other faces raise an error, as do more ranks than validation faces."""
    monkeypatch.setattr(loop, "world", lambda: World(1, 2, 1))
    fingerprint, split = {"seed": 0}, Split(faces[2:], faces[:2])
    sliced: list[int] = []
    monkeypatch.setattr(loop, "batch_slice", sliced.append)
    monkeypatch.setattr(loop, "broadcast", lambda value: {"seed": 1})
    with pytest.raises(ConfigError) as caught:
        loop._require_one_run(recipe, split, fingerprint)
    assert str(caught.value) == (
        "tiny: process 1 of 2 has another recipe or other faces than process 0; give all machines the same "
        "command and data"
    )
    monkeypatch.setattr(loop, "broadcast", lambda value: {"seed": 0})
    loop._require_one_run(recipe, split, fingerprint)
    assert sliced == [4]
    with pytest.raises(ConfigError) as caught:
        loop._require_one_run(recipe, Split(faces[1:], faces[:1]), fingerprint)
    assert str(caught.value) == "tiny: 1 validation faces for 2 processes, each needs one; start fewer"
