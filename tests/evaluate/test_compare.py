"""Comparing two runs face by face."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lightmark.errors import DataError
from lightmark.evaluate.compare import PairedSummary, compare_runs, comparison_to_json, render_comparison
from lightmark.evaluate.report.rows import FaceRow, write_rows
from lightmark.metrics import Interval

KEY = "nme_inter_ocular"


def rows_of(errors, inner=None) -> list[FaceRow]:
    """Faces with these errors; the first half is "common", the second "challenging"."""
    half = len(errors) / 2
    return [
        FaceRow(
            name=f"set/{i}.png",
            subsets=("common" if i < half else "challenging", "test"),
            nme=float(error),
            nme_inner=float(error if inner is None else inner[i]),
            groups={"eyes": float(error)},
            size_px=100.0,
            normaliser_px=50.0 + i,
            points=68,
        )
        for i, error in enumerate(errors)
    ]


@pytest.fixture
def run(tmp_path):
    """Function that writes a run's faces.csv and gives its folder."""

    def write(name: str, rows: list[FaceRow], key: str = KEY) -> Path:
        write_rows(tmp_path / name / "faces.csv", rows, key)
        return tmp_path / name

    return write


@pytest.fixture
def errors() -> np.ndarray:
    """Sixty errors about 5 %."""
    return np.random.default_rng(0).gamma(4, 0.0125, 60)


def test_a_known_difference_is_found(run, errors) -> None:
    """One percentage point on every face is one percentage point, beyond doubt."""
    whole = compare_runs(run("a", rows_of(errors)), run("b", rows_of(errors + 0.01))).summaries["all"]
    assert whole.difference.value == pytest.approx(0.01)
    assert (whole.difference.low, whole.difference.high) == pytest.approx((0.01, 0.01))
    assert whole.p < 0.001
    assert whole.verdict == "a is better"


@pytest.mark.parametrize(
    ("low", "high", "p", "verdict"),
    [
        (0.001, 0.02, 0.001, "a is better"),
        (0.001, 0.02, 0.049, "a is better"),
        (0.001, 0.02, 0.05, "no difference shown"),
        (0.001, 0.02, 0.3, "no difference shown"),
        (-0.001, 0.02, 0.001, "no difference shown"),
    ],
)
def test_a_verdict_needs_both_the_interval_and_p(low, high, p, verdict) -> None:
    """Each of the two tests errs on its own on few faces: neither is enough."""
    summary = PairedSummary(60, 0.05, 0.06, Interval(0.01, low, high), p, b_better=0.3, a_better=0.7)
    assert summary.verdict == verdict


def test_pairing_finds_what_two_means_would_not(run, errors) -> None:
    """A small gain on nearly every face shows, though faces differ far more among themselves."""
    noise = np.random.default_rng(1).normal(0, 0.001, len(errors))
    whole = compare_runs(run("a", rows_of(errors)), run("b", rows_of(errors - 0.001 + noise))).summaries["all"]
    assert whole.verdict == "b is better"
    assert errors.std() > 0.02


def test_chance_alone_is_no_difference(run, errors) -> None:
    """The same errors with noise about zero show nothing."""
    noise = np.random.default_rng(2).normal(0, 0.002, len(errors))
    noise -= noise.mean()
    whole = compare_runs(run("a", rows_of(errors)), run("b", rows_of(np.abs(errors + noise)))).summaries["all"]
    assert whole.verdict == "no difference shown"
    assert whole.difference.holds_zero
    assert whole.p > 0.5


def test_a_run_does_not_differ_from_itself(run, errors) -> None:
    """The comparison of a run with itself has no better face and p = 1."""
    folder = run("a", rows_of(errors))
    whole = compare_runs(folder, folder).summaries["all"]
    assert (whole.p, whole.b_better, whole.a_better) == (1.0, 0.0, 0.0)
    assert whole.verdict == "no difference shown"


def test_shares_of_better_faces_leave_out_ties(run) -> None:
    """Of four faces one is better, two are worse, one is equal."""
    a, b = [0.1, 0.1, 0.1, 0.1], [0.05, 0.2, 0.2, 0.1]
    whole = compare_runs(run("a", rows_of(a)), run("b", rows_of(b))).summaries["all"]
    assert (whole.b_better, whole.a_better) == (0.25, 0.5)


def test_subsets_are_judged_apart(run, errors) -> None:
    """A gain on one half and a loss on the other are both reported, and cancel over all."""
    change = np.where(np.arange(60) < 30, -0.01, 0.01)
    summaries = compare_runs(run("a", rows_of(errors)), run("b", rows_of(errors + change))).summaries
    assert {name: summary.verdict for name, summary in summaries.items()} == {
        "all": "no difference shown",
        "challenging": "a is better",
        "common": "b is better",
    }


def test_inner_points_can_be_compared(run, errors) -> None:
    """Runs that differ on the jaw only are alike inside it."""
    a, b = run("a", rows_of(errors, inner=errors)), run("b", rows_of(errors + 0.01, inner=errors))
    assert compare_runs(a, b, points="inner").summaries["all"].verdict == "no difference shown"


def test_faces_are_paired_by_name(run, errors) -> None:
    """The order of the rows does not matter."""
    a, b = run("a", rows_of(errors)), run("b", rows_of(errors)[::-1])
    assert compare_runs(a, b).summaries["all"].p == 1.0


@pytest.mark.parametrize("file", ["", "faces.csv", "report.json"])
def test_a_run_is_named_by_its_folder_or_a_file_in_it(run, errors, file: str) -> None:
    """Folder, faces.csv and report.json lead to the same rows."""
    folder = run("a", rows_of(errors))
    assert compare_runs(folder / file, folder).summaries["all"].faces == 60


def test_the_same_seed_gives_the_same_comparison(run, errors) -> None:
    """Intervals and p-values are reproducible."""
    a, b = run("a", rows_of(errors)), run("b", rows_of(errors[::-1]))
    assert compare_runs(a, b, seed=1) == compare_runs(a, b, seed=1)


def test_runs_over_different_faces_are_refused(run, errors) -> None:
    """The error counts and names the faces that only one run has."""
    a, b = run("a", rows_of(errors)), run("b", rows_of(errors[:-1]))
    with pytest.raises(DataError, match=r"different faces: 1 only in the first, 0 only in the second, .* set/59\.png"):
        compare_runs(a, b)


def test_runs_with_different_normalisers_are_refused(run, errors) -> None:
    """Inter-ocular and inter-pupil errors cannot be subtracted."""
    a, b = run("a", rows_of(errors)), run("b", rows_of(errors), key="nme_inter_pupil")
    with pytest.raises(DataError, match="different normalisers"):
        compare_runs(a, b)


def test_runs_over_different_labels_are_refused(run, errors) -> None:
    """The same names with other labels show in the normaliser."""
    changed = rows_of(errors)
    changed[3] = replace(changed[3], normaliser_px=51.0)
    with pytest.raises(DataError, match=r"set/3\.png has a normaliser of 53 px in the first run and 51 in the second"):
        compare_runs(run("a", rows_of(errors)), run("b", changed))


def test_a_folder_without_a_report_is_named(tmp_path) -> None:
    """The missing file is what the reader needs to know."""
    with pytest.raises(DataError, match=r"faces\.csv: cannot be read"):
        compare_runs(tmp_path, tmp_path)


def test_text_has_a_line_a_subset(run, errors) -> None:
    """Means, difference, interval, p and verdict, for all and each subset."""
    comparison = compare_runs(run("a", rows_of(errors)), run("b", rows_of(errors + 0.01)))
    text = render_comparison(comparison)
    lines = [line for line in text.splitlines() if line.startswith(("all", "common", "challenging"))]
    assert len(lines) == 3
    assert all("+1.000 [+1.000, +1.000]" in line and line.endswith("a is better") for line in lines)
    chances = [f"{summary.p:.4f}" for summary in comparison.summaries.values()]
    assert all(chance in line.split() for chance, line in zip(chances, lines, strict=True))


def test_json_holds_the_verdict(run, errors) -> None:
    """The JSON has the same verdict as the text."""
    data = json.loads(comparison_to_json(compare_runs(run("a", rows_of(errors)), run("b", rows_of(errors + 0.01)))))
    assert data["key"] == KEY
    assert data["summaries"]["all"]["verdict"] == "a is better"
    assert 0 < data["summaries"]["all"]["p"] < 0.05
    assert data["summaries"]["all"]["difference"]["value"] == pytest.approx(0.01)


def test_runs_over_other_labelled_points_are_refused(run):
    """A face with more of its points labelled in one run has another error there."""
    rows = rows_of([0.03, 0.04])
    fewer = [replace(rows[0], points=60), rows[1]]
    with pytest.raises(DataError, match=r"set/0\.png has 68 labelled points in the first run and 60 in the second"):
        compare_runs(run("a", rows), run("b", fewer))
