"""Report: statistics of the faces' rows by subset, group of points and face size, with provenance; its JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np

from lightmark.evaluate.confidence import Confidence, confidence_to_dict
from lightmark.evaluate.report.rows import FaceRow
from lightmark.metrics import RESAMPLES, Interval, bootstrap_interval, percentile

REPORT_VERSION = 1
ALL = "all"
# Edges of the bins of face size, from a face in a crowd to a portrait: fixed, so that reports can be compared, and no
# powers of two, to which data sets are often resized, so that an edge there would split faces of nearly equal size.
SIZE_EDGES_PX = (0.0, 40.0, 60.0, 80.0, 120.0, 160.0, 240.0, 320.0, 480.0, float("inf"))


@dataclass(frozen=True)
class SizeBin:
    """NME of the faces whose longer side is from `low` up to below `high` pixels."""

    low: float
    high: float
    faces: int
    nme: Interval


@dataclass(frozen=True)
class Summary:
    """Statistics of the faces of one subset; errors are fractions, intervals are bootstrapped over faces.

    `points` is the number of labelled points; a group's NME is over the faces with a labelled point of it.
    """

    faces: int
    points: int
    nme: Interval
    nme_inner: Interval
    failure_rate: Interval
    auc: Interval
    median: float
    p90: float
    p95: float
    groups: Mapping[str, Interval]
    sizes: tuple[SizeBin, ...]


@dataclass(frozen=True)
class JitterPoint:
    """NME and failure rate with boxes perturbed by up to the share `level` of their size."""

    level: float
    nme: Interval
    failure_rate: Interval


@dataclass(frozen=True)
class RobustnessPoint:
    """NME of the `faces` that are large enough for a `level`, and the mean NME of the same faces `untouched`."""

    level: float
    faces: int
    nme: Interval
    untouched: float


@dataclass(frozen=True)
class RobustnessCurve:
    """NME at the levels of a disturbance, mildest first; `when` ends "error when …", `axis` names the level's unit."""

    name: str
    when: str
    axis: str
    points: tuple[RobustnessPoint, ...]


@dataclass(frozen=True)
class Report:
    """Report of an evaluation: `rows` of faces, `summaries` by subset ("all" first), and `origin`, their provenance.

    `key` names the error with its normaliser, such as "nme_inter_ocular"; `threshold` is the NME above
    which a face is a failure; `confidence` is None for a model without; `notes` are sentences for the reader.
    """

    title: str
    schema: str
    key: str
    normaliser: str
    threshold: float
    seed: int
    rows: tuple[FaceRow, ...]
    summaries: Mapping[str, Summary]
    box_jitter: tuple[JitterPoint, ...] = ()
    robustness: tuple[RobustnessCurve, ...] = ()
    confidence: Confidence | None = None
    notes: tuple[str, ...] = ()
    origin: Mapping[str, Any] = field(default_factory=dict)


def summaries_by_subset(rows: Sequence[FaceRow], threshold: float, seed: int) -> dict[str, Summary]:
    """Summary of all faces under "all", then of each subset, largest first."""
    subsets: dict[str, list[FaceRow]] = {}
    for row in rows:
        for subset in row.subsets:
            subsets.setdefault(subset, []).append(row)
    for split in ("train", "test"):
        if len(subsets.get(split, ())) == len(rows):
            del subsets[split]  # it has the same faces as "all"
    ordered = sorted(subsets.items(), key=lambda item: (-len(item[1]), item[0]))
    return {name: summarise(faces, threshold, seed) for name, faces in [(ALL, list(rows)), *ordered]}


def summarise(rows: Sequence[FaceRow], threshold: float, seed: int) -> Summary:
    """Summary of `rows`, at least one; an NME above `threshold`, a fraction, is a failure."""
    errors = np.array([row.nme for row in rows])
    return Summary(
        faces=len(rows),
        points=sum(row.points for row in rows),
        nme=bootstrap_interval(errors, seed=seed),
        nme_inner=bootstrap_interval([row.nme_inner for row in rows], seed=seed),
        failure_rate=bootstrap_interval(errors > threshold, seed=seed),
        auc=bootstrap_interval(np.maximum(0, 1 - errors / threshold), seed=seed),
        median=percentile(errors, 50),
        p90=percentile(errors, 90),
        p95=percentile(errors, 95),
        groups={
            group: bootstrap_interval(errors_of_group, seed=seed)
            for group in rows[0].groups
            if (errors_of_group := [row.groups[group] for row in rows if not np.isnan(row.groups[group])])
        },
        sizes=_size_bins(rows, seed),
    )


def _size_bins(rows: Sequence[FaceRow], seed: int) -> tuple[SizeBin, ...]:
    bins = []
    for low, high in pairwise(SIZE_EDGES_PX):
        errors = [row.nme for row in rows if low <= row.size_px < high]
        if errors:
            bins.append(SizeBin(low, high, len(errors), bootstrap_interval(errors, seed=seed)))
    return tuple(bins)


def report_to_json(report: Report) -> str:
    """JSON text of a report without its rows, which are in `faces.csv`; the same run gives the same text."""
    data = {
        "lightmark_report": REPORT_VERSION,
        "title": report.title,
        "schema": report.schema,
        "normaliser": report.normaliser,
        "threshold": report.threshold,
        "seed": report.seed,
        "intervals": {"method": "percentile bootstrap over faces", "resamples": RESAMPLES, "level": 0.95},
        "notes": list(report.notes),
        "origin": dict(report.origin),
        "subsets": {name: _summary_to_dict(summary, report) for name, summary in report.summaries.items()},
        "box_jitter": [
            {
                "level": point.level,
                report.key: point.nme.to_dict(),
                failure_key(report.threshold): point.failure_rate.to_dict(),
            }
            for point in report.box_jitter
        ],
        "robustness": {curve.name: _curve_to_dict(curve, report.key) for curve in report.robustness},
    }
    if report.confidence is not None:
        data["confidence"] = confidence_to_dict(report.confidence)
    return json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def failure_key(threshold: float) -> str:
    """Name of the failure rate at `threshold`, such as `failure_rate_at_0.08`."""
    return f"failure_rate_at_{threshold:g}"


def _summary_to_dict(summary: Summary, report: Report) -> dict[str, Any]:
    return {
        "faces": summary.faces,
        "points": summary.points,
        report.key: summary.nme.to_dict(),
        f"{report.key}_inner": summary.nme_inner.to_dict(),
        failure_key(report.threshold): summary.failure_rate.to_dict(),
        f"auc_at_{report.threshold:g}": summary.auc.to_dict(),
        "median": summary.median,
        "p90": summary.p90,
        "p95": summary.p95,
        "groups": {group: interval.to_dict() for group, interval in summary.groups.items()},
        "face_size_px": [
            {
                "from": size.low,
                "below": size.high if np.isfinite(size.high) else None,
                "faces": size.faces,
                report.key: size.nme.to_dict(),
            }
            for size in summary.sizes
        ],
    }


def _curve_to_dict(curve: RobustnessCurve, key: str) -> dict[str, Any]:
    return {
        "level": curve.axis,
        "points": [
            {
                "level": point.level,
                "faces": point.faces,
                key: point.nme.to_dict(),
                f"{key}_untouched": point.untouched,
            }
            for point in curve.points
        ],
    }
