"""Plot of the training curves as PNG."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lightmark.files import replacing
from lightmark.train.state import Row


def plot_curves(rows: Sequence[Row], path: Path, title: str) -> None:
    """Write a PNG of training loss and validation NME over the steps of the log `rows`."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3.2), layout="constrained")
    losses, errors = figure.subplots(1, 2)
    names = [name for name in ("loss", "main", "tough", "tolerant") if any(name in row for row in rows)]
    for name in names:
        there = [row for row in rows if name in row]
        losses.plot([row["step"] for row in there], [row[name] for row in there], label=name)
    losses.set(xlabel="step", ylabel="training loss", title=title, yscale="log" if names == ["loss"] else "linear")
    losses.legend()
    there = [row for row in rows if "validation_nme" in row]
    errors.plot([row["step"] for row in there], [100 * row["validation_nme"] for row in there], marker=".")
    best = min((100 * row["validation_nme"] for row in there), default=float("nan"))
    errors.set(xlabel="step", ylabel="validation NME, %", yscale="log", title=f"best {best:.2f} %")
    for axes in (losses, errors):
        axes.grid(alpha=0.3)
        if axes.get_yscale() == "log":  # whose own labels are powers of ten, of which a short range has none
            axes.yaxis.set_major_formatter("{x:.4g}")
            axes.yaxis.set_minor_formatter("{x:.4g}")
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=110)
