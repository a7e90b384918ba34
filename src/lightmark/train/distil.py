"""The paper's pipeline: Tough-Teacher, Tolerant-Teacher, their points, the student; and the plain student beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from lightmark.data.check.inspection import require_trainable
from lightmark.data.sample import Sample
from lightmark.evaluate.face_boxes import with_face_boxes
from lightmark.train.config import Distillation
from lightmark.train.distributed.collectives import join
from lightmark.train.distributed.world import world
from lightmark.train.extra_sheet import write_extra_sheet
from lightmark.train.faces import Split, carve, require_no_tests
from lightmark.train.folder import RESULT
from lightmark.train.loop import train
from lightmark.train.teachers import cache_teacher_points

POINTS = "teacher-points"
EXTRA_SHEET = f"{POINTS}/extra-faces.png"


@dataclass(frozen=True)
class Distilled:
    """Checkpoint paths of the stages; `plain` is None unless it was asked for."""

    tough: Path
    tolerant: Path
    student: Path
    plain: Path | None


def distil(
    recipe: Distillation,
    samples: Sequence[Sample],
    out: Path,
    with_plain: bool = False,
    device: str = "cpu",
    workers: int = 0,
    quiet: bool = False,
    tensorboard: bool = False,
    student_start: Path | None = None,
    student_extra: Sequence[Sample] = (),
    teachers: tuple[Path, Path] | None = None,
) -> Distilled:
    """Run every stage of `recipe` in its own folder under `out`, skipping those already finished.

    All stages share one split of `samples` by source photograph. `student_start` is a checkpoint whose weights the
    student, and the plain one beside it, begin at; both also learn from `student_extra`, faces that a teacher labelled
    say, which no teacher is trained on and nobody is judged by. `teachers`, checkpoints of a Tough- and a
    Tolerant-Teacher, are taken instead of training the recipe's.
    A contact sheet of the extra faces lies in `out` beside the teachers' points, to be looked at while the student
    learns. A killed run, called again, goes on where it was. Raises `ConfigError` where test faces are among either.
    """
    device = join(device)
    require_no_tests([*samples, *student_extra])
    found = with_face_boxes([*samples, *student_extra])  # together, so that they have one template
    samples, student_extra = found[: len(samples)], found[len(samples) :]
    split = carve(samples, recipe.student)
    require_trainable([*split.train, *student_extra], judged=split.validation)
    wider = Split([*split.train, *student_extra], split.validation)
    run = partial(
        train,
        split=split,
        device=device,
        workers=workers,
        quiet=quiet,
        tensorboard=tensorboard,
    )
    if teachers is None:
        tough = run(recipe.tough, out=out / "tough")
        start = tough if recipe.tolerant_starts_from_tough else None
        tolerant = run(recipe.tolerant, out=out / "tolerant", start=start)
    else:
        tough, tolerant = teachers
    points = cache_teacher_points(
        recipe.student, wider.train, tough, tolerant, out / POINTS, device, workers, quiet
    )
    if student_extra and world().rank == 0 and not (out / "student" / RESULT).exists():
        write_extra_sheet(student_extra, tough, out / EXTRA_SHEET, recipe.student.seed, device)
    student = run(recipe.student, split=wider, out=out / "student", teachers=points, start=student_start)
    plain = run(recipe.plain, split=wider, out=out / "plain", start=student_start) if with_plain else None
    return Distilled(tough, tolerant, student, plain)
