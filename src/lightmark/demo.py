"""Demo: landmarks on a photograph, then distillation of a student on synthetic faces."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from lightmark.data.sample import Sample, load_image
from lightmark.data.synthetic import synthetic_samples
from lightmark.draw import contact_sheet, face_tile, write_png
from lightmark.errors import MissingExtraError
from lightmark.evaluate.predict import open_model, predict
from lightmark.evaluate.run import REPORT_FILES, make_report, write_report
from lightmark.face import Face
from lightmark.files import replacing
from lightmark.geometry import Array
from lightmark.image import Picture
from lightmark.landmarker import Landmarker
from lightmark.metrics import bootstrap_interval, interocular, nme
from lightmark.nets.checkpoint import load_checkpoint
from lightmark.nets.network import parameter_count
from lightmark.overlay import draw_faces
from lightmark.provenance import git_commit
from lightmark.runtime.shipped import DEFAULT_MODEL
from lightmark.spec import ModelSpec
from lightmark.train.distil import Distilled, distil
from lightmark.train.distributed.collectives import require_single_process
from lightmark.train.faces import image_points_of, mean_normalized_points
from lightmark.train.recipes import get_distillation

TRAINING_FACES, UNSEEN_FACES = 1200, 200
PRODUCTS = (
    "results.json",
    "student-on-unseen-faces.png",
    "report/report.html",
    "run/*/curves.png",
    "run/*/model.safetensors",
)
WRITTEN = (
    "results.json",
    "student-on-unseen-faces.png",
    "astronaut.png",
    *(f"report/{name}" for name in REPORT_FILES),
)
# Held-out faces come from other seeds of the generator than any training face.
UNSEEN_SEED_OFFSET = 1_000_000


def run_demo(out: Path, seed: int = 0) -> None:
    """Find a photograph's landmarks; then distil a student on synthetic faces, print a table and write pictures."""
    require_single_process("the demo")
    console = Console()
    began = time.monotonic()
    show_photograph(out, console)
    console.print(f"Drawing {TRAINING_FACES} synthetic faces to train on and {UNSEEN_FACES} to measure with …")
    training = synthetic_samples(TRAINING_FACES, seed)
    unseen = synthetic_samples(UNSEEN_FACES, seed + UNSEEN_SEED_OFFSET)
    made = distil(get_distillation("demo64", seed), training, out / "run", with_plain=True)
    errors = {"mean shape (no network)": mean_shape_errors(training, unseen, load_checkpoint(made.student)[1])}
    errors |= {name: model_errors(path, unseen) for name, path in named_stages(made).items()}
    rows = [summarise(name, values, named_stages(made).get(name)) for name, values in errors.items()]
    with replacing(out / "results.json") as path:
        path.write_text(json.dumps({"seed": seed, "commit": git_commit(), "rows": rows}, indent=1), encoding="utf-8")
    console.print(result_table(rows))
    points = predict(open_model(made.student), unseen)
    report = make_report(unseen, points, "distilled student on unseen synthetic faces")
    write_report(report, out / "report", unseen, points)
    write_png(prediction_sheet(points, unseen[:24]), out / "student-on-unseen-faces.png")
    console.print("The student's points (green) and the truth (pink), the report, curves and weights lie in")
    for name in PRODUCTS:
        console.print(f"  {(out / name).as_posix()}", soft_wrap=True)
    console.print(f"Took {time.monotonic() - began:.0f} s.")


def show_photograph(out: Path, console: Console) -> None:
    """Draw a shipped model's landmarks on a photograph: first, so that nobody waits for a training to see some."""
    faces = landmark_photo(Landmarker(DEFAULT_MODEL), astronaut(), out / "astronaut.png")
    console.print(f"Faces found in a photograph, no box given, by the shipped model {DEFAULT_MODEL!r}: {len(faces)}")
    console.print(f"  {(out / 'astronaut.png').as_posix()}", soft_wrap=True)


def named_stages(made: Distilled) -> dict[str, Path]:
    """Row name of the result table → checkpoint path."""
    assert made.plain is not None
    return {
        "Tough-Teacher": made.tough,
        "Tolerant-Teacher": made.tolerant,
        "student alone (L1)": made.plain,
        "student distilled (KD-Loss)": made.student,
    }


def mean_shape_errors(training: list[Sample], unseen: list[Sample], spec: ModelSpec) -> Array:
    """NME (F,) of the baseline that always predicts the mean shape of the training crops."""
    mean = mean_normalized_points(training, spec)
    return errors_of(np.stack([image_points_of(mean, sample, spec) for sample in unseen]), unseen)


def model_errors(path: Path, samples: list[Sample]) -> Array:
    """NME (F,) of a model file on `samples`."""
    return errors_of(predict(open_model(path), samples), samples)


def errors_of(points: Array, samples: list[Sample]) -> Array:
    """Inter-ocular NME (F,) of points (F, N, 2)."""
    truth = np.stack([sample.points for sample in samples])
    return nme(points, truth, normaliser=interocular(truth, samples[0].schema))


def summarise(name: str, errors: Array, checkpoint: Path | None) -> dict[str, Any]:
    """One row of the table: mean NME with its 95 % bootstrap interval, and the number of parameters."""
    interval = bootstrap_interval(errors)
    return {
        "model": name,
        "parameters": None if checkpoint is None else parameter_count(load_checkpoint(checkpoint)[0]),
        "faces": len(errors),
        "nme_inter_ocular": {"value": interval.value, "low": interval.low, "high": interval.high},
    }


def result_table(rows: list[dict[str, Any]]) -> Table:
    """Table of the rows for a terminal, NME in per cent."""
    table = Table(title=f"NME (inter-ocular) on {rows[0]['faces']} unseen synthetic faces")
    for column in ("model", "parameters", "NME, %", "95 % interval"):
        table.add_column(column, justify="left" if column == "model" else "right")
    for row in rows:
        size = "–" if row["parameters"] is None else f"{row['parameters']:,}"
        value, low, high = (f"{100 * row['nme_inter_ocular'][key]:.2f}" for key in ("value", "low", "high"))
        table.add_row(row["model"], size, value, f"{low}–{high}")
    return table


def prediction_sheet(points: Array, samples: list[Sample]) -> Picture:
    """Contact sheet of `samples` with predicted points (F, N, 2) and labels."""
    tiles = [
        face_tile(load_image(sample), predicted, sample.schema, target=sample.points)
        for predicted, sample in zip(points, samples, strict=False)  # the first faces of many
    ]
    return contact_sheet(tiles, columns=8)


def landmark_photo(landmarker: Landmarker, image: Picture, out: Path) -> list[Face]:
    """Detect the faces of `image`, largest first, and write the drawn picture as PNG to `out`."""
    faces = landmarker.detect(image)
    write_png(draw_faces(image, faces) if faces else image, out)
    return faces


def astronaut() -> Picture:
    """NASA's portrait of Eileen Collins, in the public domain, as scikit-image ships it: RGB uint8 (512, 512, 3).

    Raises `MissingExtraError` if scikit-image is not installed.
    """
    try:
        from skimage import data
    except ImportError as error:
        raise MissingExtraError(
            'the photograph of the demo comes with scikit-image: pip install "lightmark[demo]"'
        ) from error
    return np.asarray(data.astronaut(), dtype=np.uint8)
