"""Plots: which are drawn, and what is said where they cannot be."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from lightmark.errors import MissingExtraError
from lightmark.evaluate.plots import plots, require_matplotlib
from lightmark.evaluate.run import make_report


def test_without_matplotlib_the_install_line_is_given(monkeypatch) -> None:
    """The message says what to type."""
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingExtraError, match=r'pip install "lightmark\[train\]"'):
        require_matplotlib()


def test_dresses_differ(blob_samples) -> None:
    """Ink on white would not be seen on black."""
    report = make_report(blob_samples, np.stack([sample.points + 1 for sample in blob_samples]), "t")
    assert all(plot.light != plot.dark for plot in plots(report))


def test_subsets_of_the_same_faces_share_a_curve(blob_samples) -> None:
    """Two names for the same faces would hide one line under the other."""
    from matplotlib.figure import Figure

    from lightmark.evaluate.plots import LIGHT, draw_curves

    samples = [sample for sample in blob_samples if "common" in sample.subsets]
    report = make_report(samples, np.stack([sample.points + 1 for sample in samples]), "t")
    axes = Figure().subplots()
    draw_curves(axes, report, LIGHT)
    labels = [line.get_label() for line in axes.get_lines()]
    assert labels[0] == "all = common"


def test_curves_reach_the_share_of_faces_within_the_error(blob_samples) -> None:
    """At the right end of the axis the curve is the share of faces up to there."""
    from matplotlib.figure import Figure

    from lightmark.evaluate.plots import LIGHT, draw_curves

    points = np.stack([sample.points + (0 if i < 9 else 40) for i, sample in enumerate(blob_samples)])
    axes = Figure().subplots()
    draw_curves(axes, make_report(blob_samples, points, "t"), LIGHT)
    assert axes.get_lines()[0].get_ydata()[-1] == pytest.approx(75)
