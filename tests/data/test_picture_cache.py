"""Decoded pictures: one copy each, within a bound, the least recently used dropped first."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lightmark.data.crops import picture_cache
from lightmark.data.crops.picture_cache import LIMIT, PictureCache, cache_limit
from lightmark.data.read import read_samples
from lightmark.data.sample import Sample
from lightmark.data.shards.pack import pack
from lightmark.errors import ImageError
from lightmark.geometry import tight_box
from lightmark.schema import Schema

FIVE = Schema("five", mirror=(1, 0, 2, 4, 3), normaliser=(0, 1))
POINTS = np.array([[2.0, 2.0], [8.0, 2.0], [5.0, 5.0], [3.0, 8.0], [7.0, 8.0]])
BYTES = 10 * 10 * 3  # of each picture here


@pytest.fixture
def samples(tmp_path):
    """Five faces, each with a picture of its own colour in a file."""
    made = []
    for number in range(5):
        path = tmp_path / f"{number}.png"
        Image.fromarray(np.full((10, 10, 3), number, np.uint8)).save(path)
        made.append(Sample(path, POINTS, tight_box(POINTS), FIVE, str(number)))
    return made


@pytest.fixture
def decoded(monkeypatch):
    """Names of the pictures that were decoded, in order."""
    names = []
    for name in ("load_image", "to_picture"):
        load = getattr(picture_cache, name)
        monkeypatch.setattr(
            picture_cache, name, lambda one, load=load: names.append(getattr(one, "path", one).stem) or load(one)
        )
    return names


def test_a_picture_is_decoded_once(samples, decoded):
    """By a face as well as by its path."""
    cache = PictureCache()
    for _ in range(3):
        assert cache.of_sample(samples[3])[0, 0, 0] == 3
        assert cache.of_file(samples[3].path)[0, 0, 0] == 3
    assert decoded == ["3"]


def test_faces_of_one_picture_share_one_copy(samples, decoded):
    """A group photograph of twenty faces is held once."""
    cache = PictureCache()
    faces = [replace(samples[0], attributes={"index": index}) for index in range(20)]
    assert len({id(cache.of_sample(face)) for face in faces}) == 1
    assert (cache.size, decoded) == (BYTES, ["0"])


def test_the_bound_is_kept_and_the_least_recently_used_goes(samples, decoded):
    """With room for three, the least recently used is evicted."""
    cache = PictureCache(3 * BYTES)
    for number in (0, 1, 2, 0, 3, 0, 1):
        cache.of_sample(samples[number])
        assert cache.size <= 3 * BYTES
    assert decoded == ["0", "1", "2", "3", "1"]


def test_a_picture_beyond_the_bound_is_handed_out_and_not_kept(samples, decoded):
    """A picture above the limit is returned but not cached, and evicts no others."""
    cache = PictureCache(BYTES - 1)
    assert cache.of_sample(samples[1])[0, 0, 0] == 1
    assert cache.of_sample(samples[1])[0, 0, 0] == 1
    assert (cache.size, decoded) == (0, ["1", "1"])


def test_pictures_in_memory_are_not_held_twice(samples):
    """Pictures in memory are not copied to the cache."""
    image = np.zeros((9, 9, 3), np.uint8)
    cache = PictureCache()
    assert cache.of_sample(replace(samples[0], image=image)) is image
    assert cache.size == 0


def test_packed_pictures_have_their_own_entries(samples, tmp_path):
    """Members of one shard, in the same bound."""
    pack(samples, tmp_path / "packed")
    cache = PictureCache(2 * BYTES)
    packed = read_samples(tmp_path / "packed")
    assert [cache.of_sample(face)[0, 0, 0] for face in (*packed, *packed)] == [0, 1, 2, 3, 4] * 2
    assert cache.size == 2 * BYTES


def test_an_unreadable_picture_is_named_each_time(samples):
    """An unreadable picture raises the same error each time."""
    samples[2].path.write_bytes(b"no picture")
    cache = PictureCache()
    for _ in range(2):
        with pytest.raises(ImageError, match=r"2\.png: cannot be read as a picture"):
            cache.of_sample(samples[2])
        with pytest.raises(ImageError, match=r"gone\.png: no such picture"):
            cache.of_file(Path("gone.png"))
    assert cache.size == 0


def test_many_workers_share_a_small_memory(monkeypatch):
    """Four of them on two gigabytes have an eighth of a gigabyte each; on plenty each has the whole limit."""
    monkeypatch.setattr(picture_cache, "_memory", lambda: 2 << 30)
    assert cache_limit(4) == 1 << 27
    monkeypatch.setattr(picture_cache, "_memory", lambda: 64 << 30)
    assert cache_limit(4) == LIMIT
