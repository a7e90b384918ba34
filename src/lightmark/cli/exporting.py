"""The command that turns a checkpoint into what devices run: export."""

from __future__ import annotations

from pathlib import Path

import click

from lightmark.cli.options import ANY_PATH, EXISTING, needs_torch
from lightmark.errors import ConfigError


@click.command()
@click.argument("model", type=EXISTING)
@click.option("--out", type=ANY_PATH, required=True, help="The file to write, ending in .onnx.")
@click.option("--force", is_flag=True, help="Replace what is there.")
@needs_torch
def export(model: Path, out: Path, force: bool) -> None:
    """Write the checkpoint MODEL as ONNX, and prove that it is the same model before keeping it."""
    from lightmark.export.onnx import export_onnx

    if out.suffix != ".onnx":
        raise ConfigError(f"{out}: only ONNX is written, so the name must end in .onnx")
    if out.exists() and not force:
        raise ConfigError(f"{out}: is there already; give another --out, or --force")
    parity = export_onnx(model, out)
    click.echo(
        f"{out}: {out.stat().st_size / 1e6:.1f} MB; over {parity.crops} crops its points differ from torch's by at "
        f"most {parity.largest:.5f} px, {parity.mean:.5f} px on average"
    )
