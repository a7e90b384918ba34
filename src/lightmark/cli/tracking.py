"""The command that follows faces through a video: track."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lightmark.cli.options import FORCE, MODEL, OUT_FILE, OUT_LINES, WORD, Command
from lightmark.errors import ConfigError

if TYPE_CHECKING:
    from lightmark.video.frames import Frame, VideoReader
    from lightmark.video.smoothing import Smoothing
    from lightmark.video.track import TrackingSummary
    from lightmark.video.tracker import TrackedFace

STANDARD_OUTPUT = Path("-")  # of --records


@click.command(cls=Command, short_help="Faces through a video, a camera or a stream")
@click.argument("source", type=WORD)
@click.option("--out", type=OUT_FILE, help="Video to write with points, boxes and ids: .mp4, .m4v, .mov, .mkv.")
@click.option(
    "--records", type=OUT_LINES, help="A row a face and frame: .jsonl or .csv, or - for JSON lines on standard output."
)
@click.option("--model", type=MODEL, default="fast", show_default=True, help="A shipped model or an ONNX file.")
@click.option("--detector", type=WORD, default="auto", show_default=True, help="What finds faces that have come in.")
@click.option("--redetect", type=int, default=10, show_default=True, help="Let it look at every so many-th frame.")
@click.option("--min-confidence", type=float, default=0.5, show_default=True, help="Below it, 0 to 1, a face is lost.")
@click.option("--max-faces", type=int, help="Follow at most so many, larger ones taken up first.")
@click.option("--min-cutoff", type=float, help="Smoothing at rest: cutoff in Hz; lower is steadier and later.")
@click.option("--beta", type=float, help="Hz by which the cutoff grows with each face size a second of speed.")
@click.option("--d-cutoff", type=float, help="Cutoff in Hz of the speed that this goes by.")
@click.option("--raw", is_flag=True, help="Points as the model gives them, not smoothed.")
@click.option("--threads", type=click.IntRange(1), help="CPU threads of the model; all cores by default.")
@FORCE
def track(
    source: str, out: Path | None, records: Path | None, model: Path, detector: str, redetect: int,
    min_confidence: float, max_faces: int | None, min_cutoff: float | None, beta: float | None,
    d_cutoff: float | None, raw: bool, threads: int | None, force: bool,
) -> None:  # fmt: skip
    """Follow the faces of SOURCE: a video file, a camera's number (0 is the first) or a stream's URL.

    Ends with the file, when the camera is unplugged, or on Ctrl-C, and keeps what was done so far. Exit status: 0, also
    for a camera or stream ended by Ctrl-C; 130 for a file ended so; 143 on SIGTERM; 2 on an error, with nothing
    written.
    """
    if out is None and records is None:
        raise ConfigError("nothing to write: give --out for a video with the points drawn, --records for their numbers")
    quieten_opencv()
    from lightmark.landmarker import Landmarker
    from lightmark.video.frames import VideoReader, parse_source
    from lightmark.video.records import require_records_name
    from lightmark.video.track import track_video
    from lightmark.video.tracker import Tracker, Tracking
    from lightmark.video.writer import require_video_name

    if out is not None:
        require_video_name(out)
    if records is not None:
        require_records_name(records)
    smoothing = None if raw else chosen_smoothing(min_cutoff, beta, d_cutoff)
    tracking = Tracking(redetect=redetect, min_confidence=min_confidence, max_faces=max_faces)
    with VideoReader(parse_source(source)) as reader:
        tracker = Tracker(Landmarker(model, detector, threads), tracking, smoothing)
        with progress_bar(reader) as progress:
            done = track_video(reader, tracker, out, records, progress)
    report(source, done, reader, [path for path in (out, records) if path is not None])
    if done.stopped_by is not None and not (reader.live and done.stopped_by == signal.SIGINT):
        sys.exit(128 + done.stopped_by)


def chosen_smoothing(min_cutoff: float | None, beta: float | None, d_cutoff: float | None) -> Smoothing:
    """The default smoothing with what the user gave."""
    from dataclasses import replace

    from lightmark.video.smoothing import SMOOTHING

    given = {"min_cutoff": min_cutoff, "beta": beta, "d_cutoff": d_cutoff}
    return replace(SMOOTHING, **{name: value for name, value in given.items() if value is not None})


def quieten_opencv() -> None:
    """Keep OpenCV and its FFmpeg from telling of broken files and absent cameras by themselves: what matters is raised.

    To be called before OpenCV is imported; whoever has set the variables keeps them.
    """
    os.environ.setdefault("OPENCV_LOG_LEVEL", "ERROR")
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")


@contextmanager
def progress_bar(reader: VideoReader) -> Iterator[Callable[[Frame, Sequence[TrackedFace]], None]]:
    """A function to tell of each frame, which moves a bar on stderr."""
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
    # Where nobody watches, rich would leave an empty line in the log.
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("track", total=reader.total, rate="", faces="")

        def tell(_frame: Frame, faces: Sequence[TrackedFace]) -> None:
            speed = progress.tasks[task].speed
            rate = "" if speed is None else f"{speed:.1f} frames/s"
            progress.update(task, advance=1, rate=rate, faces=f"{len(faces)} face{'s' * (len(faces) != 1)}")

        yield tell


def report(source: str, done: TrackingSummary, reader: VideoReader, written: Sequence[Path]) -> None:
    """Say what was done, why it ended where it did not end by itself, and where it lies."""
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
    for path in written:
        if path != STANDARD_OUTPUT:
            click.echo(path, err=STANDARD_OUTPUT in written)  # where rows are, nothing else may be
