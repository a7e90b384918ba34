"""Summaries by subset, group and size, and their JSON."""

from __future__ import annotations

import json

import numpy as np
import pytest

from lightmark.evaluate.report.rows import FaceRow
from lightmark.evaluate.report.summary import JitterPoint, Report, report_to_json, summaries_by_subset, summarise
from lightmark.metrics import Interval


def row(nme: float, *subsets: str, size: float = 100.0, name: str = "a.png") -> FaceRow:
    """A face of which only some things matter."""
    return FaceRow(name, subsets, nme, nme / 2, {"eyes": nme / 4, "mouth": 2 * nme}, size, 50.0, 68)


def report(rows: list[FaceRow], **changes: object) -> Report:
    """A report at the threshold of 8 %."""
    parts: dict[str, object] = {
        "title": "t",
        "schema": "ibug68",
        "key": "nme_inter_ocular",
        "normaliser": "inter-ocular",
        "threshold": 0.08,
        "seed": 0,
        "rows": tuple(rows),
        "summaries": summaries_by_subset(rows, 0.08, 0),
    }
    return Report(**(parts | changes))


def test_a_set_s_nme_is_the_mean_over_faces() -> None:
    """Faces count alike, whatever their size."""
    assert summarise([row(0.02, size=500), row(0.04, size=50)], 0.08, 0).nme.value == pytest.approx(0.03)


def test_failure_rate_and_auc_are_at_the_threshold() -> None:
    """Errors 0, 4 %, 8 % and 20 % at 8 %: one failure of four; area (1 + ½) / 4."""
    summary = summarise([row(e) for e in (0.0, 0.04, 0.08, 0.2)], 0.08, 0)
    assert (summary.failure_rate.value, summary.auc.value) == pytest.approx((0.25, 0.375))


def test_inner_points_and_groups_have_their_means() -> None:
    """Each column of the rows is averaged on its own."""
    summary = summarise([row(0.02), row(0.04)], 0.08, 0)
    assert summary.nme_inner.value == pytest.approx(0.015)
    assert {group: interval.value for group, interval in summary.groups.items()} == pytest.approx(
        {"eyes": 0.0075, "mouth": 0.06}
    )


def test_median_and_percentiles() -> None:
    """Eleven even errors put P90 on the tenth step."""
    summary = summarise([row(i / 100) for i in range(11)], 0.08, 0)
    assert (summary.median, summary.p90, summary.p95) == pytest.approx((0.05, 0.09, 0.095))


def test_intervals_hold_their_value() -> None:
    """The bootstrap's ends lie on either side of the mean."""
    interval = summarise([row(e) for e in np.linspace(0.01, 0.2, 30)], 0.08, 0).nme
    assert interval.low < interval.value < interval.high


def test_a_face_on_an_edge_of_size_counts_once() -> None:
    """Bins take their lower edge and leave the upper one."""
    bins = summarise([row(0.1, size=80.0), row(0.1, size=79.9), row(0.1, size=9999)], 0.08, 0).sizes
    assert [(one.low, one.high, one.faces) for one in bins] == [(60, 80, 1), (80, 120, 1), (480, float("inf"), 1)]


def test_subsets_come_after_all_larger_first() -> None:
    """Subsets are sorted by size, then by name."""
    rows = [row(0.1, "b"), row(0.1, "b", "z"), row(0.1, "a"), row(0.1)]
    assert [(name, s.faces) for name, s in summaries_by_subset(rows, 0.08, 0).items()] == [
        ("all", 4),
        ("b", 2),
        ("a", 1),
        ("z", 1),
    ]


def test_a_split_that_everything_belongs_to_is_not_repeated() -> None:
    """With test faces only, "test" would repeat "all"."""
    assert list(summaries_by_subset([row(0.1, "test", "full"), row(0.2, "test", "full")], 0.08, 0)) == ["all", "full"]


def test_a_split_of_some_faces_is_reported() -> None:
    """Test faces among others are a subset like any."""
    assert list(summaries_by_subset([row(0.1, "test"), row(0.2, "train")], 0.08, 0)) == ["all", "test", "train"]


def test_json_names_normaliser_and_threshold() -> None:
    """Every published number has its interval."""
    data = json.loads(report_to_json(report([row(0.02, "common"), row(0.1)])))
    whole = data["subsets"]["all"]
    assert whole["nme_inter_ocular"]["value"] == pytest.approx(0.06)
    assert whole["failure_rate_at_0.08"]["value"] == 0.5
    assert "auc_at_0.08" in whole
    assert data["normaliser"] == "inter-ocular"


def test_json_holds_the_jitter_curve() -> None:
    """Each level has its error and failure rate."""
    curve = (JitterPoint(0.1, Interval(0.05, 0.04, 0.06), Interval(0.2, 0.1, 0.3)),)
    (point,) = json.loads(report_to_json(report([row(0.02)], box_jitter=curve)))["box_jitter"]
    assert point["level"] == 0.1
    assert point["nme_inter_ocular"] == {"value": 0.05, "low": 0.04, "high": 0.06}


def test_the_largest_faces_have_no_upper_edge_in_json() -> None:
    """The open upper edge is null in JSON, which has no infinity."""
    data = json.loads(report_to_json(report([row(0.02, size=1000)])))
    assert data["subsets"]["all"]["face_size_px"][0]["below"] is None


def test_the_same_rows_give_the_same_json() -> None:
    """No clock and no chance beyond the seed."""
    rows = [row(e, "common") for e in (0.01, 0.02, 0.3)]
    assert report_to_json(report(rows)) == report_to_json(report(list(rows)))
