"""Cached teacher points belong to the crops, faces, pictures and teachers of the student."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from collections.abc import Callable
from dataclasses import asdict, replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torch.utils.data import DataLoader

from lightmark.data.crops.augment import NO_AUGMENTATION
from lightmark.data.crops.dataset import TeacherPoints
from lightmark.data.fingerprint import fingerprint_of_faces
from lightmark.data.sample import Sample
from lightmark.errors import CheckpointError, ConfigError
from lightmark.geometry import Array
from lightmark.nets.checkpoint import load_checkpoint, load_model, save_checkpoint
from lightmark.nets.network import build_network
from lightmark.train import teachers
from lightmark.train.config import Distillation, Execution, Recipe
from lightmark.train.distil import distil
from lightmark.train.distributed.world import World
from lightmark.train.faces import Split, mean_normalized_points
from lightmark.train.fingerprint import plain
from lightmark.train.loop import batches_of, new_spec
from lightmark.train.teachers import cache_teacher_points, points_of_teacher

QUIET = Execution(quiet=True)


def shifted(face: Sample, by: Array) -> Sample:
    """The face with its labels, and so its box, moved `by` (2,) pixels."""
    return replace(face, points=face.points + by, box=face.box + np.tile(by, 2))


MOVED = replace(NO_AUGMENTATION, rotation=30.0, scale=0.15, shift=0.05, box=0.05, mirror=0.5)


@pytest.fixture
def student(recipe: Recipe) -> Recipe:
    """Recipe of a student with three copies, random geometry and unchanged pixels."""
    return replace(recipe, name="student", objective="kd-figure", copies=3, augmentation=MOVED)


@pytest.fixture
def make_teacher(tmp_path: Path, student: Recipe, faces: list[Sample]) -> Callable[[int], Path]:
    """Function that writes a teacher with seeded weights, whose points depend on the crop."""

    def make(seed: int) -> Path:
        recipe = replace(student, seed=seed)
        split = Split(faces[:20], faces[20:24])
        spec = new_spec(recipe, split)
        network = build_network(recipe.architecture, mean_normalized_points(split.train, spec), seed)
        # Untrained heads answer with the mean shape, whatever they see. So many times as strong they follow the crop,
        # by less than a dozen crops: points of millions would hide a difference in their rounding.
        for parameter in network.head.parameters():
            parameter.data.mul_(30)
        path = tmp_path / f"teacher-{seed}.safetensors"
        save_checkpoint(path, network, recipe.architecture, spec)
        return path

    return make


def points(
    student: Recipe, samples: list[Sample], make_teacher: Callable[[int], Path], out: Path
) -> TeacherPoints:
    return cache_teacher_points(student, samples, make_teacher(1), make_teacher(2), out, execution=QUIET)


def times(out: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in out.glob("*/*.npz")}


def test_the_student_gets_its_teachers_points_of_the_very_crop_it_sees(
    tmp_path: Path, faces: list[Sample], student: Recipe, make_teacher: Callable[[int], Path]
) -> None:
    """Each batch has the teachers' points of its own crops, in shuffled order and over more epochs than copies."""
    split = Split(faces[:20], faces[20:24])
    kept = points(student, split.train, make_teacher, tmp_path / "points")
    tough, tolerant = load_model(make_teacher(1)), load_model(make_teacher(2))
    batches = islice(batches_of(student, split, tough.spec, kept, 0, 0), 20)
    for batch in batches:
        crops = batch.crops.permute(0, 2, 3, 1).numpy()
        assert np.abs(tough(crops) - batch.tough.numpy()).max() < 1e-4
        assert np.abs(tolerant(crops) - batch.tolerant.numpy()).max() < 1e-4
        assert np.ptp(tough(crops), axis=0).max() > 0.1  # else any crop's points would pass


def test_worker_processes_cut_the_same_crops(
    tmp_path: Path, faces: list[Sample], student: Recipe, make_teacher: Callable[[int], Path]
) -> None:
    """Workers give the same points, also in the last, smaller batch; a cached copy is not made again."""
    samples, teachers = faces[:11], (make_teacher(1), make_teacher(2))
    alone = points(student, samples, make_teacher, tmp_path / "alone")
    out = tmp_path / "shared"
    points(student, samples, make_teacher, out)
    (out / "tough/copy-000.npz").unlink()
    (out / "tough/copy-002.npz").unlink()
    kept = times(out)
    shared = cache_teacher_points(student, samples, *teachers, out, execution=Execution(workers=2, quiet=True))
    np.testing.assert_array_equal(shared.tough, alone.tough)
    assert kept.items() < times(out).items()


def test_moved_labels_are_not_served_old_points(
    tmp_path: Path, faces: list[Sample], student: Recipe, make_teacher: Callable[[int], Path],
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    """Moved labels move the crops, so the points are made again, with a warning that names the difference."""
    samples = faces[:8]
    before = points(student, samples, make_teacher, tmp_path / "points")
    moved = [shifted(face, 0.06 * np.ptp(face.points, axis=0)) for face in samples]
    with caplog.at_level(logging.WARNING):
        after = points(student, moved, make_teacher, tmp_path / "points")
    assert np.abs(before.tough - after.tough).max() > 0.001
    fresh = points(student, moved, make_teacher, tmp_path / "fresh")
    np.testing.assert_array_equal(after.tough, fresh.tough)
    assert [record.message for record in caplog.records] == [
        f"{tmp_path / 'points' / name}: the cached points are made anew, other than before: "
        "faces: labels, faces: boxes"
        for name in ("tough", "tolerant")
    ]


def test_changed_pictures_are_not_served_old_points(
    tmp_path: Path, faces: list[Sample], student: Recipe, make_teacher: Callable[[int], Path]
) -> None:
    """A change of one pixel in one picture invalidates the cache."""
    image = faces[0].image
    assert image is not None
    Image.fromarray(image).save(tmp_path / "a.png")
    samples = [replace(faces[0], path=tmp_path / "a.png", image=None), *faces[1:8]]
    before = points(student, samples, make_teacher, tmp_path / "points")
    Image.fromarray(255 - image).save(tmp_path / "a.png")
    after = points(student, samples, make_teacher, tmp_path / "points")
    assert np.abs(before.tough - after.tough).max() > 0.001


def test_another_teacher_invalidates_the_cache(
    tmp_path: Path, faces: list[Sample], student: Recipe, make_teacher: Callable[[int], Path]
) -> None:
    """Another checkpoint under the same path invalidates the cache."""
    out, samples = tmp_path / "points", faces[:8]
    before = points(student, samples, make_teacher, out)
    first = times(out)
    points(student, samples, make_teacher, out)
    assert times(out) == first
    make_teacher(5).replace(tmp_path / "teacher-2.safetensors")
    after = cache_teacher_points(
        student, samples, tmp_path / "teacher-1.safetensors", tmp_path / "teacher-2.safetensors", out, execution=QUIET
    )
    np.testing.assert_array_equal(before.tough, after.tough)
    assert np.abs(before.tolerant - after.tolerant).max() > 0.001


def test_files_of_an_older_lightmark_are_made_anew(
    tmp_path: Path, faces: list[Sample], student: Recipe, make_teacher: Callable[[int], Path]
) -> None:
    """Files without a fingerprint are overwritten."""
    out, samples = tmp_path / "points", faces[:8]
    before = points(student, samples, make_teacher, out)
    with (out / "tough" / "copy-000.npz").open("wb") as file:
        np.savez(file, points=np.zeros_like(before.tough[0]), mark="0123456789abcdef")
    np.testing.assert_array_equal(points(student, samples, make_teacher, out).tough, before.tough)


@pytest.mark.parametrize("content", [b"", b"\x80\x04", b"PK\x03\x04 cut"])
def test_a_damaged_file_is_named(
    tmp_path: Path, faces: list[Sample], student: Recipe, make_teacher: Callable[[int], Path], content: bytes
) -> None:
    """A truncated or foreign cache file raises an error naming it."""
    points(student, faces[:8], make_teacher, tmp_path / "points")
    (tmp_path / "points/tolerant/copy-002.npz").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"tolerant.copy-002\.npz: not a complete file of teacher points"):
        points(student, faces[:8], make_teacher, tmp_path / "points")


@pytest.mark.parametrize(("offset", "value"), [(6, 1), (8, 99)], ids=["encrypted", "unknown compression"])
def test_an_archive_that_python_cannot_unpack_is_named(
    tmp_path: Path, faces: list[Sample], student: Recipe, make_teacher: Callable[[int], Path], offset: int, value: int
) -> None:
    """The zip module raises RuntimeError and NotImplementedError, which no reader of ours may let through."""
    points(student, faces[:8], make_teacher, tmp_path / "points")
    file = tmp_path / "points/tough/copy-001.npz"
    content = bytearray(file.read_bytes())
    for header, shift in ((b"PK\x03\x04", 0), (b"PK\x01\x02", 2)):  # of each member, then of the directory
        for start in range(len(content)):
            if content[start : start + 4] == header:
                content[start + offset + shift] = value
    file.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"tough.copy-001\.npz: not a complete file of teacher points"):
        points(student, faces[:8], make_teacher, tmp_path / "points")


def test_points_are_cut_into_batches_and_put_together(
    tmp_path: Path, faces: list[Sample], student: Recipe, make_teacher: Callable[[int], Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """The points do not depend on the batch size of the teacher."""
    samples, teacher = faces[:7], make_teacher(1)
    whole = points_of_teacher(student, samples, teacher, tmp_path / "whole", execution=QUIET)
    assert whole.shape == (3, 7, 5, 2)
    assert whole.dtype == np.float32
    for batch in (1, 3, 7):
        monkeypatch.setattr(teachers, "inference_batch", lambda device, batch=batch: batch)
        cut = points_of_teacher(student, samples, teacher, tmp_path / str(batch), execution=QUIET)
        np.testing.assert_allclose(cut, whole, atol=1e-4)


def test_one_teachers_points_are_those_of_both(
    tmp_path: Path, faces: list[Sample], student: Recipe, make_teacher: Callable[[int], Path]
) -> None:
    """A teacher alone gives the same points as beside the other one."""
    both = points(student, faces[:5], make_teacher, tmp_path / "both")
    for name, seed in (("tough", 1), ("tolerant", 2)):
        alone = points_of_teacher(student, faces[:5], make_teacher(seed), tmp_path / name, execution=QUIET)
        np.testing.assert_array_equal(alone, getattr(both, name))
        kept = [path.name for path in sorted((tmp_path / name).iterdir())]
        assert kept == ["copy-000.npz", "copy-001.npz", "copy-002.npz"]


def test_a_cache_file_has_its_fingerprint(
    tmp_path: Path, faces: list[Sample], student: Recipe, make_teacher: Callable[[int], Path]
) -> None:
    """The fingerprint has crop settings, faces and weights, under the names of saved files."""
    teacher = make_teacher(1)
    made = points_of_teacher(student, faces[:5], teacher, tmp_path / "points", execution=QUIET)
    with np.load(tmp_path / "points/copy-002.npz", allow_pickle=False) as file:
        assert set(file) == {"points", "fingerprint"}
        np.testing.assert_array_equal(file["points"], made[2])
        fingerprint = json.loads(str(file["fingerprint"]))
    assert fingerprint == {
        "crops": {"augmentation": plain(asdict(MOVED)), "crop_scale": 1.25, "copies": 3, "seed": 0},
        "faces": plain(fingerprint_of_faces(faces[:5])),
        "teacher's weights": hashlib.sha256(teacher.read_bytes()).hexdigest(),
    }


def test_unusable_teachers_are_refused_before_any_prediction(
    tmp_path: Path, faces: list[Sample], student: Recipe, make_teacher: Callable[[int], Path]
) -> None:
    """Missing copies or another crop scale, of either teacher, raise an error before any prediction."""
    tough, tolerant, out = make_teacher(1), make_teacher(2), tmp_path / "points"
    endless = (
        "recipe student: teacher points can be cached only for a fixed number of copies; set `copies`"
    )
    wider = (
        f"{tough}: takes crops of 1.25 times the box, the student of 1.5 times; train them with the same crop_scale"
    )
    for recipe, message in ((replace(student, copies=None), endless), (replace(student, crop_scale=1.5), wider)):
        with pytest.raises(ConfigError) as caught:
            points_of_teacher(recipe, faces[:5], tough, out)
        assert str(caught.value) == message
    network, spec = load_checkpoint(tolerant)
    save_checkpoint(tolerant, network, student.architecture, replace(spec, crop_scale=1.5))
    with pytest.raises(ConfigError, match=r"teacher-2\.safetensors: takes crops of 1\.5 times the box"):
        cache_teacher_points(student, faces[:5], tough, tolerant, out)
    assert not out.exists()


def test_the_progress_is_that_of_the_missing_copies(
    tmp_path: Path, faces: list[Sample], student: Recipe, make_teacher: Callable[[int], Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Rank 0 shows a progress bar over the missing copies with the teacher's name, unless quiet."""
    shown: list[object] = []
    monkeypatch.setattr(teachers, "track", lambda copies, name: shown.append((list(copies), name)) or copies)
    paths, out = (make_teacher(1), make_teacher(2)), tmp_path / "points"
    points_of_teacher(student, faces[:5], paths[0], out / "tough", execution=QUIET)
    assert shown == []
    (out / "tough/copy-001.npz").unlink()
    cache_teacher_points(student, faces[:5], *paths, out)
    assert shown == [([1], "points of tough"), ([0, 1, 2], "points of tolerant")]
    monkeypatch.setattr(teachers, "world", lambda: World(1, 2, 1))
    points_of_teacher(student, faces[:5], paths[0], tmp_path / "second")
    points_of_teacher(student, faces[:5], make_teacher(3), out / "tough")
    assert len(shown) == 2


def test_processes_share_the_copies(
    tmp_path: Path, faces: list[Sample], student: Recipe, make_teacher: Callable[[int], Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Each rank predicts its shard and reads the rest after the barrier; a file that vanished raises an error."""
    teacher, out = make_teacher(1), tmp_path / "points"
    expected = points_of_teacher(student, faces[:5], teacher, tmp_path / "alone", execution=QUIET)
    written: list[list[str]] = []

    def others() -> None:
        written.append(sorted(path.name for path in out.iterdir()))
        shutil.copy(tmp_path / "alone/copy-001.npz", out)

    monkeypatch.setattr(teachers, "shard", lambda copies: copies[::2])
    monkeypatch.setattr(teachers, "barrier", others)
    made = points_of_teacher(student, faces[:5], teacher, out, execution=QUIET)
    np.testing.assert_array_equal(made, expected)
    assert written == [["copy-000.npz", "copy-002.npz"]]
    monkeypatch.setattr(teachers, "barrier", (out / "copy-001.npz").unlink)
    with pytest.raises(CheckpointError) as caught:
        points_of_teacher(student, faces[:5], teacher, out, execution=QUIET)
    assert str(caught.value) == (
        f"{out}: teacher points went away or were changed while they were made; run it again"
    )


def test_only_the_first_process_warns(
    tmp_path: Path, faces: list[Sample], student: Recipe, make_teacher: Callable[[int], Path],
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    """Only rank 0 warns about a stale cache, and only if the fingerprint differs."""
    teacher, out = make_teacher(1), tmp_path / "points"
    points_of_teacher(student, faces[:5], teacher, out, execution=QUIET)
    points_of_teacher(student, faces[:5], teacher, out, execution=QUIET)
    for rank, lines in ((1, 0), (0, 1)):
        monkeypatch.setattr(teachers, "world", lambda rank=rank: World(rank, 2, rank))
        points_of_teacher(replace(student, seed=4 + rank), faces[:5], teacher, out, execution=QUIET)
        assert len(caplog.records) == lines
    assert caplog.records[0].message.endswith("other than before: crops: seed (was 5, is 4)")


def test_device_and_workers_are_handed_on(
    tmp_path: Path, faces: list[Sample], student: Recipe, make_teacher: Callable[[int], Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Device and workers reach both teachers and the data loader; by default CPU and no workers."""
    loaded: list[object] = []
    cut: list[object] = []

    def loading(path: Path, device: str) -> object:
        loaded.append((path, device))
        return load_model(path)

    def cutting(*given: object, **options: object) -> object:
        cut.append(options["num_workers"])
        return DataLoader(*given, **{**options, "num_workers": 0})  # type: ignore[arg-type]  # handed on as they came

    monkeypatch.setattr(teachers, "load_model", loading)
    monkeypatch.setattr(teachers, "DataLoader", cutting)
    paths = (make_teacher(1), make_teacher(2))
    cache_teacher_points(student, faces[:3], *paths, tmp_path / "a", execution=Execution("cuda:1", 5, quiet=True))
    points_of_teacher(student, faces[:3], paths[1], tmp_path / "b", execution=Execution("cuda:2", 6, quiet=True))
    cache_teacher_points(student, faces[:3], *paths, tmp_path / "c")
    points_of_teacher(student, faces[:3], paths[0], tmp_path / "d")
    first, second = paths
    assert loaded == [(first, "cuda:1"), (second, "cuda:1"), (second, "cuda:2"), (first, "cpu"), (second, "cpu"),
                      (first, "cpu")]  # fmt: skip
    assert cut == [5, 5, 6, 0, 0, 0]


def test_a_finished_student_of_other_teachers_is_refused(
    tmp_path: Path, faces: list[Sample], distillation: Distillation, make_teacher: Callable[[int], Path]
) -> None:
    """A finished student of other teachers is not returned for the same --out."""
    out = tmp_path / "out"
    distil(distillation, faces, out, execution=QUIET, teachers=(make_teacher(1), make_teacher(2)))
    distil(distillation, faces, out, execution=QUIET, teachers=(make_teacher(1), make_teacher(2)))
    with pytest.raises(ConfigError, match=r"student: holds a finished run .*: teachers' points: tolerant; give"):
        distil(distillation, faces, out, execution=QUIET, teachers=(make_teacher(1), make_teacher(3)))


def test_moved_labels_are_refused_in_a_finished_folder(
    tmp_path: Path, faces: list[Sample], distillation: Distillation
) -> None:
    """A finished run on other labels of the same names raises an error."""
    distil(distillation, faces, tmp_path, execution=QUIET)
    moved = [shifted(face, np.ones(2)) for face in faces]
    with pytest.raises(ConfigError, match=r"tough: holds a finished run of .*training faces: labels, .*validation"):
        distil(distillation, moved, tmp_path, execution=QUIET)
