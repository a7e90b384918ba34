"""Kept teacher points belong to the crops that the student sees, and to no other faces, pictures or teachers."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lightmark.data.crops.augment import NO_AUGMENTATION
from lightmark.data.crops.dataset import TeacherPoints
from lightmark.data.sample import Sample
from lightmark.errors import CheckpointError, ConfigError
from lightmark.geometry import Array
from lightmark.nets.checkpoint import load_model, save_checkpoint
from lightmark.nets.network import build_network
from lightmark.train.config import Distillation, Recipe
from lightmark.train.distil import distil
from lightmark.train.faces import Split, mean_normalized_points
from lightmark.train.loop import batches_of, new_spec
from lightmark.train.teachers import cache_teacher_points


def shifted(face: Sample, by: Array) -> Sample:
    """The face with its labels, and so its box, moved `by` (2,) pixels."""
    return replace(face, points=face.points + by, box=face.box + np.tile(by, 2))


MOVED = replace(NO_AUGMENTATION, rotation=30.0, scale=0.15, shift=0.05, box=0.05, mirror=0.5)


@pytest.fixture
def student(recipe: Recipe) -> Recipe:
    """A student's recipe of three copies whose crops turn, shift and mirror, while their pixels stay."""
    return replace(recipe, name="student", objective="kd-figure", copies=3, augmentation=MOVED)


@pytest.fixture
def make_teacher(tmp_path: Path, student: Recipe, faces: list[Sample]) -> Callable[[int], Path]:
    """Function that writes a teacher with weights of a seed, whose points follow the crop by a tenth and more."""

    def make(seed: int) -> Path:
        recipe = replace(student, seed=seed)
        split = Split(faces[:20], faces[20:24])
        spec = new_spec(recipe, split)
        network = build_network(recipe.architecture, mean_normalized_points(split.train, spec), seed)
        # Untrained heads answer with the mean shape, whatever they see.
        for parameter in network.head.parameters():
            parameter.data.mul_(1000)
        path = tmp_path / f"teacher-{seed}.safetensors"
        save_checkpoint(path, network, recipe.architecture, spec)
        return path

    return make


def points(
    student: Recipe, samples: list[Sample], make_teacher: Callable[[int], Path], out: Path
) -> TeacherPoints:
    return cache_teacher_points(student, samples, make_teacher(1), make_teacher(2), out, quiet=True)


def times(out: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in out.glob("*/*.npz")}


def test_the_student_gets_its_teachers_points_of_the_very_crop_it_sees(
    tmp_path: Path, faces: list[Sample], student: Recipe, make_teacher: Callable[[int], Path]
) -> None:
    """Batch by batch, over more passes than copies, in shuffled order; answers differ from crop to crop."""
    split = Split(faces[:20], faces[20:24])
    kept = points(student, split.train, make_teacher, tmp_path / "points")
    tough, tolerant = load_model(make_teacher(1)), load_model(make_teacher(2))
    batches = islice(batches_of(student, split, tough.spec, kept, 0, 0), 20)
    for batch in batches:
        crops = batch.crops.permute(0, 2, 3, 1).numpy()
        assert np.abs(tough(crops) - batch.tough.numpy()).max() < 1e-4
        assert np.abs(tolerant(crops) - batch.tolerant.numpy()).max() < 1e-4
        assert np.ptp(tough(crops), axis=0).max() > 0.01  # else any crop's points would pass


def test_worker_processes_cut_the_same_crops(
    tmp_path: Path, faces: list[Sample], student: Recipe, make_teacher: Callable[[int], Path]
) -> None:
    """Every copy and face in its place, with no full last batch; one copy that is kept already is left alone."""
    samples, teachers = faces[:11], (make_teacher(1), make_teacher(2))
    alone = points(student, samples, make_teacher, tmp_path / "alone")
    out = tmp_path / "shared"
    points(student, samples, make_teacher, out)
    (out / "tough/copy-000.npz").unlink()
    (out / "tough/copy-002.npz").unlink()
    kept = times(out)
    shared = cache_teacher_points(student, samples, *teachers, out, workers=2, quiet=True)
    np.testing.assert_array_equal(shared.tough, alone.tough)
    assert kept.items() < times(out).items()


def test_moved_labels_are_not_served_old_points(
    tmp_path: Path, faces: list[Sample], student: Recipe, make_teacher: Callable[[int], Path],
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    """The crops follow the labels; the names stay, the points are made anew and the log says why."""
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
    """One pixel of one picture file is enough."""
    image = faces[0].image
    assert image is not None
    Image.fromarray(image).save(tmp_path / "a.png")
    samples = [replace(faces[0], path=tmp_path / "a.png", image=None), *faces[1:8]]
    before = points(student, samples, make_teacher, tmp_path / "points")
    Image.fromarray(255 - image).save(tmp_path / "a.png")
    after = points(student, samples, make_teacher, tmp_path / "points")
    assert np.abs(before.tough - after.tough).max() > 0.001


def test_another_teacher_is_asked_anew(
    tmp_path: Path, faces: list[Sample], student: Recipe, make_teacher: Callable[[int], Path]
) -> None:
    """Even where its checkpoint has the path of the one before."""
    out, samples = tmp_path / "points", faces[:8]
    before = points(student, samples, make_teacher, out)
    first = times(out)
    points(student, samples, make_teacher, out)
    assert times(out) == first
    make_teacher(5).replace(tmp_path / "teacher-2.safetensors")
    after = cache_teacher_points(
        student, samples, tmp_path / "teacher-1.safetensors", tmp_path / "teacher-2.safetensors", out, quiet=True
    )
    np.testing.assert_array_equal(before.tough, after.tough)
    assert np.abs(before.tolerant - after.tolerant).max() > 0.001


def test_files_of_an_older_lightmark_are_made_anew(
    tmp_path: Path, faces: list[Sample], student: Recipe, make_teacher: Callable[[int], Path]
) -> None:
    """They do not say what they were made of."""
    out, samples = tmp_path / "points", faces[:8]
    before = points(student, samples, make_teacher, out)
    with (out / "tough" / "copy-000.npz").open("wb") as file:
        np.savez(file, points=np.zeros_like(before.tough[0]), mark="0123456789abcdef")
    np.testing.assert_array_equal(points(student, samples, make_teacher, out).tough, before.tough)


@pytest.mark.parametrize("content", [b"", b"\x80\x04", b"PK\x03\x04 cut"])
def test_a_damaged_file_is_named(
    tmp_path: Path, faces: list[Sample], student: Recipe, make_teacher: Callable[[int], Path], content: bytes
) -> None:
    """Whatever it holds."""
    points(student, faces[:8], make_teacher, tmp_path / "points")
    (tmp_path / "points/tolerant/copy-002.npz").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"tolerant.copy-002\.npz: not a whole file of teacher points"):
        points(student, faces[:8], make_teacher, tmp_path / "points")


def test_a_finished_student_of_other_teachers_is_refused(
    tmp_path: Path, faces: list[Sample], distillation: Distillation, make_teacher: Callable[[int], Path]
) -> None:
    """The same --out with other --tough and --tolerant does not hand back the old student as the new one."""
    out = tmp_path / "out"
    distil(distillation, faces, out, quiet=True, teachers=(make_teacher(1), make_teacher(2)))
    distil(distillation, faces, out, quiet=True, teachers=(make_teacher(1), make_teacher(2)))
    with pytest.raises(ConfigError, match=r"student: holds a finished run .*: teachers' points: tolerant; give"):
        distil(distillation, faces, out, quiet=True, teachers=(make_teacher(1), make_teacher(3)))


def test_moved_labels_are_refused_in_a_finished_folder(
    tmp_path: Path, faces: list[Sample], distillation: Distillation
) -> None:
    """The names are the same; what was learnt is not."""
    distil(distillation, faces, tmp_path, quiet=True)
    moved = [shifted(face, np.ones(2)) for face in faces]
    with pytest.raises(ConfigError, match=r"tough: holds a finished run of .*training faces: labels, .*validation"):
        distil(distillation, moved, tmp_path, quiet=True)
