"""Errors of a loader's workers: those that the main process would have raised, in one line."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from lightmark.data.crops.augment import NO_AUGMENTATION
from lightmark.data.crops.dataset import CropDataset, Key
from lightmark.data.sample import Sample
from lightmark.errors import ImageError, TrainingError
from lightmark.spec import ModelSpec
from lightmark.train.loader import batches_from


@pytest.mark.parametrize("workers", [0, 1])
def test_a_broken_picture_is_named_in_one_line(faces: list[Sample], tmp_path: Path, workers: int) -> None:
    """Its header and end are intact, so that only decoding in a worker fails."""
    path = tmp_path / "broken.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (48, 48, 3), dtype=np.uint8)).save(path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 99] = bytes(99)
    path.write_bytes(content)
    sample = Sample(path, faces[0].points, faces[0].box, faces[0].schema, "broken")
    dataset = CropDataset([sample], [sample.points], ModelSpec(sample.schema, 32), NO_AUGMENTATION, seed=0)
    keys = [[Key(0, 0)]]
    with pytest.raises(ImageError) as raised:
        list(batches_from(DataLoader(dataset, batch_sampler=keys, num_workers=workers)))
    assert str(raised.value).startswith(f"{path}: ")
    assert "\n" not in str(raised.value)
    assert "Traceback" not in str(raised.value)


class Killed(Dataset[torch.Tensor]):
    """A data set whose worker is killed, as by the system for its memory."""

    def __getitem__(self, index: int) -> torch.Tensor:
        os.kill(os.getpid(), signal.SIGKILL)
        return torch.zeros(1)

    def __len__(self) -> int:
        return 1


@pytest.mark.skipif(os.name != "posix", reason="needs signals")
def test_a_worker_that_is_killed_is_ours() -> None:
    """Not an error of torch's, and a way out."""
    with pytest.raises(TrainingError, match=r"a process that cuts crops has ended .*; try fewer --workers"):
        list(batches_from(DataLoader(Killed(), num_workers=1)))


def test_other_errors_stay() -> None:
    """A bug is not called a want of memory."""

    def broken():
        yield 1
        raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="a bug"):
        list(batches_from(broken()))
