"""Evaluate a model or a prediction file on labelled data, and write the report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from lightmark.bench.machine import processor_kind
from lightmark.data.missing import with_normaliser
from lightmark.data.read import keep_subset, read_samples
from lightmark.data.sample import Sample
from lightmark.errors import ConfigError, DataError
from lightmark.evaluate.confidence import Confidence, measure_confidence
from lightmark.evaluate.face_boxes import with_face_boxes
from lightmark.evaluate.notes import CONFIDENCE_NOTE, CONVERTED_NOTE, ROBUSTNESS_NOTE, box_note, missing_notes
from lightmark.evaluate.predict import open_model, predict_outputs, require_level, to_schema
from lightmark.evaluate.predictions import match_predictions, read_predictions, write_predictions
from lightmark.evaluate.report.html import render_html, worst_tiles
from lightmark.evaluate.report.plots import CALIBRATION, ROC, png, require_matplotlib, robustness_png
from lightmark.evaluate.report.rows import face_names, face_rows, nme_key, one_schema, write_rows
from lightmark.evaluate.report.summary import (
    ALL,
    JitterPoint,
    Report,
    RobustnessCurve,
    report_to_json,
    summaries_by_subset,
)
from lightmark.evaluate.report.text import render_markdown
from lightmark.evaluate.robustness import Disturbance, box_jitter_curve, robustness_curves
from lightmark.files import replacing, sha256_of
from lightmark.geometry import Array, Floats
from lightmark.provenance import git_commit, versions
from lightmark.runtime.shipped import model_path, shipped_name
from lightmark.schema import IBUG68, SCHEMAS, Schema
from lightmark.spec import ModelSpec

TEST = "test"
THRESHOLDS = {IBUG68.name: 0.08}  # the usual threshold of failure rate and AUC on 300W; WFLW and COFW use 0.10
USUAL_THRESHOLD = 0.10

# All files that a report may have.
REPORT_FILES = (
    *("report.json", "report.md", "report.html", "faces.csv", "predictions.json"),
    *("robustness.png", "calibration.png", "roc.png"),
)


def evaluate_model(
    source: str | Path,
    data: str | Path,
    subset: str | None = None,
    report_dir: str | Path | None = None,
    box_jitter: Sequence[float] = (),
    threshold: float | None = None,
    *,
    disturbances: Sequence[Disturbance] = (),
    schema: Schema | None = None,
    seed: int = 0,
    batch: int = 32,
    threads: int | None = None,
    notes: Sequence[str] = (),
    command: Sequence[str] = (),
) -> Report:
    """Evaluate `source`, a model (a shipped name, .onnx, .safetensors) or predictions (.json), on the faces at `data`.

    `subset` selects the faces; "all" takes every face, None the test faces if the data have any. `threshold` is the
    error above which a face is a failure (None: 0.08 for 68 points, else 0.10). The report is written to `report_dir`,
    if given. `box_jitter` levels and `disturbances` add robustness curves; `schema` is that of the labels for formats
    that do not have it; `notes` and `command` are stored in the report. Raises the errors of the readers and the model,
    and `ConfigError` for box jitter or disturbances with a prediction file.
    """
    _require_options(threshold, box_jitter)
    source, data = model_path(source), Path(data)
    if report_dir is not None:
        require_matplotlib()
    known = read_samples(data, schema=schema)
    chosen, choice = choose_faces(known, subset, data)
    evaluated = (
        _evaluate_predictions(source, chosen, known, box_jitter, disturbances)
        if source.suffix == ".json"
        else _evaluate_model(source, chosen, box_jitter, disturbances, threshold, seed, batch, threads)
    )
    root = data if data.is_dir() else data.parent
    converted = (CONVERTED_NOTE,) if _were_converted(chosen, evaluated.samples) else ()
    report = make_report(
        evaluated.samples,
        evaluated.points,
        title=f"{shipped_name(source) or source.name} on {data.resolve().name}" + (f", {subset}" if subset else ""),
        root=root,
        threshold=threshold,
        seed=seed,
        box_jitter=evaluated.box_jitter,
        robustness=evaluated.robustness,
        confidence=evaluated.confidence,
        notes=(*choice, *evaluated.notes, *converted, *notes),
        origin={
            "source": {**_name_of(source), "sha256": sha256_of(source), **evaluated.origin},
            "data": {"root": str(data), "subset": subset, "faces": len(evaluated.samples)},
            "options": {
                "box_jitter": list(box_jitter),
                "disturbances": [one.name for one in disturbances],
                "batch": batch,
                "threads": threads,
            },
            "command": list(command),
            "versions": versions(),
            "machine": processor_kind(),
            "commit": git_commit(),
        },
    )
    if report_dir is not None:
        write_report(report, report_dir, evaluated.samples, evaluated.points, root)
    return report


def _name_of(source: Path) -> dict[str, str]:
    """Name of a shipped model, whose path depends on the installation; path of any other source."""
    name = shipped_name(source)
    return {"file": str(source)} if name is None else {"name": name}


def make_report(
    samples: Sequence[Sample],
    points: Floats,
    title: str,
    root: Path | None = None,
    threshold: float | None = None,
    seed: int = 0,
    box_jitter: tuple[JitterPoint, ...] = (),
    robustness: tuple[RobustnessCurve, ...] = (),
    confidence: Confidence | None = None,
    notes: Sequence[str] = (),
    origin: Mapping[str, Any] | None = None,
) -> Report:
    """Report on the predicted `points` (F, N, 2) of `samples`."""
    schema = one_schema(samples)
    rows = face_rows(samples, points, root)
    limit = threshold_for(schema, threshold)
    return Report(
        title=title,
        schema=schema.name,
        key=nme_key(schema),
        normaliser=schema.normaliser_name,
        threshold=limit,
        seed=seed,
        rows=tuple(rows),
        summaries=summaries_by_subset(rows, limit, seed),
        box_jitter=box_jitter,
        robustness=robustness,
        confidence=confidence,
        notes=tuple(notes),
        origin=origin or {},
    )


def write_report(
    report: Report, folder: str | Path, samples: Sequence[Sample], points: Floats, root: Path | None = None
) -> None:
    """Write report.json, faces.csv, report.md, report.html and predictions.json into `folder`, atomically.

    A report with robustness curves also has robustness.png, one with confidence calibration.png and roc.png;
    otherwise these files of an earlier report are removed. `samples` and the predicted `points` (F, N, 2) are those of
    the report's rows. Raises `MissingExtraError` without matplotlib, `WriteError` if the folder cannot be written.
    """
    folder = Path(folder)
    page = render_html(report, worst_tiles(report, samples, points))
    texts = {"report.json": report_to_json(report), "report.md": render_markdown(report), "report.html": page}
    for name, text in texts.items():
        with replacing(folder / name) as temporary:
            temporary.write_text(text, encoding="utf-8")
    write_rows(folder / "faces.csv", report.rows, report.key)
    write_predictions(folder / "predictions.json", report.schema, face_names(samples, root), points)
    _write_picture(folder / "robustness.png", robustness_png(report) if report.robustness else None)
    _write_picture(folder / "calibration.png", png(CALIBRATION, report) if report.confidence else None)
    _write_picture(folder / "roc.png", png(ROC, report) if report.confidence else None)


def _write_picture(path: Path, png: bytes | None) -> None:
    if png is None:
        path.unlink(missing_ok=True)
        return
    with replacing(path) as temporary:
        temporary.write_bytes(png)


def threshold_for(schema: Schema, threshold: float | None = None) -> float:
    """Error above which a face is a failure: `threshold`, or if None the usual one of the schema."""
    return THRESHOLDS.get(schema.name, USUAL_THRESHOLD) if threshold is None else threshold


def choose_faces(
    samples: Sequence[Sample], subset: str | None, where: str | Path
) -> tuple[list[Sample], tuple[str, ...]]:
    """Faces of `subset`, and a note if the default was used: None takes the subset "test" if there is one.

    Names of other subsets are removed from the faces unless all their faces are taken: "full" must be complete.
    """
    if subset == ALL or (subset is None and not any(TEST in sample.subsets for sample in samples)):
        return list(samples), ()
    chosen = _keep_complete_names(keep_subset(samples, subset or TEST, where), samples)
    if subset is not None or len(chosen) == len(samples):
        return chosen, ()
    return chosen, (f"Only the {len(chosen)} test faces of {len(samples)} were taken; {ALL!r} takes every face.",)


def _keep_complete_names(chosen: Sequence[Sample], known: Sequence[Sample]) -> list[Sample]:
    """`chosen` with only the names of subsets all of whose faces in `known` are chosen."""
    counts, totals = (Counter(name for sample in samples for name in sample.subsets) for samples in (chosen, known))
    complete = frozenset(name for name, count in counts.items() if count == totals[name])
    return [replace(sample, subsets=sample.subsets & complete) for sample in chosen]


@dataclass(frozen=True)
class _Evaluated:
    """Faces, the predicted points (F, N, 2), curves, notes and provenance of one evaluation."""

    samples: list[Sample]
    points: Array
    box_jitter: tuple[JitterPoint, ...] = ()
    robustness: tuple[RobustnessCurve, ...] = ()
    confidence: Confidence | None = None
    notes: tuple[str, ...] = ()
    origin: Mapping[str, Any] = field(default_factory=dict)


def _evaluate_model(
    source: Path,
    chosen: Sequence[Sample],
    box_jitter: Sequence[float],
    disturbances: Sequence[Disturbance],
    threshold: float | None,
    seed: int,
    batch: int,
    threads: int | None,
) -> _Evaluated:
    model = open_model(source, threads)
    labelled_faces = with_face_boxes(to_schema(chosen, model.spec.schema), model.spec)
    samples = with_normaliser(labelled_faces)
    outputs = predict_outputs(model, samples, batch)
    confident = model.spec.confidence
    return _Evaluated(
        samples,
        outputs.points,
        box_jitter_curve(model, samples, box_jitter, threshold_for(model.spec.schema, threshold), seed, batch),
        robustness_curves(model, samples, disturbances, seed, batch) if disturbances else (),
        measure_confidence(model, samples, outputs, seed, batch) if confident else None,
        (
            box_note(model.spec),
            *missing_notes(labelled_faces),
            *([ROBUSTNESS_NOTE] if disturbances else []),
            *([CONFIDENCE_NOTE] if confident else []),
        ),
        {"model": _describe(model.spec)},
    )


def _evaluate_predictions(
    source: Path,
    chosen: Sequence[Sample],
    known: Sequence[Sample],
    box_jitter: Sequence[float],
    disturbances: Sequence[Disturbance],
) -> _Evaluated:
    if disturbances:
        raise ConfigError(f"{source}: robustness needs the model itself; predictions were made on untouched pictures")
    if box_jitter:
        raise ConfigError(f"{source}: box jitter needs the model itself; predictions were made from boxes of their own")
    predictions = read_predictions(source)
    schema = SCHEMAS.get(predictions.schema)
    labelled_faces = to_schema(chosen, schema) if schema else list(chosen)
    name = one_schema(labelled_faces).name
    if name != predictions.schema:
        raise DataError(f"{source}: predicts {predictions.schema}, the faces are labelled with {name}")
    if not labelled_faces[0].schema.normaliser:
        labelled_faces = with_face_boxes(labelled_faces)
    samples = with_normaliser(labelled_faces)
    taken = {sample.name for sample in samples}
    others = [sample for sample in known if sample.name not in taken]
    return _Evaluated(samples, match_predictions(predictions, samples, others), notes=missing_notes(labelled_faces))


def _were_converted(before: Sequence[Sample], after: Sequence[Sample]) -> bool:
    return any(sample.schema.size != after[0].schema.size for sample in before)


def _describe(spec: ModelSpec) -> dict[str, Any]:
    return {
        "schema": spec.schema.name,
        "size": spec.size,
        "crop_scale": spec.crop_scale,
        "architecture": dict(spec.architecture),
        "provenance": dict(spec.provenance),
    }


def _require_options(threshold: float | None, box_jitter: Sequence[float]) -> None:
    """Raise `ConfigError` for invalid options before the evaluation starts."""
    if threshold is not None and not 0 < threshold < 1:
        raise ConfigError(f"threshold {threshold}; needs a fraction between 0 and 1, 0.08 for 8 %")
    for level in box_jitter:
        require_level(level)
