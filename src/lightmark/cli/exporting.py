"""The command that turns a model into what devices run: export."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lightmark.cli.options import ANY_PATH, EXISTING, MODEL, SCHEMA, require_torch
from lightmark.errors import ConfigError

if TYPE_CHECKING:
    from lightmark.export.forms import Exported, Form
    from lightmark.schema import Schema


@click.command()
@click.argument("model", type=MODEL)
@click.option("--to", "forms", default="onnx", show_default=True, help="Also onnx-fp16, onnx-int8, onnx-int8-reduced.")
@click.option("--out", type=ANY_PATH, required=True, help="File to write, ending in .onnx, or a folder for several.")
@click.option("--calibrate", type=EXISTING, multiple=True, help="Training faces, for int8; may be given again.")
@click.option("--uint8-input", is_flag=True, help="Files take crops' bytes (B, S, S, 3) and normalise them inside.")
@click.option("--evaluate", "measured", type=EXISTING, help="Labelled faces on which to say what each form loses.")
@click.option("--seed", type=int, default=0, show_default=True, help="Draws the faces to calibrate on.")
@click.option("--force", is_flag=True, help="Replace what is there.")
@SCHEMA
def export(
    model: Path, forms: str, out: Path, calibrate: Sequence[Path], uint8_input: bool, measured: Path | None, seed: int,
    force: bool, schema: Schema | None,
) -> None:  # fmt: skip
    """Write MODEL as ONNX, and prove that it is the same model before keeping it.

    MODEL is a checkpoint, a shipped name or a float32 ONNX file, which needs no torch. onnx-int8 is two to three times
    as fast on processors with VNNI (Intel from 2019, AMD from Zen 4), onnx-int8-reduced is for those before; onnx-fp16
    halves the file, for GPUs. Several forms, with commas between, go into a folder.
    """
    from lightmark.cli.training import training_samples
    from lightmark.export.forms import export_forms

    outs = _name_files(model, forms.split(","), out)
    for path in outs.values():
        if path.exists() and path.resolve() == model.resolve():
            raise ConfigError(f"{path}: is the model itself; give another --out")
        if path.exists() and not force:
            raise ConfigError(f"{path}: is there already; give another --out, or --force")
    if model.suffix == ".safetensors":
        require_torch("a checkpoint")
    faces = training_samples(calibrate, schema) if calibrate else []
    written = export_forms(model, outs, faces, uint8_input, seed)
    for one in written:
        click.echo(_sentence(one))
    if measured is not None:
        _say_degradation(model, written, measured, schema)


def _name_files(model: Path, forms: Sequence[str], out: Path) -> Mapping[Form, Path]:
    """The file of each form: `out` itself for a single one, else in the folder `out`, named by the model and form."""
    from lightmark.export.forms import PRECISIONS

    known: dict[str, Form] = {form: form for form in PRECISIONS}
    if unknown := [form for form in forms if form not in known]:
        raise ConfigError(f"--to {', '.join(unknown)}: known are {', '.join(known)}, with commas between")
    if out.suffix and not out.is_dir():
        if out.suffix != ".onnx":
            raise ConfigError(f"{out}: only ONNX is written, so the name must end in .onnx, or be a folder's")
        if len(forms) > 1:
            raise ConfigError(f"{out}: one file cannot hold {len(forms)} forms; give a folder")
        return {known[forms[0]]: out}
    return {known[form]: out / f"{model.stem}{form.removeprefix('onnx')}.onnx" for form in forms}


def _sentence(one: Exported) -> str:
    parity, original = one.parity, "its float32 original" if one.form != "onnx" else "the original"
    return (
        f"{one.path}: {one.path.stat().st_size / 1e6:.1f} MB; over {parity.crops} crops its points differ from those "
        f"of {original} by at most {parity.largest:.5f} px, {parity.mean:.5f} px on average"
    )


def _say_degradation(model: Path, written: Sequence[Exported], data: Path, schema: Schema | None) -> None:
    from lightmark.evaluate.degradation import measure_degradation, render_degradation

    click.echo(render_degradation(measure_degradation(model, [one.path for one in written], data, schema=schema)))
