"""Tests of the training crops: each a function of seed, pass and face alone."""

import re
from collections import Counter
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as PilImage
from torch.utils.data import DataLoader

from lightmark.data.crops import picture_cache
from lightmark.data.crops.augment import NO_AUGMENTATION, Augmentation, move_points
from lightmark.data.crops.dataset import CropDataset, Key, Shuffle, TeacherPoints
from lightmark.data.sample import Sample
from lightmark.errors import ConfigError, ImageError
from lightmark.geometry import tight_box, to_normalized
from lightmark.schema import FACE_BOX, IBUG68, Schema, plain_schema
from lightmark.spec import ModelSpec

FIVE = Schema("five", mirror=(1, 0, 2, 4, 3), normaliser=(0, 1))
SPEC = ModelSpec(FIVE, 32)
FACES = 6


def face(index, **changes):
    """A face whose picture is noise of its own."""
    rng = np.random.default_rng(index)
    points = rng.uniform(20, 60, (5, 2))
    picture = rng.integers(0, 256, (80, 90, 3), dtype=np.uint8)
    fields = {"points": points, "box": tight_box(points), "schema": FIVE, "photo": str(index), "image": picture}
    return Sample(Path(f"{index}.png"), **(fields | changes))


SAMPLES = [face(i) for i in range(FACES)]


def crops(samples=SAMPLES, targets=None, augmentation=None, seed=11, **options):
    """A fresh data set of the noise faces."""
    targets = [sample.points for sample in samples] if targets is None else targets
    return CropDataset(samples, targets, SPEC, augmentation or Augmentation(), seed, **options)


def same(first, second):
    """Whether two batches are equal to the bit."""
    return all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_one_crop_has_the_promised_form():
    """uint8 planes and float32 normalized_points."""
    batch = crops()[Key(0, 2)]
    assert (batch.crops.dtype, batch.crops.shape) == (torch.uint8, (3, 32, 32))
    assert {tensor.dtype for tensor in batch[1:]} == {torch.float32}
    assert {tensor.shape for tensor in batch[1:]} == {(5, 2)}


def test_length_is_the_number_of_faces():
    """Copies do not count."""
    assert len(crops(copies=4)) == FACES


def test_same_key_gives_the_same_crop():
    """Another data set object, and another order of asking, change nothing."""
    first, second = crops(), crops()
    second[Key(3, 1)]
    second[Key(0, 5)]
    assert same(first[Key(2, 4)], second[Key(2, 4)])
    assert same(first[Key(2, 4)], first[Key(2, 4)])


@pytest.mark.parametrize(
    ("seed", "key"), [(12, Key(2, 4)), (11, Key(3, 4)), (11, Key(2, 5))], ids=["seed", "turn", "face"]
)
def test_another_key_gives_another_crop(seed, key):
    """Seed, pass and face each change crop and points."""
    first, other = crops()[Key(2, 4)], crops(seed=seed)[key]
    assert not torch.equal(first.crops, other.crops)
    assert not torch.equal(first.points, other.points)


def test_global_generators_play_no_part():
    """Seeding numpy and torch anew changes no crop."""
    first = crops()[Key(1, 1)]
    np.random.seed(5)
    torch.manual_seed(5)
    assert same(first, crops()[Key(1, 1)])


def test_workers_change_nothing():
    """Batches made in another process are those made in this one."""

    def batches(workers):
        order = Shuffle(FACES, 2, seed=4)
        return list(islice(DataLoader(crops(), batch_sampler=order, num_workers=workers), 4))

    assert all(same(a, b) for a, b in zip(batches(0), batches(1), strict=True))


def test_targets_move_with_the_crop():
    """The targets, which need not be the labels, are moved by the crop's own matrix."""
    targets = [sample.points + np.array([3.0, -2.0]) for sample in SAMPLES]
    data = crops(targets=targets)
    for key in (Key(0, 0), Key(5, 3), Key(7, 2)):
        _, matrix, mirrored = data.plain_crop(key)
        expected = to_normalized(move_points(targets[key.face], matrix, mirrored, FIVE), 32)
        np.testing.assert_array_equal(data[key].points.numpy(), expected.astype(np.float32))


def test_points_without_partners_are_not_mirrored():
    """Without known pairs a mirrored crop would teach the left point the right one's place."""
    plain = plain_schema(5)
    always = replace(NO_AUGMENTATION, mirror=1.0)
    faces = [replace(sample, schema=plain) for sample in SAMPLES]
    dataset = CropDataset(faces, [face.points for face in faces], ModelSpec(plain, 32), always, seed=11)
    assert not any(dataset.plain_crop(Key(0, index))[2] for index in range(FACES))
    assert all(crops(augmentation=always).plain_crop(Key(0, index))[2] for index in range(FACES))


def test_a_point_alone_is_mirrored():
    """It is its own partner."""
    nose = Schema("nose", (0,), (), normaliser_name=FACE_BOX)
    one = replace(SAMPLES[0], points=SAMPLES[0].points[:1], schema=nose)
    always = replace(NO_AUGMENTATION, mirror=1.0)
    assert CropDataset([one], [one.points], ModelSpec(nose, 32), always, seed=11).plain_crop(Key(0, 0))[2]


def test_geometry_follows_the_labels_not_the_targets():
    """Soft targets leave the crops as they are."""
    moved = crops(targets=[sample.points + 5 for sample in SAMPLES])
    assert torch.equal(moved[Key(1, 1)].crops, crops()[Key(1, 1)].crops)


def test_crop_is_the_plain_crop_without_pixel_changes():
    """Where only geometry is random, the crop is what a teacher is shown, in planes."""
    data = crops(augmentation=replace(NO_AUGMENTATION, rotation=20.0, mirror=0.5))
    plain, _, _ = data.plain_crop(Key(1, 3))
    np.testing.assert_array_equal(data[Key(1, 3)].crops.numpy().transpose(1, 2, 0), plain)


def test_copies_repeat_the_geometry():
    """Pass t has the geometry of copy t modulo the number of copies."""
    data = crops(copies=3)
    for turn in range(3):
        first, again = data.plain_crop(Key(turn, 2)), data.plain_crop(Key(turn + 3, 2))
        np.testing.assert_array_equal(first[0], again[0])
        np.testing.assert_array_equal(first[1], again[1])
        assert torch.equal(data[Key(turn, 2)].points, data[Key(turn + 6, 2)].points)
    assert not np.allclose(data.plain_crop(Key(0, 2))[1], data.plain_crop(Key(1, 2))[1])


def test_copies_do_not_repeat_the_pixels():
    """The colours of a repeated geometry are new at every pass."""
    data = crops(copies=3, augmentation=replace(NO_AUGMENTATION, colour=1.0))
    assert not torch.equal(data[Key(0, 2)].crops, data[Key(3, 2)].crops)


def test_without_copies_geometry_never_repeats():
    """Every pass draws a new matrix."""
    data = crops()
    matrices = np.stack([data.plain_crop(Key(turn, 2))[1] for turn in range(20)])
    assert len(np.unique(matrices.round(9), axis=0)) == 20


def test_first_copies_are_the_first_passes():
    """Fixing copies changes nothing until they repeat."""
    np.testing.assert_array_equal(crops(copies=3).plain_crop(Key(2, 1))[1], crops().plain_crop(Key(2, 1))[1])


def test_teacher_points_are_those_of_the_copy():
    """Each crop comes with both teachers' points on its own copy and face."""
    tough = np.arange(3 * FACES * 10, dtype=np.float32).reshape(3, FACES, 5, 2)
    data = crops(copies=3, teachers=TeacherPoints(tough, -tough))
    for turn, copy in ((0, 0), (2, 2), (3, 0), (7, 1)):
        batch = data[Key(turn, 4)]
        np.testing.assert_array_equal(batch.tough.numpy(), tough[copy, 4])
        np.testing.assert_array_equal(batch.tolerant.numpy(), -tough[copy, 4])


def test_without_teachers_the_targets_stand_in():
    """An objective that ignores teachers needs none."""
    batch = crops()[Key(0, 0)]
    assert torch.equal(batch.tough, batch.points)
    assert torch.equal(batch.tolerant, batch.points)


def test_pictures_are_decoded_once_for_all_their_faces(tmp_path, monkeypatch):
    """Later passes, and other faces of the same picture, do not read the file again."""
    PilImage.fromarray(SAMPLES[1].image).save(tmp_path / "group.png")
    group = [replace(sample, path=tmp_path / "group.png", image=None) for sample in SAMPLES[:3]]
    loaded = Counter()
    load = picture_cache.load_image

    def counted(sample):
        loaded[sample.path.name] += 1
        return load(sample)

    monkeypatch.setattr(picture_cache, "load_image", counted)
    data = crops(group)
    for turn in range(3):
        for face in range(3):
            data[Key(turn, face)]
    assert loaded == {"group.png": 1}


def test_picture_files_are_read(tmp_path):
    """A sample without pixels of its own gives the crop of its file."""
    PilImage.fromarray(SAMPLES[3].image).save(tmp_path / "a.png")
    data = crops([replace(SAMPLES[3], path=tmp_path / "a.png", image=None)])
    assert same(data[Key(0, 0)], crops([SAMPLES[3]])[Key(0, 0)])


def test_missing_picture_is_named(tmp_path):
    """A deleted file is named when its crop is loaded."""
    data = crops([replace(SAMPLES[3], path=tmp_path / "gone.png", image=None)])
    with pytest.raises(ImageError, match=r"gone\.png: no such picture"):
        data[Key(0, 0)]


def test_face_outside_its_picture_is_still_a_crop():
    """Points beyond the picture's edge give a crop that is partly black."""
    points = SAMPLES[0].points + np.array([60.0, 0.0])
    data = crops([face(0, points=points, box=tight_box(points))], augmentation=NO_AUGMENTATION)
    crop = data[Key(0, 0)].crops.numpy()
    assert not crop[:, :, -4:].any()
    assert crop[:, :, :4].any()


def test_other_schema_is_refused():
    """The first face of another schema is named, with what to do."""
    sample = face(9, points=np.zeros((68, 2)), schema=IBUG68)
    with pytest.raises(ConfigError, match=r"9\.png: points of schema ibug68, this model learns five; convert the data"):
        crops([*SAMPLES, sample])


def test_teachers_without_copies_are_refused():
    """Cached points belong to fixed geometries."""
    points = np.zeros((1, FACES, 5, 2), np.float32)
    with pytest.raises(ConfigError, match="cached teacher points need a fixed number of copies"):
        crops(teachers=TeacherPoints(points, points))


def test_pass_shows_each_face_once():
    """Ten faces in batches of five are two batches, each face in one of them."""
    order = Shuffle(10, 5, seed=0)
    for turn in range(3):
        keys = [key for batch in islice(order, 2 * turn, 2 * turn + 2) for key in batch]
        assert {key.epoch for key in keys} == {turn}
        assert sorted(key.face for key in keys) == list(range(10))


def test_batches_are_full():
    """What does not fill a batch waits: eleven faces in fives are two batches a pass, without repeats."""
    order = Shuffle(11, 5, seed=0)
    assert order.batches_per_epoch == 2
    batches = list(islice(order, 40))
    assert {len(batch) for batch in batches} == {5}
    assert [batch[0].epoch for batch in batches] == [i // 2 for i in range(40)]
    assert all(len({key.face for batch in batches[i : i + 2] for key in batch}) == 10 for i in range(0, 40, 2))
    assert {key.face for batch in batches for key in batch} == set(range(11))


def test_each_pass_has_its_own_order():
    """No two passes show the faces in the same order."""
    orders = [tuple(key.face for key in batch) for batch in islice(Shuffle(30, 30, seed=0), 5)]
    assert len(set(orders)) == 5


def test_order_depends_on_the_seed():
    """One seed gives one order, another seed another."""
    first, again, other = (list(islice(Shuffle(30, 10, seed), 4)) for seed in (1, 1, 2))
    assert first == again
    assert first != other


@pytest.mark.parametrize("start", [0, 1, 2, 3, 7, 12])
def test_order_goes_on_where_it_was(start):
    """From batch k on, the order is that of a run that was never stopped."""
    unbroken = list(islice(Shuffle(11, 3, seed=5), 20))
    assert list(islice(Shuffle(11, 3, seed=5, start=start), 20 - start)) == unbroken[start:]


def test_too_few_faces_are_refused():
    """The message has the number of samples, the batch size and the next step."""
    text = "4 training faces do not fill one batch of 5; give a batch of 4 (--batch 4), or more faces"
    with pytest.raises(ConfigError, match=re.escape(text)):
        Shuffle(4, 5, seed=0)
