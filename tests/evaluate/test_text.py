"""Reports in words: terminal and Markdown."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from lightmark.evaluate.report.summary import JitterPoint, Report
from lightmark.evaluate.report.text import render_markdown, render_text
from lightmark.evaluate.run import make_report
from lightmark.metrics import Interval


@pytest.fixture
def report(blob_samples) -> Report:
    """Every point of every face 2 pixels off."""
    points = np.stack([sample.points + np.array([2.0, 0.0]) for sample in blob_samples])
    origin = {"source": {"file": "m.onnx"}}
    return make_report(blob_samples, points, "blobs", notes=["a word of caution"], origin=origin)


def test_text_names_the_normaliser(report) -> None:
    """The legend names normaliser, threshold and intervals."""
    text = render_text(report)
    assert "first-to-last distance" in text
    assert "fails above 10 %" in text
    assert "bootstrap 95 % intervals" in text


def test_text_has_a_line_a_subset(report) -> None:
    """All faces and each named subset, with their counts."""
    firsts = [line.split()[:2] for line in render_text(report).splitlines()]
    assert ["all", "12"] in firsts
    assert ["common", "8"] in firsts
    assert ["challenging", "4"] in firsts


def test_text_has_the_numbers_of_the_report(report) -> None:
    """NME is printed in percent with two decimals and its interval."""
    nme = report.summaries["all"].nme
    assert f"{100 * nme.value:.2f} [{100 * nme.low:.2f}, {100 * nme.high:.2f}]" in render_text(report)


def test_text_has_groups_sizes_and_notes(report) -> None:
    """All requested sections are there; box jitter, not requested, is not."""
    text = render_text(report)
    for words in ("eyes", "mouth", "px", "Note: a word of caution"):
        assert words in text
    assert "jitter" not in text


def test_text_shows_jitter_where_it_was_asked_for(report) -> None:
    """Levels are shown as percent of the box."""
    curve = (JitterPoint(0.05, Interval(0.05, 0.04, 0.06), Interval(0.2, 0.1, 0.3)),)
    last = render_text(replace(report, box_jitter=curve)).splitlines()[-1]
    assert last.split() == ["5", "%", "5.00", "[4.00,", "6.00]", "20.0", "[10.0,", "30.0]"]


def test_columns_line_up(report) -> None:
    """Rows of a table end in one column."""
    block = render_text(report).split("By subset\n")[1].split("\n\n")[0]
    assert len({len(line) for line in block.splitlines()}) == 1


def test_markdown_has_the_provenance(report) -> None:
    """Nested facts appear under dotted names."""
    assert "- source.file: `m.onnx`" in render_markdown(report)


def test_markdown_tables_are_regular(report) -> None:
    """Every row of a table has as many bars as its head."""
    for block in render_markdown(report).split("\n\n"):
        lines = block.splitlines()
        if lines and lines[0].startswith("|"):
            assert len({line.count("|") for line in lines}) == 1
