"""Teachers' points over fixed augmented copies, computed once: a distillation step costs the student's alone."""

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
from lightmark.nets.checkpoint import TorchModel, crops_at_once, load_model
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

    Kept in the folders `tough` and `tolerant` of `out`, as `points_of_teacher` keeps them. Raises as that does; for a
    teacher that cannot be asked before the other is.
    """
    teachers = {"tough": tough, "tolerant": tolerant}
    models = {name: _load_teacher(recipe, path, device) for name, path in teachers.items()}
    return TeacherPoints(
        **{
            name: _keep_points(recipe, samples, models[name], start_mark(path), out / name, quiet)
            for name, path in teachers.items()
        }
    )


def points_of_teacher(
    recipe: Recipe, samples: Sequence[Sample], teacher: Path, out: Path, device: str = "cpu", quiet: bool = False
) -> Floats32:
    """unit_points (copies, F, N, 2) of one teacher for every copy of the student `recipe`'s crops.

    The teacher sees the crops before their pixels are changed, at its own size in pixels: unit_points are the same.
    Kept in `out`, one file a copy, so that a killed run goes on where it was; several processes make a share of the
    copies each and read the others'. Raises `ConfigError` where the recipe has no fixed copies or the teacher takes
    wider or narrower crops, `CheckpointError` where a file in `out` is damaged.
    """
    return _keep_points(recipe, samples, _load_teacher(recipe, teacher, device), start_mark(teacher), out, quiet)


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
    recipe: Recipe, samples: Sequence[Sample], model: TorchModel, teacher_mark: str, out: Path, quiet: bool
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
    mark = fingerprint(settings, teacher_mark, *(sample.name.rsplit("/", 2)[-1] for sample in samples))
    share = mine(range(recipe.copies))
    shown = share if quiet or world().rank > 0 else track(share, f"points of {out.name}", total=len(share))
    points_of = partial(_copy_points, dataset, model, out, mark)
    made = {copy: points_of(copy) for copy in shown}
    meet()
    return np.stack([made[copy] if copy in made else points_of(copy) for copy in range(recipe.copies)])


def _copy_points(dataset: CropDataset, model: TorchModel, out: Path, mark: str, copy: int) -> Floats32:
    path = out / f"copy-{copy:03d}.npz"
    if path.exists():
        try:
            with np.load(path, allow_pickle=False) as file:
                if str(file["mark"]) == mark:
                    kept: Floats32 = file["points"]
                    return kept
        except (OSError, ValueError, KeyError, BadZipFile) as error:
            raise CheckpointError(f"{path}: not a whole file of teacher points ({error}); delete it") from error
    points = _points_of(model, dataset, copy)
    with replacing(path) as temporary:
        np.savez(temporary, points=points, mark=mark)
    return points


def _points_of(model: TorchModel, dataset: CropDataset, copy: int) -> Floats32:
    keys = [Key(copy, face) for face in range(len(dataset))]
    batch = crops_at_once(model.device)
    found = []
    for first in range(0, len(keys), batch):
        crops = [dataset.plain_crop(key, model.spec.size)[0] for key in keys[first : first + batch]]
        found.append(model(np.stack(crops)).astype(np.float32))
    return np.concatenate(found)
