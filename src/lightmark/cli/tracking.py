"""Command `track`: track faces through a video, camera or stream."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lightmark.cli.options import ANONYMISE, FORCE, MEASURES, MIN_FACE, MODEL, OUT_FILE, OUT_LINES, STYLE, WORD, Command
from lightmark.errors import ConfigError

if TYPE_CHECKING:
    from lightmark.anonymise import Part
    from lightmark.overlay import Style
    from lightmark.video.frames import Frame, VideoReader
    from lightmark.video.smoothing import Smoothing
    from lightmark.video.track import TrackingSummary
    from lightmark.video.tracker import TrackedFace

STANDARD_OUTPUT = Path("-")  # of --records


@click.command(cls=Command, short_help="Track faces through a video, a camera or a stream")
@click.argument("source", type=WORD)
@click.option("--out", type=OUT_FILE, help="Video to write with points, boxes and ids: .mp4, .m4v, .mov, .mkv.")
@STYLE
@ANONYMISE
@click.option(
    "--records",
    type=OUT_LINES,
    help="One row per face and frame: .jsonl or .csv, or - for JSON Lines on standard output.",
)
@click.option("--events", type=OUT_FILE, help="Table of blinks, closed eyes, open mouths and nods: .csv or .jsonl.")
@click.option("--plot", type=OUT_FILE, help="Plot of openness, head pose and events over time, as PNG.")
@click.option("--model", type=MODEL, default="fast", show_default=True, help="A shipped model or an ONNX file.")
@click.option(
    "--detector", type=WORD, default="auto", show_default=True, help="Face detector for new faces, as for detect."
)
@click.option("--redetect", type=int, help="Run the detector every N frames; 10 by default, with --anonymise 1.")
@click.option(
    "--min-confidence",
    type=float,
    default=0.5,
    show_default=True,
    help="A face below this confidence (0–1) counts as lost.",
)
@click.option("--max-faces", type=int, help="Track at most N faces, larger ones first.")
@click.option("--min-cutoff", type=float, help="Smoothing: cutoff in Hz at rest; lower jitters less and lags more.")
@click.option("--beta", type=float, help="Smoothing: growth of the cutoff with speed, in Hz per face size and second.")
@click.option("--d-cutoff", type=float, help="Smoothing: cutoff in Hz of the speed estimate.")
@click.option("--raw", is_flag=True, help="Raw points of the model, not smoothed.")
@MEASURES
@MIN_FACE
@click.option("--threads", type=click.IntRange(1), help="CPU threads of the model; all cores by default.")
@FORCE
def track(
    source: str, out: Path | None, styles: Sequence[Style] | None, anonymise: Part | None, records: Path | None,
    events: Path | None, plot: Path | None, model: Path, detector: str, redetect: int | None, min_confidence: float,
    max_faces: int | None, min_cutoff: float | None, beta: float | None, d_cutoff: float | None, raw: bool,
    measures: bool, min_face: float | None, threads: int | None, force: bool,
) -> None:  # fmt: skip
    """Track the faces of SOURCE: a video file, a camera's number (0 is the first) or a stream's URL.

    Ends with the file, when the camera is unplugged, or on Ctrl-C, and keeps what was done so far. Exit status: 0, also
    for a camera or stream ended by Ctrl-C; 130 for a file ended so; 143 on SIGTERM; 2 on an error, with nothing
    written.
    """
    if out is None and (styles is not None or anonymise is not None):
        raise ConfigError("--style and --anonymise are for a drawn video: give its file with --out")
    if all(path is None for path in (out, records, events, plot)):
        raise ConfigError(
            "nothing to write: give --out for a video with the points drawn, --records for their numbers, --events for "
            "blinks and nods, or --plot"
        )
    if measures and records is None:
        raise ConfigError("--measures: are numbers; name the file for them with --records")
    quieten_opencv()
    from lightmark.landmarker import Landmarker
    from lightmark.overlay import require_drawable
    from lightmark.video.frames import VideoReader, parse_source
    from lightmark.video.records import require_records_name
    from lightmark.video.timeline import require_events_name, require_plot_name, require_signals
    from lightmark.video.track import track_video
    from lightmark.video.tracker import TRACKING, Tracker, Tracking
    from lightmark.video.writer import require_video_name

    if out is not None:
        require_video_name(out)
    if records is not None:
        require_records_name(records)
    if events is not None:
        require_events_name(events)
    if plot is not None:
        require_plot_name(plot)
    smoothing = None if raw else chosen_smoothing(min_cutoff, beta, d_cutoff)
    if redetect is None:
        redetect = 1 if anonymise else TRACKING.redetect  # a new face is blurred from its first frame on
    tracking = Tracking(redetect=redetect, min_confidence=min_confidence, max_faces=max_faces)
    with VideoReader(parse_source(source)) as reader:
        landmarker = Landmarker(model, detector, threads, min_face=min_face)
        require_drawable(landmarker.spec.schema, styles, anonymise)
        if events is not None or plot is not None:
            require_signals(landmarker.spec.schema)
        tracker = Tracker(landmarker, tracking, smoothing)
        with progress_bar(reader) as progress:
            done = track_video(reader, tracker, out, records, progress, styles, anonymise, measures, events, plot)
    report(source, done, reader, [path for path in (out, records, events, plot) if path is not None])
    if done.stopped_by is not None and not (reader.live and done.stopped_by == signal.SIGINT):
        sys.exit(128 + done.stopped_by)


def chosen_smoothing(min_cutoff: float | None, beta: float | None, d_cutoff: float | None) -> Smoothing:
    """Default smoothing with the options of the user."""
    from dataclasses import replace

    from lightmark.video.smoothing import SMOOTHING

    options = {"min_cutoff": min_cutoff, "beta": beta, "d_cutoff": d_cutoff}
    return replace(SMOOTHING, **{name: value for name, value in options.items() if value is not None})


def quieten_opencv() -> None:
    """Silence the messages of OpenCV and its FFmpeg about broken files and missing cameras; errors are raised anyway.

    Must be called before OpenCV is imported; variables that the user has set stay.
    """
    os.environ.setdefault("OPENCV_LOG_LEVEL", "ERROR")
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")


@contextmanager
def progress_bar(reader: VideoReader) -> Iterator[Callable[[Frame, Sequence[TrackedFace]], None]]:
    """Context manager that yields a callback per frame, which updates a progress bar on stderr."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TextColumn("{task.fields[faces]}"),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    # Disabled without a terminal: rich would leave an empty line in a log.
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("track", total=reader.total, rate="", faces="")

        def update(_frame: Frame, faces: Sequence[TrackedFace]) -> None:
            speed = progress.tasks[task].speed
            rate = "" if speed is None else f"{speed:.1f} frames/s"
            progress.update(task, advance=1, rate=rate, faces=f"{len(faces)} face{'s' * (len(faces) != 1)}")

        yield update


def report(source: str, done: TrackingSummary, reader: VideoReader, written: Sequence[Path]) -> None:
    """Print the frames and faces tracked, the reason for an early end, and the files written."""
    click.echo(f"{source}: {done.frames} frames, {done.seconds:.1f} s, faces followed: {len(done.ids)}", err=True)
    if done.stopped_by is not None:
        click.echo(f"stopped by {signal.Signals(done.stopped_by).name}; what was done so far is kept", err=True)
    elif reader.live:
        click.echo("the camera or stream gives no more frames; what was done so far is kept", err=True)
    elif done.cut_short:
        click.echo(f"the file claims {reader.total} frames; is it cut? what it held is kept", err=True)
    if done.sound_left_out:
        codecs = ", ".join(done.sound_left_out)
        click.echo(f"the overlay is without sound ({codecs}), which its format cannot hold; .mkv holds most", err=True)
    if done.slow_rate is not None:
        click.echo(f"{done.slow_rate:.1f} frames a second are too few to see every blink: none is listed", err=True)
    for path in written:
        if path != STANDARD_OUTPUT:
            click.echo(path, err=STANDARD_OUTPUT in written)  # standard output may hold only rows
