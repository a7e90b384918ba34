"""Cutouts become the crops that the data set itself would give: same view, same changes, same points."""

from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from lightmark.data.augment import NO_AUGMENTATION, Augmentation
from lightmark.data.crop_stream import CropStream, CutoutStream
from lightmark.data.cutout import collate_cutouts
from lightmark.data.dataset import CropDataset, Cutouts, Key, Shuffle, TeacherPoints
from lightmark.data.device.crops import crops_of
from lightmark.data.pack import pack
from lightmark.data.sample import Sample
from lightmark.data.synthetic import synthetic_samples
from lightmark.geometry import from_unit, tight_box
from lightmark.schema import IBUG68, Schema
from lightmark.spec import ModelSpec

FACES = synthetic_samples(8, seed=0)
SPEC = ModelSpec(IBUG68, 64)
KEYS = [Key(turn, face) for turn in range(6) for face in range(len(FACES))]


def crops(augmentation=None, spec=SPEC, **options):
    """A data set of painted faces."""
    return CropDataset(FACES, [face.points for face in FACES], spec, augmentation or Augmentation(), 5, **options)


def on_device(data, keys=KEYS):
    """The keys' crops, made as a batch."""
    return crops_of(collate_cutouts([data.cutout(key) for key in keys]), "cpu")


@pytest.mark.parametrize("size", [48, 128])
def test_crops_are_those_of_the_data_set(size):
    """Under the recipes' full augmentation within one level, far below half on average; points are the same numbers."""
    data = crops(spec=ModelSpec(IBUG68, size))
    made, wanted = on_device(data), [data[key] for key in KEYS]
    found = (made.crops.int() - torch.stack([batch.crops for batch in wanted]).int()).abs()
    assert found.float().mean() < 0.05
    assert found.float().mean((1, 2, 3)).max() < 0.5
    assert (made.crops.dtype, made.crops.shape) == (torch.uint8, (len(KEYS), 3, size, size))
    assert torch.equal(made.points, torch.stack([batch.points for batch in wanted]))


def test_geometry_alone_is_exact():
    """Without changes of pixels, crops are equal to the bit."""
    data = crops(replace(NO_AUGMENTATION, rotation=30.0, scale=0.15, shift=0.05, box=0.04, mirror=0.5))
    assert torch.equal(on_device(data).crops, torch.stack([data[key].crops for key in KEYS]))


def test_points_lie_on_the_pixels():
    """A dot painted at a point is found, in the device's changed crops, within 0.05 px of where the CPU's show it."""
    five = Schema("five", mirror=(1, 0, 2, 4, 3), normaliser=(0, 1))
    points = np.array([[50.0, 60], [110, 62], [80.3, 80.7], [60, 110], [100, 112]])
    y, x = np.mgrid[:160, :160]
    dot = (200 * np.exp(-((x - 80.3) ** 2 + (y - 80.7) ** 2) / (2 * 6.0**2))).round().astype(np.uint8)
    face = Sample(
        Path("dot.png"), points, tight_box(points), five, "dot", image=np.repeat(dot[..., None], 3, axis=2)
    )
    changed = Augmentation(colour=0.0, noise=0.0, occlusion=0.0, blur=0.5, jpeg=0.5, low_resolution=0.5)
    data = CropDataset([face], [points], ModelSpec(five, 64), changed, 0)
    keys = [Key(turn, 0) for turn in range(30)]
    made = on_device(data, keys)
    for number, key in enumerate(keys):
        wanted = data[key]
        device, cpu = (centre_of(each) for each in (made.crops[number], wanted.crops))
        assert np.abs(device - cpu).max() < 0.05
        moved = from_unit(made.points[number, 2].numpy(), 64)
        assert np.abs(device - moved).max() < 0.55  # the kernels of a moving camera are off by up to 0.51 themselves


def centre_of(crop):
    """Mean place (2,) of a crop's brightness above what JPEG leaves in the black around it."""
    weights = np.clip(crop[0].numpy().astype(float) - 20, 0, None)
    v, u = np.mgrid[: len(weights), : len(weights)]
    return np.array([(u * weights).sum(), (v * weights).sum()]) / weights.sum()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU that torch finds")
def test_a_gpus_crops_are_the_cpus():
    """Batches that a DataLoader pinned, made into crops on a GPU, are those made here but for a level in few pixels."""
    order = Shuffle(len(FACES), 8, seed=4)
    loader = DataLoader(Cutouts(crops()), batch_sampler=order, collate_fn=collate_cutouts, pin_memory=True)
    for cutouts in islice(loader, 6):
        here, there = crops_of(cutouts, "cpu"), crops_of(cutouts, "cuda")
        assert (here.crops.int() - there.crops.cpu().int()).abs().float().mean() < 0.01
        assert torch.equal(here.points, there.points.cpu())


def test_teacher_points_go_along():
    """Cached points of the copy, as in a batch of finished crops."""
    tough = np.arange(2 * len(FACES) * 136, dtype=np.float32).reshape(2, len(FACES), 68, 2)
    data = crops(copies=2, teachers=TeacherPoints(tough, -tough))
    made = on_device(data)
    assert torch.equal(made.tough, torch.stack([data[key].tough for key in KEYS]))
    assert torch.equal(made.tolerant, -made.tough)


def test_workers_change_nothing():
    """Cutout batches made in another process are those made in this one."""

    def batches(workers):
        order = Shuffle(len(FACES), 4, seed=4)
        cutouts = Cutouts(crops())
        assert len(cutouts) == len(FACES)
        loader = DataLoader(cutouts, batch_sampler=order, num_workers=workers, collate_fn=collate_cutouts)
        return [crops_of(batch, "cpu") for batch in islice(loader, 4)]

    for here, there in zip(batches(0), batches(1), strict=True):
        assert all(torch.equal(a, b) for a, b in zip(here, there, strict=True))


def test_large_pictures_travel_reduced():
    """Of a face that fills 640 px, a crop of 64 px takes a few times its own pixels along."""
    faces = synthetic_samples(2, seed=0, size=640)
    data = CropDataset(faces, [face.points for face in faces], SPEC, Augmentation(), 0)
    for turn in range(8):
        part = data.cutout(Key(turn, 0)).part
        assert part.shape[0] * part.shape[1] < 64**2 * 2 * 2 * 3


def test_stream_gives_cutouts(tmp_path):
    """A stream of packed faces gives the cutouts of its crops, to a DataLoader's workers too."""
    pack([replace(face, path=tmp_path / f"{i}.png") for i, face in enumerate(FACES)], tmp_path / "shards")
    stream = CropStream(tmp_path / "shards", SPEC, replace(NO_AUGMENTATION, rotation=20.0, colour=0.5), 0)
    wanted = {batch.crops.numpy().tobytes() for batch in stream}
    loader = DataLoader(CutoutStream(stream), batch_size=2, num_workers=2, collate_fn=collate_cutouts)
    made = [crop.contiguous().numpy().tobytes() for batch in loader for crop in crops_of(batch, "cpu").crops]
    assert set(made) == wanted
    assert len(made) == len(FACES)
