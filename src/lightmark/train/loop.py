"""The training loop: one recipe, one data set, one folder; killed at any moment, it goes on to the same weights.

Started by torchrun, all its processes run this loop, each on its slice of every batch and its share of the validation
faces. They keep the same weights and log; the first one writes and shows them.
"""

from __future__ import annotations

import math
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
from lightmark.errors import ConfigError, MissingExtraError, TrainingError
from lightmark.evaluate.face_boxes import template_of
from lightmark.files import make_folder, write_errors
from lightmark.nets.checkpoint import TorchModel, load_weights, read_tensors, save_checkpoint
from lightmark.nets.network import LandmarkNet, build_network, parameter_count
from lightmark.spec import ModelSpec
from lightmark.train.config import Recipe
from lightmark.train.curves import plot_curves
from lightmark.train.distributed.collectives import from_first, join, meet, mine, slice_of, whole
from lightmark.train.distributed.world import world
from lightmark.train.faces import Split, ValidationCrops, mean_normalized_points, targets_of
from lightmark.train.fingerprint import Fingerprint, run_fingerprint
from lightmark.train.folder import CURVES, LOG, MODEL, STATE, is_finished, write_result
from lightmark.train.loader import batches_from
from lightmark.train.progress import progress_bar
from lightmark.train.state import Row, Standing, load_state, save_state, write_log
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
    """Train `recipe` in the folder `out` and return the path of its best weights; a finished run is not repeated.

    `start` names a checkpoint of another run, whose weights this one begins at. The folder holds model.safetensors
    (best by validation NME against what it learns), log.csv, curves.png, result.json once the run has ended, and until
    then the state that it resumes from. `tensorboard` also writes the log for TensorBoard. Raises `DataError` or
    `ImageError` naming a face that cannot be trained on; `ConfigError` where the folder holds another run, or the batch
    or the validation faces cannot be shared out to the processes that torchrun started; `TrainingError` where the loss
    is no longer finite or another process has ended, `WriteError` where `out` cannot be written to.
    """
    device = join(device)
    split = replace(split, validation=with_normaliser(split.validation))
    require_trainable(split.train, judged=split.validation)
    fingerprint = run_fingerprint(recipe, split, start, teachers)
    _require_one_run(recipe, split, fingerprint)
    if from_first(is_finished(out, fingerprint)):
        return out / MODEL
    make_folder(out)
    first = world().rank == 0
    board = _Board(out) if tensorboard and first else None
    spec = new_spec(recipe, split)
    trainee = new_trainee(recipe, split, spec, start, device)
    standing = load_state(out / STATE, fingerprint, trainee) if from_first((out / STATE).exists()) else Standing()
    validation_targets = targets_of(recipe, split.validation, fitted_on=split.train)
    validation = ValidationCrops(mine(split.validation), mine(validation_targets), spec)
    batches = batches_of(recipe, split, spec, teachers, standing.step, workers, device)
    if first and standing.step == 0:  # a disk without room is noticed now, and what is written next is a run's
        save_state(out / STATE, fingerprint, trainee, standing)
    with progress_bar(recipe.name, recipe.steps, standing.step, quiet or not first) as bar:
        began = time.monotonic() - standing.seconds
        while standing.step < recipe.steps:
            parts = take_step(trainee, next(batches), standing.step, recipe, spec)
            standing.count(parts)
            bar.advance(bar.task_ids[0])
            if _is_due(recipe.log_every, standing, recipe):
                standing.rows.append(_log_row(standing, recipe, out))
            if _is_due(recipe.validate_every, standing, recipe):
                _validate(trainee, spec, validation, len(split.validation), standing, recipe, out)
                standing.seconds = time.monotonic() - began
                if first:
                    save_state(out / STATE, fingerprint, trainee, standing)
                    write_log(out / LOG, standing.rows)
                    _tell(bar, recipe, standing)
                if board is not None:
                    board.write(standing.rows)
    if first:
        plot_curves(standing.rows, out / CURVES, recipe.name)
        write_result(out, fingerprint, _result(recipe, split, trainee, standing))
        (out / STATE).unlink()
    meet()  # whoever goes on finds the run finished
    return out / MODEL


def _require_one_run(recipe: Recipe, split: Split, fingerprint: Fingerprint) -> None:
    """Raise `ConfigError` unless all processes train the same, and each has a share of everything."""
    rank, size, _ = world()
    if from_first(fingerprint) != fingerprint:
        raise ConfigError(
            f"{recipe.name}: process {rank} of {size} was given another recipe or other faces than process 0; "
            "give all machines the same command and data"
        )
    slice_of(recipe.batch)
    if len(split.validation) < size:
        raise ConfigError(
            f"{recipe.name}: {len(split.validation)} validation faces for {size} processes, each needs one; start fewer"
        )


def new_spec(recipe: Recipe, split: Split) -> ModelSpec:
    """What the recipe's network takes and gives, and where it comes from."""
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
    """The recipe's network before its first step: at the weights in `start`, or untrained at the mean shape."""
    # Weights to start from replace ImageNet's, whose package the machine may lack.
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
    """This process's slices of the recipe's batches from step number `step` on, without end."""
    targets = targets_of(recipe, split.train, fitted_on=split.train)
    dataset = CropDataset(split.train, targets, spec, recipe.augmentation, recipe.seed, recipe.copies, teachers)
    order = Shuffle(len(dataset), recipe.batch, recipe.seed, start=step, part=slice_of(recipe.batch))
    pinned = device.startswith("cuda")
    loader = DataLoader(dataset, batch_sampler=order, num_workers=workers, pin_memory=pinned, collate_fn=collate)
    return batches_from(loader)


def collate(batches: list[Batch]) -> Batch:
    """One batch of many single samples."""
    return Batch(*(torch.stack(tensors) for tensors in zip(*batches, strict=True)))


def _is_due(every: int, standing: Standing, recipe: Recipe) -> bool:
    return standing.step % every == 0 or standing.step == recipe.steps


def _log_row(standing: Standing, recipe: Recipe, out: Path) -> Row:
    means = standing.take_means()
    if not math.isfinite(means["loss"]):
        raise TrainingError(
            f"{recipe.name}: the loss is not finite at step {standing.step}; lower the learning rate, or look for "
            f"broken labels with `lightmark data check`; what was saved before stays in {out}"
        )
    return {"step": standing.step, "learning_rate": learning_rate(recipe, standing.step - 1)} | means


def _validate(
    trainee: Trainee[LandmarkNet],
    spec: ModelSpec,
    validation: ValidationCrops,
    faces: int,
    standing: Standing,
    recipe: Recipe,
    out: Path,
) -> None:
    """Add the averaged weights' NME on all validation faces, `faces` many, to the log; keep the best weights so far."""
    errors = validation(TorchModel(trainee.average, spec, trainee.device))
    error = float(whole(errors, faces).mean())
    if not standing.rows or standing.rows[-1]["step"] != standing.step:
        standing.rows.append({"step": standing.step, "learning_rate": learning_rate(recipe, standing.step - 1)})
    standing.rows[-1]["validation_nme"] = error
    if error < standing.best:
        standing.best, standing.best_step = error, standing.step
        found = {"step": standing.step, "validation_nme": error}
        found_spec = replace(spec, provenance={**spec.provenance, **found})
        if world().rank == 0:
            save_checkpoint(out / MODEL, trainee.average, recipe.architecture, found_spec)


def _result(
    recipe: Recipe, split: Split, trainee: Trainee[LandmarkNet], standing: Standing
) -> dict[str, object]:
    return {
        "recipe": asdict(recipe),
        "train_faces": len(split.train),
        "validation_faces": len(split.validation),
        "parameters": parameter_count(trainee.network),
        "seconds": round(standing.seconds, 1),
        "validation_nme": standing.best,
        "best_step": standing.best_step,
        "torch": torch.__version__,
        "device": trainee.device,
        "threads": torch.get_num_threads(),
        "processes": world().size,
    }


def _tell(bar: Progress, recipe: Recipe, standing: Standing) -> None:
    """Show the validation error in the bar, or as a line of its own where a log file stands in for a terminal."""
    note = f"validation NME {100 * standing.rows[-1]['validation_nme']:.2f} %"
    bar.update(bar.task_ids[0], note=note)
    if not bar.console.is_terminal and not bar.disable:
        bar.console.print(f"{recipe.name} {standing.step}/{recipe.steps} steps, {standing.seconds:.0f} s, {note}")


class _Writer(Protocol):
    def add_scalar(self, tag: str, value: float, step: int) -> None: ...

    def flush(self) -> None: ...


class _Board:
    """TensorBoard's event file of a run; a resumed run repeats its rows, which TensorBoard overlays."""

    def __init__(self, folder: Path) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise MissingExtraError('TensorBoard is not installed: pip install "lightmark[tensorboard]"') from error
        self.folder, self.written = folder, 0
        with write_errors(folder):
            self.writer: _Writer = SummaryWriter(str(folder))

    def write(self, rows: list[Row]) -> None:
        """Write the rows that were not written yet."""
        with write_errors(self.folder):
            for row in rows[self.written :]:
                for name, value in row.items():
                    if name != "step":
                        self.writer.add_scalar(name, value, int(row["step"]))
            self.writer.flush()
        self.written = len(rows)
