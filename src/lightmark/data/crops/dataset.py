"""Training crops as tensors; each is a function of (seed, epoch, index) alone, so that runs are reproducible."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler, get_worker_info

from lightmark.data.crops.augment import Augmentation, change_pixels, move_points, random_matrix
from lightmark.data.crops.picture_cache import PictureCache, cache_limit
from lightmark.data.sample import Sample
from lightmark.errors import ConfigError
from lightmark.geometry import Array, to_normalized
from lightmark.image import Picture, warp
from lightmark.spec import ModelSpec

GEOMETRY_STREAM, PIXEL_STREAM, ORDER_STREAM = 0, 1, 2


class Batch(NamedTuple):
    """Crops uint8 (B, 3, S, S); normalized_points (B, N, 2): the targets and both teachers' points, if any."""

    crops: Tensor
    points: Tensor
    tough: Tensor
    tolerant: Tensor


class Key(NamedTuple):
    """Key of a training crop: epoch and index of the face among the samples, both counted from 0."""

    epoch: int
    face: int


@dataclass(frozen=True)
class TeacherPoints:
    """Both teachers' normalized_points over fixed augmented copies, float32 (copies, F, N, 2) each."""

    tough: np.ndarray[tuple[int, ...], np.dtype[np.float32]]
    tolerant: np.ndarray[tuple[int, ...], np.dtype[np.float32]]


class CropDataset(Dataset[Batch]):
    """Augmented crops of `samples`, with `targets` (image points, (F, N, 2)) transformed alike.

    With `copies`, epoch t has the geometry of copy t % copies, so that a teacher's points can be cached for it; the
    photometric augmentation is sampled anew in every epoch. Decoded pictures are cached in a `PictureCache`: 1 GiB a
    process, less where all workers together would take more than a quarter of the memory.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        targets: Sequence[Array],
        spec: ModelSpec,
        augmentation: Augmentation,
        seed: int,
        copies: int | None = None,
        teachers: TeacherPoints | None = None,
    ) -> None:
        for sample in samples:
            if sample.schema != spec.schema:
                raise ConfigError(
                    f"{sample.name}: points of schema {sample.schema.name}, this model learns {spec.schema.name}; "
                    f"convert the data or train a model for them"
                )
        if teachers is not None and copies is None:
            raise ConfigError("cached teacher points need a fixed number of copies")
        self.samples, self.targets, self.spec = samples, targets, spec
        self.augmentation = augmentation if spec.schema.knows_mirror else replace(augmentation, mirror=0.0)
        self.seed = seed
        self.copies, self.teachers = copies, teachers
        self._pictures: PictureCache | None = None

    def __len__(self) -> int:
        return len(self.samples)

    def copy_of(self, epoch: int) -> int:
        """Number of the fixed geometry of `epoch`."""
        return epoch if self.copies is None else epoch % self.copies

    def plain_crop(self, key: Key, size: int | None = None) -> tuple[Picture, Array, bool]:
        """Crop (S, S, 3) with geometric augmentation only, its matrix, and whether it is mirrored.

        `size` is another side in pixels of the same view; normalized_points do not depend on it.
        """
        size = size or self.spec.size
        matrix, mirrored = self._geometry(key, size)
        return warp(self._picture(key.face), matrix, size), matrix, mirrored

    def __getitem__(self, key: Key) -> Batch:
        crop, matrix, mirrored = self.plain_crop(key)
        crop = change_pixels(crop, self.augmentation, self._pixel_rng(key))
        return Batch(torch.from_numpy(crop.transpose(2, 0, 1)), *self._points(key, matrix, mirrored))

    def _geometry(self, key: Key, size: int) -> tuple[Array, bool]:
        rng = np.random.default_rng((self.seed, GEOMETRY_STREAM, self.copy_of(key.epoch), key.face))
        return random_matrix(self.samples[key.face].box, size, self.spec.crop_scale, self.augmentation, rng)

    def _pixel_rng(self, key: Key) -> np.random.Generator:
        return np.random.default_rng((self.seed, PIXEL_STREAM, key.epoch, key.face))

    def _points(self, key: Key, matrix: Array, mirrored: bool) -> tuple[Tensor, Tensor, Tensor]:
        """Targets and both teachers' points."""
        points = to_normalized(move_points(self.targets[key.face], matrix, mirrored, self.spec.schema), self.spec.size)
        target = torch.from_numpy(points.astype(np.float32))
        if self.teachers is None:
            return target, target, target
        copy = self.copy_of(key.epoch)
        tough, tolerant = (points[copy, key.face] for points in (self.teachers.tough, self.teachers.tolerant))
        return target, torch.from_numpy(tough), torch.from_numpy(tolerant)

    def _picture(self, index: int) -> Picture:
        if self._pictures is None:  # created lazily: the number of workers is known only in a worker
            worker = get_worker_info()
            self._pictures = PictureCache(cache_limit(1 if worker is None else worker.num_workers))
        return self._pictures.of_sample(self.samples[index])


class Shuffle(Sampler[list[Key]]):
    """Infinite sampler of shuffled batches of keys, from batch number `start` on; a new order in every epoch.

    `part` is the slice of every batch that this rank gets.
    """

    def __init__(self, count: int, batch: int, seed: int, start: int = 0, part: slice = slice(None)) -> None:
        if count < batch:
            smaller = f"a batch of {count} (--batch {count}), or " if count > 1 else ""
            raise ConfigError(f"{count} training faces do not fill one batch of {batch}; give {smaller}more faces")
        self.count, self.batch, self.seed, self.start, self.part = count, batch, seed, start, part

    @property
    def batches_per_epoch(self) -> int:
        """Full batches in an epoch; the rest is dropped, a different one in every epoch."""
        return self.count // self.batch

    def __iter__(self) -> Iterator[list[Key]]:
        epoch, first = divmod(self.start, self.batches_per_epoch)
        while True:
            order = np.random.default_rng((self.seed, ORDER_STREAM, epoch)).permutation(self.count)
            for number in range(first, self.batches_per_epoch):
                batch = order[number * self.batch : (number + 1) * self.batch]
                yield [Key(epoch, int(i)) for i in batch[self.part]]
            epoch, first = epoch + 1, 0
