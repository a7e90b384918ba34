"""Command `export`: convert a model to ONNX, LiteRT, OpenVINO, Core ML, ncnn or ExecuTorch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lightmark.cli.options import (
    EXISTING,
    FORCE,
    MODEL_OR_DETECTOR,
    OUT_PLACE,
    SCHEMA,
    Command,
    require_outputs,
    require_torch,
)
from lightmark.errors import ConfigError

if TYPE_CHECKING:
    from lightmark.export.exporter import Exported
    from lightmark.export.formats import FileFormat
    from lightmark.schema import Schema


@click.command(cls=Command, short_help="ONNX, int8, LiteRT, OpenVINO, Core ML, ncnn, ExecuTorch")
@click.argument("model", type=MODEL_OR_DETECTOR)
@click.option("--to", "formats", default="onnx", show_default=True, help="Formats, separated by commas; see below.")
@click.option("--out", type=OUT_PLACE, required=True, help="File to write, or a folder for several.")
@click.option("--calibrate", type=EXISTING, multiple=True, help="Training faces for int8 calibration; may be repeated.")
@click.option("--uint8-input", is_flag=True, help="Files take uint8 crops (B, S, S, 3) and normalise them inside.")
@click.option(
    "--evaluate",
    "measured",
    type=EXISTING,
    help="Labelled faces on which to measure the loss of accuracy of each format.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the choice of calibration faces.")
@click.option(
    "--input", "input_size", default="320x320", show_default=True, metavar="WIDTHxHEIGHT",
    help="Pixels that an exported face detector takes; multiples of 32.",
)  # fmt: skip
@FORCE
@SCHEMA
def export(
    model: Path, formats: str, out: Path, calibrate: Sequence[Path], uint8_input: bool, measured: Path | None,
    seed: int, input_size: str, force: bool, schema: Schema | None,
) -> None:  # fmt: skip
    """Export MODEL to other formats, and verify that the outputs are the same before keeping a file.

    MODEL is a checkpoint, a shipped name or a float32 ONNX file. Formats are onnx, onnx-fp16, onnx-int8,
    onnx-int8-vnni, openvino, litert, litert-int8, coreml, ncnn and executorch, each but the first four with the extra
    of its name. onnx-int8 is accurate on every processor and fast on those with VNNI (Intel from 2019, AMD from Zen
    4); onnx-int8-vnni uses the full int8 range and overflows on x86 without VNNI, where Lightmark warns and
    uses slower exact products; onnx-fp16 halves the file, for GPUs. coreml is not verified, since only Apple's systems
    can run it. ONNX from ONNX and openvino need no torch.

    The face detector (face, or a file of your own) is exported to litert and coreml, for pictures of one --input size.
    """
    from lightmark.cli.training import training_samples
    from lightmark.export.exporter import export_formats
    from lightmark.export.formats import files_of
    from lightmark.export.graph import is_detector, read_graph

    if model.suffix == ".onnx" and is_detector(read_graph(model)):
        _export_detector(model, formats, out, input_size)
        return
    outs = _name_files(model, formats.split(","), out)
    require_outputs(path for file_format, out in outs.items() for path in files_of(file_format, out))
    if model.suffix == ".safetensors":
        require_torch("a checkpoint")
    faces = training_samples(calibrate, schema) if calibrate else []
    written = export_formats(model, outs, faces, uint8_input, seed)
    click.echo(_render(written))
    if measured is not None:
        _print_degradation(model, written, measured, schema)


def _export_detector(model: Path, formats: str, out: Path, input_size: str) -> None:
    from lightmark.export.formats import DETECTOR_FORMATS, require_format

    width, separator, height = input_size.partition("x")
    if not (separator and width.isdecimal() and height.isdecimal()):
        raise ConfigError(f"--input {input_size}: needs width and height in pixels, such as 320x320")
    outs = _name_files(model, formats.split(","), out)
    for file_format in outs:
        if file_format not in DETECTOR_FORMATS:
            raise ConfigError(f"--to {file_format}: a face detector is exported to {', '.join(DETECTOR_FORMATS)}")
        require_format(file_format)
    require_outputs(outs.values())
    from lightmark.export.detector_formats import convert_detector

    for file_format, path in outs.items():
        scores = convert_detector(model, path, file_format, (int(width), int(height)))
        click.echo(
            f"{path}: faces have a score of at least {scores['threshold']}; from {scores['possible']} on they are "
            "candidates for a landmark model to confirm"
        )


def _name_files(model: Path, formats: Sequence[str], out: Path) -> Mapping[FileFormat, Path]:
    """Output file of each format: `out` for a single one, else a file in the folder `out`."""
    from lightmark.export.formats import FORMATS, name_in_folder

    known: dict[str, FileFormat] = {file_format: file_format for file_format in FORMATS}
    if unknown := [file_format for file_format in formats if file_format not in known]:
        raise ConfigError(f"--to {', '.join(unknown)}: known are {', '.join(known)}, with commas between")
    suffix = FORMATS[known[formats[0]]].suffix
    if out.name.endswith(suffix) or (out.suffix and not out.is_dir()):
        if len(formats) > 1:
            raise ConfigError(f"{out}: one file cannot hold {len(formats)} formats; give a folder")
        if not out.name.endswith(suffix):
            raise ConfigError(f"{out}: a file of {formats[0]} ends in {suffix}; call it so, or give a folder")
        return {known[formats[0]]: out}
    return {known[file_format]: out / name_in_folder(known[file_format], model.stem) for file_format in formats}


def _render(written: Sequence[Exported]) -> str:
    """Table of the written files, for a terminal."""
    from lightmark.evaluate.report.text import Table, align_columns
    from lightmark.runtime.model_file import parts_of

    columns, rows = ("file", "format", "MB", "largest px", "mean px"), []
    for one in written:
        size = sum(part.stat().st_size for part in parts_of(one.path)) / 1e6
        parity = (
            ("not verified", "–") if one.parity is None else (f"{one.parity.largest:.5f}", f"{one.parity.mean:.5f}")
        )
        rows.append((str(one.path), one.file_format, f"{size:.1f}", *parity))
    crops = next((one.parity.crops for one in written if one.parity is not None), 0)
    how = f"\ndistance of points from the original's, px of the crop, over {crops} crops, one by one and batched"
    return align_columns(Table("", columns, tuple(rows))) + (how if crops else "")


def _print_degradation(model: Path, written: Sequence[Exported], data: Path, schema: Schema | None) -> None:
    from lightmark.evaluate.degradation import measure_degradation, render_degradation

    click.echo(render_degradation(measure_degradation(model, [one.path for one in written], data, schema=schema)))
