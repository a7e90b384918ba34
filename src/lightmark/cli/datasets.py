"""Commands `data check`, `review`, `convert` and `pack` for labelled faces."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from lightmark.cli.options import EXISTING, FORCE, MODEL, OUT_FILE, OUT_FOLDER, OUT_PLACE, SCHEMA, Command, noted_inputs
from lightmark.errors import ConfigError

if TYPE_CHECKING:
    from lightmark.data.convert import FileFormat
    from lightmark.data.sample import Sample
    from lightmark.evaluate.label_offsets import LabelOffsets
    from lightmark.schema import Schema


@click.group(short_help="Check, review, convert and pack labelled faces")
def data() -> None:
    """Check, review, convert and pack labelled faces."""


@data.command("check", cls=Command)
@click.argument("path", type=EXISTING)
@click.option(
    "--against", type=MODEL, metavar="MODEL",
    help="Also compare the labels with this model's points (such as fast): offsets by folder, worst faces.",
)  # fmt: skip
@click.option("--sheet", type=OUT_FILE, help="Write a contact sheet of faces with their points to this PNG.")
@FORCE
@SCHEMA
def data_check(path: Path, against: Path | None, sheet: Path | None, force: bool, schema: Schema | None) -> None:
    """Count and verify the labelled faces below PATH; status 1 if something is wrong."""
    import numpy as np

    from lightmark.data.check.check import check, usable
    from lightmark.data.check.report import format_report, write_contact_sheet
    from lightmark.data.read import read_samples

    left_out: list[str] = []
    samples = read_samples(path, schema, left_out=left_out)
    report = check(samples, left_out)
    click.echo(format_report(report))
    clean = report.clean
    if against is not None:
        clean &= _compare_labels(against, usable(samples, report), path)
    if sheet is not None:
        write_contact_sheet(samples, report, sheet, np.random.default_rng(0))
        click.echo(f"contact sheet: {sheet}")
    if not clean:
        sys.exit(1)


@data.command("review", cls=Command)
@click.argument("path", type=EXISTING)
@click.option("--against", type=MODEL, metavar="MODEL", default="fast", show_default=True, help="Model to compare.")
@click.option("--out", type=OUT_FILE, required=True, help="HTML file of the page, with its pictures in it.")
@click.option("--faces", type=click.IntRange(1), default=60, show_default=True, help="Faces on the page.")
@FORCE
@SCHEMA
def data_review(path: Path, against: Path, out: Path, faces: int, force: bool, schema: Schema | None) -> None:
    """Write a page of the labelled faces below PATH that differ most from a model's points, worst first.

    Most of the first faces are wrong labels or difficult pictures. Labels that cannot be read, and faces that `data
    check` finds broken, are left out and counted.
    """
    from lightmark.data.check.check import check, usable
    from lightmark.data.read import read_samples
    from lightmark.evaluate.report.review import review_page
    from lightmark.files import replacing

    left_out: list[str] = []
    samples = read_samples(path, schema, left_out=left_out)
    sound = usable(samples, check(samples))
    page = review_page(_label_offsets(against, sound, path), against.name, faces)
    with replacing(out) as temporary:
        temporary.write_text(page, encoding="utf-8")
    click.echo(out)
    broken = len(left_out) + len(samples) - len(sound)
    if broken:
        click.echo(f"lightmark: {broken} faces left out; `lightmark data check {path}` names them", err=True)


def _compare_labels(model: Path, samples: Sequence[Sample], path: Path) -> bool:
    """Print the offsets of the labels of `samples` from the points of `model`; whether they are all small."""
    from lightmark.evaluate.label_offsets import format_offsets

    offsets = _label_offsets(model, samples, path)
    click.echo(f"\n{format_offsets(offsets, model.name)}")
    return offsets.clean


def _label_offsets(model: Path, samples: Sequence[Sample], path: Path) -> LabelOffsets:
    from lightmark.evaluate.label_offsets import label_offsets
    from lightmark.evaluate.predict import open_model

    return label_offsets(open_model(model), samples, path if path.is_dir() else path.parent)


@data.command("convert", cls=Command)
@click.argument("source", type=EXISTING)
@click.argument("out", type=OUT_PLACE)
@click.option("--to", "file_format", type=click.Choice(["coco", "cvat", "pts", "yolo"]), required=True)
@click.option("--subset", help="Only this official subset.")
@FORCE
@SCHEMA
def data_convert(
    source: Path, out: Path, file_format: FileFormat, subset: str | None, force: bool, schema: Schema | None
) -> None:
    """Write SOURCE as one COCO keypoints JSON or CVAT XML, or as a folder of .pts or YOLO-pose files.

    Faces whose picture or labels are broken are left out and listed; then the exit status is 1.
    """
    from lightmark.data.convert import convert

    left_out: list[str] = []
    count = convert(source, out, file_format, schema, subset, force, noted_inputs(), left_out)
    click.echo(f"{count} faces written to {out}")
    _end_with(left_out)


@data.command("pack", cls=Command)
@click.argument("sources", type=EXISTING, nargs=-1, required=True)
@click.option("--out", type=OUT_FOLDER, required=True, help="Folder of the shards; a killed run resumes there.")
@click.option(
    "--whole/--crops", "whole", default=True, show_default=True,
    help="Whole picture files, or a square crop around each face with everything that training uses.",
)  # fmt: skip
@click.option(
    "--webp", type=click.IntRange(1, 100), metavar="QUALITY",
    help="Crops as WebP instead of JPEG 95; quality 80 needs a third of the space.",
)  # fmt: skip
@click.option("--faces-per-shard", type=click.IntRange(1), default=1000, show_default=True)
@click.option("--shuffle", type=int, metavar="SEED", help="Pack in a random order; by default in that of the sources.")
@click.option("--subset", help="Only this official subset.")
@SCHEMA
def data_pack(
    sources: Sequence[Path], out: Path, whole: bool, webp: int | None, faces_per_shard: int, shuffle: int | None,
    subset: str | None, schema: Schema | None,
) -> None:  # fmt: skip
    """Pack labelled faces of SOURCES into WebDataset shards (tar) and a manifest.

    Every command that reads labelled faces also reads the finished shards. The same command resumes a killed run. Faces
    whose picture or labels are broken are left out and listed; then the exit status is 1.
    """
    from lightmark.data.read import read_samples
    from lightmark.data.shards.pack import pack

    for source in sources:
        if out.resolve().is_relative_to(source.resolve()):
            raise ConfigError(f"{out}: lies in {source}, whose faces are packed: shards would be taken for some")
    unreadable: list[str] = []
    samples = [sample for source in sources for sample in read_samples(source, schema, subset, unreadable)]
    # Crops are cut around faces, not around points that may cover a corner of one.
    samples = samples if whole else _with_face_boxes(samples)
    form: Literal["whole", "crops"] = "whole" if whole else "crops"
    packed = pack(samples, out, form, faces_per_shard, shuffle, _with_progress, webp, unreadable)
    pictures = "pictures" if whole else "crops"
    click.echo(f"{packed.faces} faces in {packed.pictures} {pictures} packed into {out}; shards: {len(packed.shards)}")
    _end_with(packed.left_out)


def _with_face_boxes(samples: Sequence[Sample]) -> list[Sample]:
    """`samples`, of one or several schemas, with the face boxes that training cuts crops around."""
    from lightmark.evaluate.face_boxes import with_face_boxes

    schemas = {sample.schema.name: sample.schema for sample in samples}
    of_schema = {name: iter(with_face_boxes([one for one in samples if one.schema.name == name])) for name in schemas}
    return [next(of_schema[sample.schema.name]) for sample in samples]


def _end_with(left_out: Sequence[str]) -> None:
    """List the faces left out and exit with status 1, if there are any."""
    if left_out:
        click.echo(f"lightmark: left out, {len(left_out)} broken labels or pictures:", err=True)
        click.echo("\n".join(f"  {sentence}" for sentence in left_out), err=True)
        sys.exit(1)


def _with_progress(shards: Sequence[Path]) -> Iterable[Path]:
    """`shards` with a progress bar if standard error is a terminal."""
    if not sys.stderr.isatty():
        return shards
    from rich.console import Console
    from rich.progress import track

    return track(shards, "", console=Console(stderr=True), transient=True)
