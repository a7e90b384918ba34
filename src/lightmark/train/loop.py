"""Training loop of the landmark networks; a killed run resumes and ends with the same weights.

Under torchrun every rank runs this loop on its slice of each batch and its shard of the validation faces. All ranks
have the same weights and log; rank 0 writes and prints them.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Protocol

import torch
from rich.progress import Progress
from torch.utils.data import DataLoader

from lightmark import __version__
from lightmark.data.check.inspection import require_trainable
from lightmark.data.crops.dataset import Batch, CropDataset, Shuffle, TeacherPoints
from lightmark.data.missing import with_normaliser
from lightmark.errors import ConfigError, MissingExtraError
from lightmark.evaluate.face_boxes import template_of
from lightmark.files import make_folder, write_errors
from lightmark.nets.checkpoint import TorchModel, load_weights, read_tensors, save_checkpoint
from lightmark.nets.network import LandmarkNet, build_network, parameter_count
from lightmark.spec import ModelSpec
from lightmark.train.config import Recipe
from lightmark.train.curves import plot_curves
from lightmark.train.distributed.collectives import barrier, batch_slice, broadcast, gather, init_distributed, shard
from lightmark.train.distributed.world import world
from lightmark.train.faces import Split, ValidationCrops, mean_normalized_points, targets_of
from lightmark.train.fingerprint import Fingerprint, run_fingerprint
from lightmark.train.folder import CURVES, LOG, MODEL, STATE, is_finished, write_result
from lightmark.train.loader import batches_from
from lightmark.train.progress import progress_bar
from lightmark.train.state import Row, TrainingState, finite_means, load_state, save_state, write_log
from lightmark.train.step import Trainee, learning_rate, make_trainee, take_step


def train(
    recipe: Recipe,
    split: Split,
    out: Path,
    teachers: TeacherPoints | None = None,
    start: Path | None = None,
    device: str = "cpu",
    workers: int = 0,
    quiet: bool = False,
    tensorboard: bool = False,
) -> Path:
    """Train `recipe` in the folder `out` and return the path of the best weights; a finished run is not repeated.

    `start` is a checkpoint with the initial weights. `out` gets model.safetensors (best by validation NME against the
    training targets), log.csv, curves.png and, at the end, result.json; until then the training state to resume from.
    `tensorboard` also writes the log for TensorBoard. Raises `DataError` or
    `ImageError` naming a face that cannot be trained on; `ConfigError` where the folder holds another run, or the batch
    or the validation faces cannot be shared out to the processes that torchrun started; `TrainingError` where the loss
    is no longer finite or another process has ended, `WriteError` where `out` cannot be written to.
    """
    device = init_distributed(device)
    split = replace(split, validation=with_normaliser(split.validation))
    require_trainable(split.train, judged=split.validation)
    fingerprint = run_fingerprint(recipe, split, start, teachers)
    _require_one_run(recipe, split, fingerprint)
    if broadcast(is_finished(out, fingerprint)):
        return out / MODEL
    make_folder(out)
    first = world().rank == 0
    board = _TensorBoardLog(out) if tensorboard and first else None
    spec = new_spec(recipe, split)
    trainee = new_trainee(recipe, split, spec, start, device)
    state = load_state(out / STATE, fingerprint, trainee) if broadcast((out / STATE).exists()) else TrainingState()
    validation_targets = targets_of(recipe, split.validation, fitted_on=split.train)
    validation = ValidationCrops(shard(split.validation), shard(validation_targets), spec)
    batches = batches_of(recipe, split, spec, teachers, state.step, workers, device)
    if first and state.step == 0:  # fail at once, not hours later, on a full disk
        save_state(out / STATE, fingerprint, trainee, state)
    with progress_bar(recipe.name, recipe.steps, state.step, quiet or not first) as bar:
        began = time.monotonic() - state.seconds
        while state.step < recipe.steps:
            parts = take_step(trainee, next(batches), state.step, recipe, spec)
            state.count(parts)
            bar.advance(bar.task_ids[0])
            if _is_due(recipe.log_every, state, recipe):
                state.rows.append(_log_row(state, recipe, out))
            if _is_due(recipe.validate_every, state, recipe):
                _validate(trainee, spec, validation, len(split.validation), state, recipe, out)
                state.seconds = time.monotonic() - began
                if first:
                    save_state(out / STATE, fingerprint, trainee, state)
                    write_log(out / LOG, state.rows)
                    _show_validation(bar, recipe, state)
                if board is not None:
                    board.write(state.rows)
    if first:
        plot_curves(state.rows, out / CURVES, recipe.name)
        write_result(out, fingerprint, _result(recipe, split, trainee, state))
        (out / STATE).unlink()
    barrier()  # no rank returns before result.json is written: the next stage reads it
    return out / MODEL


def _require_one_run(recipe: Recipe, split: Split, fingerprint: Fingerprint) -> None:
    """Raise `ConfigError` unless all ranks have the same fingerprint and each gets samples and validation faces."""
    rank, size, _ = world()
    if broadcast(fingerprint) != fingerprint:
        raise ConfigError(
            f"{recipe.name}: process {rank} of {size} was given another recipe or other faces than process 0; "
            "give all machines the same command and data"
        )
    batch_slice(recipe.batch)
    if len(split.validation) < size:
        raise ConfigError(
            f"{recipe.name}: {len(split.validation)} validation faces for {size} processes, each needs one; start fewer"
        )


def new_spec(recipe: Recipe, split: Split) -> ModelSpec:
    """ModelSpec of the recipe's network: schema, crop, box template and provenance."""
    provenance = {
        "recipe": recipe.name,
        "seed": recipe.seed,
        "validation": recipe.validation,
        "faces": len(split.train),
        "lightmark": __version__,
    }
    template, box_map = template_of(split.train) or (None, None)
    return ModelSpec(split.train[0].schema, recipe.size, recipe.crop_scale, template, box_map, provenance=provenance)


def new_trainee(
    recipe: Recipe, split: Split, spec: ModelSpec, start: Path | None, device: str
) -> Trainee[LandmarkNet]:
    """The recipe's network before its first step: with `start`'s weights, or untrained at the mean shape."""
    # `start` replaces the ImageNet weights, so the package that holds those need not be installed.
    architecture = recipe.architecture if start is None else replace(recipe.architecture, pretrained=False)
    network = build_network(architecture, mean_normalized_points(split.train, spec), recipe.seed)
    if start is not None:
        tensors = read_tensors(start)[0]
        points_only = {name: tensor for name, tensor in tensors.items() if not name.startswith("confidence.")}
        load_weights(network, points_only, str(start))
    return make_trainee(network, recipe.learning_rate, recipe.weight_decay, device)


def batches_of(
    recipe: Recipe,
    split: Split,
    spec: ModelSpec,
    teachers: TeacherPoints | None,
    step: int,
    workers: int,
    device: str = "cpu",
) -> Iterator[Batch]:
    """Infinite iterator over this rank's slices of the recipe's batches, from step number `step` on."""
    targets = targets_of(recipe, split.train, fitted_on=split.train)
    dataset = CropDataset(split.train, targets, spec, recipe.augmentation, recipe.seed, recipe.copies, teachers)
    order = Shuffle(len(dataset), recipe.batch, recipe.seed, start=step, part=batch_slice(recipe.batch))
    pinned = device.startswith("cuda")
    loader = DataLoader(dataset, batch_sampler=order, num_workers=workers, pin_memory=pinned)
    return batches_from(loader)


def _is_due(every: int, state: TrainingState, recipe: Recipe) -> bool:
    return state.step % every == 0 or state.step == recipe.steps


def _log_row(state: TrainingState, recipe: Recipe, out: Path) -> Row:
    advice = "lower the learning rate, or look for broken labels with `lightmark data check`"
    rate = learning_rate(recipe, state.step - 1)
    return {"step": state.step, "learning_rate": rate} | finite_means(state, recipe.name, out, advice)


def _validate(
    trainee: Trainee[LandmarkNet],
    spec: ModelSpec,
    validation: ValidationCrops,
    faces: int,
    state: TrainingState,
    recipe: Recipe,
    out: Path,
) -> None:
    """Log the EMA weights' NME on all `faces` validation faces; save them where they are the best so far."""
    errors = validation(TorchModel(trainee.ema, spec, trainee.device))
    error = float(gather(errors, faces).mean())
    if not state.rows or state.rows[-1]["step"] != state.step:
        state.rows.append({"step": state.step, "learning_rate": learning_rate(recipe, state.step - 1)})
    state.rows[-1]["validation_nme"] = error
    if error < state.best:
        state.best, state.best_step = error, state.step
        progress = {"step": state.step, "validation_nme": error}
        best_spec = replace(spec, provenance={**spec.provenance, **progress})
        if world().rank == 0:
            save_checkpoint(out / MODEL, trainee.ema, recipe.architecture, best_spec)


def _result(
    recipe: Recipe, split: Split, trainee: Trainee[LandmarkNet], state: TrainingState
) -> dict[str, object]:
    return {
        "recipe": asdict(recipe),
        "train_faces": len(split.train),
        "validation_faces": len(split.validation),
        "parameters": parameter_count(trainee.network),
        "seconds": round(state.seconds, 1),
        "validation_nme": state.best,
        "best_step": state.best_step,
        "torch": torch.__version__,
        "device": trainee.device,
        "threads": torch.get_num_threads(),
        "processes": world().size,
    }


def _show_validation(bar: Progress, recipe: Recipe, state: TrainingState) -> None:
    """Show the validation NME in the progress bar, or print a line where the output is no terminal."""
    note = f"validation NME {100 * state.rows[-1]['validation_nme']:.2f} %"
    bar.update(bar.task_ids[0], note=note)
    if not bar.console.is_terminal and not bar.disable:
        bar.console.print(f"{recipe.name} {state.step}/{recipe.steps} steps, {state.seconds:.0f} s, {note}")


class _Writer(Protocol):
    def add_scalar(self, tag: str, value: float, step: int) -> None: ...

    def flush(self) -> None: ...


class _TensorBoardLog:
    """Writer of a run's TensorBoard event file.

    A resumed run writes all its rows again, which TensorBoard draws over the old ones.
    """

    def __init__(self, folder: Path) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise MissingExtraError('TensorBoard is not installed: pip install "lightmark[tensorboard]"') from error
        self.folder, self.written = folder, 0
        with write_errors(folder):
            self.writer: _Writer = SummaryWriter(str(folder))

    def write(self, rows: list[Row]) -> None:
        """Append the rows that this writer has not written yet."""
        with write_errors(self.folder):
            for row in rows[self.written :]:
                for name, value in row.items():
                    if name != "step":
                        self.writer.add_scalar(name, value, int(row["step"]))
            self.writer.flush()
        self.written = len(rows)
