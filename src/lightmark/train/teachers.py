"""Both teachers' points over fixed augmented copies, computed once: a distillation step costs the student's alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from rich.progress import track

from lightmark.data.dataset import CropDataset, Key, TeacherPoints
from lightmark.data.sample import Sample
from lightmark.errors import CheckpointError, ConfigError
from lightmark.files import replacing
from lightmark.nets.checkpoint import TorchModel, load_model
from lightmark.train.config import Recipe, fingerprint
from lightmark.train.folder import start_mark
from lightmark.train.ranks import meet, mine
from lightmark.train.world import world

Floats32 = np.ndarray[tuple[int, ...], np.dtype[np.float32]]


def cache_teacher_points(
    recipe: Recipe,
    samples: Sequence[Sample],
    tough: Path,
    tolerant: Path,
    out: Path,
    device: str = "cpu",
    quiet: bool = False,
) -> TeacherPoints:
    """unit_points of both teachers (checkpoint paths) for every copy of the student `recipe`'s crops.

    The teachers see the crops before their pixels are changed, each at its own size in pixels: unit_points are the
    same. Kept in `out`, one file a copy, so that a killed run goes on where it was; several processes make a share of
    the copies each and read the others'. Raises `ConfigError` where the recipe has no fixed copies or a teacher takes
    wider or narrower crops.
    """
    if recipe.copies is None:
        raise ConfigError(
            f"recipe {recipe.name}: teacher points can be kept only for a fixed number of copies; set `copies`"
        )
    models = load_model(tough, device), load_model(tolerant, device)
    for path, model in zip((tough, tolerant), models, strict=True):
        if model.spec.crop_scale != recipe.crop_scale:
            raise ConfigError(
                f"{path}: takes crops of {model.spec.crop_scale} times the box, the student of {recipe.crop_scale} "
                "times; train them with the same crop_scale"
            )
    targets = [sample.points for sample in samples]
    dataset = CropDataset(samples, targets, models[0].spec, recipe.augmentation, recipe.seed, recipe.copies)
    marks = [start_mark(path) for path in (tough, tolerant)]
    # Only what decides the crops: students that differ in their loss alone share the points.
    settings = {
        "augmentation": asdict(recipe.augmentation),
        "crop_scale": recipe.crop_scale,
        "copies": recipe.copies,
        "seed": recipe.seed,
    }
    mark = fingerprint(settings, *marks, *(sample.name.rsplit("/", 2)[-1] for sample in samples))
    share = mine(range(recipe.copies))
    shown = share if quiet or world().rank > 0 else track(share, "teachers' points", total=len(share))
    points_of = partial(_copy_points, dataset, models, out, mark)
    made = {copy: points_of(copy) for copy in shown}
    meet()
    points = [made.get(copy) or points_of(copy) for copy in range(recipe.copies)]
    return TeacherPoints(np.stack([p[0] for p in points]), np.stack([p[1] for p in points]))


def _copy_points(
    dataset: CropDataset, models: tuple[TorchModel, TorchModel], out: Path, mark: str, copy: int
) -> tuple[Floats32, Floats32]:
    path = out / f"copy-{copy:03d}.npz"
    if path.exists():
        try:
            with np.load(path, allow_pickle=False) as file:
                if str(file["mark"]) == mark:
                    return file["tough"], file["tolerant"]
        except (OSError, ValueError, KeyError, BadZipFile) as error:
            raise CheckpointError(f"{path}: not a whole file of teacher points ({error}); delete it") from error
    tough, tolerant = (_points_of(model, dataset, copy) for model in models)
    with replacing(path) as temporary:
        np.savez(temporary, tough=tough, tolerant=tolerant, mark=mark)
    return tough, tolerant


def _points_of(model: TorchModel, dataset: CropDataset, copy: int, batch: int = 64) -> Floats32:
    keys = [Key(copy, face) for face in range(len(dataset))]
    found = []
    for first in range(0, len(keys), batch):
        crops = [dataset.plain_crop(key, model.spec.size)[0] for key in keys[first : first + batch]]
        found.append(model(np.stack(crops)).astype(np.float32))
    return np.concatenate(found)
