"""Teachers' points over fixed augmented copies, computed once: a distillation step costs the student's alone."""

from __future__ import annotations

import json
import logging
import math
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import torch
from rich.progress import track
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from lightmark.data.crops.dataset import CropDataset, Key, TeacherPoints
from lightmark.data.fingerprint import fingerprint_of_faces
from lightmark.data.sample import Sample
from lightmark.errors import CheckpointError, ConfigError
from lightmark.files import replacing
from lightmark.nets.checkpoint import TorchModel, crops_at_once, load_model
from lightmark.train.config import Recipe
from lightmark.train.distributed.collectives import meet, mine
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
    device: str = "cpu",
    workers: int = 0,
    quiet: bool = False,
) -> TeacherPoints:
    """normalized_points of both teachers (checkpoint paths) for every copy of the student `recipe`'s crops.

    Kept in the folders `tough` and `tolerant` of `out`, as `points_of_teacher` keeps them. Raises as that does; for a
    teacher that cannot be asked before the other is.
    """
    teachers = {"tough": tough, "tolerant": tolerant}
    models = {name: _load_teacher(recipe, path, device) for name, path in teachers.items()}
    return TeacherPoints(
        **{
            name: _keep_points(recipe, samples, models[name], weights_hash(path), out / name, workers, quiet)
            for name, path in teachers.items()
        }
    )


def points_of_teacher(
    recipe: Recipe,
    samples: Sequence[Sample],
    teacher: Path,
    out: Path,
    device: str = "cpu",
    workers: int = 0,
    quiet: bool = False,
) -> Floats32:
    """normalized_points (copies, F, N, 2) of one teacher for every copy of the student `recipe`'s crops.

    The teacher sees the crops before their pixels are changed, at its own size in pixels: normalized_points are alike.
    `workers` processes cut them, 0 this one.
    Kept in `out`, one file a copy, so that a killed run goes on where it was; several processes make a share of the
    copies each and read the others'. A file made for other labels, pictures, crops or weights is made anew, and a
    warning in the log says what has changed. Raises `ConfigError` where the recipe has no fixed copies or the teacher
    takes wider or narrower crops, `CheckpointError` where a file in `out` is damaged.
    """
    model = _load_teacher(recipe, teacher, device)
    return _keep_points(recipe, samples, model, weights_hash(teacher), out, workers, quiet)


def _load_teacher(recipe: Recipe, teacher: Path, device: str) -> TorchModel:
    """The teacher, if the student `recipe` can learn from it."""
    if recipe.copies is None:
        raise ConfigError(
            f"recipe {recipe.name}: teacher points can be kept only for a fixed number of copies; set `copies`"
        )
    model = load_model(teacher, device)
    if model.spec.crop_scale != recipe.crop_scale:
        raise ConfigError(
            f"{teacher}: takes crops of {model.spec.crop_scale} times the box, the student of {recipe.crop_scale} "
            "times; train them with the same crop_scale"
        )
    return model


def _keep_points(
    recipe: Recipe,
    samples: Sequence[Sample],
    model: TorchModel,
    weights: str,
    out: Path,
    workers: int,
    quiet: bool,
) -> Floats32:
    assert recipe.copies is not None
    targets = [sample.points for sample in samples]
    dataset = CropDataset(samples, targets, model.spec, recipe.augmentation, recipe.seed, recipe.copies)
    # Only what decides the crops: students that differ in their loss alone share the points.
    settings = {
        "augmentation": asdict(recipe.augmentation),
        "crop_scale": recipe.crop_scale,
        "copies": recipe.copies,
        "seed": recipe.seed,
    }
    fingerprint = plain({"crops": settings, "faces": fingerprint_of_faces(samples), "teacher's weights": weights})
    _tell_of_stale(out, fingerprint)
    due = [copy for copy in mine(range(recipe.copies)) if _kept_points(out, fingerprint, copy) is None]
    made = _points_of(model, dataset, due, workers)
    hidden = quiet or world().rank > 0
    for copy in due if hidden else track(due, f"points of {out.name}"):
        with replacing(_copy_path(out, copy)) as temporary:
            np.savez(temporary, points=next(made), fingerprint=json.dumps(fingerprint))
    meet()
    kept = [_kept_points(out, fingerprint, copy) for copy in range(recipe.copies)]
    if any(points is None for points in kept):
        raise CheckpointError(f"{out}: teacher points went away or were changed while they were made; run it again")
    return np.stack([points for points in kept if points is not None])


def _copy_path(out: Path, copy: int) -> Path:
    return out / f"copy-{copy:03d}.npz"


def _tell_of_stale(out: Path, fingerprint: Fingerprint) -> None:
    """Log what has changed since the first copy was kept, if anything."""
    kept = _read_points(_copy_path(out, 0))
    if kept is None or world().rank > 0:
        return
    found = differences(kept[0], fingerprint)
    if found:
        LOGGER.warning("%s: the points kept here are made anew, other than before: %s", out, found)


def _kept_points(out: Path, fingerprint: Fingerprint, copy: int) -> Floats32 | None:
    """Points (F, N, 2) of a kept copy that was made of the same, else None."""
    kept = _read_points(_copy_path(out, copy))
    return kept[1] if kept is not None and kept[0] == fingerprint else None


def _read_points(path: Path) -> tuple[Fingerprint, Floats32] | None:
    """Fingerprint and points of a kept copy, None where there is none; raises `CheckpointError` for a damaged file."""
    if not path.exists():
        return None
    try:
        with np.load(path, allow_pickle=False) as file:
            # An older Lightmark's files hold no fingerprint, and are made anew.
            fingerprint = json.loads(str(file["fingerprint"])) if "fingerprint" in file else {}
            return fingerprint, file["points"]
    except (OSError, ValueError, KeyError, EOFError, BadZipFile, zlib.error) as error:
        raise CheckpointError(f"{path}: not a whole file of teacher points ({error}); delete it") from error


class _PlainCrops(Dataset[Tensor]):
    """Crops (S, S, 3) of a `CropDataset` before their pixels change."""

    def __init__(self, crops: CropDataset, size: int) -> None:
        self.crops, self.size = crops, size

    def __getitem__(self, key: Key) -> Tensor:
        return torch.from_numpy(self.crops.plain_crop(key, self.size)[0])


def _points_of(model: TorchModel, dataset: CropDataset, copies: Sequence[int], workers: int) -> Iterator[Floats32]:
    """normalized_points (F, N, 2) of each copy in turn.

    One loader cuts all copies, so that its workers start once and keep the pictures that they have decoded.
    """
    batch, faces = crops_at_once(model.device), len(dataset)
    batches = [
        [Key(copy, face) for face in range(first, min(first + batch, faces))]
        for copy in copies
        for first in range(0, faces, batch)
    ]
    crops = batches_from(DataLoader(_PlainCrops(dataset, model.spec.size), batch_sampler=batches, num_workers=workers))
    for _ in copies:
        of_copy = islice(crops, math.ceil(faces / batch))
        yield np.concatenate([model(crop.numpy()).astype(np.float32) for crop in of_copy])
