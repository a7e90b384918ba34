"""The group `data`: check and convert labelled faces."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from lightmark.cli.options import ANY_PATH, EXISTING, SCHEMA

if TYPE_CHECKING:
    from lightmark.schema import Schema


@click.group()
def data() -> None:
    """Check and convert labelled faces."""


@data.command("check")
@click.argument("path", type=EXISTING)
@click.option("--sheet", type=ANY_PATH, help="Write a contact sheet of faces with their points to this PNG.")
@SCHEMA
def data_check(path: Path, sheet: Path | None, schema: Schema | None) -> None:
    """Count and verify the labelled faces below PATH; status 1 if something is wrong."""
    import numpy as np

    from lightmark.data.check import check, format_report, write_contact_sheet
    from lightmark.data.read import read_samples

    samples = read_samples(path, schema)
    report = check(samples)
    click.echo(format_report(report))
    if sheet is not None:
        write_contact_sheet(samples, report, sheet, np.random.default_rng(0))
        click.echo(f"contact sheet: {sheet}")
    if not report.clean:
        sys.exit(1)


@data.command("convert")
@click.argument("source", type=EXISTING)
@click.argument("out", type=ANY_PATH)
@click.option("--to", "form", type=click.Choice(["coco", "pts"]), required=True)
@click.option("--subset", help="Only this official subset.")
@click.option("--force", is_flag=True, help="Replace what is there.")
@SCHEMA
def data_convert(
    source: Path, out: Path, form: Literal["coco", "pts"], subset: str | None, force: bool, schema: Schema | None
) -> None:
    """Write SOURCE as one COCO keypoints JSON or as a folder of .pts files."""
    from lightmark.data.convert import convert

    count = convert(source, out, form, schema, subset, force)
    click.echo(f"{count} faces written to {out}")
