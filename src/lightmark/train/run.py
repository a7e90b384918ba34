"""Loop of every training: resume, step, log, validate, save.

Under torchrun every rank runs it and has the same weights and log; rank 0 writes and prints them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from lightmark.train.distributed.collectives import broadcast
from lightmark.train.distributed.world import world
from lightmark.train.fingerprint import Fingerprint
from lightmark.train.folder import LOG, STATE
from lightmark.train.progress import progress_bar
from lightmark.train.state import TrainingState, finite_means, load_state, save_state, write_log
from lightmark.train.step import AnyRecipe, Net, Trainee, learning_rate
from lightmark.train.tensorboard import TensorBoardLog


class Validation(NamedTuple):
    """Value of a validation, the column of the log that it goes into, and its text for the progress bar."""

    column: str
    value: float
    text: str


def resume(out: Path, fingerprint: Fingerprint, trainee: Trainee[Net]) -> TrainingState:
    """State saved in the folder `out`, restored into `trainee`; without one a new state, saved at once."""
    if broadcast((out / STATE).exists()):
        return load_state(out / STATE, fingerprint, trainee)
    state = TrainingState()
    if world().rank == 0:  # fail at once, not hours later, on a full disk
        save_state(out / STATE, fingerprint, trainee, state)
    return state


def run_steps(
    recipe: AnyRecipe,
    trainee: Trainee[Net],
    state: TrainingState,
    out: Path,
    fingerprint: Fingerprint,
    take_step: Callable[[], Mapping[str, Tensor]],
    validate: Callable[[], Validation],
    quiet: bool = False,
    board: TensorBoardLog | None = None,
    enough: Callable[[], bool] = lambda: False,
) -> None:
    """Take the recipe's steps from `state` on; log, validate and save the state where they are due.

    `take_step` runs the next step and returns its losses. `board` also gets the log. `enough`, called before each step,
    ends the run early. Raises `TrainingError` where the
    loss is no longer finite, `WriteError` where `out` cannot be written to.
    """
    first = world().rank == 0
    with progress_bar(recipe.name, recipe.steps, state.step, quiet or not first) as bar:
        task = bar.task_ids[0]
        began = time.monotonic() - state.seconds
        while state.step < recipe.steps and not enough():
            state.count(take_step())
            bar.advance(task)
            last = state.step == recipe.steps
            validation_due = last or state.step % recipe.validate_every == 0
            if validation_due or state.step % recipe.log_every == 0:
                rate = learning_rate(recipe, state.step - 1)
                means = finite_means(state, recipe.name, out)
                state.rows.append({"step": state.step, "learning_rate": rate, **means})
            if not validation_due:
                continue
            validation = validate()
            state.rows[-1][validation.column] = validation.value
            state.seconds = time.monotonic() - began
            if first:
                save_state(out / STATE, fingerprint, trainee, state)
                write_log(out / LOG, state.rows)
            if board is not None:
                board.write(state.rows)
            bar.update(task, note=validation.text)
            if not bar.console.is_terminal and not bar.disable:  # there the bar prints nothing until it ends
                progress = f"{state.step}/{recipe.steps} steps, {state.seconds:.0f} s"
                bar.console.print(f"{recipe.name} {progress}, {validation.text}")
