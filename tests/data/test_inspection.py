"""Faces that no training can use are named before the first step."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lightmark.data.check import inspection
from lightmark.data.check.inspection import inspect_pictures, require_trainable
from lightmark.data.read import read_samples
from lightmark.data.sample import Sample
from lightmark.data.shards.pack import pack
from lightmark.errors import DataError, ImageError
from lightmark.geometry import tight_box
from lightmark.schema import Schema

FIVE = Schema("five", mirror=(1, 0, 2, 4, 3), normaliser=(0, 1))
POINTS = np.array([[12.0, 10.0], [50.0, 10.0], [30.0, 20.0], [15.0, 35.0], [45.0, 35.0]])


@pytest.fixture
def face(tmp_path, tiny_picture):
    """Function that gives a face whose picture lies in a file of `suffix`."""

    def make(suffix=".png", points=POINTS, name="a"):
        path = tmp_path / f"{name}{suffix}"
        Image.fromarray(tiny_picture).save(path)
        return Sample(path, points, tight_box(points), FIVE, name)

    return make


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".bmp", ".tif"])
def test_whole_pictures_pass(face, suffix):
    """Their facts are the bytes' hash and the size."""
    require_trainable([face(suffix)])
    assert inspect_pictures([face(suffix)])[0].size == (64, 48)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".bmp", ".tif"])
@pytest.mark.parametrize("kept", [0.0, 0.1, 0.9])
def test_a_cut_picture_is_named(face, suffix, kept):
    """Wherever it is cut, and whatever its format."""
    sample = face(suffix)
    content = sample.path.read_bytes()
    sample.path.write_bytes(content[: int(kept * len(content))])
    with pytest.raises(ImageError, match=rf"a\{suffix}: cannot be read as a picture"):
        require_trainable([face(".gif", name="whole"), sample])


def test_a_missing_picture_is_named(face):
    """With the command that finds all of them."""
    sample = face()
    sample.path.unlink()
    with pytest.raises(ImageError, match=r"a\.png: no such picture; check the data with `lightmark data check`"):
        require_trainable([sample])


def test_pixels_of_whole_files_are_not_decoded(face, monkeypatch):
    """Headers and ends are enough for the two formats that data sets come in."""
    monkeypatch.setattr(inspection, "to_picture", None)
    require_trainable([face(".png"), face(".jpg")])


def test_a_picture_is_looked_at_once(face, monkeypatch):
    """Several faces and several stages share the look; a changed file is looked at again."""
    sample, sizes = face(), []
    header_size = inspection.header_size
    monkeypatch.setattr(inspection, "header_size", lambda *args: sizes.append(args[1]) or header_size(*args))
    for _ in range(2):
        inspect_pictures([sample, replace(sample, points=POINTS + 1)])
    once = len(sizes)
    Image.new("RGB", (64, 48)).save(sample.path)
    inspect_pictures([sample])
    assert 1 <= once <= 2  # two threads may come to it at once
    assert len(sizes) == once + 1


@pytest.mark.parametrize(
    ("points", "text"),
    [
        (np.where(np.eye(5, 2) > 0, np.inf, POINTS), "a.png: 2 of 5 points are not finite"),
        (POINTS * np.nan, "a.png: none of its 5 points is labelled"),
        (POINTS * [1, 0], "a.png: its points span no box"),
        (POINTS * 0 + 7, "a.png: its points span no box"),
        (POINTS / 64, "a.png: its points are all at the picture's first pixel: are they relative to its size?"),
        (POINTS + np.array([300, 0]), "x 312 to 350, y 10 to 35, all of them outside their picture of 64×48 pixels"),
        (POINTS - np.array([0, 300]), "outside their picture"),
    ],
)
def test_a_broken_label_is_named(face, points, text):
    """With what is wrong and the command that finds all of them."""
    with pytest.raises(DataError, match=text) as error:
        require_trainable([face(name="good"), face(points=points)])
    assert "`lightmark data check`" in str(error.value)


def test_missing_points_pass(face):
    """Missing points are left out of losses and of the normaliser."""
    points = np.where(np.arange(5)[:, None] == 1, np.nan, POINTS)
    require_trainable([face(points=points)], validation=[face(points=points)])


def test_a_face_at_the_edge_passes(face):
    """Jaws reach over the border of many a picture."""
    require_trainable([face(points=POINTS + np.array([40, 30]))])


def test_orientation_of_the_header_counts(tmp_path):
    """A phone's upright picture is stored lying: its points lie where it is shown."""
    path, exif = tmp_path / "phone.jpg", Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (200, 50)).save(path, exif=exif)
    points = POINTS + np.array([0, 140])
    require_trainable([Sample(path, points, tight_box(points), FIVE, "phone")])


def test_a_normaliser_of_zero_is_named_where_faces_are_judged(face):
    """Their error would be divided by it; training itself does without."""
    points = POINTS.copy()
    points[1] = points[0]
    require_trainable([face(points=points)])
    with pytest.raises(DataError, match=r"a\.png: points 0 and 1 coincide"):
        require_trainable([], validation=[face(points=points)])


def test_packed_pictures_are_known_by_their_checksum(face, tmp_path, monkeypatch):
    """Which was checked as the shard was read: nothing is read again."""
    for name in "ab":
        Image.fromarray(np.full((48, 64, 3), ord(name), np.uint8)).save(face(name=name).path)
    pack([face(name="a"), face(".jpg", name="b")], tmp_path / "packed")
    samples = read_samples(tmp_path / "packed")
    monkeypatch.setattr(Path, "open", None)
    keys = [facts.key for facts in inspect_pictures(samples)]
    assert len(set(keys)) == 2
    assert all(key.startswith("crc32 ") for key in keys)
