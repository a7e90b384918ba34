"""Timeline: the signals of every face of a video, the table of its events and a plot of both."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from lightmark.errors import ConfigError, VideoError
from lightmark.extras import require_extra
from lightmark.files import replacing
from lightmark.pose import knows_pose
from lightmark.schema import Schema
from lightmark.video.events import (
    BLINK_CLOSURE,
    MOUTH_OPEN,
    Event,
    Signals,
    closure,
    find_events,
    frame_rate,
    is_too_slow,
    signal_values,
    signals_of,
)
from lightmark.video.tracker import TrackedFace

DECIMALS = 3
COLUMNS = ("id", "event", "start", "end", "seconds", "depth")
EVENT_SUFFIXES = (".csv", ".jsonl")
COLOURS = {"blink": "#0f8bd0", "eyes_closed": "#d55e00", "mouth_open": "#cc6fa5", "nod": "#1aa37a"}


class Timeline:
    """Signals of the faces of one video, added frame by frame."""

    def __init__(self) -> None:
        self._rows: dict[int, list[tuple[float, ...]]] = {}

    def add(self, seconds: float, faces: Sequence[TrackedFace]) -> None:
        """Add the faces of the frame at `seconds`."""
        for tracked in faces:
            self._rows.setdefault(tracked.id, []).append((seconds, *signal_values(tracked)))

    @property
    def signals(self) -> dict[int, Signals]:
        """Signals of each face by its id."""
        return {number: signals_of(rows) for number, rows in self._rows.items()}

    def events(self) -> list[Event]:
        """Events of all faces by their start."""
        found = [event for number, signals in self.signals.items() for event in find_events(signals, number)]
        return sorted(found, key=lambda event: event.start)

    def slow_rate(self) -> float | None:
        """Frame rate of the longest track if it is too low for blinks, see `SLOWEST_RATE`; else None."""
        longest = max(self.signals.values(), key=lambda signals: len(signals.seconds), default=None)
        if longest is None or not is_too_slow(longest.seconds):
            return None
        return frame_rate(longest.seconds)


def require_events_name(path: Path) -> None:
    """Raise `VideoError` unless `path` ends in one of `EVENT_SUFFIXES`."""
    if path.suffix.lower() not in EVENT_SUFFIXES:
        raise VideoError(f"{path}: events are written as {', '.join(EVENT_SUFFIXES)}; give a name that ends in one")


def require_plot_name(path: Path) -> None:
    """Raise `VideoError` unless `path` ends in .png, `MissingExtraError` without matplotlib."""
    if path.suffix.lower() != ".png":
        raise VideoError(f"{path}: the plot is a PNG; give a name that ends in .png")
    require_extra(["matplotlib"], "report", "a plot of signals")


def require_signals(schema: Schema) -> None:
    """Raise `ConfigError` if points of `schema` show neither openness nor pose."""
    if not knows_pose(schema):
        raise ConfigError(f"events need ibug68 or wflw98 points; the model gives {schema.name}")


def write_events(path: Path, events: Sequence[Event]) -> None:
    """Write a row per event to `path`, CSV or JSON Lines: id, event, start, end, seconds (its length) and depth."""
    rows = [event_row(event) for event in events]
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        if path.suffix.lower() == ".csv":
            table = csv.writer(file)
            table.writerow(COLUMNS)
            table.writerows(rows)
        else:
            file.writelines(json.dumps(dict(zip(COLUMNS, row, strict=True))) + "\n" for row in rows)


def event_row(event: Event) -> tuple[object, ...]:
    """Values of `COLUMNS` of one event; numbers have three decimals."""
    times = (round(value, DECIMALS) for value in (event.start, event.end, event.end - event.start, event.depth))
    return (event.id, event.kind, *times)


def write_plot(path: Path, tracks: Mapping[int, Signals], events: Sequence[Event]) -> None:
    """Write a PNG with a column per face of `tracks`: openness, closure and angles over time; events are shaded."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.0 * max(len(tracks), 1), 6.5), dpi=100, layout="constrained")
    places = figure.subplots(3, max(len(tracks), 1), squeeze=False, sharex=True)
    for column, (number, signals) in enumerate(tracks.items()):
        eyes, mouth, head = places[:, column]
        eyes.set_title(f"face {number}", loc="left")
        eyes.set(ylim=(0, 1), ylabel="eye openness")
        eyes.plot(signals.seconds, signals.eye_openness_left, label="left", color="#0f8bd0", linewidth=1)
        eyes.plot(signals.seconds, signals.eye_openness_right, label="right", color="#8c7ae6", linewidth=1)
        eyes.plot(signals.seconds, closure(signals), label="closure", color="#808890", linewidth=0.8)
        eyes.axhline(BLINK_CLOSURE, color="#808890", linewidth=0.6, linestyle=":")
        mouth.plot(signals.seconds, signals.mouth_openness, color="#cc6fa5", linewidth=1)
        mouth.axhline(MOUTH_OPEN, color="#808890", linewidth=0.6, linestyle=":")
        mouth.set(ylim=(0, 1), ylabel="mouth openness")
        for name, colour in (("yaw", "#f87171"), ("pitch", "#1aa37a"), ("roll", "#60a5fa")):
            head.plot(signals.seconds, getattr(signals, name), label=name, color=colour, linewidth=1)
        head.set(xlabel="seconds", ylabel="degrees")
        for event in (event for event in events if event.id == number):
            axes = {"mouth_open": mouth, "nod": head}.get(event.kind, eyes)
            axes.axvspan(event.start, event.end, color=COLOURS[event.kind], alpha=0.2, linewidth=0)
        for axes in (eyes, head):
            axes.legend(loc="lower right", bbox_to_anchor=(1, 1), borderaxespad=0.1, fontsize=8, ncols=3, frameon=False)
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", metadata={"Software": None})
