"""The page: self-contained, well-formed, with every picture inside."""

from __future__ import annotations

import base64
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from lightmark.evaluate.report.html import Tile, render_html, worst_tiles
from lightmark.evaluate.report.summary import JitterPoint, Report
from lightmark.evaluate.run import make_report
from lightmark.metrics import Interval


class Outline(HTMLParser):
    """Tags that are open, attributes seen, complaints about tags that close wrongly."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.wrong: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Remember open tags and whatever could be loaded."""
        if tag not in {"meta", "br", "img", "source"}:
            self.open.append(tag)
        self.links += [value or "" for name, value in attrs if name in {"src", "srcset", "href", "data", "poster"}]

    def handle_endtag(self, tag: str) -> None:
        """The innermost open tag must be the one that closes."""
        if not self.open or self.open.pop() != tag:
            self.wrong.append(tag)


def errors_report(samples) -> tuple[Report, np.ndarray]:
    """Face i has every point i pixels off."""
    points = np.stack([sample.points + np.array([i, 0.0]) for i, sample in enumerate(samples)])
    return make_report(samples, points, "A <model> & more"), points


@pytest.fixture
def page(blob_samples) -> str:
    """The page of twelve blob faces."""
    report, points = errors_report(blob_samples)
    return render_html(report, worst_tiles(report, blob_samples, points))


def test_page_loads_nothing_from_elsewhere(page) -> None:
    """Every picture is a data URI; there is no URL in text, style or attribute."""
    outline = Outline()
    outline.feed(page)
    assert outline.links
    assert all(link.startswith("data:image/") for link in outline.links)
    assert not re.search(r"https?:|url\(|@import|<script|<link", page)


def test_page_is_well_formed(page) -> None:
    """All tags of the page are closed in the right order."""
    outline = Outline()
    outline.feed(page)
    assert (outline.open, outline.wrong) == ([], [])


def test_page_escapes_words(page) -> None:
    """Special characters of a title are escaped."""
    assert "A &lt;model&gt; &amp; more" in page
    assert "<model>" not in page


def test_page_has_its_plots(page) -> None:
    """Three plots, each readable SVG on a ground of its own, which a dark page does not shine through."""
    plots = re.findall(r"data:image/svg\+xml;base64,([^\"]+)", page)
    assert len(plots) == 3
    assert all(b"<svg" in base64.b64decode(plot) for plot in plots)
    assert all(b"fill: #ffffff" in base64.b64decode(plot) for plot in plots)


def test_page_describes_its_pictures(page) -> None:
    """Every image has words for those who cannot see it."""
    images = re.findall(r"<img [^>]*>", page)
    assert images
    assert all(re.search(r'alt="[^"]+"', image) for image in images)


def test_page_fits_a_phone(page) -> None:
    """The viewport is the device's, and wide tables scroll on their own."""
    assert 'content="width=device-width, initial-scale=1"' in page
    assert page.count('<div class="scroll"><table>') == page.count("<table>")


def test_page_shows_jitter_where_it_was_asked_for(blob_samples) -> None:
    """The page of a report with box jitter has a fourth plot."""
    report, points = errors_report(blob_samples)
    curve = (JitterPoint(0.05, Interval(0.05, 0.04, 0.06), Interval(0.2, 0.1, 0.3)),)
    page = render_html(replace(report, box_jitter=curve), worst_tiles(report, blob_samples, points, count=1))
    assert "Error when the box is off" in page


def test_the_same_report_gives_the_same_page(blob_samples, page) -> None:
    """The page has no dates and no random names."""
    report, points = errors_report(blob_samples)
    assert render_html(report, worst_tiles(report, blob_samples, points)) == page


def test_worst_faces_come_first(blob_samples) -> None:
    """The face with the largest error is first."""
    report, points = errors_report(blob_samples)
    tiles = worst_tiles(report, blob_samples, points, count=5)
    assert [tile.nme for tile in tiles] == sorted((row.nme for row in report.rows), reverse=True)[:5]


def test_a_missing_picture_leaves_an_empty_tile(blob_samples) -> None:
    """A missing picture gives an empty tile instead of an error."""
    report, points = errors_report(blob_samples)
    bare = [replace(sample, image=None, path=Path("/nowhere/x.png")) for sample in blob_samples]
    (tile,) = worst_tiles(report, bare, points, count=1)
    assert tile.picture is None
    assert '<div class="none">no picture</div>' in render_html(report, [tile])


def test_a_perfect_face_has_a_place_on_the_plots(blob_samples) -> None:
    """Errors of zero do not break logarithmic axes."""
    points = np.stack([sample.points for sample in blob_samples])
    report = make_report(blob_samples, points, "perfect")
    assert "0.00 %" in render_html(report, [Tile("a", 0.0, None)])


def test_a_single_face_makes_a_page(blob_samples) -> None:
    """A report of a single face can be rendered."""
    points = np.stack([blob_samples[0].points + 1])
    report = make_report(blob_samples[:1], points, "one")
    assert "<svg" not in render_html(report, worst_tiles(report, blob_samples[:1], points))
