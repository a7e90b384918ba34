"""Plots of a report as SVG and PNG."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from lightmark.errors import MissingExtraError
from lightmark.evaluate.confidence import FALSE_POSITIVE_RATE
from lightmark.evaluate.report.summary import ALL, JitterPoint, Report, RobustnessCurve, RobustnessPoint
from lightmark.metrics import ced
from lightmark.scores import roc_curve

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's colours, distinguishable for colour-blind readers.
COLOURS = ("#0f8bd0", "#d55e00", "#1aa37a", "#cc6fa5", "#b8860b", "#8c7ae6", "#808890")
MAX_CURVES = 1 + len(COLOURS)
PANEL_COLUMNS = 3
INK, FAINT = "#1d232b", "#d7dce2"  # text and curves; grid and axes
PNG_DPI = 110
SMALLEST_NME = 1e-4  # lower limit on the logarithmic axes, 0.01 %, so that a face without error has a place
LEGEND: dict[str, Any] = {"fontsize": 8, "labelcolor": INK, "frameon": False}

Draw: TypeAlias = "Callable[[Axes, Report], None]"


@dataclass(frozen=True)
class Plot:
    """Title, alternative text for screen readers, and drawing function of a plot."""

    title: str
    description: str
    draw: Draw


def require_matplotlib() -> None:
    """Raise `MissingExtraError` with the install command if matplotlib is missing."""
    try:
        import matplotlib  # noqa: F401  # only to check that it is installed
    except ModuleNotFoundError as error:
        raise MissingExtraError('a report\'s plots need matplotlib: pip install "lightmark[report]"') from error


def plots(report: Report) -> list[Plot]:
    """Plots of a report: errors, groups, face sizes; box jitter, robustness and confidence if it has them."""
    groups = [GROUPS] if report.summaries[ALL].groups else []
    confidence = [CALIBRATION, ROC] if report.confidence else []
    return [CURVES, *groups, SIZES, *robustness_plots(report), *confidence]


def svg(plot: Plot, report: Report) -> bytes:
    """SVG of a plot without its title; the same report gives the same bytes."""
    metadata = {"Date": None, "Creator": None}  # matplotlib would write the time and its version
    return _save(lambda figure: plot.draw(figure.subplots(), report), (5.2, 3.5), "svg", metadata)


def png(plot: Plot, report: Report) -> bytes:
    """PNG of a plot with its title."""
    return _png(lambda figure: _draw_titled(figure.subplots(), plot, report))


def robustness_png(report: Report) -> bytes:
    """PNG of `draw_panels`."""
    return _png(lambda figure: draw_panels(figure, report))


def draw_panels(figure: Figure, report: Report) -> None:
    """A panel for box jitter and for each robustness curve, if the report has them; all have one scale."""
    panels = robustness_plots(report)
    columns = max(1, min(PANEL_COLUMNS, len(panels)))
    rows = max(1, -(-len(panels) // columns))
    figure.set_size_inches(5.2 * columns, 3.7 * rows)
    places = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, plot in zip(places, panels, strict=False):
        _draw_titled(axes, plot, report)
    top = max((axes.dataLim.ymax for axes in places[: len(panels)]), default=1.0)
    for index, axes in enumerate(places):
        axes.set_ylim(0, 1.05 * max(top, 100 * SMALLEST_NME))
        if index >= len(panels):
            axes.set_axis_off()


def draw_curves(axes: Axes, report: Report) -> None:
    """Cumulative error curve of each subset, one curve for subsets of the same faces."""
    end = 1.5 * report.threshold
    at = np.linspace(0, end, 301)
    for colour, (label, errors) in zip((INK, *COLOURS), _distinct_subsets(report), strict=False):
        axes.plot(100 * at, 100 * ced(errors, at), color=colour, label=label, linewidth=1.4)
    axes.lines[0].set_linewidth(2.4)
    axes.axvline(100 * report.threshold, color=INK, linewidth=0.8, linestyle=":")
    axes.set(xlim=(0, 100 * end), ylim=(0, 101), xlabel=f"NME %, {report.normaliser}", ylabel="faces, %")
    axes.legend(loc="best", **LEGEND)


def draw_groups(axes: Axes, report: Report) -> None:
    """One bar a group of points over all faces, with its interval."""
    groups = dict(reversed(list(report.summaries[ALL].groups.items())))
    values = np.array([100 * interval.value for interval in groups.values()])
    ends = np.array([[100 * interval.low, 100 * interval.high] for interval in groups.values()])
    reach = np.abs(ends - values[:, None]).T
    axes.barh(list(groups), values, xerr=reach, color=COLOURS[0], height=0.62, ecolor=INK, capsize=3)
    for row, (value, high) in enumerate(zip(values, ends[:, 1], strict=True)):
        axes.annotate(f"{value:.2f}", (high, row), (5, 0), textcoords="offset points", va="center", fontsize=9)
    axes.set(xlabel=f"NME %, {report.normaliser}", xlim=(0, max(ends.max() * 1.18, SMALLEST_NME)))
    axes.grid(axis="y", visible=False)


def draw_sizes(axes: Axes, report: Report) -> None:
    """Every face's error over its size, both logarithmic, and the mean of each bin of size."""
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    sizes = np.array([row.size_px for row in report.rows])
    errors = np.maximum([row.nme for row in report.rows], SMALLEST_NME)
    axes.scatter(sizes, 100 * errors, s=9, color=COLOURS[0], alpha=0.45, linewidths=0, label="a face")
    bins = report.summaries[ALL].sizes
    middles = [np.median([size for size in sizes if one.low <= size < one.high]) for one in bins]
    means = [100 * max(one.nme.value, SMALLEST_NME) for one in bins]
    axes.plot(middles, means, color=INK, marker="o", markersize=4.5, linewidth=1.4, label="mean of a size")
    axes.axhline(100 * report.threshold, color=INK, linewidth=0.8, linestyle=":")
    axes.set(xscale="log", yscale="log", xlabel="face size, px", ylabel=f"NME %, {report.normaliser}")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axis.set_minor_formatter(NullFormatter())
    axes.legend(loc="best", **LEGEND)


def draw_jitter(axes: Axes, report: Report) -> None:
    """NME against the box jitter, with its interval."""
    levels = [100 * point.level for point in report.box_jitter]
    _draw_intervals(axes, levels, report.box_jitter)
    axes.set(xticks=levels, xlabel="box off by up to, % of its size", ylabel=f"NME %, {report.normaliser}")
    axes.set_ylim(bottom=0)


def draw_robustness(curve: RobustnessCurve, axes: Axes, report: Report) -> None:
    """NME at each level of a disturbance with its interval, levels equally spaced; dashed, the same faces undisturbed.

    If levels have different numbers of faces, the number is below the level.
    """
    steps = range(len(curve.points))
    _draw_intervals(axes, steps, curve.points, "at this level")
    undisturbed = [100 * point.untouched for point in curve.points]
    axes.plot(steps, undisturbed, color=INK, linewidth=1.0, linestyle="--", label="same faces untouched")
    counts = {point.faces for point in curve.points}
    below = "" if len(counts) == 1 else "\n{}"
    labels = [f"{point.level:g}{below.format(point.faces)}" for point in curve.points]
    faces = f"{counts.pop()} faces" if len(counts) == 1 else "below: faces that large"
    axes.set_xticks(steps, labels)
    axes.set(xlabel=f"{curve.axis}\n{faces}", ylabel=f"NME %, {report.normaliser}")
    axes.set_ylim(bottom=0)
    axes.legend(loc="best", **LEGEND)


def _draw_intervals(
    axes: Axes, x: Sequence[float], points: Sequence[JitterPoint | RobustnessPoint], label: str | None = None
) -> None:
    """Curve of the points' NME in percent over `x`, with their intervals as a band."""
    low, value, high = ([100 * getattr(point.nme, end) for point in points] for end in ("low", "value", "high"))
    axes.fill_between(x, low, high, color=COLOURS[0], alpha=0.25, linewidth=0)
    axes.plot(x, value, color=COLOURS[0], marker="o", markersize=4.5, linewidth=1.8, label=label)


def draw_calibration(axes: Axes, report: Report) -> None:
    """Mean actual error of each bin of expected errors with its interval, and the diagonal of perfect calibration."""
    assert report.confidence is not None
    bins = report.confidence.calibration.bins
    expected = [100 * one.expected for one in bins]
    low, actual, high = (100 * np.array([getattr(one.actual, end) for one in bins]) for end in ("low", "value", "high"))
    reach = np.array([actual - low, high - actual])
    end = 1.1 * float(max(*expected, *high))
    axes.plot((0, end), (0, end), color=INK, linewidth=1.0, linestyle="--", label="as expected")
    label = f"mean of {bins[0].points} points"
    axes.errorbar(
        expected, actual, reach, color=COLOURS[0], marker="o", markersize=4.5, linewidth=1.8, capsize=3, label=label
    )
    axes.set(xlim=(0, end), ylim=(0, end), xlabel="expected error, % of the crop's side", ylabel="actual error, %")
    axes.legend(loc="upper left", **LEGEND)


def draw_roc(axes: Axes, report: Report) -> None:
    """ROC curve of the confidence, false positives on a logarithmic scale; dotted, `FALSE_POSITIVE_RATE`."""
    assert report.confidence is not None
    from matplotlib.ticker import StrMethodFormatter

    roc = report.confidence.roc
    false_rate, true_rate = roc_curve(roc.faces, roc.negatives)
    least = 1 / len(roc.negatives)
    axes.step(100 * np.maximum(false_rate, least), 100 * true_rate, where="post", color=COLOURS[0], linewidth=1.8)
    axes.axvline(100 * FALSE_POSITIVE_RATE, color=INK, linewidth=0.8, linestyle=":")
    floor = min(99.0, 100 * float(true_rate[false_rate < 1.5 * least].max()))
    axes.set(xscale="log", xlim=(100 * least, 100), ylim=(max(0.0, 2 * floor - 100), 100 + (100 - floor) / 15))
    axes.set(
        xlabel=f"false positives of {len(roc.negatives)} negative crops, %",
        ylabel=f"true positives of {len(roc.faces)} face crops, %",
    )
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.annotate(f"AUC {roc.auc:.4f}", (0.97, 0.05), xycoords="axes fraction", ha="right")


CURVES = Plot("Cumulative error", "Share of faces up to each error, one curve a subset.", draw_curves)
GROUPS = Plot("Error by group of points", "Mean error of each group of points.", draw_groups)
SIZES = Plot("Error against face size", "Every face, and the mean of each size.", draw_sizes)
JITTER = Plot("Error when the box is off", "Mean error at each share of box jitter.", draw_jitter)
CALIBRATION = Plot(
    "Expected and actual errors", "Mean actual error of points of similar expected error.", draw_calibration
)
ROC = Plot("ROC of the confidence", "True positive rate at each false positive rate.", draw_roc)


def robustness_plots(report: Report) -> list[Plot]:
    """Plots of box jitter and of each robustness curve that has points."""
    curves = [curve for curve in report.robustness if curve.points]
    return ([JITTER] if report.box_jitter else []) + [
        Plot(f"Error when {curve.when}", f"Mean error by {curve.axis}.", partial(draw_robustness, curve))
        for curve in curves
    ]


def _distinct_subsets(report: Report) -> list[tuple[str, list[float]]]:
    """Errors of each subset, subsets of the same faces under one label."""
    labels: dict[tuple[int, ...], list[str]] = {}
    for subset in report.summaries:
        faces = tuple(i for i, row in enumerate(report.rows) if subset == ALL or subset in row.subsets)
        labels.setdefault(faces, []).append(subset)
    return [
        (" = ".join(names), [report.rows[i].nme for i in faces]) for faces, names in list(labels.items())[:MAX_CURVES]
    ]


def _draw_titled(axes: Axes, plot: Plot, report: Report) -> None:
    plot.draw(axes, report)
    axes.set_title(plot.title, loc="left")


def _png(draw: Callable[[Figure], None]) -> bytes:
    return _save(draw, (5.2, 3.9), "png", {"Software": None})


def _save(
    draw: Callable[[Figure], None], inches: tuple[float, float], file_format: str, metadata: dict[str, None]
) -> bytes:
    """Bytes of a figure of width and height `inches` that `draw` fills."""
    import matplotlib
    from matplotlib.figure import Figure

    stream = io.BytesIO()
    with matplotlib.rc_context(_style()):
        figure = Figure(figsize=inches, layout="constrained")
        draw(figure)
        figure.savefig(stream, format=file_format, dpi=PNG_DPI, metadata=metadata)
    return stream.getvalue()


def _style() -> Any:  # matplotlib types its keys as a Literal of three hundred names
    inked = ("text.color", "axes.labelcolor", "xtick.color", "ytick.color")
    return {
        **dict.fromkeys(inked, INK),
        "axes.edgecolor": FAINT,
        "grid.color": FAINT,
        "axes.grid": True,
        "axes.axisbelow": True,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "grid.linewidth": 0.6,
        "font.size": 10,
        "svg.hashsalt": "lightmark",
    }
