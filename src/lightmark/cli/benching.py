"""Command `bench`: latency and memory of exported models on this machine."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import click

from lightmark.cli.options import FORCE, OUT_FILE, WORD, Command, number_list


@click.command(cls=Command, short_help="Latency and memory of models on this machine")
@click.argument("models", type=WORD, nargs=-1)
@click.option("--threads", callback=number_list, default="1", show_default=True, help="CPU threads, such as 1,4.")
@click.option("--batch", "batches", callback=number_list, default="1,32", show_default=True, help="Crops per call.")
@click.option(
    "--rounds",
    type=click.IntRange(1),
    default=30,
    show_default=True,
    help="Measurement rounds, each with every model once.",
)
@click.option("--json", "out", type=OUT_FILE, help="Also write all measurements to this JSON file.")
@FORCE
def bench(
    models: Sequence[str],
    threads: tuple[int, ...],
    batches: tuple[int, ...],
    rounds: int,
    out: Path | None,
    force: bool,
) -> None:
    """Time MODELS (shipped names or exported files; all shipped ones by default), in interleaved rounds.

    Files of other formats than ONNX run in their own runtimes, where these are installed: OpenVINO, LiteRT, ncnn,
    ExecuTorch (which takes no number of threads).

    To pin it to one core, run `taskset -c 0 lightmark bench …`; onnxruntime limits only the number of threads.
    """
    from rich.console import Console

    from lightmark.bench.speed import bench_json, bench_models, bench_tables
    from lightmark.files import replacing
    from lightmark.runtime.shipped import shipped_models

    report = {"command": ["lightmark", *sys.argv[1:]]}
    report |= bench_models(models or list(shipped_models()), threads, batches, rounds)
    console = Console(soft_wrap=not sys.stdout.isatty())
    for table in bench_tables(report):
        console.print(table)
    console.print(f"{report['how']}\n{report['not_measured']}", highlight=False)
    if out is not None:
        with replacing(out) as path:
            path.write_text(bench_json(report), encoding="utf-8")
