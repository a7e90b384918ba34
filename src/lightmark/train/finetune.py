"""Fine-tuning of a shipped student to other points or other pictures, with the error that more labels would give."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from lightmark.data.missing import with_normaliser
from lightmark.data.sample import Sample
from lightmark.data.split import photos_in_order
from lightmark.errors import ConfigError
from lightmark.evaluate.face_boxes import with_face_boxes
from lightmark.files import make_folder, replacing
from lightmark.nets.checkpoint import load_model
from lightmark.train.config import EXECUTION, Execution, Recipe
from lightmark.train.faces import Split, ValidationCrops, require_no_tests
from lightmark.train.folder import read_result
from lightmark.train.loop import train
from lightmark.train.recipes import MILD
from lightmark.train.start import START, architecture_of, write_start

REPORT = "finetune.json"
FEWEST = 5  # photographs
FEW = 20  # photographs below which each is left out in turn, since a fifth of them would judge by chance
HELD_OUT = 0.2  # share of the photographs for validation, from `FEW` on
FLAT = 0.03  # exponent of a learning curve below which more faces are no advice


@dataclass(frozen=True)
class FineTuned:
    """A fine-tuned checkpoint and its report.

    `errors` is the validation NME by the number of training photographs, `start` that of the initial weights, None
    where each face was left out in turn.
    """

    checkpoint: Path
    photographs: int
    errors: Mapping[int, float]
    start: float | None

    @property
    def nme(self) -> float:
        """Validation NME of all training faces, of the faces left out in turn where those are few."""
        return self.errors[max(self.errors)]


def finetune_recipe(model: Path, faces: int, seed: int = 0) -> Recipe:
    """Recipe for fine-tuning `model` on that many faces: steps grow with the root of their number.

    Batch norms keep the model's statistics, and the layers of the points have ten times the learning rate: of 40 faces
    of scut86 that took the NME from 4.1 % to 3.4 %, one rate of 0.001 for all to 3.8 % (lab notes, 2026-11-28).
    The run ends early when four validations bring nothing.
    """
    architecture, spec = architecture_of(model)
    steps = int(min(3000, max(200, 60 * math.sqrt(faces))))
    return Recipe(
        name=f"finetune-{model.stem}",
        architecture=architecture,
        size=spec.size,
        crop_scale=spec.crop_scale,
        objective="l1",
        steps=steps,
        batch=16 if faces >= FEW else 8,
        learning_rate=3e-4,
        head_rate=10.0,
        batch_statistics=False,
        warmup=steps // 10,
        ema=0.98 if steps < 1000 else 0.995,
        augmentation=MILD,
        validate_every=max(20, steps // 12),
        log_every=20,
        patience=4,
        seed=seed,
    )


def finetune(
    model: Path,
    samples: Sequence[Sample],
    out: Path,
    recipe: Recipe | None = None,
    with_curve: bool = True,
    execution: Execution = EXECUTION,
) -> FineTuned:
    """Train `model` on `samples` in the folder `out`, which gets the files of `train`, and finetune.json.

    From 20 photographs on a fifth of them is held out; `with_curve` also trains on a quarter and on half of the others,
    for the learning curve. Below 20, each photograph is left out in turn, and the checkpoint is trained on all. The
    same call resumes. Raises `ConfigError` for less than five photographs and for test faces, otherwise as `train`.
    """
    require_no_tests(samples)
    recipe = recipe or finetune_recipe(model, len(samples))
    photos = photos_in_order(samples, recipe.seed)
    if len(photos) < FEWEST:
        raise ConfigError(f"{len(photos)} photographs; label at least {FEWEST}, 20 for a validation split")
    boxed = with_face_boxes(samples)
    make_folder(out)
    few = len(photos) < FEW
    validation = set(photos) if few else set(photos[: max(4, round(HELD_OUT * len(photos)))])
    known = photos if few else [photo for photo in photos if photo not in validation]
    held_out = [sample for sample in boxed if sample.photo in validation]

    def run(folder: Path, of: Sequence[str], judges: list[Sample], settings: Recipe) -> float:
        chosen = [sample for sample in boxed if sample.photo in set(of)]
        start = write_start(model, chosen, folder / START, settings.seed)
        train(settings, Split(chosen, judges), folder, start=start, execution=execution)
        return float(read_result(folder)["validation_nme"])

    errors, start = {}, None
    if few:
        errors[len(photos) - 1] = _left_out_in_turn(run, boxed, photos, out, recipe)
        run(out, photos, boxed, _without_choice(recipe))
    else:
        for part in (4, 2) if with_curve and len(known) >= 2 * FEW else ():
            count = len(known) // part
            smaller = replace(recipe, steps=max(100, round(recipe.steps / math.sqrt(part))))
            errors[count] = run(out / f"on-{count}", known[:count], held_out, smaller)
        errors[len(known)] = run(out, known, held_out, recipe)
        start = _nme(out / START, held_out)
    report = FineTuned(out / "model.safetensors", len(photos), errors, start)
    _write_report(out / REPORT, report)
    return report


def _left_out_in_turn(
    run: Callable[[Path, Sequence[str], list[Sample], Recipe], float],
    boxed: Sequence[Sample],
    photos: Sequence[str],
    out: Path,
    recipe: Recipe,
) -> float:
    """Mean NME of the faces, each of a network that was trained on the photographs without it."""
    usable = with_normaliser(boxed)
    nmes = []
    for number, photo in enumerate(photos):
        judges = [sample for sample in usable if sample.photo == photo]
        if judges:
            others = [other for other in photos if other != photo]
            nmes += [run(out / f"without-{number}", others, judges, _without_choice(recipe))] * len(judges)
    return float(np.mean(nmes))


def _without_choice(recipe: Recipe) -> Recipe:
    """`recipe` with one validation, at its end, so that no face chooses the weights that it then judges."""
    return replace(recipe, validate_every=recipe.steps, patience=None)


def _nme(checkpoint: Path, samples: Sequence[Sample]) -> float:
    """Mean NME of a checkpoint on `samples`."""
    usable, model = with_normaliser(samples), load_model(checkpoint)
    return float(ValidationCrops(usable, [sample.points for sample in usable], model.spec)(model).mean())


def learning_curve(errors: Mapping[int, float]) -> tuple[float, float] | None:
    """Scale a and exponent b of error = a · faces^−b, the least-squares line in logarithms; None below two sizes.

    >>> a, b = learning_curve({10: 0.08, 20: 0.04, 40: 0.02})
    >>> round(a, 3), round(b, 3)
    (0.8, 1.0)
    """
    if len(errors) < 2:
        return None
    slope, intercept = np.polyfit(np.log(list(errors)), np.log(list(errors.values())), 1)
    return float(np.exp(intercept)), float(-slope)


def report_lines(report: FineTuned) -> list[str]:
    """Lines of text: the errors by number of photographs, and what more of them would give."""
    lines = [f"{report.checkpoint}"]
    if report.start is None:
        lines.append(f"{100 * report.nme:.2f} % NME of {report.photographs} photographs, each left out in turn")
        lines.append(f"label {FEW} photographs or more for a validation split and a learning curve")
        return lines
    lines.append(f"{100 * report.start:.2f} % NME on the validation faces before, {100 * report.nme:.2f} % after")
    lines += [f"  {count} training photographs: {100 * nme:.2f} %" for count, nme in sorted(report.errors.items())]
    if report.start <= report.nme:
        lines.append(f"training did not help: {START} beside it is as good; give more faces, or more --steps")
    curve = learning_curve(report.errors)
    if curve is None:
        return lines
    if curve[1] < FLAT:
        return [*lines, "more faces of this kind would hardly help: look for wrong labels, or label other faces"]
    twice = report.nme * 2 ** -curve[1]
    return [*lines, f"twice as many faces would take {100 * report.nme:.1f} % to about {100 * twice:.1f} %"]


def _write_report(path: Path, report: FineTuned) -> None:
    content = {
        "photographs": report.photographs,
        "start_nme": report.start,
        "nme": report.nme,
        "validation": "held out" if report.start is not None else "left out in turn",
        "nme_by_training_photographs": {str(count): nme for count, nme in sorted(report.errors.items())},
        "learning_curve": learning_curve(report.errors),
    }
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1), encoding="utf-8")
