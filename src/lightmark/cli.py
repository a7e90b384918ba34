"""The `lightmark` command: parses, calls one function, prints; an error of ours is one line and exit status 2."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from lightmark import __version__
from lightmark.errors import ConfigError, LightmarkError, MissingExtraError

if TYPE_CHECKING:
    from lightmark.data.sample import Sample
    from lightmark.schema import Schema

FOLDER = click.Path(path_type=Path, file_okay=False)
EXISTING = click.Path(path_type=Path, exists=True)
ANY_PATH = click.Path(path_type=Path)


class _SchemaType(click.ParamType):  # type: ignore[type-arg]  # generic only in newer releases of click
    """A built-in schema's name, or the path of a JSON file that describes one."""

    name = "SCHEMA"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Schema:
        """Schema of the text the user gave."""
        from lightmark.schema import SCHEMAS, get_schema, read_schema

        if not isinstance(value, str):
            return value  # type: ignore[no-any-return]  # click hands a default through
        return get_schema(value) if value in SCHEMAS or not Path(value).exists() else read_schema(value)


class _ModelType(click.ParamType):  # type: ignore[type-arg]  # generic only in newer releases of click
    """A shipped model's name, or the path of a model file."""

    name = "MODEL"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """Path of the file that the user named."""
        from lightmark.runtime.shipped import model_path

        return model_path(value)


MODEL = _ModelType()
SCHEMA = click.option(
    "--schema", type=_SchemaType(), help="ibug68, wflw98, cofw29 or a JSON file; for .pts, CSV and COCO data."
)


class _Command(click.Group):
    """Group that turns our errors into one line and exit status 2."""

    def invoke(self, context: click.Context) -> Any:
        """Run the command."""
        try:
            return super().invoke(context)
        except LightmarkError as error:
            click.echo(f"lightmark: {error}", err=True)
            sys.exit(2)


@click.group(cls=_Command, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="lightmark")
def main() -> None:
    """Facial-landmark detectors small enough for a phone: distil, measure, compare."""


def _training_options(command: Callable[..., None]) -> Callable[..., None]:
    options = [
        click.option("--data", type=EXISTING, multiple=True, required=True, help="Labelled faces; may be given again."),
        click.option("--out", type=FOLDER, required=True, help="Folder of the run; a killed run goes on in it."),
        click.option("--seed", type=int, default=0, show_default=True),
        click.option("--device", default="cpu", show_default=True, help="cpu, cuda, cuda:1 …"),
        click.option("--threads", type=click.IntRange(1), help="CPU threads of torch; all cores by default."),
        click.option("--workers", type=click.IntRange(0), default=0, help="Processes that cut crops; 0 for none."),
        SCHEMA,
        click.option("--tensorboard", is_flag=True, help="Also write the log for TensorBoard."),
        click.option("--steps", type=click.IntRange(1), help="Instead of the recipe's number of steps."),
    ]
    for option in reversed(options):
        command = option(command)
    return _needs_torch(command)


def _needs_torch(command: Callable[..., None]) -> Callable[..., None]:
    @wraps(command)
    def checked(**options: Any) -> None:
        try:
            import safetensors  # noqa: F401  # only asked whether it is there
            import torch
        except ImportError as error:
            raise MissingExtraError(f'training needs {error.name}: pip install "lightmark[train]"') from error
        if options.get("threads"):
            torch.set_num_threads(options["threads"])
        command(**options)

    return checked


def training_samples(paths: Sequence[Path], schema: Schema | None = None) -> list[Sample]:
    """Labelled faces of `paths` that may be trained on; test faces and known copies of them are counted, not kept."""
    from lightmark.data.origin import REPEATS_TEST
    from lightmark.data.read import read_samples

    samples = [sample for path in paths for sample in read_samples(path, schema)]
    kept = [sample for sample in samples if not {"test", REPEATS_TEST} & sample.subsets]
    if not kept:
        raise ConfigError(f"{', '.join(map(str, paths))}: only test faces ({len(samples)}); give a training set")
    left_out = f"; {len(samples) - len(kept)} test faces or copies of them left out" if len(kept) < len(samples) else ""
    click.echo(f"{len(kept)} faces to train on{left_out}", err=True)
    return kept


@main.command()
@click.argument("recipe")
@click.option("--start", type=EXISTING, help="Checkpoint whose weights the run begins at.")
@_training_options
def train(
    recipe: str, data: Sequence[Path], out: Path, seed: int, device: str, workers: int, steps: int | None,
    start: Path | None, threads: int | None, tensorboard: bool, schema: Schema | None,
) -> None:  # fmt: skip
    """Train one network: RECIPE is a stage such as cpu128-plain; see `lightmark recipes`.

    Distilled students need their teachers: use `lightmark distill`.
    """
    from dataclasses import replace

    from lightmark.train.faces import carve
    from lightmark.train.loop import train as run
    from lightmark.train.objectives import DISTILLED
    from lightmark.train.recipes import get_recipe

    chosen = get_recipe(recipe, seed)
    if chosen.objective in DISTILLED:
        raise ConfigError(f"{recipe} learns from two teachers; `lightmark distill --recipe …` trains them first")
    chosen = chosen if steps is None else replace(chosen, steps=steps)
    split = carve(training_samples(data, schema), chosen)
    click.echo(run(chosen, split, out, start=start, device=device, workers=workers, tensorboard=tensorboard))


@main.command()
@click.option("--recipe", default="cpu128", show_default=True)
@click.option("--plain", is_flag=True, help="Also train the same student without teachers, to compare.")
@click.option("--start", type=EXISTING, help="Checkpoint whose weights the student begins at.")
@_training_options
def distill(
    recipe: str, data: Sequence[Path], out: Path, seed: int, device: str, workers: int, steps: int | None,
    plain: bool, start: Path | None, threads: int | None, tensorboard: bool, schema: Schema | None,
) -> None:  # fmt: skip
    """Train both teachers and the student that learns from them; stages already done are skipped."""
    from dataclasses import replace

    from lightmark.train.distil import distil
    from lightmark.train.recipes import STAGES, get_distillation

    chosen = get_distillation(recipe, seed)
    if steps is not None:
        chosen = replace(chosen, **{stage: replace(getattr(chosen, stage), steps=steps) for stage in STAGES})
    made = distil(
        chosen,
        training_samples(data, schema),
        out,
        with_plain=plain,
        device=device,
        workers=workers,
        tensorboard=tensorboard,
        student_start=start,
    )
    for stage in STAGES:
        if getattr(made, stage) is not None:
            click.echo(f"{stage:9} {getattr(made, stage)}")


@main.command()
@click.argument("checkpoint", type=EXISTING)
@click.option("--data", type=EXISTING, multiple=True, required=True, help="The faces that it was trained on.")
@click.option("--background", type=EXISTING, multiple=True, help="Pictures without faces, or folders of such.")
@click.option("--out", type=ANY_PATH, required=True, help="Checkpoint to write, .safetensors.")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--device", default="cpu", show_default=True, help="cpu, cuda, cuda:1 …")
@click.option("--threads", type=click.IntRange(1), help="CPU threads of torch; all cores by default.")
@SCHEMA
@_needs_torch
def confidence(
    checkpoint: Path, data: Sequence[Path], background: Sequence[Path], out: Path, seed: int, device: str,
    threads: int | None, schema: Schema | None,
) -> None:  # fmt: skip
    """Teach a trained network how far off each point may be, and whether a crop holds a face; its points stay."""
    from lightmark.data.pictures import PICTURE_SUFFIXES
    from lightmark.train.confidence import ConfidenceRecipe, train_confidence

    pictures = [path for path in background if path.is_file()]
    for folder in (path for path in background if path.is_dir()):
        pictures += sorted(path for path in folder.rglob("*") if path.suffix.lower() in PICTURE_SUFFIXES)
    recipe = ConfidenceRecipe(seed=seed)
    measured = train_confidence(checkpoint, training_samples(data, schema), out, pictures, recipe, device)
    click.echo(f"{out}, on its validation faces:")
    click.echo(f"expected errors: scaled by {measured.scale:.2f}, Spearman {measured.spearman:.2f} with the true ones,")
    click.echo(f"{measured.nll_gain:.3f} nats a point better than one constant a point")
    click.echo(f"presence: area under the ROC curve {measured.presence_auc:.4f}")


@main.command()
@_needs_torch
def recipes() -> None:
    """List the recipes and what each stage trains."""
    from lightmark.train.recipes import DISTILLATIONS, STAGES

    for name, make in DISTILLATIONS.items():
        chosen = make(0)
        summary = (make.__doc__ or "").strip().splitlines()[0]
        click.echo(f"{name}: {summary}")
        for stage in STAGES:
            part = getattr(chosen, stage)
            net = part.architecture
            click.echo(
                f"  {name}-{stage}: {net.backbone}, {net.head} head, {part.size} px, {part.objective}, "
                f"{part.steps} steps of {part.batch}"
            )


@main.command()
@click.argument("model", type=MODEL)
def info(model: Path) -> None:
    """Print the ModelSpec inside MODEL (a shipped name, a checkpoint or an exported file), as JSON."""
    from lightmark.evaluate.models import open_model
    from lightmark.spec import spec_to_json

    click.echo(json.dumps(json.loads(spec_to_json(open_model(model).spec)), indent=1))


@main.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def models(as_json: bool) -> None:
    """List the models in the package: what they take, what they cost, how well they do, their licence."""
    from lightmark.runtime.shipped import list_models, models_table

    listed = list_models()
    if as_json:
        click.echo(json.dumps(listed, indent=1))
        return
    from rich.console import Console

    console = Console(soft_wrap=not sys.stdout.isatty())
    console.print(models_table(listed))
    for entry in listed:
        line = f"{entry['name']}: {entry['summary']} Licence of the weights: {entry['licence']}"
        console.print(line, highlight=False)


def _levels(_context: click.Context, _option: click.Parameter, text: str | None) -> tuple[float, ...]:
    if not text:
        return ()
    try:
        return tuple(float(level) for level in text.split(","))
    except ValueError:
        raise click.BadParameter(f"{text!r}: give shares with commas between, such as 0,0.05,0.1") from None


@main.command()
@click.argument("model", type=MODEL)
@click.option("--data", type=EXISTING, required=True, help="Labelled faces; test faces only where the set marks them.")
@click.option("--subset", help="One official subset, such as common, challenging or pose.")
@click.option("--report", "report_dir", type=FOLDER, help="Write report.json, .md, .html and faces.csv here.")
@click.option("--box-jitter", callback=_levels, help="Also measure with boxes off by these shares: 0,0.05,0.1,0.2.")
@click.option(
    "--robustness",
    is_flag=True,
    help="Also measure with faces made small, blurred, compressed and noisy, and with boxes off; some 30 times the "
    "work. A report then has robustness.png.",
)
@click.option("--threshold", type=float, help="Of failure rate and AUC, a fraction; 0.08 for 68 points, else 0.10.")
@SCHEMA
def evaluate(
    model: Path,
    data: Path,
    subset: str | None,
    report_dir: Path | None,
    box_jitter: tuple[float, ...],
    robustness: bool,
    threshold: float | None,
    schema: Schema | None,
) -> None:
    """Measure MODEL (a shipped name, a checkpoint, an ONNX file, or a JSON file of predictions) on labelled faces."""
    from lightmark.evaluate.robustness import DISTURBANCES, JITTER_LEVELS
    from lightmark.evaluate.run import evaluate_model
    from lightmark.evaluate.text import render_text

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


@main.command()
@click.argument("model", type=EXISTING)
@click.option("--out", type=ANY_PATH, required=True, help="The file to write, ending in .onnx.")
@click.option("--force", is_flag=True, help="Replace what is there.")
@_needs_torch
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


@main.command()
@click.argument("first", type=EXISTING)
@click.argument("second", type=EXISTING)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")
def compare(first: Path, second: Path, as_json: bool) -> None:
    """Pair two reports face by face and say whether their difference is real."""
    from lightmark.evaluate.compare import compare_runs, comparison_to_json, render_comparison

    comparison = compare_runs(first, second)
    click.echo(comparison_to_json(comparison) if as_json else render_comparison(comparison))


@main.group()
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


@main.command()
@click.option("--out", type=FOLDER, default=Path("demo"), show_default=True)
@click.option("--seed", type=int, default=0, show_default=True)
@_needs_torch
def demo(out: Path, seed: int) -> None:
    """Distil a student on synthetic faces and measure it, in a few minutes, with nothing but this package."""
    from lightmark.demo import run_demo

    run_demo(out, seed)


if __name__ == "__main__":
    main()
