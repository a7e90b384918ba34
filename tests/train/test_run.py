"""The training loop logs, validates and saves when due, and resumes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lightmark.errors import ConfigError, TrainingError
from lightmark.train import run
from lightmark.train.config import Recipe
from lightmark.train.distributed.world import World
from lightmark.train.run import Validation, resume, run_steps
from lightmark.train.state import TrainingState, saved_step
from lightmark.train.step import Trainee, learning_rate, make_trainee

FINGERPRINT = {"seed": 0}


@pytest.fixture
def trainee() -> Trainee[nn.Linear]:
    """Trainee of one linear layer."""
    return make_trainee(nn.Linear(2, 2), 1e-3, 0.1, "cpu")


class Bar:
    """A progress bar that records its updates."""

    def __init__(self, terminal: bool, disable: bool) -> None:
        self.task_ids, self.console, self.disable = [7], self, disable
        self.is_terminal, self.calls = terminal, list[Any]()

    def __enter__(self) -> Bar:
        return self

    def __exit__(self, *error: object) -> None:
        self.calls.append("closed")

    def advance(self, task: int) -> None:
        """Count a step."""
        self.calls.append(task)

    def update(self, task: int, note: str) -> None:
        """Set the note."""
        self.calls.append((task, note))

    def print(self, line: str) -> None:
        """Record a line."""
        self.calls.append(line)


@pytest.fixture
def bars(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Arguments of each progress bar, and the bar."""
    made: list[Any] = []

    def show(*given: object) -> Bar:
        made.append((given, Bar(terminal=False, disable=False)))
        return made[-1][1]

    monkeypatch.setattr(run, "progress_bar", show)
    return made


def losses_of(state: TrainingState) -> Callable[[], dict[str, Tensor]]:
    """Steps whose loss is their number, from 1."""
    return lambda: {"loss": torch.tensor(float(state.step + 1))}


def validations(values: list[float]) -> Callable[[], Validation]:
    """Validations with scripted values."""
    return lambda: Validation("validation_x", values[0], f"x {values.pop(0)}")


def test_rows_are_logged_and_saved_when_due(
    tmp_path: Path, recipe: Recipe, trainee: Trainee[nn.Linear], bars: list[Any]
) -> None:
    """Rows every `log_every` and `validate_every` steps and after the last, with means since the row before."""
    recipe, state = replace(recipe, steps=8, log_every=2, validate_every=3), TrainingState()
    saved: list[tuple[int | None, int]] = []
    values = [0.5, 0.25, 0.125]

    def validate() -> Validation:
        saved.append((saved_step(tmp_path / "state.safetensors"), state.step))
        return validations(values)()

    run_steps(recipe, trainee, state, tmp_path, FINGERPRINT, losses_of(state), validate)
    rates = {step: learning_rate(recipe, step - 1) for step in range(1, 9)}
    assert state.rows == [
        {"step": 2, "learning_rate": rates[2], "loss": 1.5},
        {"step": 3, "learning_rate": rates[3], "loss": 3.0, "validation_x": 0.5},
        {"step": 4, "learning_rate": rates[4], "loss": 4.0},
        {"step": 6, "learning_rate": rates[6], "loss": 5.5, "validation_x": 0.25},
        {"step": 8, "learning_rate": rates[8], "loss": 7.5, "validation_x": 0.125},
    ]
    assert saved == [(None, 3), (3, 6), (6, 8)]
    assert saved_step(tmp_path / "state.safetensors") == 8
    assert [line.split(",")[0] for line in (tmp_path / "log.csv").read_text().split()] == ["step", *"23468"]
    assert state.step == 8


def test_the_last_step_is_validated_between_two_due_ones(
    tmp_path: Path, recipe: Recipe, trainee: Trainee[nn.Linear], bars: list[Any]
) -> None:
    """The last step is validated in any case; a finished state takes no step."""
    recipe, state = replace(recipe, steps=4, log_every=50, validate_every=50), TrainingState()
    run_steps(recipe, trainee, state, tmp_path, FINGERPRINT, losses_of(state), validations([0.5]))
    assert [(row["step"], row["loss"], row["validation_x"]) for row in state.rows] == [(4, 2.5, 0.5)]
    run_steps(recipe, trainee, state, tmp_path, FINGERPRINT, losses_of(state), validations([]))
    assert len(state.rows) == 1


def test_the_bar_shows_steps_and_validations(
    tmp_path: Path, recipe: Recipe, trainee: Trainee[nn.Linear], bars: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bar begins at the resumed step, with all seconds; without a terminal lines are printed."""
    clock = iter([100.0, 104.4, 107.6])
    monkeypatch.setattr(run.time, "monotonic", lambda: next(clock))
    recipe, state = replace(recipe, steps=6, log_every=9, validate_every=3), TrainingState(step=2, seconds=60.0)
    run_steps(recipe, trainee, state, tmp_path, FINGERPRINT, losses_of(state), validations([0.5, 0.25]))
    ((given, bar),) = bars
    assert given == ("tiny", 6, 2, False)
    assert bar.calls == [
        7, (7, "x 0.5"), "tiny 3/6 steps, 64 s, x 0.5", 7, 7, 7, (7, "x 0.25"), "tiny 6/6 steps, 68 s, x 0.25", "closed"
    ]  # fmt: skip
    assert state.seconds == pytest.approx(67.6)


@pytest.mark.parametrize(("terminal", "disable"), [(True, False), (False, True), (True, True)])
def test_no_line_is_printed_beside_a_bar_or_when_quiet(
    tmp_path: Path, recipe: Recipe, trainee: Trainee[nn.Linear], monkeypatch: pytest.MonkeyPatch,
    terminal: bool, disable: bool,
) -> None:  # fmt: skip
    """On a terminal the note is in the bar, and no line is printed."""
    bar, state = Bar(terminal, disable), TrainingState()
    monkeypatch.setattr(run, "progress_bar", lambda *given: bar)
    recipe = replace(recipe, steps=1)
    run_steps(recipe, trainee, state, tmp_path, FINGERPRINT, losses_of(state), validations([0.5]))
    assert bar.calls == [7, (7, "x 0.5"), "closed"]


class Board:
    """Fake TensorBoard that records rows."""

    def __init__(self) -> None:
        self.rows: list[list[float | int]] = []

    def write(self, rows: list[dict[str, float | int]]) -> None:
        """Record the steps of the rows."""
        self.rows.append([row["step"] for row in rows])


@pytest.mark.parametrize(("rank", "quiet"), [(0, False), (0, True), (1, False), (1, True)])
def test_the_first_process_writes_for_all(
    tmp_path: Path, recipe: Recipe, trainee: Trainee[nn.Linear], bars: list[Any], monkeypatch: pytest.MonkeyPatch,
    rank: int, quiet: bool,
) -> None:  # fmt: skip
    """Other ranks have the same rows, hidden bars and no files; the board gets the log."""
    monkeypatch.setattr(run, "world", lambda: World(rank, 2, rank))
    recipe, state, board = replace(recipe, steps=4, log_every=2, validate_every=2), TrainingState(), Board()
    run_steps(
        recipe, trainee, state, tmp_path, FINGERPRINT, losses_of(state), validations([0.5, 0.25]), quiet,
        board,  # type: ignore[arg-type]  # as much of one as is called
    )  # fmt: skip
    assert bars[0][0] == ("tiny", 4, 0, quiet or rank > 0)
    assert sorted(path.name for path in tmp_path.iterdir()) == ([] if rank else ["log.csv", "state.safetensors"])
    assert [row["step"] for row in state.rows] == [2, 4]
    assert board.rows == [[2], [2, 4]]


def test_a_loss_that_is_not_finite_ends_the_run(
    tmp_path: Path, recipe: Recipe, trainee: Trainee[nn.Linear], bars: list[Any]
) -> None:
    """A non-finite loss ends the run; its row is not logged and no state is overwritten."""
    state = TrainingState()
    with pytest.raises(TrainingError) as caught:
        run_steps(
            replace(recipe, log_every=2), trainee, state, tmp_path, FINGERPRINT,
            lambda: {"loss": torch.tensor(float("nan"))}, validations([]),
        )  # fmt: skip
    assert str(caught.value) == (
        "tiny: the loss is not finite at step 2; lower the learning rate, or look for broken labels with `lightmark "
        f"data check`; what was saved before stays in {tmp_path}"
    )
    assert state.rows == []


def test_a_run_resumes_its_state_or_saves_a_first_one(
    tmp_path: Path, recipe: Recipe, trainee: Trainee[nn.Linear], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new run saves a state at once, to detect a full disk; other ranks follow rank 0."""
    monkeypatch.setattr(run, "world", lambda: World(1, 2, 1))
    assert resume(tmp_path, FINGERPRINT, trainee) == TrainingState()
    assert not list(tmp_path.iterdir())
    monkeypatch.setattr(run, "world", lambda: World(0, 2, 0))
    assert resume(tmp_path, FINGERPRINT, trainee) == TrainingState()
    assert saved_step(tmp_path / "state.safetensors") == 0
    assert resume(tmp_path, FINGERPRINT, trainee) == TrainingState()
    with pytest.raises(ConfigError, match=r"holds an unfinished run of another recipe.*seed \(was 0, is 1\)"):
        resume(tmp_path, {"seed": 1}, trainee)
    state = TrainingState(step=3, rows=[{"step": 3}])
    run.save_state(tmp_path / "state.safetensors", FINGERPRINT, trainee, state)
    other = make_trainee(nn.Linear(2, 2), 1e-3, 0.1, "cpu")
    monkeypatch.setattr(run, "broadcast", lambda value: (value, shared.append(value))[0])
    shared: list[object] = []
    assert resume(tmp_path, FINGERPRINT, other) == state
    assert torch.equal(other.network.weight, trainee.network.weight)
    assert shared == [True]


def test_a_run_ends_early_where_it_is_enough(
    tmp_path: Path, recipe: Recipe, trainee: Trainee[nn.Linear], bars: list[Any]
) -> None:
    """No step is taken once `enough` returns true, also after a resume."""
    recipe, state = replace(recipe, steps=8, log_every=2, validate_every=2), TrainingState()
    values = [0.5, 0.25, 0.125, 0.1]

    def enough() -> bool:
        return state.step >= 4

    for _ in range(2):
        run_steps(
            recipe, trainee, state, tmp_path, FINGERPRINT, losses_of(state), validations(values), True, None, enough
        )
    assert state.step == 4
