"""Tests of packed shards: written, read like folders, streamed in even parts, and used where they are broken."""

import io
import json
import logging
import math
import shutil
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image as PilImage

from lightmark.cli import main
from lightmark.data.check.check import check
from lightmark.data.convert import write_coco
from lightmark.data.crops.augment import Augmentation, random_matrix
from lightmark.data.crops.dataset import CropDataset, Key
from lightmark.data.formats.coco import read_coco
from lightmark.data.formats.pts import format_pts, read_pts_tree
from lightmark.data.read import read_samples
from lightmark.data.sample import Sample, load_image
from lightmark.data.shards import pack as packing
from lightmark.data.shards.pack import CONTEXT, FACE_PIXELS, face_crop, pack
from lightmark.data.shards.read import MANIFEST, read_shards
from lightmark.data.synthetic import synthetic_samples
from lightmark.errors import ConfigError, DataError
from lightmark.geometry import tight_box
from lightmark.image import warp
from lightmark.schema import IBUG68, plain_schema
from lightmark.spec import ModelSpec
from lightmark.train.recipes import DISTILLATIONS, get_distillation

DRAWN = synthetic_samples(8, seed=5, size=96, subsets=("train",))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Eight drawn faces as JPEGs, with their labels as `.pts` beside them."""
    place = tmp_path / "faces"
    place.mkdir()
    for number, face in enumerate(DRAWN):
        PilImage.fromarray(load_image(face)).save(place / f"{number}.jpg", quality=90)
        (place / f"{number}.pts").write_text(format_pts(face.points))
    return place


@pytest.fixture
def shards(tmp_path: Path, folder: Path) -> Path:
    """The eight faces with their full pictures, in four shards of two."""
    pack(read_pts_tree(folder), tmp_path / "shards", faces_per_shard=2)
    return tmp_path / "shards"


def rewrite(shard: Path, change) -> None:
    """Write `shard` again with each member's content as `change(name, content)` gives it; None leaves it out."""
    with tarfile.open(shard) as archive:
        members = [(info.name, archive.extractfile(info).read()) for info in archive]
    with tarfile.open(shard, "w") as archive:
        for name, content in members:
            changed = change(name, content)
            if changed is not None:
                info = tarfile.TarInfo(name)
                info.size = len(changed)
                archive.addfile(info, io.BytesIO(changed))


def test_whole_pictures_are_the_same_faces_as_the_folder(folder, shards):
    """Pixels, points, photograph and subsets are those of the files, in their order."""
    before, after = read_samples(folder), read_samples(shards)
    assert len(after) == len(before) == 8
    for old, new in zip(before, after, strict=True):
        assert np.array_equal(load_image(old), load_image(new))
        assert np.array_equal(old.points, new.points)
        assert np.array_equal(old.box, new.box)
        assert (new.photo, new.subsets, new.schema) == (old.photo, old.subsets, old.schema)


def test_whole_pictures_keep_their_bytes(folder, shards):
    """What is packed is the file, not its pixels encoded again."""
    with tarfile.open(shards / "faces-000000.tar") as archive:
        assert archive.extractfile("00000000.jpg").read() == (folder / "0.jpg").read_bytes()


def test_all_that_a_sample_holds_is_kept(tmp_path):
    """Flags, attributes, subsets and a schema of one's own come back, and pictures in memory without loss."""
    schema = replace(IBUG68, name="mine")
    face = replace(DRAWN[0], schema=schema, attributes={"rect": (1.0, 2.5, 3.0, 4.0), "index": 3, "yaw": np.float64(2)})
    pack([face], tmp_path / "out")
    (read,) = read_samples(tmp_path / "out")
    assert read.schema == schema
    assert read.attributes == {"rect": (1.0, 2.5, 3.0, 4.0), "index": 3, "yaw": 2.0}
    assert read.subsets == {"train"}
    assert read.name.endswith("faces-000000.tar/00000000.png#3")
    assert np.array_equal(read.occluded, face.occluded)
    assert np.array_equal(load_image(read), face.image)


def test_faces_of_one_picture_are_packed_with_it_once(tmp_path, folder):
    """Two faces of a file make one member and two samples."""
    (face, *_) = read_pts_tree(folder)
    faces = [replace(face, attributes={"index": i}) for i in range(2)]
    packed = pack(faces, tmp_path / "out")
    assert (packed.faces, packed.pictures) == (2, 1)
    assert len(read_samples(tmp_path / "out")) == 2


def test_shards_hold_equally_many(tmp_path, folder):
    """Eight faces at most three a shard are cut 2, 3, 3: parts of a split are then as even."""
    packed = pack(read_pts_tree(folder), tmp_path / "out", faces_per_shard=3)
    assert sorted(shard["faces"] for shard in packed.shards) == [2, 3, 3]


def test_manifest_counts_and_names_what_is_there(shards):
    """Counts, schemas, sizes and hashes are those of the shards."""
    manifest = json.loads((shards / MANIFEST).read_text())
    assert (manifest["faces"], manifest["pictures"], manifest["schemas"]) == (8, 8, {"ibug68": 8})
    for shard in manifest["shards"]:
        assert shard["bytes"] == (shards / shard["file"]).stat().st_size
    assert sorted(file.name for file in shards.iterdir()) == [*(f"faces-{i:06}.tar" for i in range(4)), MANIFEST]


def test_the_same_faces_give_the_same_bytes(tmp_path, folder):
    """Neither times nor owners are packed; another order is another seed's."""
    faces = read_pts_tree(folder)
    for name, seed in (("a", None), ("b", None), ("c", 1), ("d", 1)):
        pack(faces, tmp_path / name, shuffle=seed)
    first, second, third, fourth = (tmp_path / name / "faces-000000.tar" for name in "abcd")
    assert first.read_bytes() == second.read_bytes()
    assert third.read_bytes() == fourth.read_bytes() != first.read_bytes()
    points = {face.points.tobytes() for face in read_samples(tmp_path / "c")}
    assert points == {face.points.tobytes() for face in faces}


def test_broken_faces_are_reported_and_not_packed(tmp_path, folder):
    """A cut picture and a face whose points are not finite are left out; the rest is packed."""
    (folder / "3.jpg").write_bytes((folder / "3.jpg").read_bytes()[:900])
    faces = read_pts_tree(folder)
    broken = faces[5].points.copy()
    broken[7] = np.inf
    faces[5] = replace(faces[5], points=broken)
    packed = pack(faces, tmp_path / "out", faces_per_shard=4)
    assert len(packed.left_out) == 2
    assert "3.jpg: cannot be read as a picture" in packed.left_out[0]
    assert packed.faces == len(read_samples(tmp_path / "out")) == 6


@pytest.mark.parametrize("form", ["whole", "crops"])
def test_missing_points_are_packed_as_such(tmp_path, folder, form):
    """They come back NaN, the others where they were in the picture; in the file they are null."""
    faces = read_pts_tree(folder)
    points = faces[5].points.copy()
    points[[7, 40]] = np.nan
    faces[5] = replace(faces[5], points=points)
    pack(faces, tmp_path / "out", form)
    back = read_samples(tmp_path / "out")[5]
    assert np.isnan(back.points).all(axis=1).nonzero()[0].tolist() == [7, 40]
    np.testing.assert_allclose(np.ptp(np.delete(back.points, [7, 40], 0), 0), np.ptp(np.delete(points, [7, 40], 0), 0))
    with tarfile.open(tmp_path / "out" / "faces-000000.tar") as archive:
        labels = json.load(archive.extractfile("00000005.json"))
    assert labels["faces"][0]["points"][7] is None


def test_a_folder_in_use_is_refused(tmp_path, folder):
    """Nothing is written over."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").touch()
    with pytest.raises(ConfigError, match="out: is there already, and not an empty folder"):
        pack(read_pts_tree(folder), tmp_path / "out")


def pack_until(shard: int, faces, out, monkeypatch, **options) -> None:
    """Pack, killed at the shard of that number."""

    def kill(path, *rest):
        if path.name == f"faces-{shard:06}.tar":
            raise KeyboardInterrupt
        write_shard(path, *rest)

    write_shard = packing._write_shard
    with monkeypatch.context() as patch:
        patch.setattr(packing, "_write_shard", kill)
        with pytest.raises(KeyboardInterrupt):
            pack(faces, out, **options)


def test_a_killed_packing_goes_on(tmp_path, folder, monkeypatch):
    """What was written stays, what is new is as if nothing had happened: the same bytes and manifest."""
    (folder / "1.jpg").write_bytes(b"broken")
    faces = read_pts_tree(folder)
    options = {"faces_per_shard": 2, "shuffle": 3}
    pack(faces, tmp_path / "straight", **options)
    pack_until(2, faces, tmp_path / "killed", monkeypatch, **options)
    first = (tmp_path / "killed" / "faces-000000.tar").stat().st_mtime_ns
    pack(faces, tmp_path / "killed", **options)
    assert (tmp_path / "killed" / "faces-000000.tar").stat().st_mtime_ns == first
    for path in (tmp_path / "straight").iterdir():
        assert (tmp_path / "killed" / path.name).read_bytes() == path.read_bytes()


@pytest.mark.parametrize("shard", [0, 2])
def test_an_unfinished_packing_does_not_pass_as_whole(tmp_path, folder, monkeypatch, shard):
    """Reading an unfinished folder raises an error with the next step; a finished one is not packed again."""
    faces = read_pts_tree(folder)
    pack_until(shard, faces, tmp_path / "out", monkeypatch, faces_per_shard=2)
    with pytest.raises(DataError, match=r"packing was not finished|no labelled faces"):
        read_samples(tmp_path / "out")
    pack(faces, tmp_path / "out", faces_per_shard=2)
    assert len(read_samples(tmp_path / "out")) == 8
    with pytest.raises(ConfigError, match="out: is there already, and not an empty folder"):
        pack(faces, tmp_path / "out", faces_per_shard=2)


def test_only_the_same_packing_goes_on(tmp_path, folder, monkeypatch):
    """Other options, other labels or other pictures: refused, and nothing is changed."""
    faces = read_pts_tree(folder)
    pack_until(2, faces, tmp_path / "out", monkeypatch, faces_per_shard=2)
    moved = [replace(faces[0], points=faces[0].points + 1), *faces[1:]]
    for others, options in ((faces, {"faces_per_shard": 3}), (moved, {"faces_per_shard": 2})):
        with pytest.raises(ConfigError, match="was begun with other faces or options"):
            pack(others, tmp_path / "out", **options)
    (folder / "0.jpg").write_bytes((folder / "0.jpg").read_bytes() + b"more")
    with pytest.raises(ConfigError, match="was begun with other faces or options"):
        pack(faces, tmp_path / "out", faces_per_shard=2)
    (folder / "0.jpg").write_bytes((folder / "0.jpg").read_bytes()[:-4])
    (tmp_path / "out" / "faces-000001.tar").unlink()
    with pytest.raises(DataError, match="its packed files have changed"):
        pack(faces, tmp_path / "out", faces_per_shard=2)


def test_nothing_to_pack_is_an_error(tmp_path, folder):
    """A manifest of no faces would look like success."""
    shutil.rmtree(folder)
    folder.mkdir()
    (folder / "0.pts").write_text(format_pts(DRAWN[0].points))
    with pytest.raises(DataError, match=r"none of 1 faces could be packed, .*0\.jpg"):
        pack(read_pts_tree(folder), tmp_path / "out")


def crop_reach(augmentation: Augmentation, crop_scale: float) -> float:
    """Side, relative to the longer side of a face's box, of the upright square that contains every random crop.

    The derivation is at `lightmark.data.shards.pack.CONTEXT`.
    """
    side = crop_scale * (1 + augmentation.scale) * (1 + 2 * augmentation.box)
    steepest = max(augmentation.rotation, augmentation.steep_rotation if augmentation.steep_share else 0.0)
    angle = math.radians(min(steepest, 45.0))  # where the sum below is largest
    reach = side * (math.cos(angle) + math.sin(angle)) / 2
    return 2 * (reach + augmentation.box + augmentation.shift * crop_scale)


@pytest.mark.parametrize("name", sorted(DISTILLATIONS))
def test_context_contains_the_recipes_augmentations(name):
    """The packed square is larger than the furthest random crop of any stage of a recipe."""
    recipe = get_distillation(name)
    for stage in (recipe.tough, recipe.tolerant, recipe.student, recipe.plain):
        assert crop_reach(stage.augmentation, stage.crop_scale) < CONTEXT


def test_packed_faces_leave_the_recipes_twice_their_pixels():
    """A face is reduced only if more than twice the largest recipe's input size remains."""
    largest = max(get_distillation(name).student.size for name in DISTILLATIONS)
    assert 2 * largest / 1.25 - 1 < FACE_PIXELS < 2 * largest / 1.25 + 1


def test_crops_give_training_the_same_pixels():
    """Of 200 random crops around a face, none looks beyond the packed square, and all agree with the picture."""
    large = synthetic_samples(1, seed=1, size=500)[0]
    # A picture so wide that the packed square lies inside it, and a small face.
    canvas = np.random.default_rng(0).integers(100, 256, (900, 900, 3), dtype=np.uint8)
    points = large.points / np.ptp(large.points, axis=0).max() * 120 + 350
    face = replace(large, points=points, box=tight_box(points), image=canvas)
    crop, matrix = face_crop(face, canvas)
    assert max(crop.shape) < 120 * CONTEXT + 10
    moved = points + matrix[:, 2]
    for seed in range(200):
        whole, packed = (
            random_matrix(tight_box(p), 64, 1.25, Augmentation(), np.random.default_rng(seed))[0]
            for p in (points, moved)
        )
        difference = warp(canvas, whole, 64).astype(int) - warp(crop, packed, 64)
        assert np.abs(difference).mean() < 6  # blocks of the area reduction begin elsewhere; noise is the worst case
        assert warp(crop, packed, 64).min() > 60  # a black border would be 0


def test_large_faces_are_reduced_by_whole_factors():
    """A face of 1000 pixels is packed at 500, its points with it."""
    rng = np.random.default_rng(0)
    points = rng.uniform(0, 1, (68, 2)) * 1000 + 700
    canvas = np.repeat(np.arange(2400) % 256, 2400).reshape(2400, 2400).astype(np.uint8)
    face = replace(DRAWN[0], points=points, box=tight_box(points), image=np.stack([canvas] * 3, axis=2))
    crop, matrix = face_crop(face, face.image)
    assert matrix[0, 0] == 1 / 2
    longest = np.ptp(points, axis=0).max()
    assert longest / 2 >= FACE_PIXELS
    assert longest / 2 * CONTEXT <= max(crop.shape) <= longest / 2 * CONTEXT + 8


def test_crops_are_cut_around_the_face_and_not_around_its_points():
    """Five points cover a quarter of a face: the packed square holds all that training cuts around the box."""
    canvas = np.zeros((600, 600, 3), np.uint8)
    box = np.array([200.0, 200.0, 300.0, 300.0])
    points = np.array([[240.0, 240.0], [260.0, 240.0], [250.0, 250.0], [242.0, 260.0], [258.0, 260.0]])
    face = replace(DRAWN[0], points=points, box=box, schema=plain_schema(5), occluded=None, image=canvas)
    crop, matrix = face_crop(face, canvas)
    assert min(crop.shape[:2]) >= 100 * CONTEXT
    assert np.allclose(-matrix[:, 2], 250 - 100 * CONTEXT / 2, atol=4)


def test_crops_move_points_and_boxes_alike(tmp_path):
    """In the crop the labels lie where they lay in the picture, and so does the box that came with them."""
    canvas = np.zeros((400, 500, 3), np.uint8)
    points = DRAWN[0].points + np.array([250, 180])
    canvas[180:276, 250:346] = DRAWN[0].image
    box = tight_box(points)
    face = replace(DRAWN[0], points=points, box=box, image=canvas, attributes={"rect": tuple(box.tolist())})
    pack([face], tmp_path / "out", "crops")
    (read,) = read_samples(tmp_path / "out")
    shift = read.points - points
    assert np.allclose(shift, shift[0])
    assert np.allclose(read.attributes["rect"], tight_box(read.points))
    x, y = np.rint(-shift[0]).astype(int)
    height, width = load_image(read).shape[:2]
    difference = load_image(read).astype(int) - canvas[y : y + height, x : x + width]
    assert np.abs(difference).mean() < 3  # JPEG


def test_crops_as_webp_are_smaller_and_read_alike(tmp_path, folder):
    """The same faces in less space; whole pictures keep their bytes, so a quality for them is refused."""
    for name, options in (("jpeg", []), ("webp", ["--webp", "80"])):
        command = ["data", "pack", str(folder), "--out", str(tmp_path / name), "--crops", *options]
        result = CliRunner().invoke(main, command)
        assert result.exit_code == 0, result.output
    jpeg, webp = (read_samples(tmp_path / name) for name in ("jpeg", "webp"))
    assert sum(f.stat().st_size for f in (tmp_path / "webp").glob("*.tar")) < 0.7 * sum(
        f.stat().st_size for f in (tmp_path / "jpeg").glob("*.tar")
    )
    for one, other in zip(jpeg, webp, strict=True):
        np.testing.assert_array_equal(one.points, other.points)
        assert np.abs(load_image(one).astype(int) - load_image(other)).mean() < 4
    with pytest.raises(ConfigError, match="complete pictures keep their bytes"):
        pack(DRAWN, tmp_path / "whole", webp=80)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda name, content: content[:-100] if name == "00000002.jpg" else content, "a picture that is cut or damag"),
        (lambda name, content: None if name == "00000002.json" else content, "1 without .json"),
        (lambda name, content: None if name == "00000002.jpg" else content, "1 without a picture"),
        (lambda name, content: b"{" if name == "00000002.json" else content, "1 with .json that cannot be read"),
        (lambda name, content: b"{}" if name == "00000002.json" else content, "1 with .json that is not ours"),
        (lambda name, content: b'{"lightmark": 1}' if name == "00000002.json" else content, "labels that cannot be us"),
    ],
)
def test_broken_members_are_reported_and_left_out(shards, change, reason):
    """One broken picture costs its own face only, with the reason and its key."""
    rewrite(shards / "faces-000001.tar", change)
    read = []
    assert len(read_shards(sorted(shards.glob("*.tar")), read.append)) == 7
    (sentence,) = read
    assert "faces-000001.tar: left out: 1" in sentence
    assert reason in sentence
    assert "(first 00000002)" in sentence


@pytest.mark.parametrize("keep", [200, 700, 4096, 5000])
def test_a_cut_tar_gives_what_is_whole(tmp_path, folder, keep):
    """Faces before the cut are used; those behind it are counted by the manifest."""
    pack(read_pts_tree(folder), tmp_path / "out")
    (shard,) = (tmp_path / "out").glob("*.tar")
    shard.write_bytes(shard.read_bytes()[:keep])
    messages = []
    faces = read_shards([shard], messages.append)
    counted = sum(int(word) for word in messages[0].replace("left out: ", "left out ").split() if word.isdigit())
    assert len(faces) < 3
    assert "cut" in messages[0]
    assert counted >= 8 - len(faces)


def test_a_tar_cut_between_members_is_noticed(tmp_path, folder):
    """A tar that is truncated exactly at a header, which tarfile treats as the end, is detected."""
    pack(read_pts_tree(folder), tmp_path / "out")
    (shard,) = (tmp_path / "out").glob("*.tar")
    with tarfile.open(shard) as archive:
        edge = archive.getmember("00000005.jpg").offset
    shard.write_bytes(shard.read_bytes()[:edge])
    messages = []
    assert len(read_shards([shard], messages.append)) == 5
    assert "3 behind a broken end" in messages[0]


def test_a_missing_shard_is_named(shards):
    """It is found by the manifest."""
    (shards / "faces-000002.tar").unlink()
    messages = []
    assert len(read_shards(sorted(shards.glob("*.tar")), messages.append)) == 6
    assert "faces-000002.tar: missing, though lightmark-shards.json names it" in messages[0]


def test_read_samples_warns_in_the_log(shards, caplog):
    """Through the reader that picks formats, what is left out reaches the log."""
    rewrite(shards / "faces-000001.tar", lambda name, content: None if name.endswith("2.json") else content)
    with caplog.at_level(logging.WARNING):
        assert len(read_samples(shards)) == 7
    assert "1 without .json (first 00000002)" in caplog.text


def test_a_shard_that_is_all_broken_is_an_error(shards):
    """Read alone, it is an error, not an empty set."""
    shard = shards / "faces-000000.tar"
    rewrite(shard, lambda name, content: None if name.endswith(".json") else content)
    with pytest.raises(DataError, match=r"faces-000000\.tar: no face in this shard can be used"):
        read_samples(shard)


def test_other_tars_are_passed_over(folder):
    """A foreign archive in a folder of labels is ignored; read alone, it is refused."""
    with tarfile.open(folder / "backup.tar", "w") as archive:
        archive.add(folder / "0.jpg", "0.jpg")
    assert len(read_samples(folder)) == 8
    with pytest.raises(DataError, match=r"backup\.tar: not a format read here"):
        read_samples(folder / "backup.tar")


def test_training_sees_the_same_crops_from_shards(folder, shards):
    """Augmented crops of folder and shards are equal, bit for bit."""
    spec = ModelSpec(IBUG68, 32)
    first, second = (
        CropDataset(faces, [face.points for face in faces], spec, Augmentation(), seed=0)
        for faces in (read_samples(folder), read_samples(shards))
    )
    for index in range(8):
        one, other = first[Key(1, index)], second[Key(1, index)]
        assert np.array_equal(one.crops, other.crops)
        assert np.array_equal(one.points, other.points)


def test_packed_faces_can_be_checked_converted_and_packed_again(tmp_path, shards):
    """Shards are a source like any other."""
    faces = read_samples(shards)
    assert check(faces).clean
    write_coco(faces, tmp_path / "coco.json")
    pack(faces, tmp_path / "again")
    for other in (read_coco(tmp_path / "coco.json"), read_samples(tmp_path / "again")):
        assert len(other) == 8
        for old, new in zip(faces, other, strict=True):
            assert np.array_equal(load_image(old), load_image(new))
            assert np.allclose(old.points, new.points)


def test_webdataset_reads_the_shards(shards):
    """The layout is WebDataset's: its library gives each picture with its labels."""
    webdataset = pytest.importorskip("webdataset", reason="webdataset is not installed")
    found = list(webdataset.WebDataset(str(shards / "faces-000000.tar"), shardshuffle=False))
    assert [item["__key__"] for item in found] == ["00000000", "00000001"]
    assert len(json.loads(found[0]["json"])["faces"][0]["points"]) == 68
    assert PilImage.open(io.BytesIO(found[0]["jpg"])).size == (96, 96)


def test_command_packs_and_lists_what_it_left_out(tmp_path, folder):
    """Status 0 and a count for good data; status 1 and the reasons where some is broken."""
    runner = CliRunner()
    done = runner.invoke(main, ["data", "pack", str(folder), "--out", str(tmp_path / "a"), "--faces-per-shard", "4"])
    assert done.exit_code == 0, done.output
    assert "8 faces in 8 pictures packed into " in done.output
    (folder / "3.jpg").unlink()
    cut = runner.invoke(main, ["data", "pack", str(folder), "--out", str(tmp_path / "b"), "--crops"])
    assert cut.exit_code == 1
    assert "7 faces in 7 crops packed into " in cut.output
    assert "left out, 1 broken labels or pictures:" in cut.output
    assert "3.jpg: no such picture" in cut.output


def test_real_faces_come_back_from_crops(tmp_path, real_data):
    """Six faces of 300W: the packed crop, cut as training does, is the picture's within JPEG's error."""
    faces: list[Sample] = read_samples(real_data / "300w" / "afw")[:6]
    pack(faces, tmp_path / "out", "crops")
    for old, new in zip(faces, read_samples(tmp_path / "out"), strict=True):
        for seed in range(5):
            first, second = (
                warp(
                    load_image(face),
                    random_matrix(face.box, 128, 1.25, Augmentation(), np.random.default_rng(seed))[0],
                    128,
                )
                for face in (old, new)
            )
            assert np.abs(first.astype(int) - second).mean() < 2
