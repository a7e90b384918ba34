"""Cache of the teachers' points on fixed augmented copies, so that distillation runs no teacher."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from rich.progress import track
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from lightmark.data.crops.dataset import CropDataset, Key, TeacherPoints
from lightmark.data.fingerprint import fingerprint_of_faces
from lightmark.data.sample import Sample
from lightmark.errors import CheckpointError, ConfigError, foreign_errors_as
from lightmark.files import replacing
from lightmark.nets.checkpoint import TorchModel, inference_batch, load_model
from lightmark.train.config import EXECUTION, Execution, Recipe
from lightmark.train.distributed.collectives import barrier, shard
from lightmark.train.distributed.world import world
from lightmark.train.fingerprint import Fingerprint, differences, plain, weights_hash
from lightmark.train.loader import batches_from

LOGGER = logging.getLogger(__name__)
Floats32 = np.ndarray[tuple[int, ...], np.dtype[np.float32]]


def cache_teacher_points(
    recipe: Recipe,
    samples: Sequence[Sample],
    tough: Path,
    tolerant: Path,
    out: Path,
    execution: Execution = EXECUTION,
) -> TeacherPoints:
    """Predict and cache both teachers' normalized_points for every copy of the student `recipe`'s crops.

    They are cached in the folders `tough` and `tolerant` of `out`. Raises as `points_of_teacher` does.
    """
    teachers = {"tough": tough, "tolerant": tolerant}
    # Both are loaded before the first predicts, so that an unusable second teacher does not fail hours later.
    models = {name: _load_teacher(recipe, path, execution.device) for name, path in teachers.items()}
    return TeacherPoints(
        **{
            name: _cache_points(recipe, samples, models[name], weights_hash(path), out / name, execution)
            for name, path in teachers.items()
        }
    )


def points_of_teacher(
    recipe: Recipe,
    samples: Sequence[Sample],
    teacher: Path,
    out: Path,
    execution: Execution = EXECUTION,
) -> Floats32:
    """normalized_points (copies, F, N, 2) of one teacher for every copy of the student `recipe`'s crops.

    The teacher predicts on the crops before photometric augmentation, at its own input size; normalized_points do not
    depend on it. Points are cached in `out`, one file a copy, so that a killed run resumes; several ranks predict a
    shard of the copies each and read the rest. A file of other labels, pictures, crops or weights is overwritten, with
    a warning in the log that names the difference. Raises `ConfigError` where the recipe has no fixed copies or the
    teacher takes wider or narrower crops, `CheckpointError` where a file in `out` is damaged.
    """
    model = _load_teacher(recipe, teacher, execution.device)
    return _cache_points(recipe, samples, model, weights_hash(teacher), out, execution)


def _load_teacher(recipe: Recipe, teacher: Path, device: str) -> TorchModel:
    """The teacher's model; raises `ConfigError` where the student `recipe` cannot learn from it."""
    if recipe.copies is None:
        raise ConfigError(
            f"recipe {recipe.name}: teacher points can be cached only for a fixed number of copies; set `copies`"
        )
    model = load_model(teacher, device)
    if model.spec.crop_scale != recipe.crop_scale:
        raise ConfigError(
            f"{teacher}: takes crops of {model.spec.crop_scale} times the box, the student of {recipe.crop_scale} "
            "times; train them with the same crop_scale"
        )
    return model


def _cache_points(
    recipe: Recipe, samples: Sequence[Sample], model: TorchModel, weights: str, out: Path, execution: Execution
) -> Floats32:
    assert recipe.copies is not None
    targets = [sample.points for sample in samples]
    dataset = CropDataset(samples, targets, model.spec, recipe.augmentation, recipe.seed, recipe.copies)
    # Only settings that affect the crops: students with different losses share the cache.
    settings = {
        "augmentation": asdict(recipe.augmentation),
        "crop_scale": recipe.crop_scale,
        "copies": recipe.copies,
        "seed": recipe.seed,
    }
    fingerprint = plain({"crops": settings, "faces": fingerprint_of_faces(samples), "teacher's weights": weights})
    _warn_if_stale(out, fingerprint)
    cached = {copy: _cached_points(out, fingerprint, copy) for copy in shard(range(recipe.copies))}
    missing = [copy for copy, points in cached.items() if points is None]
    made = _points_of(model, dataset, missing, execution.workers)
    hidden = execution.quiet or world().rank > 0
    for copy in missing if hidden else track(missing, f"points of {out.name}"):
        cached[copy] = points = next(made)
        with replacing(_copy_path(out, copy)) as temporary:
            np.savez(temporary, points=points, fingerprint=json.dumps(fingerprint))
    barrier()
    cached |= {copy: _cached_points(out, fingerprint, copy) for copy in range(recipe.copies) if copy not in cached}
    complete = [cached_copy for copy in range(recipe.copies) if (cached_copy := cached[copy]) is not None]
    if len(complete) < recipe.copies:
        raise CheckpointError(f"{out}: teacher points went away or were changed while they were made; run it again")
    return np.stack(complete)


def _copy_path(out: Path, copy: int) -> Path:
    return out / f"copy-{copy:03d}.npz"


def _warn_if_stale(out: Path, fingerprint: Fingerprint) -> None:
    """Log a warning that names the difference where the cache is of another fingerprint."""
    cached = _read_points(_copy_path(out, 0))
    if cached is None or world().rank > 0:
        return
    changes = differences(cached[0], fingerprint)
    if changes:
        LOGGER.warning("%s: the cached points are made anew, other than before: %s", out, changes)


def _cached_points(out: Path, fingerprint: Fingerprint, copy: int) -> Floats32 | None:
    """Cached points (F, N, 2) of a copy; None where there are none of this fingerprint."""
    cached = _read_points(_copy_path(out, copy))
    return cached[1] if cached is not None and cached[0] == fingerprint else None


def _read_points(path: Path) -> tuple[Fingerprint, Floats32] | None:
    """Fingerprint and points of a cache file, None where it is missing; raises `CheckpointError` for a broken one."""
    if not path.exists():
        return None
    with (
        foreign_errors_as(CheckpointError, f"{path}: not a complete file of teacher points, delete it"),
        np.load(path, allow_pickle=False) as file,
    ):
        # Files of an older Lightmark have no fingerprint; {} matches none, so they are overwritten.
        fingerprint = json.loads(str(file["fingerprint"])) if "fingerprint" in file else {}
        return fingerprint, file["points"]


class _GeometricCrops(Dataset[Tensor]):
    """Crops (S, S, 3) of a `CropDataset` with geometric augmentation only."""

    def __init__(self, crops: CropDataset, size: int) -> None:
        self.crops, self.size = crops, size

    def __getitem__(self, key: Key) -> Tensor:
        return torch.from_numpy(self.crops.plain_crop(key, self.size)[0])


def _points_of(model: TorchModel, dataset: CropDataset, copies: Sequence[int], workers: int) -> Iterator[Floats32]:
    """normalized_points (F, N, 2) of each copy, one after the other.

    One DataLoader cuts all copies, so that its workers start once and keep their decoded pictures.
    """
    batch, faces = inference_batch(model.device), len(dataset)
    batches = [
        [Key(copy, face) for face in range(first, min(first + batch, faces))]
        for copy in copies
        for first in range(0, faces, batch)
    ]
    loader = DataLoader(_GeometricCrops(dataset, model.spec.size), batch_sampler=batches, num_workers=workers)
    crops = batches_from(loader)
    for _ in copies:
        of_copy = islice(crops, math.ceil(faces / batch))
        yield np.concatenate([model(crop.numpy()).astype(np.float32) for crop in of_copy])
