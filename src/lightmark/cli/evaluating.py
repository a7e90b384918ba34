"""Commands `info`, `models`, `evaluate` and `compare`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lightmark.cli.options import EXISTING, FORCE, MODEL, OUT_FOLDER, SCHEMA, Command, require_outputs

if TYPE_CHECKING:
    from lightmark.schema import Schema


@click.command(cls=Command, short_help="Points, input, outputs, costs and training of one model")
@click.argument("model", type=MODEL)
@click.option("--json", "as_json", is_flag=True, help="Print the whole ModelSpec as JSON.")
def info(model: Path, as_json: bool) -> None:
    """Print points, input, outputs, costs and training of MODEL (a shipped name, a checkpoint or an exported file)."""
    from lightmark.evaluate.predict import open_model
    from lightmark.spec import describe_spec, spec_to_json

    spec = open_model(model).spec
    if as_json:
        click.echo(json.dumps(json.loads(spec_to_json(spec)), indent=1))
    else:
        click.echo("\n".join(f"{name:<11}{text}" for name, text in describe_spec(spec).items()))


@click.command(cls=Command, short_help="The models in the package")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def models(as_json: bool) -> None:
    """List the models in the package: input, costs, accuracy and licence."""
    from lightmark.runtime.shipped import DETECTORS, list_models, models_table, shipped_models

    listed = list_models()
    if as_json:
        click.echo(json.dumps(listed, indent=1))
        return
    from rich.console import Console

    console = Console(soft_wrap=not sys.stdout.isatty(), highlight=False)
    console.print(models_table(listed))
    detectors = shipped_models(registry=DETECTORS).values()
    summaries = [(entry["name"], entry["summary"], entry["licence"]) for entry in listed]
    summaries += [(f"{one.name}, a face detector", one.summary, one.licence) for one in detectors]
    licences: dict[str, list[str]] = {}
    for name, summary, licence in summaries:
        console.print(f"{name}: {summary}")
        licences.setdefault(licence, []).append(name.partition(",")[0])
    for licence, names in licences.items():
        console.print(f"Licence of the weights of {', '.join(names)}: {licence}")


def _levels(_context: click.Context, _option: click.Parameter, text: str | None) -> tuple[float, ...]:
    if not text:
        return ()
    try:
        return tuple(float(level) for level in text.split(","))
    except ValueError:
        raise click.BadParameter(f"{text!r}: give shares with commas between, such as 0,0.05,0.1") from None


@click.command(cls=Command, short_help="NME, failure rate, AUC and plots of a model on labelled faces")
@click.argument("model", type=MODEL)
@click.option("--data", type=EXISTING, required=True, help="Labelled faces; test faces only where the set marks them.")
@click.option("--subset", help="One official subset, such as common, challenging or pose.")
@click.option("--report", "report_dir", type=OUT_FOLDER, help="Write report.json, .md, .html and faces.csv here.")
@FORCE
@click.option(
    "--box-jitter",
    callback=_levels,
    help="Also measure with boxes perturbed by these shares of their size: 0,0.05,0.1,0.2.",
)
@click.option(
    "--robustness",
    is_flag=True,
    help="Also measure on small, blurred, compressed and noisy faces, and with perturbed boxes; takes some 30 times "
    "as long. The report then has robustness.png.",
)
@click.option(
    "--threshold",
    type=float,
    help="NME threshold of failure rate and AUC, a fraction; default 0.08 for 68 points, else 0.10.",
)
@SCHEMA
def evaluate(
    model: Path,
    data: Path,
    subset: str | None,
    report_dir: Path | None,
    force: bool,
    box_jitter: tuple[float, ...],
    robustness: bool,
    threshold: float | None,
    schema: Schema | None,
) -> None:
    """Measure MODEL (a shipped name, a checkpoint, an ONNX file, or a JSON file of predictions) on labelled faces."""
    from lightmark.evaluate.report.text import render_text
    from lightmark.evaluate.robustness import DISTURBANCES, JITTER_LEVELS
    from lightmark.evaluate.run import REPORT_FILES, evaluate_model

    if report_dir is not None:
        require_outputs(report_dir / name for name in REPORT_FILES)

    report = evaluate_model(
        model,
        data,
        subset,
        report_dir,
        box_jitter or (JITTER_LEVELS if robustness else ()),
        threshold,
        disturbances=DISTURBANCES if robustness else (),
        schema=schema,
        command=["lightmark", *sys.argv[1:]],
    )
    click.echo(render_text(report))
    if report_dir is not None:
        click.echo(f"report: {report_dir / 'report.html'}")


@click.command(cls=Command, short_help="Paired comparison of two reports, with intervals and p")
@click.argument("first", type=EXISTING)
@click.argument("second", type=EXISTING)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")
def compare(first: Path, second: Path, as_json: bool) -> None:
    """Compare two reports face by face and test whether the difference is significant."""
    from lightmark.evaluate.compare import compare_runs, comparison_to_json, render_comparison

    comparison = compare_runs(first, second)
    click.echo(comparison_to_json(comparison) if as_json else render_comparison(comparison))
