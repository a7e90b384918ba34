"""Commands `confidence`, `train-detector` and `demo`: trainings beside those of the landmark networks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lightmark.cli.options import EXISTING, FORCE, OUT_FOLDER, OUT_PLACE, SCHEMA, Command, needs_torch, require_outputs
from lightmark.cli.training import require_runs, resumable, run_options, training_samples
from lightmark.errors import ConfigError

if TYPE_CHECKING:
    from lightmark.schema import Schema


@click.command(cls=Command, short_help="Train the expected-error and confidence heads of a network")
@click.argument("checkpoint", type=EXISTING)
@click.option("--data", type=EXISTING, multiple=True, required=True, help="The faces that the network was trained on.")
@click.option("--background", type=EXISTING, multiple=True, help="Pictures without faces, or folders of them.")
@click.option(
    "--present", type=EXISTING, multiple=True, help="More faces, such as profiles, for the confidence head only."
)
@click.option("--out", type=OUT_PLACE, required=True, help="Checkpoint to write, .safetensors.")
@FORCE
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--copies", type=click.IntRange(1), default=8, show_default=True, help="Augmented crops per face.")
@click.option("--device", default="cpu", show_default=True, help="cpu, cuda, cuda:1 …")
@click.option("--threads", type=click.IntRange(1), help="CPU threads of torch; all cores by default.")
@SCHEMA
@needs_torch
def confidence(
    checkpoint: Path, data: Sequence[Path], background: Sequence[Path], present: Sequence[Path], out: Path, force: bool,
    seed: int, copies: int, device: str, threads: int | None, schema: Schema | None,
) -> None:  # fmt: skip
    """Train the expected-error head and the confidence head of a trained network; its points do not change.

    A checkpoint that the same command has already written is reused.
    """
    from lightmark.train.confidence import (
        confidence_fingerprint,
        finished_confidence,
        saved_confidence,
        train_confidence,
    )
    from lightmark.train.config import ConfidenceRecipe, Execution

    require_outputs([] if not force and saved_confidence(out) else [out])
    pictures = pictures_of(background)
    recipe = ConfidenceRecipe(seed=seed, copies=copies)
    faces, more = training_samples(data, schema), training_samples(present, schema) if present else []
    fingerprint = confidence_fingerprint(checkpoint, faces, pictures, more, recipe)
    measured = None if force else finished_confidence(out, fingerprint)
    if measured is None:
        require_outputs([out])
        measured = train_confidence(checkpoint, faces, out, pictures, more, recipe, Execution(device))
    click.echo(f"{out}, on its validation faces:")
    click.echo(f"expected errors: scaled by {measured.scale:.2f}, Spearman {measured.spearman:.2f} with the true ones,")
    click.echo(f"{measured.nll_gain:.3f} nats a point better than one constant a point")
    click.echo(f"confidence: area under the ROC curve {measured.auc:.4f}")
    if measured.present_auc is not None:
        click.echo(f"on held-out faces of --present: {measured.present_auc:.4f}")


def pictures_of(paths: Sequence[Path]) -> list[Path]:
    """Pictures among `paths` and below the folders among them; `ConfigError` for a folder without any."""
    from lightmark.data.pictures import PICTURE_SUFFIXES, pictures_below

    below = {path: pictures_below(path) for path in paths if path.is_dir()}
    for folder, pictures in below.items():
        if not pictures:
            raise ConfigError(f"{folder}: no picture in this folder or below ({', '.join(PICTURE_SUFFIXES)})")
    return [picture for path in paths for picture in below.get(path, [path])]


@click.command("train-detector", cls=Command, short_help="Train the face detector")
@click.option("--background", type=EXISTING, multiple=True, required=True, help="Pictures without faces, or folders.")
@click.option("--start", type=EXISTING, help="Checkpoint with the initial weights.")
@run_options
def train_detector(
    data: Sequence[Path], background: Sequence[Path], start: Path | None, out: Path, seed: int, device: str,
    workers: int, threads: int | None, schema: Schema | None, steps: int | None,
) -> None:  # fmt: skip
    """Train the face detector on mosaics of labelled faces and of pictures without any."""
    from dataclasses import replace

    from lightmark.train.config import DetectorRecipe, Execution
    from lightmark.train.detector.train import train_face_detector

    recipe = DetectorRecipe(seed=seed)
    recipe = recipe if steps is None else replace(recipe, steps=steps)
    require_runs([out])
    samples, pictures = training_samples(data, schema), pictures_of(background)
    with resumable([out]):
        made = train_face_detector(recipe, samples, pictures, out, start, Execution(device, workers))
    click.echo(made)


@click.command(cls=Command, short_help="Distil a student on synthetic faces, in minutes")
@click.option("--out", type=OUT_FOLDER, default=Path("demo"), show_default=True)
@click.option("--seed", type=int, default=0, show_default=True)
@FORCE
@needs_torch
def demo(out: Path, seed: int, force: bool) -> None:
    """Distil a student on synthetic faces and measure it, in a few minutes, with nothing but this package."""
    from lightmark.demo import WRITTEN, run_demo

    require_outputs(out / name for name in WRITTEN)
    run_demo(out, seed)
