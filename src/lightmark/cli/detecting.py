"""Command `detect`: faces and landmarks of pictures."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lightmark.cli.options import (
    ANONYMISE,
    FORCE,
    MEASURES,
    MIN_FACE,
    MODEL,
    OUT_FOLDER,
    OUT_PLACE,
    STYLE,
    WORD,
    Command,
    require_outputs,
)
from lightmark.cli.signals import terminable
from lightmark.cli.streams import set_machine_output
from lightmark.errors import ConfigError, ImageError
from lightmark.runtime.shipped import DEFAULT_MODEL

if TYPE_CHECKING:
    from lightmark.alignment import Template
    from lightmark.anonymise import Part
    from lightmark.overlay import Style
    from lightmark.photos.inputs import Input
    from lightmark.photos.results import Add, FileFormat
    from lightmark.schema import Schema

UNREAD = 1


@click.command(cls=Command, short_help="Landmarks of pictures, as JSON, CSV, COCO, .pts or drawn")
@click.argument("inputs", nargs=-1, required=True)
@click.option("--out", type=OUT_PLACE, help="File to write; for pts a folder.")
@click.option(
    "--format", "file_format", type=click.Choice(["json", "jsonl", "csv", "pts", "coco"]),
    help="By default the suffix of --out; without --out a table on a terminal, else jsonl.",
)  # fmt: skip
@click.option("--draw", type=OUT_FOLDER, help="Also write each picture with its faces drawn, as PNG below this folder.")
@click.option(
    "--crops", type=OUT_FOLDER, help="Also write each face upright, aligned by its eyes, nose and mouth, as PNG below "
    "this folder.",
)  # fmt: skip
@click.option("--crop-size", type=click.IntRange(1, 4096), help="Pixels a side of the crops.  [default: 112]")
@click.option(
    "--crop-template", type=click.Choice(["arcface", "ffhq"]),
    help="Where the face is in its crop: for recognition, or wider with hair and chin.  [default: arcface]",
)  # fmt: skip
@STYLE
@ANONYMISE
@click.option("--model", type=MODEL, default=DEFAULT_MODEL, show_default=True, help="A shipped name or an ONNX file.")
@click.option(
    "--detector", type=WORD, default="auto", show_default=True,
    help="Face detector: auto, face, face:PATH, cascade, yunet:PATH, mediapipe.",
)  # fmt: skip
@click.option(
    "--min-confidence", type=click.FloatRange(0, 1),
    help="Drop faces whose confidence is below this value (0–1), 0.1 by default.",
)  # fmt: skip
@click.option(
    "--max-pixels", type=click.IntRange(1), default=100_000_000, show_default=True,
    help="Refuse larger pictures before they are decoded.",
)  # fmt: skip
@MEASURES
@MIN_FACE
@click.option("--threads", type=click.IntRange(1), help="CPU threads of the model; all cores by default.")
@FORCE
def detect(
    inputs: Sequence[str], out: Path | None, file_format: FileFormat | None, draw: Path | None,
    crops: Path | None, crop_size: int | None, crop_template: Template | None,
    styles: Sequence[Style] | None, anonymise: Part | None, model: Path, detector: str, min_confidence: float | None,
    max_pixels: int, measures: bool, min_face: float | None, threads: int | None, force: bool,
) -> None:  # fmt: skip
    """Find faces and their landmarks in pictures.

    INPUTS are files, folders (all pictures in them and below), patterns such as 'photos/**/*.jpg', and - for one
    picture from standard input. A picture without a face is no error. Coordinates are pixels of the upright picture,
    x then y, counted from 0 at the centre of the first pixel; .pts files count from 1, as 300W's do. Folders written by
    --draw, --crops and --format pts keep the folders of the inputs; the faces of x.jpg are x, or x_0, x_1 and so on.

    \b
    Exit status:
      0    every input was read
      1    some could not be read: they are listed at the end, the others are done
      2    wrong use, or results that cannot be written
      130  interrupted, 143 ended by SIGTERM: a file of --out is unchanged; complete files in folders stay
      141  nobody reads what is printed any more
    """
    from lightmark.landmarker import Landmarker
    from lightmark.photos.detect import detect_inputs
    from lightmark.photos.inputs import find_inputs, places_with
    from lightmark.photos.results import crop_writer, planned_files

    if draw is None and (styles is not None or anonymise is not None):
        raise ConfigError("--style and --anonymise are for drawn pictures: give their folder with --draw")
    if crops is None and (crop_size is not None or crop_template is not None):
        raise ConfigError("--crop-size and --crop-template are for aligned crops: give their folder with --crops")
    file_format = file_format or _format_of(out)
    if measures and file_format not in ("json", "jsonl", "csv"):
        raise ConfigError(f"--measures: {file_format or 'the table'} has no place for them; use json, jsonl or csv")
    pictures, failures = find_inputs(inputs)
    sources = [one.path for one in pictures if one.path is not None]
    require_outputs(planned_files(out, file_format, pictures, draw, crops), sources)
    total = len(pictures) + len(failures)
    landmarker = Landmarker(model, detector, threads, min_confidence=min_confidence, min_face=min_face)
    if draw is not None:
        from lightmark.overlay import require_drawable

        require_drawable(landmarker.spec.schema, styles, anonymise)
    add_crops = None
    if crops is not None:
        from lightmark.schemes import conversion

        conversion(landmarker.spec.schema, "five")  # raises for points without eyes, nose and mouth
        add_crops = crop_writer(crops, pictures, crop_size or 112, crop_template or "arcface", force)
    with (
        terminable("complete files in folders stay"),
        quiet_pillow(),
        _results(out, file_format, landmarker.spec.schema, pictures, force, measures) as add,
    ):
        failures += detect_inputs(
            landmarker,
            _with_progress(pictures, hidden=out is None and file_format is not None),
            add,
            read_standard_input=_read_standard_input,
            max_pixels=max_pixels,
            overlays=[] if draw is None else [draw / place for place in places_with(".png", pictures)],
            styles=styles,
            anonymise=anonymise,
            add_crops=add_crops,
        )
    _report(total, failures, [place for place in (out, draw, crops) if place is not None])


def _report(total: int, failures: Sequence[str], places: Sequence[Path]) -> None:
    """Print what was read and written, and end with `UNREAD` if inputs failed."""
    if places:
        written = " and ".join(map(str, places))
        click.echo(f"{total - len(failures)} of {total} inputs read, written to {written}", err=True)
    if failures:
        click.echo(f"lightmark: {len(failures)} of {total} inputs could not be read:", err=True)
        click.echo("\n".join(f"  {sentence}" for sentence in failures), err=True)
        sys.exit(UNREAD)


def _format_of(out: Path | None) -> FileFormat | None:
    """Output format by the suffix of --out; without --out None (a table) on a terminal, else JSON Lines."""
    from lightmark.photos.results import SUFFIXES

    if out is None:
        return None if sys.stdout.isatty() else "jsonl"
    if out.suffix.lower() == ".pts":
        raise ConfigError(f"{out}: a .pts file holds one face; give a folder for all: --format pts --out FOLDER")
    if out.suffix.lower() not in SUFFIXES:
        raise ConfigError(f"{out}: ends in none of {', '.join(SUFFIXES)}; say what to write with --format")
    return SUFFIXES[out.suffix.lower()]


@contextmanager
def _results(
    out: Path | None, file_format: FileFormat | None, schema: Schema, inputs: Sequence[Input], force: bool,
    measures: bool,
) -> Iterator[Add]:
    from lightmark.photos.results import WRITERS, open_results, print_table

    if file_format is None:
        with print_table() as add:
            yield add
    elif out is None:
        set_machine_output()
        with WRITERS[file_format](sys.stdout, schema, Path(), measures) as add:
            yield add
    else:
        with open_results(file_format, out, schema, inputs, force, measures) as add:
            yield add


def _read_standard_input() -> bytes:
    """All bytes of standard input; raises `ImageError` if it is closed."""
    if sys.stdin is None:
        raise ImageError("standard input: is closed; give the picture's file, or pipe one in")
    return sys.stdin.buffer.read()


@contextmanager
def quiet_pillow() -> Iterator[None]:
    """Context manager that silences Pillow's warnings, such as on damaged EXIF: the result is the same."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")
        yield


def _with_progress(inputs: Sequence[Input], hidden: bool) -> Iterable[Input]:
    """`inputs` with a progress bar, for several inputs and if standard error is a terminal."""
    if hidden or len(inputs) == 1 or not sys.stderr.isatty():
        return inputs
    from rich.console import Console
    from rich.progress import track

    return track(inputs, "", console=Console(stderr=True), transient=True)
