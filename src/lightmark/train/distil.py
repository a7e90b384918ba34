"""Distillation pipeline: Tough-Teacher, Tolerant-Teacher, their points, student, and a plain student as baseline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from lightmark.data.check.inspection import require_trainable
from lightmark.data.sample import Sample
from lightmark.evaluate.face_boxes import with_face_boxes
from lightmark.train.config import EXECUTION, Distillation, Execution
from lightmark.train.distributed.collectives import init_distributed
from lightmark.train.distributed.world import world
from lightmark.train.extra_sheet import write_extra_sheet
from lightmark.train.faces import Split, require_no_tests, split_samples
from lightmark.train.folder import RESULT
from lightmark.train.loop import train
from lightmark.train.teachers import cache_teacher_points

POINTS = "teacher-points"
EXTRA_SHEET = f"{POINTS}/extra-faces.png"


@dataclass(frozen=True)
class Distilled:
    """Checkpoint paths of the stages; `plain` is None where it was not trained."""

    tough: Path
    tolerant: Path
    student: Path
    plain: Path | None


def distil(
    recipe: Distillation,
    samples: Sequence[Sample],
    out: Path,
    with_plain: bool = False,
    student_start: Path | None = None,
    student_extra: Sequence[Sample] = (),
    teachers: tuple[Path, Path] | None = None,
    execution: Execution = EXECUTION,
) -> Distilled:
    """Run every stage of `recipe` in its own folder under `out`; finished stages are skipped, killed ones resumed.

    All stages share one split of `samples` by source photograph. `student_start` is a checkpoint with the initial
    weights of the student and the plain student. Both also train on `student_extra`, for example faces with a teacher's
    pseudo-labels, which are part of no teacher's training and of no validation. `teachers`, checkpoints of a Tough- and
    a Tolerant-Teacher, replace the training of the recipe's own. A contact sheet of the extra faces is written to `out`
    beside the teachers' points, to check the labels by eye. Raises `ConfigError` where test faces are in either set.
    """
    execution = replace(execution, device=init_distributed(execution.device))
    require_no_tests([*samples, *student_extra])
    boxed = with_face_boxes([*samples, *student_extra])  # in one call, so that both have the same template
    samples, student_extra = boxed[: len(samples)], boxed[len(samples) :]
    split = split_samples(samples, recipe.student)
    require_trainable([*split.train, *student_extra], validation=split.validation)
    wider = Split([*split.train, *student_extra], split.validation)
    run = partial(train, split=split, execution=execution)
    if teachers is None:
        tough = run(recipe.tough, out=out / "tough")
        start = tough if recipe.tolerant_starts_from_tough else None
        tolerant = run(recipe.tolerant, out=out / "tolerant", start=start)
    else:
        tough, tolerant = teachers
    points = cache_teacher_points(recipe.student, wider.train, tough, tolerant, out / POINTS, execution)
    if student_extra and world().rank == 0 and not (out / "student" / RESULT).exists():
        write_extra_sheet(student_extra, tough, out / EXTRA_SHEET, recipe.student.seed, execution.device)
    student = run(recipe.student, split=wider, out=out / "student", teachers=points, start=student_start)
    plain = run(recipe.plain, split=wider, out=out / "plain", start=student_start) if with_plain else None
    return Distilled(tough, tolerant, student, plain)
