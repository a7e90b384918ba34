"""Training of the landmark networks; a killed run resumes and ends with the same weights.

Under torchrun every rank trains on its slice of each batch and validates on its shard of the validation faces.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from lightmark import __version__
from lightmark.data.check.inspection import require_trainable
from lightmark.data.crops.dataset import Batch, CropDataset, Shuffle, TeacherPoints
from lightmark.data.missing import with_normaliser
from lightmark.errors import ConfigError
from lightmark.evaluate.face_boxes import template_of
from lightmark.files import make_folder
from lightmark.nets.checkpoint import TorchModel, load_weights, read_tensors, save_checkpoint
from lightmark.nets.network import LandmarkNet, build_network, parameter_count
from lightmark.spec import ModelSpec
from lightmark.train.config import EXECUTION, Execution, Recipe
from lightmark.train.curves import plot_curves
from lightmark.train.distributed.collectives import barrier, batch_slice, broadcast, gather, init_distributed, shard
from lightmark.train.distributed.world import world
from lightmark.train.faces import Split, ValidationCrops, mean_normalized_points, targets_of
from lightmark.train.fingerprint import Fingerprint, run_fingerprint
from lightmark.train.folder import CURVES, MODEL, STATE, is_finished, write_result
from lightmark.train.loader import batches_from
from lightmark.train.run import Validation, resume, run_steps
from lightmark.train.state import TrainingState
from lightmark.train.step import Trainee, keep_statistics, make_trainee, take_step
from lightmark.train.tensorboard import TensorBoardLog


def train(
    recipe: Recipe,
    split: Split,
    out: Path,
    teachers: TeacherPoints | None = None,
    start: Path | None = None,
    execution: Execution = EXECUTION,
) -> Path:
    """Train `recipe` in the folder `out` and return the path of the best weights; a finished run is not repeated.

    `start` is a checkpoint with the initial weights. `out` gets model.safetensors (best by validation NME against the
    training targets), log.csv, curves.png and, at the end, result.json; until then the training state to resume from.
    Raises `DataError` or `ImageError` naming a face that cannot be trained on; `ConfigError` where the folder holds
    another run, or the batch or the validation faces cannot be shared out to the processes that torchrun started;
    `TrainingError` where the loss is no longer finite or another process has ended, `WriteError` where `out` cannot be
    written to.
    """
    device = init_distributed(execution.device)
    split = replace(split, validation=with_normaliser(split.validation))
    require_trainable(split.train, validation=split.validation)
    fingerprint = run_fingerprint(recipe, split, start, teachers)
    _require_one_run(recipe, split, fingerprint)
    if broadcast(is_finished(out, fingerprint)):
        return out / MODEL
    make_folder(out)
    first = world().rank == 0
    board = TensorBoardLog(out) if execution.tensorboard and first else None
    spec = new_spec(recipe, split)
    trainee = new_trainee(recipe, split, spec, start, device)
    state = resume(out, fingerprint, trainee)
    validation_targets = targets_of(recipe, split.validation, fitted_on=split.train)
    crops = ValidationCrops(shard(split.validation), shard(validation_targets), spec)
    batches = batches_of(recipe, split, spec, teachers, state.step, execution.workers, device)

    def next_step() -> dict[str, Tensor]:
        return take_step(trainee, next(batches), state.step, recipe, spec)

    def validate() -> Validation:
        errors = crops(TorchModel(trainee.ema, spec, trainee.device))
        nme = float(gather(errors, len(split.validation)).mean())
        if nme < state.best:
            state.best, state.best_step = nme, state.step
            _save_best(trainee, spec, state, recipe, out)
        return Validation("validation_nme", nme, f"validation NME {100 * nme:.2f} %")

    def enough() -> bool:
        waited = state.step - state.best_step
        return recipe.patience is not None and waited >= recipe.patience * recipe.validate_every

    run_steps(recipe, trainee, state, out, fingerprint, next_step, validate, execution.quiet, board, enough)
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
            f"{recipe.name}: process {rank} of {size} has another recipe or other faces than process 0; "
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
        **({} if recipe.split_seed is None else {"split_seed": recipe.split_seed}),
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
    trainee = make_trainee(network, recipe.learning_rate, recipe.weight_decay, device, recipe.head_rate)
    if not recipe.batch_statistics:
        keep_statistics(trainee.network)
    return trainee


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


def _save_best(
    trainee: Trainee[LandmarkNet], spec: ModelSpec, state: TrainingState, recipe: Recipe, out: Path
) -> None:
    """Save the EMA weights, the best so far; rank 0 does it for all."""
    if world().rank == 0:
        progress = {"step": state.best_step, "validation_nme": state.best}
        best_spec = replace(spec, provenance={**spec.provenance, **progress})
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
