"""Every pixel change of a batch is the CPU's: never off by more than one grey level, by far less on average."""

from dataclasses import replace
from functools import cache

import cv2
import numpy as np
import pytest
import torch

from lightmark.data.augment import NO_AUGMENTATION, Augmentation, PixelChanges, apply_changes, draw_changes
from lightmark.data.device.changes import change_batch
from lightmark.data.device.grouped import gaussian_weights, group_changes
from lightmark.data.synthetic import synthetic_samples

COUNT = 18
FACES = synthetic_samples(COUNT, seed=0)
# Largest share of pixels that may differ, by one level: sums of floats that end at a half fall either way.
EFFECTS = {
    "colour": 0.001,
    "grey": 0.0,
    "occlusion": 0.0,
    "low_resolution": 0.01,
    "blur": 0.02,
    "noise": 0.001,
    "jpeg": 0.01,
}


@cache
def crops_of(size):
    """Painted faces, and every third crop noise, which leaves nothing to chance."""
    faces = [cv2.resize(face.image, (size, size)) for face in FACES]
    rng = np.random.default_rng(1)
    return [face if i % 3 else rng.integers(0, 256, face.shape, dtype=np.uint8) for i, face in enumerate(faces)]


def difference(crops, changes):
    """Grey levels by which the device's changed crops differ from the CPU's."""
    cpu = np.stack([apply_changes(crop, change) for crop, change in zip(crops, changes, strict=True)])
    device = change_batch(torch.from_numpy(np.stack(crops)), group_changes(changes, len(crops[0])))
    assert device.dtype == torch.uint8
    return np.abs(cpu.astype(int) - device.numpy())


def drawn(size, augmentation, count=COUNT, seed=0):
    """Changes of `count` crops."""
    return [draw_changes((size, size), augmentation, np.random.default_rng((seed, i))) for i in range(count)]


@pytest.mark.parametrize("effect", EFFECTS)
@pytest.mark.parametrize("size", [16, 37, 64, 112, 224])
def test_effect_is_the_cpus(effect, size):
    """At any size, odd ones too, by at most one level, in few pixels."""
    found = difference(crops_of(size), drawn(size, replace(NO_AUGMENTATION, **{effect: 1.0})))
    assert found.max() <= 1
    assert found.mean() <= EFFECTS[effect]


@pytest.mark.parametrize("size", [64, 128])
def test_all_effects_together(size):
    """One after the other as recipes draw them: a level lost early may be stretched, the mean stays far below half."""
    found = difference(crops_of(size), drawn(size, Augmentation(*[0.5] * 12)))
    assert found.mean() < 0.05
    assert found.mean(axis=(1, 2, 3)).max() < 0.5


def test_nothing_drawn_changes_nothing():
    """A batch without changes has no groups and stays as it is."""
    crops, changes = crops_of(16), [PixelChanges()] * COUNT
    assert set(group_changes(changes, 16)) == {None}
    assert not difference(crops, changes).any()


def test_only_the_crops_that_drew_a_change_have_it():
    """Of two equal crops the one without changes stays."""
    crop = crops_of(32)[1]
    crops = torch.from_numpy(np.stack([crop, crop]))
    for name in EFFECTS:
        change = drawn(32, replace(NO_AUGMENTATION, **{name: 1.0}), 1)[0]
        changed = change_batch(crops.clone(), group_changes([PixelChanges(), change], 32))
        assert torch.equal(changed[0], crops[0]), name
        assert not torch.equal(changed[1], crops[1]), name


@pytest.mark.parametrize("small", range(12, 45))
def test_every_low_resolution(small):
    """All sides that a crop of 64 px is reduced to, the half of it, whose means OpenCV rounds otherwise, among them."""
    assert difference(crops_of(64)[:3], [PixelChanges(small=small)] * 3).mean() <= 0.005


@pytest.mark.parametrize("sigma", [0.4, 0.45, 0.7, 1.0, 1.28, 2.2, 4.48])
def test_gaussian_is_exact(sigma):
    """Weights are OpenCV's 256ths, so that bytes are equal."""
    assert gaussian_weights(sigma).sum() == 256
    assert not difference(crops_of(96)[:3], [PixelChanges(blur=sigma)] * 3).any()


@pytest.mark.parametrize("quality", [1, 15, 49, 50, 69, 95, 100])
def test_every_quality_of_jpeg(quality):
    """From one bit a block to hardly any loss, on sides that are and are not whole blocks."""
    for size in (33, 64):
        found = difference(crops_of(size)[:6], [PixelChanges(quality=quality)] * 6)
        assert found.max() <= 1
        assert found.mean() <= 0.01


def test_kernels_of_several_lengths_share_a_batch():
    """Even and odd traces, each about its own anchor, as in batches of their own."""
    crops = crops_of(64)[:4]
    changes = [PixelChanges(blur=np.eye(length) / length) for length in (3, 4, 6, 7)]
    assert difference(crops, changes).max() <= 1


def test_covers_lie_in_their_own_crop():
    """Places count over the whole batch: each crop's cover shows in that crop alone."""
    crops = np.zeros((3, 16, 16, 3), np.uint8)
    changes = drawn(16, replace(NO_AUGMENTATION, occlusion=1.0), 40)
    filled = [change for change in changes if change.cover.fill is not None and change.cover.inside.any()]
    changed = change_batch(torch.from_numpy(crops), group_changes([PixelChanges(), filled[0], PixelChanges()], 16))
    assert not changed[[0, 2]].any()
    np.testing.assert_array_equal(changed[1].any(-1).numpy(), apply_changes(crops[1], filled[0]).any(-1))
