"""Command `annotate`: landmarks of large picture collections, as Parquet."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lightmark.cli.detecting import UNREAD, quiet_pillow
from lightmark.cli.options import EXISTING, MEASURES, MIN_FACE, OUT_FOLDER, WORD, Command
from lightmark.cli.signals import INTERRUPTED, terminable
from lightmark.errors import ConfigError
from lightmark.runtime.shipped import DEFAULT_MODEL

if TYPE_CHECKING:
    from lightmark.annotate.chunk import Done
    from lightmark.annotate.job import Job
    from lightmark.annotate.labelling import Tool
    from lightmark.annotate.part import Summary

REASONS = 10  # error reasons listed at the end, most frequent first
LINE_EVERY = 30.0  # seconds between progress lines without a terminal


@click.command(cls=Command, short_help="Landmarks of millions of pictures, as Parquet")
@click.argument("source", type=EXISTING)
@click.option("--out", type=OUT_FOLDER, required=True, help="Folder of the Parquet parts; a killed run resumes there.")
@click.option(
    "--engine", type=click.Choice(["ray", "local"]), default="ray", show_default=True,
    help="Ray workers, or this process alone.",
)  # fmt: skip
@click.option("--workers", type=click.IntRange(1), help="Ray workers; by default one per processor.")
@click.option("--threads", type=click.IntRange(1), default=1, show_default=True, help="Threads of each worker.")
@click.option("--address", help="A running Ray cluster, auto or HOST:PORT; by default Ray runs on this machine alone.")
@click.option("--model", type=WORD, default=DEFAULT_MODEL, show_default=True, help="A shipped name or an ONNX file.")
@click.option(
    "--detector", type=WORD, default="auto", show_default=True,
    help="Face detector: auto, face, face:PATH, cascade, yunet:PATH, mediapipe.",
)  # fmt: skip
@click.option(
    "--min-confidence", type=click.FloatRange(0, 1),
    help="Drop faces whose confidence is below this value (0–1), 0.1 by default.",
)  # fmt: skip
@MEASURES
@MIN_FACE
@click.option(
    "--max-pixels", type=click.IntRange(1), default=100_000_000, show_default=True,
    help="Refuse larger pictures before they are decoded.",
)  # fmt: skip
@click.option(
    "--image-column",
    default="image",
    show_default=True,
    help="Picture column of Parquet files: bytes, or {bytes, path}.",
)
@click.option("--pictures-per-part", type=click.IntRange(1), default=256, show_default=True)
@click.option(
    "--to", "tool", type=click.Choice(["cvat", "labelstudio", "coco"]),
    help="Also write the faces for a labelling tool to correct, with doubtful points flagged.",
)  # fmt: skip
@click.option(
    "--doubtful", type=click.FloatRange(0), default=3.0, show_default=True, metavar="PERCENT",
    help="With --to: flag points whose expected error exceeds this share of the face's box.",
)  # fmt: skip
def annotate(
    source: Path, out: Path, engine: str, workers: int | None, threads: int, address: str | None, model: str,
    detector: str, min_confidence: float | None, measures: bool, min_face: float | None, max_pixels: int,
    image_column: str, pictures_per_part: int, tool: Tool | None, doubtful: float,
) -> None:  # fmt: skip
    """Find the landmarks of all pictures in SOURCE, as Parquet with a row a picture.

    SOURCE is a folder, with all below it, or a file: pictures, tar archives of pictures, Parquet files with encoded
    pictures. The same command resumes a killed run: finished parts are kept. A picture that cannot be read has a row
    with the reason. With --to cvat, labelstudio or coco, OUT also gets a file to import there, and for the first two
    the labels of the project.

    \b
    Exit status:
      0    every picture was read
      1    some could not be read: their rows give the reason
      2    wrong use, other pictures or settings than the folder was begun with, or parts that cannot be written
      130  interrupted, 143 ended by SIGTERM: finished parts stay
    """
    from lightmark.annotate.chunk import Settings
    from lightmark.annotate.engines import run_local, run_ray
    from lightmark.annotate.job import open_job, summarise
    from lightmark.extras import require_extra

    if engine == "local" and (workers is not None or address is not None):
        raise ConfigError("--workers and --address are for --engine ray; local is one process")
    if engine == "ray":
        require_extra(("ray", "pyarrow"), "ray", "annotate with Ray (--engine local does without it)")
    settings = Settings(
        model, detector, min_confidence, max_pixels, image_column, threads, min_face=min_face, measures=measures
    )
    try:
        with quiet_pillow(), terminable("finished parts stay, and the same command goes on"):
            job = open_job(source, out, settings, pictures_per_part)
            for fault in job.listing.faults:
                click.echo(f"lightmark: {fault}", err=True)
            began, todo = time.perf_counter(), sum(chunk.count for chunk in job.todo())
            _watch(run_local(job) if engine == "local" else run_ray(job, workers, address), job, todo)
    except KeyboardInterrupt:
        click.echo("lightmark: interrupted; the same command goes on", err=True)
        sys.exit(INTERRUPTED)
    seconds, summary = time.perf_counter() - began, summarise(job)
    _print_summary(summary, todo, seconds, out)
    if tool is not None:
        _write_labelling(job, tool, doubtful / 100)
    if job.listing.faults or summary.errors:
        sys.exit(UNREAD)


def _write_labelling(job: Job, tool: Tool, limit: float) -> None:
    from lightmark.annotate.labelling import write_labelling

    written = write_labelling(job, tool, limit)
    for path in written.files:
        click.echo(path)
    click.echo(f"{written.faces:,} faces, {written.doubtful:,} of {written.points:,} points doubtful", err=True)


def _watch(parts: Iterable[Done], job: Job, todo: int) -> None:
    """Consume `parts` with a progress bar, or with a line every `LINE_EVERY` seconds without a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[note]}"))
    console = Console(stderr=True, soft_wrap=True)
    total = job.listing.pictures
    done, began = total - todo, time.perf_counter()
    last_line = began
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=total, completed=done, note="")
        for part in parts:
            done, now = done + part.pictures, time.perf_counter()
            rate = (done - total + todo) / (now - began)
            note = f"{rate:.1f} pictures/s, {_duration((total - done) / rate)} left"
            bar.update(task, completed=done, note=note)
            if not console.is_terminal and now - last_line > LINE_EVERY:
                console.print(f"{done:,} of {total:,} pictures, {note}", highlight=False)
                last_line = now


def _duration(seconds: float) -> str:
    """Days, hours, minutes and seconds.

    >>> _duration(93_784.4), _duration(59)
    ('1 d 02:03:04', '0:00:59')
    """
    days, rest = divmod(round(seconds), 86_400)
    clock = f"{rest // 3600:02}:{rest // 60 % 60:02}:{rest % 60:02}"
    return f"{days} d {clock}" if days else clock.removeprefix("0")


def _print_summary(summary: Summary, todo: int, seconds: float, out: Path) -> None:
    bad = sum(summary.errors.values())
    faces = f"{summary.faces:,} faces in {summary.with_faces:,} of them"
    click.echo(f"{summary.pictures:,} pictures in {out}: {faces}, {bad:,} could not be read", err=True)
    for reason, count in summary.errors.most_common(REASONS):
        click.echo(f"  {count:,} {reason} ({'first ' * (count > 1)}{summary.first[reason]})", err=True)
    if todo:
        click.echo(f"{todo:,} in this run, {_duration(seconds)}, {todo / seconds:.1f} pictures/s", err=True)
