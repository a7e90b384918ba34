"""Teachers' points over fixed augmented copies, computed once: a distillation step costs the student's alone."""

from __future__ import annotations

import json
import logging
import zlib
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from rich.progress import track

from lightmark.data.dataset import CropDataset, Key, TeacherPoints
from lightmark.data.fingerprint import fingerprint_of_faces
from lightmark.data.sample import Sample
from lightmark.errors import CheckpointError, ConfigError
from lightmark.files import replacing
from lightmark.nets.checkpoint import TorchModel, crops_at_once, load_model
from lightmark.train.config import Recipe
from lightmark.train.fingerprint import Fingerprint, differences, plain, weights_hash
from lightmark.train.ranks import meet, mine
from lightmark.train.world import world

LOGGER = logging.getLogger(__name__)
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
            name: _keep_points(recipe, samples, models[name], weights_hash(path), out / name, quiet)
            for name, path in teachers.items()
        }
    )


def points_of_teacher(
    recipe: Recipe, samples: Sequence[Sample], teacher: Path, out: Path, device: str = "cpu", quiet: bool = False
) -> Floats32:
    """unit_points (copies, F, N, 2) of one teacher for every copy of the student `recipe`'s crops.

    The teacher sees the crops before their pixels are changed, at its own size in pixels: unit_points are the same.
    Kept in `out`, one file a copy, so that a killed run goes on where it was; several processes make a share of the
    copies each and read the others'. A file made for other labels, pictures, crops or weights is made anew, and a
    warning in the log says what has changed. Raises `ConfigError` where the recipe has no fixed copies or the teacher
    takes wider or narrower crops, `CheckpointError` where a file in `out` is damaged.
    """
    return _keep_points(recipe, samples, _load_teacher(recipe, teacher, device), weights_hash(teacher), out, quiet)


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
    recipe: Recipe, samples: Sequence[Sample], model: TorchModel, weights: str, out: Path, quiet: bool
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
    share = mine(range(recipe.copies))
    shown = share if quiet or world().rank > 0 else track(share, f"points of {out.name}", total=len(share))
    points_of = partial(_copy_points, dataset, model, out, fingerprint)
    made = {copy: points_of(copy) for copy in shown}
    meet()
    return np.stack([made[copy] if copy in made else points_of(copy) for copy in range(recipe.copies)])


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


def _copy_points(dataset: CropDataset, model: TorchModel, out: Path, fingerprint: Fingerprint, copy: int) -> Floats32:
    path = _copy_path(out, copy)
    kept = _read_points(path)
    if kept is not None and kept[0] == fingerprint:
        return kept[1]
    points = _points_of(model, dataset, copy)
    with replacing(path) as temporary:
        np.savez(temporary, points=points, fingerprint=json.dumps(fingerprint))
    return points


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


def _points_of(model: TorchModel, dataset: CropDataset, copy: int) -> Floats32:
    keys = [Key(copy, face) for face in range(len(dataset))]
    batch = crops_at_once(model.device)
    found = []
    for first in range(0, len(keys), batch):
        crops = [dataset.plain_crop(key, model.spec.size)[0] for key in keys[first : first + batch]]
        found.append(model(np.stack(crops)).astype(np.float32))
    return np.concatenate(found)
