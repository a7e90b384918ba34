"""Text of a report with its tables, for a terminal and as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lightmark.evaluate.confidence import FALSE_POSITIVE_RATE, Confidence
from lightmark.evaluate.report.summary import ALL, Report, RobustnessCurve, SizeBin
from lightmark.metrics import Interval
from lightmark.schema import FACE_BOX


@dataclass(frozen=True)
class Table:
    """Table with a heading; the first column has the names of the rows."""

    heading: str
    columns: tuple[str, ...]
    cells: tuple[tuple[str, ...], ...]


def tables(report: Report) -> list[Table]:
    """Tables by subset, group of points, face size, box jitter, disturbance, and of the confidence; no empty ones."""
    made = [_subset_table(report), _group_table(report), _size_table(report), _jitter_table(report)]
    made += [_robustness_table(curve) for curve in report.robustness]
    made += [_confidence_table(report.confidence)] if report.confidence else []
    return [table for table in made if table.cells]


def legend(report: Report) -> str:
    """Sentence that defines the metrics of the tables."""
    by_box = report.normaliser == FACE_BOX
    divisor = "the longer side of the face's box" if by_box else f"its {report.normaliser} distance"
    return (
        f"NME is the mean distance of a face's labelled points from their labels over {divisor}, in %, as mean over "
        f"faces; a face fails above {percent(report.threshold, 0)}; in brackets, bootstrap 95 % intervals."
    )


def render_text(report: Report) -> str:
    """Text of the report for a terminal."""
    parts = [report.title, legend(report), *(f"Note: {note}" for note in report.notes)]
    parts += [f"{table.heading}\n{align_columns(table)}" for table in tables(report)]
    return "\n\n".join(parts) + "\n"


def render_markdown(report: Report) -> str:
    """The report as Markdown, with its provenance."""
    parts = [f"# {report.title}", legend(report)]
    if report.notes:
        parts.append("\n".join(f"- {note}" for note in report.notes))
    parts += [f"## {table.heading}\n\n{_markdown_table(table)}" for table in tables(report)]
    provenance = "\n".join(f"- {name}: `{value}`" for name, value in origin_lines(report))
    return "\n\n".join([*parts, f"## Provenance\n\n{provenance}"]) + "\n"


def origin_lines(report: Report) -> list[tuple[str, str]]:
    """Provenance of the report as names and values; nested names are joined by dots."""
    return [("seed", str(report.seed)), *_flatten(report.origin)]


def percent(fraction: float, decimals: int = 2) -> str:
    """Text of a fraction in percent, such as "3.56 %"."""
    return f"{100 * fraction:.{decimals}f} %"


def percent_interval(interval: Interval, decimals: int = 2) -> str:
    """Text of an interval in percent without the sign, such as "3.56 [3.41, 3.72]"."""
    value, low, high = (f"{100 * number:.{decimals}f}" for number in (interval.value, interval.low, interval.high))
    return f"{value} [{low}, {high}]"


def _fraction_interval(interval: Interval) -> str:
    return f"{interval.value:.3f} [{interval.low:.3f}, {interval.high:.3f}]"


def size_name(size: SizeBin) -> str:
    """Text of a bin of face sizes, such as "80–120 px"."""
    return f"{size.low:g}–{size.high:g} px" if size.high != float("inf") else f"{size.low:g} px and more"


def align_columns(table: Table) -> str:
    """Text of the table, columns padded with spaces, all but the first right-aligned."""
    rows = [table.columns, *table.cells]
    widths = [max(len(row[column]) for row in rows) for column in range(len(table.columns))]
    return "\n".join("  ".join(_pad(row, widths)).rstrip() for row in rows)


def _pad(row: Sequence[str], widths: Sequence[int]) -> list[str]:
    return [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]


def _markdown_table(table: Table) -> str:
    rule = ["---", *["---:"] * (len(table.columns) - 1)]
    rows = [table.columns, rule, *table.cells]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in rows)


def _subset_table(report: Report) -> Table:
    at = f"{100 * report.threshold:g} %"
    columns = ("subset", "faces", "NME %", "inner NME %", f"FR@{at}", f"AUC@{at}", "median %", "P90 %", "P95 %")
    cells = tuple(
        (
            name,
            str(summary.faces),
            percent_interval(summary.nme),
            percent_interval(summary.nme_inner),
            percent_interval(summary.failure_rate, 1),
            _fraction_interval(summary.auc),
            *(f"{100 * value:.2f}" for value in (summary.median, summary.p90, summary.p95)),
        )
        for name, summary in report.summaries.items()
    )
    return Table("By subset", columns, cells)


def _group_table(report: Report) -> Table:
    groups = tuple(report.summaries[ALL].groups)
    cells = tuple(
        (name, *(_group_cell(summary.groups.get(group)) for group in groups))
        for name, summary in report.summaries.items()
    )
    return Table("By group of points, NME %", ("subset", *groups), cells if groups else ())


def _group_cell(interval: Interval | None) -> str:
    """NME in percent, or a dash if no face of the subset has a labelled point of the group."""
    return "–" if interval is None else f"{100 * interval.value:.2f}"


def _size_table(report: Report) -> Table:
    bins = report.summaries[ALL].sizes
    cells = tuple((size_name(size), str(size.faces), percent_interval(size.nme)) for size in bins)
    return Table("By face size (longer side of the labels' box)", ("size", "faces", "NME %"), cells)


def _jitter_table(report: Report) -> Table:
    columns = ("box off by up to", "NME %", f"FR@{100 * report.threshold:g} %")
    cells = tuple(
        (percent(point.level, 0), percent_interval(point.nme), percent_interval(point.failure_rate, 1))
        for point in report.box_jitter
    )
    return Table("By box jitter", columns, cells)


def _robustness_table(curve: RobustnessCurve) -> Table:
    cells = tuple(
        (f"{point.level:g}", str(point.faces), percent_interval(point.nme), f"{100 * point.untouched:.2f}")
        for point in curve.points
    )
    return Table(f"When {curve.when}", (curve.axis, "faces", "NME %", "same faces untouched %"), cells)


def _confidence_table(confidence: Confidence) -> Table:
    calibration, roc = confidence.calibration, confidence.roc
    at_threshold = f"at a false positive rate of {percent(FALSE_POSITIVE_RATE, 0)} (threshold {roc.threshold:.3g})"
    cells = (
        ("mean actual over mean expected error", _fraction_interval(calibration.ratio)),
        ("Spearman, expected and actual error within a point", f"{calibration.spearman:.3f}"),
        ("likelihood gain over a constant a point, nats", _fraction_interval(calibration.gain)),
        (f"AUC, {len(roc.faces)} face crops against {len(roc.negatives)} negative crops", f"{roc.auc:.4f}"),
        (f"face crops missed {at_threshold}", percent(roc.missed, 1)),
        ("face crops missed at a threshold of 0.5", percent(roc.missed_at_half, 1)),
        ("false positives at a threshold of 0.5", percent(roc.false_positives_at_half, 1)),
    )
    return Table("Expected errors (relative to the crop's side) and confidence", ("measure", "value"), cells)


def _flatten(facts: Any, prefix: str = "") -> list[tuple[str, str]]:
    if not isinstance(facts, dict):
        return [(prefix, " ".join(map(str, facts)) if isinstance(facts, list | tuple) else str(facts))]
    return [line for name, value in facts.items() for line in _flatten(value, f"{prefix}.{name}" if prefix else name)]
