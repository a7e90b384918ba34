"""The training loop: one recipe, one data set, one folder; killed at any moment, it goes on to the same weights."""

from __future__ import annotations

import copy
import json
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from torch import Tensor
from torch.optim import AdamW
from torch.utils.data import DataLoader

from lightmark import __version__
from lightmark.data.dataset import Batch, CropDataset, Shuffle, TeacherPoints
from lightmark.data.sample import Sample, load_image
from lightmark.data.split import split_by_photo
from lightmark.errors import CheckpointError, ConfigError, TrainingError
from lightmark.files import replacing
from lightmark.geometry import Array, from_unit, invert, to_unit, transform
from lightmark.image import Picture, warp
from lightmark.metrics import interocular, nme
from lightmark.nets.checkpoint import TorchModel, load_weights, read_tensors, save_checkpoint
from lightmark.nets.network import LandmarkNet, build_network, parameter_count
from lightmark.shape import fit, soften
from lightmark.spec import ModelSpec, label_crop_matrix
from lightmark.train.config import Recipe, fingerprint
from lightmark.train.curves import plot_curves
from lightmark.train.objectives import OBJECTIVES
from lightmark.train.state import Progress as RunProgress
from lightmark.train.state import load_state, save_state, write_log

STATE, MODEL, RESULT, LOG, CURVES = "state.safetensors", "model.safetensors", "result.json", "log.csv", "curves.png"


@dataclass(frozen=True)
class Split:
    """Training and validation faces, carved apart by source photograph."""

    train: list[Sample]
    validation: list[Sample]


def carve(samples: Sequence[Sample], recipe: Recipe) -> Split:
    """Training and validation faces of `samples`; raises `ConfigError` where test faces are among them."""
    tests = [sample.name for sample in samples if "test" in sample.subsets]
    if tests:
        raise ConfigError(f"{len(tests)} test faces among the training data ({tests[0]} …): never train on a test set")
    train, validation = split_by_photo(samples, recipe.validation, recipe.seed)
    return Split(list(train), list(validation))


def train(
    recipe: Recipe,
    split: Split,
    out: Path,
    teachers: TeacherPoints | None = None,
    start: Path | None = None,
    device: str = "cpu",
    workers: int = 0,
    quiet: bool = False,
) -> Path:
    """Train `recipe` in the folder `out` and return the path of its best weights; a finished run is not repeated.

    `start` names a checkpoint whose weights the run begins at. The folder holds model.safetensors (best by validation
    NME), log.csv, curves.png, result.json once the run has ended, and until then the state it resumes from.
    """
    mark = run_fingerprint(recipe, split, start)
    if is_finished(out, mark):
        return out / MODEL
    out.mkdir(parents=True, exist_ok=True)
    run = _prepare(recipe, split, start, device)
    progress = load_state(out / STATE, mark, *run.stateful) if (out / STATE).exists() else RunProgress()
    dataset = CropDataset(
        split.train, targets_of(recipe, split.train), run.spec, recipe.augmentation, recipe.seed, recipe.copies, teachers
    )
    batches = _batches(dataset, recipe, progress.step, workers)
    validation = ValidationCrops(split.validation, run.spec)
    with _bar(recipe.name, recipe.steps, progress.step, quiet) as bar:
        began = time.monotonic() - progress.seconds
        sums: dict[str, float] = {}
        while progress.step < recipe.steps:
            parts = _step(run, next(batches), progress.step, recipe, device)
            progress.step += 1
            bar.advance(bar.task_ids[0])
            for name, value in parts.items():
                sums[name] = sums.get(name, 0.0) + float(value)
            last = progress.step == recipe.steps
            if progress.step % recipe.log_every == 0 or last:
                if not math.isfinite(sums["loss"]):
                    raise TrainingError(
                        f"{recipe.name}: the loss is not finite at step {progress.step}; lower the learning rate, or look "
                        f"for broken labels with `lightmark data check`; the last whole state stays in {out}"
                    )
                count = (progress.step - 1) % recipe.log_every + 1
                rate = learning_rate(recipe, progress.step - 1)
                row = {"step": progress.step, "learning_rate": rate} | {k: v / count for k, v in sums.items()}
                progress.rows.append(row)
                sums = {}
            if progress.step % recipe.validate_every == 0 or last:
                progress.seconds = time.monotonic() - began
                _validate(run, validation, progress, recipe, out)
                bar.update(bar.task_ids[0], note=f"validation NME {100 * progress.rows[-1]['validation_nme']:.2f} %")
                save_state(out / STATE, mark, *run.stateful, progress)
                write_log(out / LOG, progress.rows)
    plot_curves(progress.rows, out / CURVES, recipe.name)
    _write_result(out, mark, recipe, split, run, progress)
    (out / STATE).unlink()
    return out / MODEL


@dataclass
class _Run:
    network: LandmarkNet
    average: LandmarkNet
    optimiser: AdamW
    spec: ModelSpec

    @property
    def stateful(self) -> tuple[LandmarkNet, LandmarkNet, AdamW]:
        return self.network, self.average, self.optimiser


def _prepare(recipe: Recipe, split: Split, start: Path | None, device: str) -> _Run:
    spec = ModelSpec(
        split.train[0].schema,
        recipe.size,
        recipe.crop_scale,
        provenance={"recipe": recipe.name, "seed": recipe.seed, "faces": len(split.train), "lightmark": __version__},
    )
    network = build_network(recipe.architecture, mean_unit_points(split.train, spec), recipe.seed)
    if start is not None:
        load_weights(network, read_tensors(start)[0], str(start))
    network = network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch types only tensors' overload
    decayed = [p for p in network.parameters() if p.ndim > 1]
    kept = [p for p in network.parameters() if p.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": recipe.weight_decay}, {"params": kept, "weight_decay": 0.0}]
    average = copy.deepcopy(network).eval()
    return _Run(network.train(), average, AdamW(groups, lr=recipe.learning_rate), spec)


def run_fingerprint(recipe: Recipe, split: Split, start: Path | None) -> str:
    """Mark of a run: changes with the recipe, the seed, the faces (by name) and the weights it begins at."""
    names = sorted(sample.name.rsplit("/", 2)[-1] for sample in split.train)
    return fingerprint(recipe, *names, "" if start is None else json.loads((start.parent / RESULT).read_text())["mark"])


def is_finished(out: Path, mark: str) -> bool:
    """Whether the run in `out` has ended with these settings; raises `ConfigError` where it ended with others."""
    if not (out / RESULT).exists():
        return False
    try:
        found = json.loads((out / RESULT).read_text())["mark"]
    except (ValueError, KeyError) as error:
        raise CheckpointError(f"{out / RESULT}: not the result of a training run: {error}") from error
    if found != mark:
        raise ConfigError(f"{out}: holds a finished run of another recipe, seed or data set; give another --out, or delete it")
    return True


def mean_unit_points(samples: Sequence[Sample], spec: ModelSpec) -> Array:
    """Mean unit_points (N, 2) of the samples' upright crops."""
    return np.mean([unit_points_of(sample, spec) for sample in samples], axis=0)


def unit_points_of(sample: Sample, spec: ModelSpec) -> Array:
    """unit_points (N, 2) of a sample in its upright crop."""
    return to_unit(transform(label_crop_matrix(spec, sample.points), sample.points), spec.size)


def targets_of(recipe: Recipe, samples: Sequence[Sample]) -> list[Array]:
    """Image points (N, 2) a face that the recipe learns: the labels, or their Soft-landmarks.

    Shapes are softened in the upright crop, before any augmentation, so that the same face has the same soft target
    however it is turned.
    """
    if recipe.soft_variance is None:
        return [sample.points for sample in samples]
    spec = ModelSpec(samples[0].schema, recipe.size, recipe.crop_scale)
    shapes = np.stack([unit_points_of(sample, spec) for sample in samples])
    soft = soften(fit(shapes, recipe.soft_variance, recipe.soft_align), shapes)
    return [_from_upright(points, sample, spec) for points, sample in zip(soft, samples, strict=True)]


def _from_upright(unit_points: Array, sample: Sample, spec: ModelSpec) -> Array:
    return transform(invert(label_crop_matrix(spec, sample.points)), from_unit(unit_points, spec.size))


def learning_rate(recipe: Recipe, step: int) -> float:
    """Learning rate of step number `step`, counted from 0."""
    if recipe.schedule == "inverse":
        return recipe.learning_rate / (1 + 1e-4 * step)
    warm = min(1.0, (step + 1) / max(1, recipe.warmup))
    return recipe.learning_rate * warm * (0.5 + 0.5 * math.cos(math.pi * step / recipe.steps))


def _batches(dataset: CropDataset, recipe: Recipe, step: int, workers: int) -> Iterator[Batch]:
    order = Shuffle(len(dataset), recipe.batch, recipe.seed, start=step)
    return iter(DataLoader(dataset, batch_sampler=order, num_workers=workers, collate_fn=collate))


def collate(batches: list[Batch]) -> Batch:
    """One batch of many single samples."""
    return Batch(*(torch.stack(tensors) for tensors in zip(*batches, strict=True)))


def _step(run: _Run, batch: Batch, step: int, recipe: Recipe, device: str) -> dict[str, Tensor]:
    # Dropout draws from torch's own generator: seeding it by step makes a resumed run draw the same.
    torch.manual_seed(recipe.seed * 1_000_003 + step)
    for group in run.optimiser.param_groups:
        group["lr"] = learning_rate(recipe, step)
    batch = Batch(*(tensor.to(device, non_blocking=True) for tensor in batch))
    size = recipe.early_size if recipe.early_size and step < recipe.early_share * recipe.steps else None
    with torch.autocast(torch.device(device).type, torch.bfloat16, enabled=recipe.precision == "bf16"):
        prediction = run.network(planes_of(batch.crops, run.spec, size))
    parts = OBJECTIVES[recipe.objective](prediction, batch)
    run.optimiser.zero_grad(set_to_none=True)
    parts["loss"].backward()
    run.optimiser.step()
    # The average starts fast, so that it does not remember the untrained weights.
    _move_average(run.average, run.network, min(recipe.ema, (1 + step) / (10 + step)))
    return {name: value.detach() for name, value in parts.items()}


def planes_of(crops: Tensor, spec: ModelSpec, size: int | None = None) -> Tensor:
    """Network input (B, 3, S, S) of uint8 crops (B, 3, S, S): the torch twin of `spec.normalise_crops`.

    `size` reduces the planes first; unit_points stay as they are, since they are shares of the crop.
    """
    planes = crops.to(memory_format=torch.channels_last).float()
    mean, std = (planes.new_tensor(values).view(3, 1, 1) for values in (spec.mean, spec.std))
    planes = planes / 255 if not mean.any() and bool((std == 1).all()) else (planes / 255 - mean) / std
    if size is not None and size != crops.shape[-1]:
        planes = torch.nn.functional.interpolate(planes, size=(size, size), mode="bilinear", antialias=True)
    return planes


@torch.no_grad()
def _move_average(average: LandmarkNet, network: LandmarkNet, decay: float) -> None:
    ours, theirs = list(average.state_dict().values()), list(network.state_dict().values())
    floats = [i for i, tensor in enumerate(ours) if tensor.is_floating_point()]
    torch._foreach_lerp_([ours[i] for i in floats], [theirs[i] for i in floats], 1 - decay)
    for mine, other in zip(ours, theirs, strict=True):
        if not mine.is_floating_point():
            mine.copy_(other)


class ValidationCrops:
    """Upright crops of the validation faces, cut once; calling it with a model gives one NME a face (F,)."""

    def __init__(self, samples: Sequence[Sample], spec: ModelSpec) -> None:
        matrices = [label_crop_matrix(spec, sample.points) for sample in samples]
        self.crops: list[Picture] = [
            warp(load_image(sample), matrix, spec.size) for sample, matrix in zip(samples, matrices, strict=True)
        ]
        self.truth = np.stack([unit_points_of(sample, spec) for sample in samples])
        self.schema = spec.schema

    def __call__(self, model: TorchModel, batch: int = 32) -> Array:
        """NME of each face: a crop only shifts and scales, so the ratio is that of image pixels."""
        found = [model(np.stack(self.crops[i : i + batch])) for i in range(0, len(self.crops), batch)]
        return nme(np.concatenate(found), self.truth, interocular(self.truth, self.schema))


def _validate(run: _Run, validation: ValidationCrops, progress: RunProgress, recipe: Recipe, out: Path) -> None:
    error = float(validation(TorchModel(run.average, run.spec, str(next(run.average.parameters()).device))).mean())
    if not progress.rows or progress.rows[-1]["step"] != progress.step:
        progress.rows.append({"step": progress.step, "learning_rate": learning_rate(recipe, progress.step - 1)})
    progress.rows[-1] |= {"validation_nme": error, "seconds": round(progress.seconds, 1)}
    if error < progress.best:
        progress.best, progress.best_step = error, progress.step
        spec = replace(run.spec, provenance=dict(run.spec.provenance) | {"step": progress.step, "validation_nme": error})
        save_checkpoint(out / MODEL, run.average, recipe.architecture, spec)


def _write_result(out: Path, mark: str, recipe: Recipe, split: Split, run: _Run, progress: RunProgress) -> None:
    result: dict[str, Any] = {
        "mark": mark,
        "recipe": asdict(recipe),
        "train_faces": len(split.train),
        "validation_faces": len(split.validation),
        "parameters": parameter_count(run.network),
        "seconds": round(progress.seconds, 1),
        "validation_nme": progress.best,
        "best_step": progress.best_step,
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
    }
    with replacing(out / RESULT) as temporary:
        temporary.write_text(json.dumps(result, indent=1))


def read_result(out: Path) -> dict[str, Any]:
    """result.json of a finished run."""
    result: dict[str, Any] = json.loads((out / RESULT).read_text())
    return result


class _Quiet:
    """Stands in for the progress bar where nobody looks."""

    task_ids = (0,)

    def __enter__(self) -> _Quiet:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def advance(self, _: object) -> None:
        return None

    def update(self, _: object, note: str) -> None:
        return None


def _bar(name: str, steps: int, done: int, quiet: bool) -> Progress | _Quiet:
    if quiet:
        return _Quiet()
    bar = Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("left"),
        TimeRemainingColumn(), TextColumn("{task.fields[note]}"), refresh_per_second=2,
    )  # fmt: skip
    bar.add_task(name, total=steps, completed=done, note="")
    return bar
