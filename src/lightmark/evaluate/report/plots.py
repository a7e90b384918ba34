"""The plots of a report as SVG, and PNGs of its robustness and its confidence."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from lightmark.errors import MissingExtraError
from lightmark.evaluate.confidence import TOLERATED
from lightmark.evaluate.report.summary import ALL, Report, RobustnessCurve
from lightmark.metrics import ced, roc_curve

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's colours, distinguishable for colour-blind readers.
COLOURS = ("#0f8bd0", "#d55e00", "#1aa37a", "#cc6fa5", "#b8860b", "#8c7ae6", "#808890")
MOST_CURVES = 1 + len(COLOURS)
PANEL_COLUMNS = 3
INK, FAINT = "#1d232b", "#d7dce2"  # text and curves; grid and axes
PNG_DPI = 110
SMALLEST_NME = 1e-4  # a perfect face still has a place on the logarithmic axis: 0.01 %


Draw: TypeAlias = "Callable[[Axes, Report], None]"
Titled: TypeAlias = "tuple[str, str, Draw]"  # with a title and a sentence for those who cannot see it


@dataclass(frozen=True)
class Plot:
    """A plot's title, a sentence for those who cannot see it, and its SVG."""

    title: str
    description: str
    svg: bytes


def require_matplotlib() -> None:
    """Raise `MissingExtraError` with the line that installs matplotlib unless it is there."""
    try:
        import matplotlib  # noqa: F401  # only whether it is there
    except ModuleNotFoundError as error:
        raise MissingExtraError('a report\'s plots need matplotlib: pip install "lightmark[report]"') from error


def plots(report: Report) -> list[Plot]:
    """Error curve, groups, error against size; box jitter and robustness where asked for; confidence where there is."""
    whole = report.summaries[ALL]
    made = [
        _plot("Cumulative error", "Share of faces up to each error, one curve a subset.", draw_curves, report),
        _plot("Error against face size", "Every face, and the mean of each size.", draw_sizes, report),
    ]
    if whole.groups:
        made.insert(1, _plot("Error by group of points", "Mean error of each group of points.", draw_groups, report))
    judged = [CALIBRATION, PRESENCE] if report.confidence else []
    return made + [_plot(*drawing, report) for drawing in _disturbed(report) + judged]


def robustness_png(report: Report) -> bytes:
    """PNG with a panel for box jitter, where it was asked for, and for each robustness curve that has points."""
    return _png(lambda figure: draw_panels(figure, report))


def calibration_png(report: Report) -> bytes:
    """PNG of `draw_calibration`, for a report with confidence."""
    return _png(partial(_draw_titled, CALIBRATION, report))


def presence_png(report: Report) -> bytes:
    """PNG of `draw_presence`, for a report with confidence."""
    return _png(partial(_draw_titled, PRESENCE, report))


def draw_panels(figure: Figure, report: Report) -> None:
    """The panels of `robustness_png`, on one scale of errors: which disturbance hurts most is seen at a glance."""
    panels = _disturbed(report)
    rows = max(1, -(-len(panels) // PANEL_COLUMNS))
    columns = max(1, min(PANEL_COLUMNS, len(panels)))
    figure.set_size_inches(5.2 * columns, 3.7 * rows)
    places = figure.subplots(rows, columns, squeeze=False).ravel()
    for place, (title, _, draw) in zip(places, panels, strict=False):
        draw(place, report)
        place.set_title(title, loc="left")
    top = max(place.dataLim.ymax for place in places[: len(panels)]) if panels else 1.0
    for index, place in enumerate(places):
        place.set_ylim(0, 1.05 * max(top, 100 * SMALLEST_NME))
        if index >= len(panels):
            place.set_axis_off()


def draw_curves(axes: Axes, report: Report) -> None:
    """Cumulative error curve of each subset, one curve for subsets of the same faces."""
    end = 1.5 * report.threshold
    at = np.linspace(0, end, 301)
    for colour, (label, errors) in zip((INK, *COLOURS), _distinct_subsets(report), strict=False):
        axes.plot(100 * at, 100 * ced(errors, at), color=colour, label=label, linewidth=1.4)
    axes.lines[0].set_linewidth(2.4)
    axes.axvline(100 * report.threshold, color=INK, linewidth=0.8, linestyle=":")
    axes.set(xlim=(0, 100 * end), ylim=(0, 101), xlabel=f"NME %, {report.normaliser}", ylabel="faces, %")
    axes.legend(loc="best", fontsize=8, labelcolor=INK, frameon=False)


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
    axes.legend(loc="best", fontsize=8, labelcolor=INK, frameon=False)


def draw_jitter(axes: Axes, report: Report) -> None:
    """NME over the share of box jitter, with its interval."""
    levels = [100 * point.level for point in report.box_jitter]
    lows, values, highs = (
        [100 * getattr(point.nme, end) for point in report.box_jitter] for end in ("low", "value", "high")
    )
    axes.fill_between(levels, lows, highs, color=COLOURS[0], alpha=0.25, linewidth=0)
    axes.plot(levels, values, color=COLOURS[0], marker="o", markersize=4.5, linewidth=1.8)
    axes.set(xticks=levels, xlabel="box off by up to, % of its size", ylabel=f"NME %, {report.normaliser}")
    axes.set_ylim(bottom=0)


def draw_robustness(curve: RobustnessCurve, axes: Axes, report: Report) -> None:
    """NME at each level of a disturbance with its interval, one step a level; dashed, the same faces untouched.

    Where levels have different numbers of faces, the number stands below the level.
    """
    steps = range(len(curve.points))
    lows, values, highs = (
        [100 * getattr(point.nme, end) for point in curve.points] for end in ("low", "value", "high")
    )
    axes.fill_between(steps, lows, highs, color=COLOURS[0], alpha=0.25, linewidth=0)
    axes.plot(steps, values, color=COLOURS[0], marker="o", markersize=4.5, linewidth=1.8, label="at this level")
    untouched = [100 * point.untouched for point in curve.points]
    axes.plot(steps, untouched, color=INK, linewidth=1.0, linestyle="--", label="same faces untouched")
    counts = {point.faces for point in curve.points}
    below = "" if len(counts) == 1 else "\n{}"
    labels = [f"{point.level:g}{below.format(point.faces)}" for point in curve.points]
    faces = f"{counts.pop()} faces" if len(counts) == 1 else "below: faces that large"
    axes.set_xticks(steps, labels)
    axes.set(xlabel=f"{curve.axis}\n{faces}", ylabel=f"NME %, {report.normaliser}")
    axes.set_ylim(bottom=0)
    axes.legend(loc="best", fontsize=8, labelcolor=INK, frameon=False)


def draw_calibration(axes: Axes, report: Report) -> None:
    """Mean actual error of each bin of expected errors with its interval, and the diagonal of a model that knows."""
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
    axes.legend(loc="upper left", fontsize=8, labelcolor=INK, frameon=False)


def draw_presence(axes: Axes, report: Report) -> None:
    """ROC curve of the presence, false accepts on a logarithmic scale; dotted, the share of them that is tolerated."""
    assert report.confidence is not None
    from matplotlib.ticker import StrMethodFormatter

    presence = report.confidence.presence
    accepted, kept = roc_curve(presence.right, presence.wrong)
    least = 1 / len(presence.wrong)
    axes.step(100 * np.maximum(accepted, least), 100 * kept, where="post", color=COLOURS[0], linewidth=1.8)
    axes.axvline(100 * TOLERATED, color=INK, linewidth=0.8, linestyle=":")
    floor = min(99.0, 100 * float(kept[accepted < 1.5 * least].max()))
    axes.set(xscale="log", xlim=(100 * least, 100), ylim=(max(0.0, 2 * floor - 100), 100 + (100 - floor) / 15))
    wrong, right = (f"of {len(scores)}" for scores in (presence.wrong, presence.right))
    axes.set(xlabel=f"{wrong} wrong crops accepted, %", ylabel=f"{right} right crops kept, %")
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.annotate(f"AUC {presence.auc:.4f}", (0.97, 0.05), xycoords="axes fraction", ha="right")


CALIBRATION: Titled = (
    "Expected and actual errors",
    "Mean actual error of points of like expected error.",
    draw_calibration,
)
PRESENCE: Titled = (
    "Presence: right and wrong crops",
    "Share of right crops kept at each share of wrong ones accepted.",
    draw_presence,
)


def _draw_titled(titled: Titled, report: Report, figure: Figure) -> None:
    title, _, draw = titled
    figure.set_size_inches(5.2, 3.9)
    axes = figure.subplots()
    draw(axes, report)
    axes.set_title(title, loc="left")


def _disturbed(report: Report) -> list[Titled]:
    """Title, description and drawing of box jitter and of each robustness curve that has points."""
    jitter: list[Titled] = [
        ("Error when the box is off", "Mean error at each share of box jitter.", draw_jitter)
    ]
    return (jitter if report.box_jitter else []) + [
        (f"Error when {curve.when}", f"Mean error by {curve.axis}.", partial(draw_robustness, curve))
        for curve in report.robustness
        if curve.points
    ]


def _distinct_subsets(report: Report) -> list[tuple[str, list[float]]]:
    """Errors of each subset, subsets of the same faces under one label."""
    labels: dict[tuple[int, ...], list[str]] = {}
    for subset in report.summaries:
        faces = tuple(i for i, row in enumerate(report.rows) if subset == ALL or subset in row.subsets)
        labels.setdefault(faces, []).append(subset)
    return [
        (" = ".join(names), [report.rows[i].nme for i in faces]) for faces, names in list(labels.items())[:MOST_CURVES]
    ]


def _plot(title: str, description: str, draw: Draw, report: Report) -> Plot:
    return Plot(title, description, _svg(draw, report))


def _svg(draw: Draw, report: Report) -> bytes:
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(_style()):
        figure = Figure(figsize=(5.2, 3.5), layout="constrained")
        axes = figure.subplots()
        draw(axes, report)
        stream = io.BytesIO()
        # No date and no tool name: the same report gives the same bytes.
        figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
    return stream.getvalue()


def _png(draw: Callable[[Figure], None]) -> bytes:
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(_style()):
        figure = Figure(layout="constrained")
        draw(figure)
        stream = io.BytesIO()
        figure.savefig(stream, format="png", dpi=PNG_DPI, metadata={"Software": None})
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
