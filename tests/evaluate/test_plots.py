"""Tests of the plots of a report, and of the error without matplotlib."""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
import pytest

from lightmark.errors import MissingExtraError
from lightmark.evaluate.confidence import Confidence, calibrate, measure_roc
from lightmark.evaluate.report.plots import (
    CALIBRATION,
    ROC,
    draw_calibration,
    draw_roc,
    plots,
    png,
    require_matplotlib,
)
from lightmark.evaluate.run import make_report


def test_without_matplotlib_the_error_has_the_install_line(monkeypatch) -> None:
    """The error has the install line."""
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingExtraError, match=r'pip install "lightmark\[report\]"'):
        require_matplotlib()


def test_subsets_of_the_same_faces_share_a_curve(blob_samples) -> None:
    """Two names for the same faces would hide one line under the other."""
    from matplotlib.figure import Figure

    from lightmark.evaluate.report.plots import draw_curves

    samples = [sample for sample in blob_samples if "common" in sample.subsets]
    report = make_report(samples, np.stack([sample.points + 1 for sample in samples]), "t")
    axes = Figure().subplots()
    draw_curves(axes, report)
    labels = [line.get_label() for line in axes.get_lines()]
    assert labels[0] == "all = common"


def test_curves_reach_the_share_of_faces_within_the_error(blob_samples) -> None:
    """At the right end of the axis the curve is the share of faces up to there."""
    from matplotlib.figure import Figure

    from lightmark.evaluate.report.plots import draw_curves

    points = np.stack([sample.points + (0 if i < 9 else 40) for i, sample in enumerate(blob_samples)])
    axes = Figure().subplots()
    draw_curves(axes, make_report(blob_samples, points, "t"))
    assert axes.get_lines()[0].get_ydata()[-1] == pytest.approx(75)


@pytest.fixture
def confident(blob_samples):
    """A report on points one pixel off, expected to be a tenth of a crop off."""
    faces, negatives = np.linspace(0.4, 1, 12), np.linspace(0, 0.6, 48)
    confidence = Confidence(calibrate(np.full((12, 3), 0.1), np.full((12, 3), 0.2)), measure_roc(faces, negatives))
    points = np.stack([sample.points + 1 for sample in blob_samples])
    return make_report(blob_samples, points, "t", confidence=confidence)


def test_confidence_has_two_plots(confident, blob_samples) -> None:
    """Both in the page and as PNG; a report without has neither."""
    plain = [plot.title for plot in plots(replace(confident, confidence=None))]
    assert [plot.title for plot in plots(confident)] == [*plain, CALIBRATION.title, ROC.title]
    for plot in (CALIBRATION, ROC):
        assert png(plot, confident).startswith(b"\x89PNG")


def test_calibration_shows_bins_and_the_diagonal(confident) -> None:
    """In per cent of the crop's side: expected 10, actual 20."""
    from matplotlib.figure import Figure

    axes = Figure().subplots()
    draw_calibration(axes, confident)
    diagonal, bins = axes.get_lines()[:2]
    np.testing.assert_array_equal(diagonal.get_xdata(), diagonal.get_ydata())
    np.testing.assert_allclose(np.asarray(bins.get_xdata(), float), 10)
    np.testing.assert_allclose(np.asarray(bins.get_ydata(), float), 20)


def test_the_roc_goes_from_no_false_positive_to_all(confident) -> None:
    """From the face crops found without a false positive to all of them."""
    from matplotlib.figure import Figure

    axes = Figure().subplots()
    draw_roc(axes, confident)
    false_rate, true_rate = axes.get_lines()[0].get_data()
    assert true_rate[false_rate <= 100 / 48].max() == pytest.approx(100 * 8 / 12)
    assert (false_rate[-1], true_rate[-1]) == (100, 100)
