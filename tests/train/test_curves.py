"""Training curves show what the log holds, over the steps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lightmark.source import to_picture
from lightmark.train.curves import plot_curves

ROWS = [
    {"step": 2, "loss": 0.5, "main": 0.2},
    {"step": 4, "loss": 0.25, "main": 0.1, "validation_nme": 0.2},
    {"step": 6, "validation_nme": 0.05},
    {"step": 8, "loss": 0.125, "validation_nme": 0.1},
]


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> list:
    """The figures that were saved."""
    figure = pytest.importorskip("matplotlib.figure")
    saved, savefig = [], figure.Figure.savefig

    def watched(self, *arguments, **options):
        saved.append(self)
        return savefig(self, *arguments, **options)

    monkeypatch.setattr(figure.Figure, "savefig", watched)
    return saved


def test_losses_and_errors_are_drawn_over_their_steps(tmp_path: Path, figures: list) -> None:
    """Each part that a row has, by name; the validation error in percent, the best one in words."""
    plot_curves(ROWS, tmp_path / "curves.png", "tiny")
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
    losses, errors = figures[0].axes
    drawn = {line.get_label(): line.get_xydata().tolist() for line in losses.lines}
    assert drawn == {"loss": [[2, 0.5], [4, 0.25], [8, 0.125]], "main": [[2, 0.2], [4, 0.1]]}
    np.testing.assert_allclose(errors.lines[0].get_xydata(), [[4, 20], [6, 5], [8, 10]])
    assert errors.lines[0].get_marker() == "."
    assert [text.get_text() for text in losses.get_legend().get_texts()] == ["loss", "main"]
    assert [axes.get_xlabel() for axes in (losses, errors)] == ["step", "step"]
    assert [axes.get_ylabel() for axes in (losses, errors)] == ["training loss", "validation NME, %"]
    assert [axes.get_title() for axes in (losses, errors)] == ["tiny", "best 5.00 %"]
    assert [axes.get_yscale() for axes in (losses, errors)] == ["linear", "log"]
    assert all(any(line.get_visible() for line in axes.get_xgridlines()) for axes in (losses, errors))


def test_teachers_parts_are_drawn_beside_the_loss(tmp_path: Path, figures: list) -> None:
    """In the order in which the loss adds them."""
    plot_curves([{"step": 1, "tolerant": 3.0, "tough": 2.0, "main": 1.0, "loss": 6.0}], tmp_path / "c.png", "kd")
    assert [line.get_label() for line in figures[0].axes[0].lines] == ["loss", "main", "tough", "tolerant"]


def test_a_plain_loss_has_a_logarithmic_axis(tmp_path: Path, figures: list) -> None:
    """Parts of the KD-Loss, which may be negative, need a linear axis; a log without validation is plotted."""
    plot_curves([{"step": 1, "loss": 0.5}, {"step": 2, "loss": 0.25}], tmp_path / "c.png", "plain")
    losses, errors = figures[0].axes
    assert losses.get_yscale() == "log"
    assert errors.get_title() == "best nan %"


def test_both_plots_are_legible(tmp_path: Path, figures: list) -> None:
    """Side by side on 880 × 352 pixels; no text leaves its half, and the grid is fainter than the curves."""
    plot_curves(ROWS, tmp_path / "c.png", "a name as long as cpu128-tolerant")
    assert to_picture(tmp_path / "c.png").shape == (352, 880, 3)
    losses, errors = (axes.get_tightbbox().extents for axes in figures[0].axes)
    assert 0 <= losses[0] < losses[2] <= errors[0] < errors[2] <= 880
    assert all(0 <= extents[1] < extents[3] <= 352 for extents in (losses, errors))
    grids = [line for axes in figures[0].axes for line in (*axes.get_xgridlines(), *axes.get_ygridlines())]
    assert all(line.get_visible() and line.get_alpha() == 0.3 for line in grids)
