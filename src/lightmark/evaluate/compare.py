"""Paired comparison of two reports on the same faces, with significance tests."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from lightmark.errors import DataError
from lightmark.evaluate.report.rows import FaceRow, read_rows
from lightmark.evaluate.report.summary import ALL
from lightmark.evaluate.report.text import Table, align_columns
from lightmark.metrics import Array, Interval, paired_bootstrap, sign_flip_p

Points = Literal["all", "inner"]
Verdict = Literal["b is better", "a is better", "no difference shown"]

SIGNIFICANCE = 0.05
SAME_LABEL = 1e-6  # relative difference of normalisers of the same labels: tables hold nine digits


@dataclass(frozen=True)
class PairedSummary:
    """Mean errors of two runs over the same faces, as fractions; `difference` is the mean of b − a with its interval.

    `p` is the two-sided p-value of a sign-flip permutation test; `b_better` and `a_better` are shares of the faces, the
    rest are ties.
    """

    faces: int
    a: float
    b: float
    difference: Interval
    p: float
    b_better: float
    a_better: float

    @property
    def verdict(self) -> Verdict:
        """The better run, if zero is not in the interval and p is below `SIGNIFICANCE`."""
        if self.difference.holds_zero or self.p >= SIGNIFICANCE:
            return "no difference shown"
        return "b is better" if self.difference.value < 0 else "a is better"


@dataclass(frozen=True)
class Comparison:
    """Comparison of run `b` with run `a` by subset, "all" first; `key` names the error, `points` its points."""

    a: str
    b: str
    key: str
    points: Points
    seed: int
    summaries: Mapping[str, PairedSummary]


def compare_runs(a: str | Path, b: str | Path, points: Points = "all", seed: int = 0) -> Comparison:
    """Compare two runs face by face; each is the folder of a report, or its report.json or faces.csv.

    `points` are all points, or the inner ones without the jaw. Raises `DataError` for runs over different faces, labels
    or normalisers.
    """
    (key_a, rows_a), (key_b, rows_b) = read_rows(_faces_file(a)), read_rows(_faces_file(b))
    if key_a != key_b:
        raise DataError(f"{a} holds {key_a}, {b} holds {key_b}: errors over different normalisers cannot be compared")
    paired = _pair(rows_a, rows_b, f"{a} and {b}")
    subsets = {ALL: list(range(len(rows_a)))} | _members(rows_a)
    errors_a, errors_b = _errors(rows_a, points), _errors(paired, points)
    summaries = {name: summarise_pair(errors_a[faces], errors_b[faces], seed) for name, faces in subsets.items()}
    return Comparison(str(a), str(b), key_a, points, seed, summaries)


def render_comparison(comparison: Comparison) -> str:
    """Text of a comparison for a terminal."""
    cells = tuple(_cells(name, summary) for name, summary in comparison.summaries.items())
    columns = ("subset", "faces", "a %", "b %", "b − a, points of %", "p", "b better", "a better", "verdict")
    kind = "" if comparison.points == "all" else f", {comparison.points} points"
    lines = [
        f"a: {comparison.a}",
        f"b: {comparison.b}",
        f"{comparison.key}{kind}; in brackets, the paired bootstrap's 95 % interval; p by sign-flip permutation; "
        "each subset is a test of its own",
        "",
        align_columns(Table("", columns, cells)),
    ]
    return "\n".join(lines) + "\n"


def comparison_to_json(comparison: Comparison) -> str:
    """JSON text of a comparison, with the verdict of each subset."""
    data = asdict(comparison)
    for name, summary in comparison.summaries.items():
        data["summaries"][name]["verdict"] = summary.verdict
    return json.dumps(data, indent=2, ensure_ascii=False) + "\n"


def _faces_file(run: str | Path) -> Path:
    path = Path(run)
    if path.is_dir():
        return path / "faces.csv"
    return path.with_name("faces.csv") if path.name == "report.json" else path


def _pair(rows_a: Sequence[FaceRow], rows_b: Sequence[FaceRow], where: str) -> list[FaceRow]:
    """Rows of b in the order of a; raises `DataError` for different faces, labels or normalisers."""
    by_name = {row.name: row for row in rows_b}
    only_a = [row.name for row in rows_a if row.name not in by_name]
    only_b = sorted(by_name.keys() - {row.name for row in rows_a})
    if only_a or only_b or not rows_a:
        some = ", ".join([*only_a[:2], *only_b[:2]])
        raise DataError(
            f"{where}: runs over different faces: {len(only_a)} only in the first, {len(only_b)} only in the second"
            f"{f', such as {some}' if some else ''}; evaluate both on the same data and subset"
        )
    paired = [by_name[row.name] for row in rows_a]
    for first, second in zip(rows_a, paired, strict=True):
        if first.points and second.points and first.points != second.points:
            raise DataError(
                f"{where}: {first.name} has {first.points} labelled points in the first run and {second.points} in the "
                "second: the labels differ; evaluate both on the same data"
            )
        if abs(first.normaliser_px - second.normaliser_px) > SAME_LABEL * first.normaliser_px:
            raise DataError(
                f"{where}: {first.name} has a normaliser of {first.normaliser_px:g} px in the first run and "
                f"{second.normaliser_px:g} in the second: the labels differ; evaluate both on the same data"
            )
    return paired


def _members(rows: Sequence[FaceRow]) -> dict[str, list[int]]:
    """Indices of the faces of each subset, largest first, without subsets that have all faces."""
    members: dict[str, list[int]] = {}
    for index, row in enumerate(rows):
        for subset in row.subsets:
            members.setdefault(subset, []).append(index)
    distinct = {name: faces for name, faces in members.items() if len(faces) < len(rows)}
    return dict(sorted(distinct.items(), key=lambda item: (-len(item[1]), item[0])))


def _errors(rows: Sequence[FaceRow], points: Points) -> Array:
    return np.array([row.nme if points == "all" else row.nme_inner for row in rows])


def summarise_pair(a: Array, b: Array, seed: int) -> PairedSummary:
    """Paired statistics of the errors (F,) of two models on the same faces."""
    return PairedSummary(
        faces=len(a),
        a=float(a.mean()),
        b=float(b.mean()),
        difference=paired_bootstrap(a, b, seed=seed),
        p=sign_flip_p(a, b, seed=seed),
        b_better=float((b < a).mean()),
        a_better=float((a < b).mean()),
    )


def _cells(name: str, summary: PairedSummary) -> tuple[str, ...]:
    value, low, high = (100 * v for v in (summary.difference.value, summary.difference.low, summary.difference.high))
    return (
        name,
        str(summary.faces),
        f"{100 * summary.a:.3f}",
        f"{100 * summary.b:.3f}",
        f"{value:+.3f} [{low:+.3f}, {high:+.3f}]",
        f"{summary.p:.4f}",
        f"{100 * summary.b_better:.0f} %",
        f"{100 * summary.a_better:.0f} %",
        summary.verdict,
    )
