"""Commands `train`, `finetune`, `distill` and `recipes`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.shell_completion import CompletionItem

from lightmark.cli.options import (
    EXISTING,
    MODEL,
    OUT_FOLDER,
    SCHEMA,
    Command,
    complete_names,
    needs_torch,
    noted_inputs,
)
from lightmark.cli.signals import INTERRUPTED
from lightmark.errors import ConfigError, WriteError
from lightmark.files import make_folder
from lightmark.outputs import require_folder, require_free

if TYPE_CHECKING:
    from lightmark.data.sample import Sample
    from lightmark.schema import Schema
    from lightmark.train.config import Recipe


def run_options(command: Callable[..., None]) -> Callable[..., None]:
    """Decorator with the options of every training: data, output, seed, device, threads, steps."""
    options = [
        click.option("--data", type=EXISTING, multiple=True, required=True, help="Labelled faces; may be repeated."),
        click.option("--out", type=OUT_FOLDER, required=True, help="Folder of the run; a killed run resumes there."),
        click.option("--seed", type=int, default=0, show_default=True),
        click.option("--device", default="cpu", show_default=True, help="cpu, cuda, cuda:1 …"),
        click.option("--threads", type=click.IntRange(1), help="CPU threads of torch; all cores by default."),
        click.option("--workers", type=click.IntRange(0), default=0, help="Data-loading processes; 0 for none."),
        SCHEMA,
        click.option("--steps", type=click.IntRange(1), help="Training steps, instead of the recipe's."),
    ]
    for option in reversed(options):
        command = option(command)
    return needs_torch(command)


def _stage_options(command: Callable[..., None]) -> Callable[..., None]:
    """Decorator with the options that override a landmark recipe: batch and precision."""
    kinds = click.Choice(["fp32", "bf16"])
    batch = click.option("--batch", type=click.IntRange(1), help="Batch size, instead of the recipe's.")
    precision = click.option("--precision", type=kinds, help="Precision of the network's layers; bf16 is for GPUs.")
    return batch(precision(command))


def _changes(**options: object) -> dict[str, object]:
    """Options that the user has set."""
    return {name: value for name, value in options.items() if value is not None}


TENSORBOARD = click.option("--tensorboard", is_flag=True, help="Also write the log for TensorBoard.")


def training_samples(paths: Sequence[Path], schema: Schema | None = None) -> list[Sample]:
    """Labelled faces of `paths` without test faces and known copies of them, which are only counted."""
    from lightmark.data.read import read_samples
    from lightmark.data.subsets import REPEATS_TEST

    samples = [sample for path in paths for sample in read_samples(path, schema)]
    training = [sample for sample in samples if not {"test", REPEATS_TEST} & sample.subsets]
    if not training:
        raise ConfigError(f"{', '.join(map(str, paths))}: only test faces ({len(samples)}); give a training set")
    for unknown in {sample.schema.name for sample in training if not sample.schema.knows_mirror}:
        _echo(
            f"{unknown}: which points are left and right is unknown, so crops are not mirrored; name the pairs in a "
            "--schema to train on mirror images too",
            err=True,
        )
    dropped = len(samples) - len(training)
    left_out = f"; {dropped} test faces or copies of them left out" if dropped else ""
    _echo(f"{len(training)} faces to train on{left_out}", err=True)
    return training


def require_runs(folders: Sequence[Path]) -> None:
    """Raise `ConfigError` if a run in one of `folders` would overwrite an input, or files of anything but a run.

    A run that was started there is resumed, or rejected by its fingerprint.
    """
    from lightmark.train.folder import RESULT, RUN_FILES, STATE

    inputs = [path for path in noted_inputs() if path.is_file()]
    for folder in folders:
        files = [folder / name for name in RUN_FILES]
        require_folder(folder)
        require_free(files, inputs, force=True)
        existing = [file for file in files if file.exists()]
        if existing and not any((folder / name).exists() for name in (STATE, RESULT)):
            raise ConfigError(f"{existing[0]}: is there already, and is no part of a run; give another --out")


def _echo(text: object, err: bool = False) -> None:
    """Print `text` on rank 0 only."""
    from lightmark.train.distributed.world import world

    if world().rank == 0:
        click.echo(text, err=err)


def announce(stages: Sequence[tuple[Recipe, Path]], points: int, device: str) -> None:
    """Print the stages to run, their estimated time, and how to resume; on rank 0 only."""
    from lightmark.train.distributed.world import world
    from lightmark.train.plan import Stage, plan_lines

    if world().rank == 0:
        lines = plan_lines([Stage(recipe, folder) for recipe, folder in stages], points, device)
        click.echo("\n".join([*lines, "Ctrl-C interrupts; the same command goes on"]), err=True)


@contextmanager
def resumable(folders: Sequence[Path]) -> Iterator[None]:
    """Context manager that prints how to resume, on Ctrl-C (exit status 130) and after `WriteError`."""
    try:
        yield
    except KeyboardInterrupt:
        _echo(f"lightmark: interrupted; {_progress_kept(folders)}", err=True)
        sys.exit(INTERRUPTED)
    except WriteError as error:
        raise WriteError(f"{error} ({_progress_kept(folders)})") from error


def _progress_kept(folders: Sequence[Path]) -> str:
    """Where the same command resumes, from the folders of a run's stages in order."""
    from lightmark.train.folder import RESULT, STATE
    from lightmark.train.state import saved_step

    for folder in reversed(folders):
        if step := saved_step(folder / STATE):
            return f"the same command goes on from step {step}, saved in {folder}"
    finished = [folder for folder in folders if (folder / RESULT).exists()]
    if finished:
        return f"the same command goes on after the stage in {finished[-1]}, which is finished"
    return "no step was saved yet, so the same command begins anew"


def _complete_stage(_context: click.Context, _option: click.Parameter, incomplete: str) -> list[CompletionItem]:
    from lightmark.train.recipes import DISTILLATIONS

    stages = ("plain", "tough", "tolerant")  # those that `train` trains alone
    return complete_names([f"{family}-{stage}" for family in DISTILLATIONS for stage in stages], incomplete)


def _complete_recipe(_context: click.Context, _option: click.Parameter, incomplete: str) -> list[CompletionItem]:
    from lightmark.train.recipes import DISTILLATIONS

    return complete_names(DISTILLATIONS, incomplete)


@click.command(cls=Command, short_help="Train one network of a recipe")
@click.argument("recipe", required=False, shell_complete=_complete_stage)
@click.option("--start", type=MODEL, help="Checkpoint with the initial weights, a shipped name or an ONNX file.")
@click.option(
    "--extra", type=EXISTING, multiple=True,
    help="More faces to train on, such as those that a model has labelled; none is used for validation.",
)  # fmt: skip
@click.option("--split-seed", type=int, help="Seed of the choice of validation photographs; --seed by default.")
@TENSORBOARD
@_stage_options
@run_options
def train(
    recipe: str | None, data: Sequence[Path], out: Path, seed: int, device: str, workers: int, steps: int | None,
    start: Path | None, extra: Sequence[Path], threads: int | None, tensorboard: bool, schema: Schema | None,
    batch: int | None, precision: str | None, split_seed: int | None,
) -> None:  # fmt: skip
    """Train one network: RECIPE is a stage such as cpu128-plain; see `lightmark recipes`.

    Without RECIPE it is cpu128-plain, or few128-plain for fewer than 600 faces. Distilled students need their teachers:
    use `lightmark distill`.
    """
    from dataclasses import replace

    from lightmark.evaluate.face_boxes import with_face_boxes
    from lightmark.train.config import Execution
    from lightmark.train.faces import Split, split_samples
    from lightmark.train.loop import train as run
    from lightmark.train.objectives import DISTILLED
    from lightmark.train.recipes import default_distillation, get_recipe
    from lightmark.train.start import START, write_start

    named = get_recipe(recipe, seed) if recipe else None  # an unknown name fails before the faces are read
    if named and named.objective in DISTILLED:
        raise ConfigError(f"{recipe} learns from two teachers; `lightmark distill --recipe …` trains them first")
    require_runs([out])
    faces, more = training_samples(data, schema), training_samples(extra, schema) if extra else []
    chosen = named or get_recipe(f"{default_distillation(len(faces))}-plain", seed)
    changes = _changes(steps=steps, batch=batch, precision=precision, split_seed=split_seed)
    chosen = replace(chosen, **changes)  # type: ignore[arg-type]  # by name
    boxed = with_face_boxes([*faces, *more])  # in one call, so that both have the same template
    split = split_samples(boxed[: len(faces)], chosen)
    split = Split([*split.train, *boxed[len(faces) :]], split.validation)
    announce([(chosen, out)], split.train[0].schema.size, device)
    if start is not None and start.suffix == ".onnx":
        make_folder(out)
        start = write_start(start, split.train, out / START, seed)
    with resumable([out]):
        made = run(chosen, split, out, None, start, Execution(device, workers, tensorboard=tensorboard))
    _echo(made)


@click.command(cls=Command, short_help="Train a shipped student on your own faces or points")
@click.argument("model", type=MODEL)
@click.option(
    "--curve/--no-curve", "with_curve", default=True, show_default=True,
    help="Also train on a quarter and half of the faces, to estimate what more labels would give.",
)  # fmt: skip
@run_options
def finetune(
    model: Path, data: Sequence[Path], out: Path, seed: int, device: str, threads: int | None, workers: int,
    schema: Schema | None, steps: int | None, with_curve: bool,
) -> None:  # fmt: skip
    """Train MODEL, such as standard, further on labelled faces: your own points, or its own on other pictures.

    Points begin as the nearest ones of MODEL. A fifth of the photographs is held out; below 20 photographs each is left
    out in turn. `lightmark init` writes a --schema with the mirror pairs, without which crops are not mirrored.
    """
    from dataclasses import replace

    from lightmark.train.config import Execution
    from lightmark.train.finetune import finetune as run
    from lightmark.train.finetune import finetune_recipe, report_lines

    require_runs([out])
    samples = training_samples(data, schema)
    recipe = replace(finetune_recipe(model, len(samples), seed), **_changes(steps=steps))  # type: ignore[arg-type]  # by name
    announce([(recipe, out)], samples[0].schema.size, device)
    with resumable([out]):
        report = run(model, samples, out, recipe, with_curve, Execution(device, workers))
    _echo("\n".join(report_lines(report)))


@click.command(cls=Command, short_help="Train two teachers and the student that learns from them")
@click.option(
    "--recipe", shell_complete=_complete_recipe, help="By default cpu128, or few128 for fewer than 600 faces."
)
@click.option("--plain", is_flag=True, help="Also train the same student without teachers, to compare.")
@click.option("--start", type=EXISTING, help="Checkpoint with the student's initial weights.")
@click.option("--extra", type=EXISTING, multiple=True, help="More faces, for the student only, labelled by a teacher.")
@click.option("--tough", type=EXISTING, help="Checkpoint of a Tough-Teacher instead of training one; with --tolerant.")
@click.option("--tolerant", type=EXISTING, help="Checkpoint of its Tolerant-Teacher.")
@TENSORBOARD
@_stage_options
@run_options
def distill(
    recipe: str | None, data: Sequence[Path], out: Path, seed: int, device: str, workers: int, steps: int | None,
    plain: bool, start: Path | None, extra: Sequence[Path], tough: Path | None, tolerant: Path | None,
    threads: int | None, tensorboard: bool, schema: Schema | None, batch: int | None, precision: str | None,
) -> None:  # fmt: skip
    """Train both teachers and the student that learns from them; stages already done are skipped.

    With --extra, check teacher-points/extra-faces.png in the run's folder: the teacher's points and the labels on those
    faces.
    """
    from dataclasses import replace

    from lightmark.train.config import Execution
    from lightmark.train.distil import EXTRA_SHEET, distil
    from lightmark.train.recipes import STAGES, default_distillation, get_distillation

    named = get_distillation(recipe, seed) if recipe else None  # an unknown name fails before the faces are read
    if (tough is None) != (tolerant is None):
        raise ConfigError("--tough and --tolerant come together: the student learns from both teachers")
    stages = ["student", *(() if tough else ("tough", "tolerant")), *(("plain",) if plain else ())]
    require_runs([out / stage for stage in stages])
    faces, more = training_samples(data, schema), training_samples(extra, schema) if extra else ()
    chosen = named or get_distillation(default_distillation(len(faces)), seed)
    changes = _changes(steps=steps, batch=batch, precision=precision)
    chosen = replace(chosen, **{stage: replace(getattr(chosen, stage), **changes) for stage in STAGES})
    order = [stage for stage in STAGES if stage in stages]
    announce([(getattr(chosen, stage), out / stage) for stage in order], faces[0].schema.size, device)
    with resumable([out / stage for stage in STAGES]):
        made = distil(
            chosen,
            faces,
            out,
            with_plain=plain,
            student_start=start,
            student_extra=more,
            teachers=(tough, tolerant) if tough and tolerant else None,
            execution=Execution(device, workers, tensorboard=tensorboard),
        )
    if extra:
        _echo(f"extra faces with the points of a teacher and the labels: {out / EXTRA_SHEET}")
    for stage in STAGES:
        if getattr(made, stage) is not None:
            _echo(f"{stage:9} {getattr(made, stage)}")


@click.command(cls=Command, short_help="The recipes and what each stage trains")
@needs_torch
def recipes() -> None:
    """List the recipes and what each stage trains."""
    from lightmark.train.recipes import DISTILLATIONS, STAGES

    for name, make in DISTILLATIONS.items():
        chosen = make(0)
        summary = (make.__doc__ or "").strip().splitlines()[0]
        click.echo(f"{name}: {summary}")
        for stage in STAGES:
            part = getattr(chosen, stage)
            net = part.architecture
            click.echo(
                f"  {name}-{stage}: {net.backbone}, {net.head} head, {part.size} px, {part.objective}, "
                f"{part.steps} steps of {part.batch}"
            )
