"""The pipeline runs each stage once, on one split, and the student learns from its teachers' points."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from lightmark.data.crops.dataset import CropDataset, Key
from lightmark.data.sample import Sample, load_image
from lightmark.draw import contact_sheet, face_tile
from lightmark.errors import CheckpointError, ConfigError, DataError
from lightmark.geometry import Array, tight_box
from lightmark.nets.checkpoint import load_checkpoint, load_model, read_tensors, save_checkpoint
from lightmark.nets.network import architecture_from_dict
from lightmark.source import to_picture
from lightmark.train import distil as distil_module
from lightmark.train import extra_sheet
from lightmark.train.config import Distillation, Execution, Recipe
from lightmark.train.distil import Distilled, distil
from lightmark.train.distributed.world import World
from lightmark.train.faces import Split, split_samples
from lightmark.train.folder import LOG
from lightmark.train.loop import train
from lightmark.train.teachers import cache_teacher_points

QUIET = Execution(quiet=True)

TEACHERS = ("tough", "tolerant")


def test_stages_run_once_and_are_skipped_afterwards(
    tmp_path: Path, faces: list[Sample], distillation: Distillation
) -> None:
    """A second call changes no file; the first leaves a loadable checkpoint for every stage."""
    made = distil(distillation, faces, tmp_path, with_plain=True, execution=QUIET)
    paths = [made.tough, made.tolerant, made.student, made.plain]
    assert all(path is not None and load_checkpoint(path)[1].schema.size == 5 for path in paths)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    distil(distillation, faces, tmp_path, with_plain=True, execution=QUIET)
    assert before == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}


def test_all_stages_share_one_split(
    tmp_path: Path, faces: list[Sample], distillation: Distillation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No stage trains on a face that another one validates on."""
    seen = []

    def watched(recipe, split, out, **options):  # type: ignore[no-untyped-def]  # passes everything on
        seen.append({sample.name for sample in split.train})
        return train(recipe, split, out, **options)

    monkeypatch.setattr(distil_module, "train", watched)
    distil(distillation, faces, tmp_path, with_plain=True, execution=QUIET)
    assert len(seen) == 4
    assert all(names == seen[0] for names in seen)


def test_extra_faces_are_the_students_alone(
    tmp_path: Path, faces: list[Sample], distillation: Distillation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both students train on the extra faces; teachers and validation do not use them."""
    extra = [replace(sample, path=Path(f"extra-{i}.png"), photo=f"extra-{i}") for i, sample in enumerate(faces[:5])]
    seen, judged = [], set()

    def watched(recipe, split, out, **options):  # type: ignore[no-untyped-def]  # passes everything on
        seen.append({sample.name for sample in split.train if sample.name.startswith("extra")})
        judged.update(sample.name for sample in split.validation)
        return train(recipe, split, out, **options)

    monkeypatch.setattr(distil_module, "train", watched)
    distil(distillation, faces, tmp_path, with_plain=True, execution=QUIET, student_extra=extra)
    assert [len(names) for names in seen] == [0, 0, 5, 5]
    assert not any(name.startswith("extra") for name in judged)
    with np.load(tmp_path / "teacher-points/tough/copy-000.npz") as file:
        assert len(file["points"]) == len(split_samples(faces, distillation.student).train) + 5
    sheet = tmp_path / "teacher-points/extra-faces.png"
    assert to_picture(sheet).any()
    sheet.unlink()
    distil(distillation, faces, tmp_path, with_plain=True, execution=QUIET, student_extra=extra)
    assert not sheet.exists()  # nothing is left to learn


def test_the_sheet_of_extra_faces_shows_teacher_and_labels(
    tmp_path: Path, faces: list[Sample], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each tile has the teacher's points on the picture, the labels behind them, and the file's name below."""
    monkeypatch.setattr(extra_sheet, "load_model", lambda teacher, device: (teacher, device))

    def teach(model: object, samples: list[Sample]) -> Array:
        assert model == (tmp_path / "tough.safetensors", "cpu")
        return np.stack([sample.points + 3 for sample in samples])

    monkeypatch.setattr(extra_sheet, "predict", teach)
    extra_sheet.write_extra_sheet(faces, tmp_path / "tough.safetensors", tmp_path / "sheet.png", seed=0, shown=3)
    chosen = sorted(np.random.default_rng(0).permutation(len(faces))[:3].tolist())
    tiles = [
        face_tile(load_image(face), face.points + 3, face.schema, target=face.points)
        for face in (faces[index] for index in chosen)
    ]
    names = [f"blobs/{index}.png" for index in chosen]
    np.testing.assert_array_equal(to_picture(tmp_path / "sheet.png"), contact_sheet(tiles, names))


def test_extra_test_faces_are_refused(tmp_path: Path, faces: list[Sample], distillation: Distillation) -> None:
    """A teacher's labels do not make a test face a training face."""
    marked = [replace(faces[0], subsets=frozenset({"test"}))]
    with pytest.raises(ConfigError, match="never train on a test set"):
        distil(distillation, faces, tmp_path, execution=QUIET, student_extra=marked)


def test_distilled_and_plain_students_start_alike_and_end_apart(
    tmp_path: Path, faces: list[Sample], distillation: Distillation
) -> None:
    """With the same seed, crops and steps only the teachers make a difference."""
    made = distil(distillation, faces, tmp_path, with_plain=True, execution=QUIET)
    assert made.plain is not None
    student, plain = (read_tensors(path)[0]["head.offsets.weight"] for path in (made.student, made.plain))
    assert not torch.equal(student, plain)


def test_tolerant_teacher_starts_from_the_tough_one(
    tmp_path: Path, faces: list[Sample], distillation: Distillation
) -> None:
    """With a vanishing learning rate the Tolerant-Teacher keeps the Tough-Teacher's weights."""
    still = replace(distillation.tolerant, learning_rate=1e-12, weight_decay=0.0)
    made = distil(replace(distillation, tolerant=still), faces, tmp_path, execution=QUIET)
    tough, tolerant = (read_tensors(path)[0]["head.scores.weight"] for path in (made.tough, made.tolerant))
    assert torch.allclose(tough, tolerant, atol=1e-6)


def test_students_begin_with_the_weights_of_the_start(
    tmp_path: Path, faces: list[Sample], distillation: Distillation
) -> None:
    """With a learning rate near zero both students keep the weights of `student_start`; teachers do not use it."""
    first = distil(distillation, faces, tmp_path / "first", execution=QUIET).student
    still = {"learning_rate": 1e-12, "weight_decay": 0.0}
    recipe = replace(
        distillation, student=replace(distillation.student, **still), plain=replace(distillation.plain, **still)
    )
    made = distil(recipe, faces, tmp_path / "second", with_plain=True, execution=QUIET, student_start=first)
    assert made.plain is not None
    names = (first, made.student, made.plain, made.tough)
    start, student, plain, tough = (read_tensors(path)[0]["head.scores.weight"] for path in names)
    assert torch.allclose(student, start, atol=1e-6)
    assert torch.allclose(plain, start, atol=1e-6)
    assert not torch.allclose(tough, start, atol=1e-6)


def test_given_teachers_are_taken_as_they_are(tmp_path: Path, faces: list[Sample], distillation: Distillation) -> None:
    """With `teachers` only the student is trained, on the points of these checkpoints."""
    first = distil(distillation, faces, tmp_path / "first", execution=QUIET)
    alone = [tmp_path / f"{path.parent.name}.safetensors" for path in (first.tough, first.tolerant)]
    for source, path in zip((first.tough, first.tolerant), alone, strict=True):
        network, spec = load_checkpoint(source)
        save_checkpoint(path, network, architecture_from_dict(dict(spec.architecture), "here"), spec)
    made = distil(distillation, faces, tmp_path / "second", execution=QUIET, teachers=(alone[0], alone[1]))
    assert (made.tough, made.tolerant) == (alone[0], alone[1])
    assert {path.name for path in (tmp_path / "second").iterdir()} == {"student", "teacher-points"}
    losses = [(run.student.parent / LOG).read_text().splitlines()[-1] for run in (first, made)]
    np.testing.assert_allclose(*(np.array(line.split(",")[:6], dtype=float) for line in losses), rtol=1e-5)


def test_cached_points_are_the_teachers_predictions(
    tmp_path: Path, faces: list[Sample], distillation: Distillation
) -> None:
    """The cached points of a copy equal a new prediction on its crops."""
    made = distil(distillation, faces, tmp_path, execution=QUIET)
    recipe = distillation.student
    samples = split_samples(faces, recipe).train
    model = load_model(made.tough)
    targets = [s.points for s in samples]
    dataset = CropDataset(samples, targets, model.spec, recipe.augmentation, recipe.seed, recipe.copies)
    crops = np.stack([dataset.plain_crop(Key(1, index))[0] for index in range(len(samples))])
    tough, tolerant = (np.load(tmp_path / f"teacher-points/{name}/copy-001.npz")["points"] for name in TEACHERS)
    assert np.abs(tough - model(crops)).max() < 1e-5
    assert np.abs(tough - tolerant).max() > 0


def test_a_cut_cache_file_is_named(tmp_path: Path, faces: list[Sample], distillation: Distillation) -> None:
    """A truncated cache file raises an error naming it."""
    made = distil(distillation, faces, tmp_path, execution=QUIET)
    damaged = tmp_path / "teacher-points/tolerant/copy-000.npz"
    damaged.write_bytes(damaged.read_bytes()[:100])
    with pytest.raises(CheckpointError, match=r"tolerant.copy-000\.npz"):
        cache_teacher_points(
            distillation.student, split_samples(faces, distillation.student).train, made.tough, made.tolerant,
            tmp_path / "teacher-points", execution=QUIET,
        )  # fmt: skip


def test_a_student_without_fixed_copies_is_refused(
    tmp_path: Path, faces: list[Sample], distillation: Distillation
) -> None:
    """Points cannot be cached for crops that are sampled anew in every epoch."""
    endless = replace(distillation, student=replace(distillation.student, copies=None))
    with pytest.raises(ConfigError, match="set `copies`"):
        distil(endless, faces, tmp_path, execution=QUIET)


def test_teachers_see_the_students_view_at_their_own_size(
    tmp_path: Path, faces: list[Sample], distillation: Distillation
) -> None:
    """The cached points of a 32 px teacher for a 48 px student are those of the same views at 32 px."""
    larger = replace(distillation, student=replace(distillation.student, size=48))
    made = distil(larger, faces, tmp_path, execution=QUIET)
    samples = split_samples(faces, larger.student).train
    model = load_model(made.tough)
    recipe = larger.student
    targets = [s.points for s in samples]
    small = CropDataset(samples, targets, model.spec, recipe.augmentation, recipe.seed, recipe.copies)
    crops = np.stack([small.plain_crop(Key(0, face))[0] for face in range(len(samples))])
    with np.load(tmp_path / "teacher-points/tough/copy-000.npz") as file:
        assert np.abs(file["points"] - model(crops)).max() < 1e-5


def test_teachers_of_wider_crops_are_refused(
    tmp_path: Path, faces: list[Sample], distillation: Distillation
) -> None:
    """A teacher with another crop scale has other normalized points, so it raises an error."""
    other = replace(distillation, student=replace(distillation.student, crop_scale=1.5))
    with pytest.raises(ConfigError, match=r"crops of 1\.25 times the box, the student of 1\.5 times"):
        distil(other, faces, tmp_path, execution=QUIET)


def test_both_teachers_are_checked_before_the_first_predicts(
    tmp_path: Path, faces: list[Sample], distillation: Distillation
) -> None:
    """The second teacher's crop scale is checked before the first teacher predicts."""
    made = distil(distillation, faces, tmp_path, execution=QUIET)
    network, spec = load_checkpoint(made.tolerant)
    wider, architecture = tmp_path / "wider.safetensors", architecture_from_dict(dict(spec.architecture), "here")
    save_checkpoint(wider, network, architecture, replace(spec, crop_scale=1.5))
    samples = split_samples(faces, distillation.student).train
    with pytest.raises(ConfigError, match=r"wider\.safetensors: takes crops of 1\.5 times"):
        cache_teacher_points(distillation.student, samples, made.tough, wider, tmp_path / "points", execution=QUIET)
    assert not (tmp_path / "points").exists()


def test_students_that_differ_in_their_loss_share_the_points(
    tmp_path: Path, faces: list[Sample], distillation: Distillation
) -> None:
    """Another objective reuses the cached points, another seed does not."""
    made = distil(distillation, faces, tmp_path, execution=QUIET)
    folder, samples = tmp_path / "teacher-points", split_samples(faces, distillation.student).train
    before = {path: path.stat().st_mtime_ns for path in folder.glob("*/*")}
    assert len(before) == len(TEACHERS) * distillation.student.copies
    other = replace(distillation.student, objective="kd-released", name="other", steps=3)
    cache_teacher_points(other, samples, made.tough, made.tolerant, folder, execution=QUIET)
    assert before == {path: path.stat().st_mtime_ns for path in folder.glob("*/*")}
    cache_teacher_points(replace(other, seed=5), samples, made.tough, made.tolerant, folder, execution=QUIET)
    assert all(before[path] != path.stat().st_mtime_ns for path in folder.glob("*/*"))


def test_faces_with_missing_points_are_distilled(
    tmp_path: Path, faces: list[Sample], distillation: Distillation
) -> None:
    """Every stage trains on faces with missing points, with soft labels and teachers' points."""
    lacking = []
    for number, sample in enumerate(faces):
        points = sample.points.copy()
        points[[2 + number % 3] if number % 2 else []] = np.nan
        points[0] = np.nan if number % 4 == 0 else points[0]
        lacking.append(replace(sample, points=points, box=tight_box(points)))
    split = split_samples(lacking, distillation.student)
    judged = [sample for sample in split.validation if np.isfinite(sample.points[:2]).all()]
    assert 0 < len(judged) < len(split.validation)
    made = distil(distillation, lacking, tmp_path, execution=QUIET)
    for checkpoint in (made.tough, made.tolerant, made.student):
        result = json.loads((checkpoint.parent / "result.json").read_text())
        assert result["validation_faces"] == len(judged)
        assert np.isfinite(result["validation_nme"])
        rows = (checkpoint.parent / "log.csv").read_text()
        assert "nan" not in rows
        assert all(np.isfinite(tensor).all() for tensor in read_tensors(checkpoint)[0].values())


def test_a_point_that_no_face_has_is_named(tmp_path: Path, faces: list[Sample], distillation: Distillation) -> None:
    """A point without any label raises an error naming it, since the mean shape lacks it."""
    bare = [replace(sample, points=np.where(np.arange(5)[:, None] == 4, np.nan, sample.points)) for sample in faces]
    with pytest.raises(DataError, match=r"point 4 of five is labelled in none of \d+ training faces"):
        distil(distillation, bare, tmp_path, execution=QUIET)


@pytest.fixture
def stages(monkeypatch: pytest.MonkeyPatch) -> list[tuple[object, ...]]:
    """Records the stages of a distillation with their arguments, without training."""
    calls: list[tuple[object, ...]] = []

    def trained(recipe: Recipe, out: Path, **options: object) -> Path:
        calls.append((recipe, out, options))
        return out / "model.safetensors"

    monkeypatch.setattr(distil_module, "init_distributed", lambda device: f"this rank's {device}")
    monkeypatch.setattr(distil_module, "with_face_boxes", list)
    monkeypatch.setattr(distil_module, "train", trained)
    monkeypatch.setattr(distil_module, "cache_teacher_points", lambda *given: (calls.append(given), "points")[1])
    monkeypatch.setattr(distil_module, "write_extra_sheet", lambda *given: calls.append(given))
    return calls


def extra_faces(faces: list[Sample], count: int) -> list[Sample]:
    """Some of the faces under other names."""
    return [replace(face, path=Path(f"extra-{i}.png"), photo=f"extra-{i}") for i, face in enumerate(faces[:count])]


def options_of(split: Split, **options: object) -> dict[str, object]:
    """Default options of every stage."""
    return {"split": split, "execution": Execution("this rank's cpu")} | options


def points_of(recipe: Distillation, split: Split, paths: dict[str, Path], out: Path) -> tuple[object, ...]:
    """Arguments of `cache_teacher_points` without the options."""
    return recipe.student, split.train, paths["tough"], paths["tolerant"], out / "teacher-points"


def test_every_stage_gets_its_arguments(
    tmp_path: Path, faces: list[Sample], distillation: Distillation, stages: list[tuple[object, ...]]
) -> None:
    """Each stage gets its recipe, folder, split, start and execution settings."""
    distillation = replace(distillation, student=replace(distillation.student, seed=3, validation=0.4))
    samples, extra, start = faces[:40], extra_faces(faces[40:], 6), tmp_path / "start.safetensors"
    made = distil(
        distillation, samples, tmp_path, with_plain=True, execution=Execution("cuda", 3, True, True),
        student_start=start, student_extra=extra,
    )  # fmt: skip
    split = split_samples(samples, distillation.student)
    wider = Split([*split.train, *extra], split.validation)
    paths = {name: tmp_path / name / "model.safetensors" for name in ("tough", "tolerant", "student", "plain")}
    assert made == Distilled(**paths)
    given = {"execution": Execution("this rank's cuda", 3, True, True)}
    points = (*points_of(distillation, wider, paths, tmp_path), given["execution"])
    assert stages == [
        (distillation.tough, tmp_path / "tough", {"split": split} | given),
        (distillation.tolerant, tmp_path / "tolerant", {"split": split, "start": paths["tough"]} | given),
        points,
        (extra, paths["tough"], tmp_path / "teacher-points/extra-faces.png", 3, "this rank's cuda"),
        (distillation.student, tmp_path / "student", {"split": wider, "teachers": "points", "start": start} | given),
        (distillation.plain, tmp_path / "plain", {"split": wider, "start": start} | given),
    ]


def test_little_is_done_where_little_is_asked_for(
    tmp_path: Path, faces: list[Sample], distillation: Distillation, stages: list[tuple[object, ...]]
) -> None:
    """By default there is no plain student, no contact sheet and no start; execution is the default."""
    distillation = replace(distillation, tolerant_starts_from_tough=False)
    made = distil(distillation, faces, tmp_path)
    split = split_samples(faces, distillation.student)
    paths = {name: tmp_path / name / "model.safetensors" for name in ("tough", "tolerant", "student")}
    assert made == Distilled(**paths, plain=None)
    assert stages == [
        (distillation.tough, tmp_path / "tough", options_of(split)),
        (distillation.tolerant, tmp_path / "tolerant", options_of(split, start=None)),
        (*points_of(distillation, split, paths, tmp_path), Execution("this rank's cpu")),
        (distillation.student, tmp_path / "student", options_of(split, teachers="points", start=None)),
    ]


def test_teachers_of_ones_own_are_trained_no_more(
    tmp_path: Path, faces: list[Sample], distillation: Distillation, stages: list[tuple[object, ...]]
) -> None:
    """The teachers passed in are used for the points and the contact sheet."""
    tough, tolerant, extra = tmp_path / "a.safetensors", tmp_path / "b.safetensors", extra_faces(faces, 2)
    made = distil(distillation, faces, tmp_path, teachers=(tough, tolerant), student_extra=extra)
    assert (made.tough, made.tolerant, made.plain) == (tough, tolerant, None)
    assert len(stages) == 3
    assert stages[0][2:4] == (tough, tolerant)
    assert stages[1][1] == tough


@pytest.mark.parametrize(("rank", "finished"), [(1, False), (0, True)])
def test_the_sheet_is_written_once(
    tmp_path: Path, faces: list[Sample], distillation: Distillation, stages: list[tuple[object, ...]],
    monkeypatch: pytest.MonkeyPatch, rank: int, finished: bool,
) -> None:  # fmt: skip
    """Rank 0 writes the contact sheet, unless the student is finished."""
    monkeypatch.setattr(distil_module, "world", lambda: World(rank, 2, rank))
    if finished:
        (tmp_path / "student").mkdir()
        (tmp_path / "student/result.json").touch()
    distil(distillation, faces, tmp_path, student_extra=extra_faces(faces, 2))
    assert len(stages) == 4  # two teachers, their points, the student
    assert len(stages[-1]) == 3


def test_what_cannot_be_trained_on_stops_before_the_first_stage(
    tmp_path: Path, faces: list[Sample], distillation: Distillation, stages: list[tuple[object, ...]]
) -> None:
    """Test faces and faces outside their pictures raise an error before the first stage."""
    split = split_samples(faces, distillation.student)
    for mine in (split.train[0], split.validation[0]):
        tested = [replace(face, subsets=frozenset({"test"})) if face is mine else face for face in faces]
        lost = [replace(f, points=f.points + 500, box=f.box + 500) if f is mine else f for f in faces]
        with pytest.raises(ConfigError, match="never train on a test set"):
            distil(distillation, tested, tmp_path)
        with pytest.raises(DataError, match="outside their picture"):
            distil(distillation, lost, tmp_path)
    far = [replace(face, points=face.points + 500, box=face.box + 500) for face in extra_faces(faces, 1)]
    with pytest.raises(DataError, match=r"extra-0.*outside their picture"):
        distil(distillation, faces, tmp_path, student_extra=far)
    assert stages == []


def test_boxes_of_the_extra_faces_are_those_of_the_samples(
    tmp_path: Path, faces: list[Sample], distillation: Distillation, stages: list[tuple[object, ...]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Boxes of samples and extra faces come from one call, with one template."""
    asked: list[list[Sample]] = []
    boxed: list[Sample] = []

    def with_boxes(samples: list[Sample]) -> list[Sample]:
        asked.append(samples)
        boxed[:] = [replace(sample, box=sample.box + 1) for sample in samples]
        return boxed

    monkeypatch.setattr(distil_module, "with_face_boxes", with_boxes)
    distil(distillation, faces, tmp_path, student_extra=extra_faces(faces, 3))
    assert [[sample.name for sample in samples] for samples in asked] == [
        [*(face.name for face in faces), "extra-0.png", "extra-1.png", "extra-2.png"]
    ]
    split = split_samples(boxed[:-3], distillation.student)
    wider = Split([*split.train, *boxed[-3:]], split.validation)
    assert [options["split"] for *_, options in (stages[0], stages[-1])] == [split, wider]  # type: ignore[index]  # a dict
