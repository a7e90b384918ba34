"""The command that turns a model into what devices run: export."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lightmark.cli.options import EXISTING, FORCE, MODEL, OUT_PLACE, SCHEMA, Command, require_outputs, require_torch
from lightmark.errors import ConfigError

if TYPE_CHECKING:
    from lightmark.export.exporter import Exported
    from lightmark.export.formats import Form
    from lightmark.schema import Schema


@click.command(cls=Command, short_help="ONNX, int8, LiteRT, OpenVINO, Core ML, ncnn, ExecuTorch")
@click.argument("model", type=MODEL)
@click.option("--to", "forms", default="onnx", show_default=True, help="Forms, with commas between; see below.")
@click.option("--out", type=OUT_PLACE, required=True, help="File to write, or a folder for several.")
@click.option("--calibrate", type=EXISTING, multiple=True, help="Training faces, for int8; may be given again.")
@click.option("--uint8-input", is_flag=True, help="Files take crops' bytes (B, S, S, 3) and normalise them inside.")
@click.option("--evaluate", "measured", type=EXISTING, help="Labelled faces on which to say what each form loses.")
@click.option("--seed", type=int, default=0, show_default=True, help="Draws the faces to calibrate on.")
@FORCE
@SCHEMA
def export(
    model: Path, forms: str, out: Path, calibrate: Sequence[Path], uint8_input: bool, measured: Path | None, seed: int,
    force: bool, schema: Schema | None,
) -> None:  # fmt: skip
    """Write MODEL as what devices run, and prove that it is the same model before keeping it.

    MODEL is a checkpoint, a shipped name or a float32 ONNX file. Forms are onnx, onnx-fp16, onnx-int8,
    onnx-int8-vnni, openvino, litert, litert-int8, coreml, ncnn and executorch, each but the first four with the extra
    of its name. onnx-int8 is accurate on every processor and fast on those with VNNI (Intel from 2019, AMD from Zen
    4); onnx-int8-vnni uses all of int8's range and is wrong on x86 without it, where Lightmark runs it by
    slower products and says so; onnx-fp16 halves the file, for GPUs. coreml is not verified, as nothing but Apple's
    systems runs it. ONNX from ONNX and openvino need no torch.
    """
    from lightmark.cli.training import training_samples
    from lightmark.export.exporter import export_forms
    from lightmark.export.formats import files_of

    outs = _name_files(model, forms.split(","), out)
    require_outputs(path for form, out in outs.items() for path in files_of(form, out))
    if model.suffix == ".safetensors":
        require_torch("a checkpoint")
    faces = training_samples(calibrate, schema) if calibrate else []
    written = export_forms(model, outs, faces, uint8_input, seed)
    click.echo(_render(written))
    if measured is not None:
        _say_degradation(model, written, measured, schema)


def _name_files(model: Path, forms: Sequence[str], out: Path) -> Mapping[Form, Path]:
    """The file of each form: `out` itself for a single one, else in the folder `out`, named by the model and form."""
    from lightmark.export.formats import FORMATS, name_in_folder

    known: dict[str, Form] = {form: form for form in FORMATS}
    if unknown := [form for form in forms if form not in known]:
        raise ConfigError(f"--to {', '.join(unknown)}: known are {', '.join(known)}, with commas between")
    suffix = FORMATS[known[forms[0]]].suffix
    if out.name.endswith(suffix) or (out.suffix and not out.is_dir()):
        if len(forms) > 1:
            raise ConfigError(f"{out}: one file cannot hold {len(forms)} forms; give a folder")
        if not out.name.endswith(suffix):
            raise ConfigError(f"{out}: a file of {forms[0]} ends in {suffix}; call it so, or give a folder")
        return {known[forms[0]]: out}
    return {known[form]: out / name_in_folder(known[form], model.stem) for form in forms}


def _render(written: Sequence[Exported]) -> str:
    """What was written, for a terminal."""
    from lightmark.evaluate.report.text import Table, align_columns
    from lightmark.runtime.model_file import parts_of

    columns, rows = ("file", "form", "MB", "largest px", "mean px"), []
    for one in written:
        size = sum(part.stat().st_size for part in parts_of(one.path)) / 1e6
        found = ("not verified", "–") if one.parity is None else (f"{one.parity.largest:.5f}", f"{one.parity.mean:.5f}")
        rows.append((str(one.path), one.form, f"{size:.1f}", *found))
    crops = next((one.parity.crops for one in written if one.parity is not None), 0)
    how = f"\nhow far points are from the original's in the crop, over {crops} crops, one by one and together"
    return align_columns(Table("", columns, tuple(rows))) + (how if crops else "")


def _say_degradation(model: Path, written: Sequence[Exported], data: Path, schema: Schema | None) -> None:
    from lightmark.evaluate.degradation import measure_degradation, render_degradation

    click.echo(render_degradation(measure_degradation(model, [one.path for one in written], data, schema=schema)))
