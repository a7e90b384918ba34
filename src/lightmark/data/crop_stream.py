"""Training crops from packed shards as they stream by: each a function of (seed, epoch, face) alone."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import IterableDataset, get_worker_info

from lightmark.data.augment import Augmentation, change_pixels, draw_changes, move_points, random_matrix
from lightmark.data.cutout import Cutout
from lightmark.data.dataset import GEOMETRY_STREAM, PIXEL_STREAM, Batch
from lightmark.data.sample import Sample, load_image
from lightmark.data.stream import BUFFER, Part, stream_samples
from lightmark.errors import ConfigError
from lightmark.geometry import Array, to_unit
from lightmark.image import cut_out, warp
from lightmark.spec import ModelSpec


class CropStream(IterableDataset[Batch]):
    """Augmented crops of the shards at `path`, with the labels as targets, one `epoch` an iteration.

    Rank `rank` of `ranks`, and each of a DataLoader's workers in it, gets an even part of every epoch, as
    `stream_samples` splits it. Which crop a face gives does not depend on the split. Set `epoch` before each iteration;
    a DataLoader with persistent workers would not hear of it. Faces of the subset "test" are passed over. Raises
    `ConfigError` for faces of another schema than the model's.
    """

    def __init__(
        self,
        path: str | Path,
        spec: ModelSpec,
        augmentation: Augmentation,
        seed: int,
        rank: int = 0,
        ranks: int = 1,
        buffer: int = BUFFER,
    ) -> None:
        self.path, self.spec, self.augmentation, self.seed = path, spec, augmentation, seed
        self.rank, self.ranks, self.buffer = rank, ranks, buffer
        self.epoch = 0

    def __iter__(self) -> Iterator[Batch]:
        for sample in self.samples():
            matrix, pixels, target = self._draw(sample)
            crop = change_pixels(warp(load_image(sample), matrix, self.spec.size), self.augmentation, pixels)
            yield Batch(torch.from_numpy(crop.transpose(2, 0, 1)), target, target, target)

    def cutouts(self) -> Iterator[Cutout]:
        """What the crops of an iteration are made of, where a device makes them."""
        size = self.spec.size
        for sample in self.samples():
            matrix, pixels, target = self._draw(sample)
            part, to_crop = cut_out(load_image(sample), matrix, size)
            changes = draw_changes((size, size), self.augmentation, pixels)
            yield Cutout(part, to_crop, changes, size, target, target, target)

    def samples(self) -> Iterator[Sample]:
        """The faces of this rank's, and in a DataLoader this worker's, part of the epoch."""
        worker = get_worker_info()
        index, count = (0, 1) if worker is None else (worker.id, worker.num_workers)
        part = Part(self.rank * count + index, self.ranks * count)
        for sample in stream_samples(self.path, self.seed, self.epoch, part, self.buffer):
            if "test" not in sample.subsets:
                yield sample

    def _draw(self, sample: Sample) -> tuple[Array, np.random.Generator, Tensor]:
        """Matrix of a face's crop, the generator of its pixels' changes, and its targets."""
        spec = self.spec
        if sample.schema != spec.schema:
            raise ConfigError(
                f"{sample.name}: points of schema {sample.schema.name}, this model learns {spec.schema.name}; pack the "
                "faces of one schema alone"
            )
        # The shard's folder may move, its name and the face's place in it stay.
        face = zlib.crc32(sample.name.removeprefix(sample.path.parent.parent.as_posix()).encode())
        geometry = np.random.default_rng((self.seed, GEOMETRY_STREAM, self.epoch, face))
        pixels = np.random.default_rng((self.seed, PIXEL_STREAM, self.epoch, face))
        matrix, mirrored = random_matrix(sample.points, spec.size, spec.crop_scale, self.augmentation, geometry)
        points = to_unit(move_points(sample.points, matrix, mirrored, spec.schema), spec.size)
        return matrix, pixels, torch.from_numpy(points.astype(np.float32))


class CutoutStream(IterableDataset[Cutout]):
    """The crops of a `CropStream` as cutouts."""

    def __init__(self, crops: CropStream) -> None:
        self.crops = crops

    def __iter__(self) -> Iterator[Cutout]:
        return self.crops.cutouts()
