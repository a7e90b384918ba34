"""The timeline collects every face's signals, and writes events and a plot."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from lightmark.data.synthetic.head import Expression, Identity, make_head
from lightmark.errors import ConfigError, MissingExtraError, VideoError
from lightmark.face import Face
from lightmark.geometry import tight_box
from lightmark.schema import IBUG68, Schema
from lightmark.source import to_picture
from lightmark.video.events import Event
from lightmark.video.timeline import (
    Timeline,
    require_events_name,
    require_plot_name,
    require_signals,
    write_events,
    write_plot,
)
from lightmark.video.tracker import TrackedFace

EVENTS = [Event(3, "blink", 1.0, 1.25, 0.8), Event(0, "nod", 2.0, 2.4444, 11.0)]


def tracked(number: int, closed: float, jaw: float = 0.0) -> TrackedFace:
    """A frontal head of the generator; its smoothed points never close the eyes."""
    views = [make_head(Identity(), Expression(eyes_closed=(lids, lids), jaw_drop=jaw)) for lids in (closed, 0.0)]
    raw, smooth = (100 * view.points[:, :2] + 200 for view in views)
    return TrackedFace(number, Face(smooth, tight_box(smooth), IBUG68), raw, 0.0)


@pytest.fixture
def timeline() -> Timeline:
    """Ten seconds at 30 a second: face 0 blinks at 4 s, face 5 opens its mouth from 6 to 7 s."""
    line = Timeline()
    for index in range(300):
        seconds = index / 30
        jaw = 1.0 if 6 <= seconds < 7 else 0.0
        line.add(seconds, [tracked(0, float(4 <= seconds < 4.2)), tracked(5, 0.0, jaw)])
    return line


def test_each_face_has_its_events(timeline: Timeline) -> None:
    """From the model's own points: the smoothed ones keep the eyes open."""
    assert [(event.id, event.kind) for event in timeline.events()] == [(0, "blink"), (5, "mouth_open")]
    blink, mouth = timeline.events()
    assert (blink.start, blink.end) == pytest.approx((4, 4.2), abs=0.07)
    assert (mouth.start, mouth.end) == pytest.approx((6, 7), abs=0.07)
    assert timeline.slow_rate() is None


def test_a_low_frame_rate_is_reported() -> None:
    """By the rate of the longest track; without faces no warning."""
    line = Timeline()
    assert line.slow_rate() is None
    for index in range(20):
        line.add(index / 8, [tracked(0, 0.0)])
    assert line.slow_rate() == pytest.approx(8)


def test_events_are_written_as_csv_and_json_lines(tmp_path: Path) -> None:
    """One row an event, with the same values."""
    for name in ("events.csv", "events.jsonl"):
        write_events(tmp_path / name, EVENTS)
    with (tmp_path / "events.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    lines = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    assert lines[1] == {"id": 0, "event": "nod", "start": 2.0, "end": 2.444, "seconds": 0.444, "depth": 11.0}
    assert [list(map(str, line.values())) for line in lines] == [list(row.values()) for row in rows]
    write_events(tmp_path / "none.csv", [])
    assert (tmp_path / "none.csv").read_text().strip() == "id,event,start,end,seconds,depth"


def test_the_plot_shows_each_face_and_shades_its_events(timeline: Timeline, tmp_path: Path) -> None:
    """A column a face, in the colour of its event where there is one; a video without faces has an empty plot."""
    pytest.importorskip("matplotlib")
    write_plot(tmp_path / "plot.png", timeline.signals, timeline.events())
    write_plot(tmp_path / "none.png", {}, [])
    plot, none = to_picture(tmp_path / "plot.png"), to_picture(tmp_path / "none.png")
    assert plot.shape == (650, 1800, 3)
    assert none.shape == (650, 900, 3)
    for side, colour, absent in (
        (plot[:, :900], (15, 139, 208), (204, 111, 165)),
        (plot[:, 900:], (204, 111, 165), None),
    ):
        shade = 255 - 0.2 * (255 - np.array(colour))
        assert (np.abs(side - shade).max(axis=2) < 4).sum() > 300
        if absent:
            assert (np.abs(side - (255 - 0.2 * (255 - np.array(absent)))).max(axis=2) < 4).sum() < 100


def test_names_and_models_that_cannot_serve_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the video is read."""
    with pytest.raises(VideoError, match=r"events\.xml: events are written as \.csv, \.jsonl"):
        require_events_name(Path("events.xml"))
    with pytest.raises(VideoError, match=r"plot\.svg: the plot is a PNG"):
        require_plot_name(Path("plot.svg"))
    with pytest.raises(ConfigError, match="the model gives two"):
        require_signals(Schema("two", mirror=(1, 0), normaliser=(0, 1)))
    require_signals(IBUG68)
    monkeypatch.setattr("lightmark.extras.find_spec", lambda _name: None)
    with pytest.raises(
        MissingExtraError, match=r'a plot of signals needs matplotlib: pip install "lightmark\[report\]"'
    ):
        require_plot_name(Path("plot.png"))


def test_only_a_plot_needs_matplotlib(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Events are found and written without it."""
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    write_events(tmp_path / "events.csv", EVENTS)
