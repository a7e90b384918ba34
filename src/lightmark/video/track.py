"""Track the faces of a video: overlay video and records of every face in every frame."""

from __future__ import annotations

import colorsys
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType

import cv2

from lightmark.anonymise import Part, anonymised
from lightmark.draw import Colour
from lightmark.geometry import tight_box
from lightmark.image import Picture
from lightmark.overlay import DEFAULT_STYLES, Style, draw_face, styles_shown
from lightmark.video.frames import Frame, VideoReader
from lightmark.video.records import writing_records
from lightmark.video.timeline import Timeline, write_events, write_plot
from lightmark.video.tracker import TrackedFace, Tracker
from lightmark.video.writer import writing_video

GOLDEN = 0.618034  # golden ratio: as the hue step between successive ids it keeps their colours apart


@dataclass(frozen=True)
class TrackingSummary:
    """Result of `track_video`: number of `frames`, time of the last in `seconds`, `ids` of the faces.

    `stopped_by` is the number of the signal that ended it, or None. `cut_short` is true if a file ended well before the
    frame count in its header. `sound_left_out` holds the audio codecs that the overlay's format does not support.
    `slow_rate` is the frame rate if it is too low for blinks to be listed.
    """

    frames: int
    seconds: float
    ids: frozenset[int]
    stopped_by: int | None
    cut_short: bool
    sound_left_out: tuple[str, ...] = ()
    slow_rate: float | None = None


def track_video(
    reader: VideoReader,
    tracker: Tracker,
    out: Path | None = None,
    records: Path | None = None,
    progress: Callable[[Frame, Sequence[TrackedFace]], None] = lambda frame, faces: None,
    styles: Sequence[Style] | None = None,
    anonymise: Part | None = None,
    measures: bool = False,
    events: Path | None = None,
    plot: Path | None = None,
) -> TrackingSummary:
    """Track the faces of `reader` to its end; write an overlay video to `out` and rows to `records`.

    The overlay has the frames of the reader at their times, and its sound; for rows see `writing_records`. Faces are
    drawn in `styles`; where `anonymise` names a part, it is blurred first, also of a face just lost, at its last place,
    and without `styles` nothing is drawn. `measures` adds openness and pose to the rows; `events` is the file of the
    table of events, `plot` a PNG of the signals, both written at the end. SIGINT (Ctrl-C) and SIGTERM stop after the
    current frame and keep the files, as does an unplugged camera or a truncated file. Any other error leaves none.
    `progress` is called after every frame. Raises `VideoError` if a file cannot be written or there is no frame.
    """
    shown = styles_shown(styles, anonymise)
    ids: set[int] = set()
    frames, seconds = 0, 0.0
    with ExitStack() as stack:
        stop = stack.enter_context(stop_signals())
        film = None if out is None else stack.enter_context(writing_video(out, reader.sound))
        write = None if records is None else stack.enter_context(writing_records(records, measures))
        timeline = None if events is plot is None else Timeline()
        for frame in reader:
            faces = tracker.update(frame.image, frame.seconds)
            if film is not None:
                image = frame.image
                if anonymise is not None:
                    image = anonymised(image, [*(one.face for one in faces), *tracker.hidden_faces()], anonymise)
                film.write(draw_tracked(image, faces, shown), frame.seconds)
            if timeline is not None:
                timeline.add(frame.seconds, faces)
            for face in faces:
                ids.add(face.id)
                if write is not None:
                    write(frame, face)
            frames, seconds = frame.index + 1, frame.seconds
            progress(frame, faces)
            if stop:
                break
        else:
            if film is not None:
                film.write_rest_of_sound()
        if timeline is not None:
            found = timeline.events()
            if events is not None:
                write_events(events, found)
            if plot is not None:
                write_plot(plot, timeline.signals, found)
    # Frame counts in headers are approximate; a truncated file lacks more than a few frames.
    cut_short = not stop and reader.total is not None and frames < 0.95 * reader.total - 2
    left_out = () if film is None else film.sound_left_out
    slow_rate = None if timeline is None else timeline.slow_rate()
    return TrackingSummary(frames, seconds, frozenset(ids), stop[0] if stop else None, cut_short, left_out, slow_rate)


@contextmanager
def stop_signals() -> Iterator[list[int]]:
    """Context manager that catches one SIGINT or SIGTERM and appends it to the list that it yields.

    A second signal has its usual effect. Outside the main thread, where Python handles no signals, the list stays
    empty.
    """
    caught: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield caught
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def catch(number: int, _frame: FrameType | None) -> None:
        caught.append(number)
        for one, handler in before.items():
            signal.signal(one, handler)

    for number in before:
        signal.signal(number, catch)
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def draw_tracked(image: Picture, faces: Sequence[TrackedFace], styles: Sequence[Style] = DEFAULT_STYLES) -> Picture:
    """Copy of `image` with each of `faces` drawn in `styles`, and its id, in the colour of its id."""
    canvas = image.copy()
    for tracked in faces if styles else ():
        colour, box = id_colour(tracked.id), tight_box(tracked.face.points)
        draw_face(canvas, replace(tracked.face, box=box), styles, colour)
        write_id(canvas, tracked.id, (float(box[0]), float(box[1])), float(max(box[2:] - box[:2])), colour)
    return canvas


def id_colour(number: int) -> Colour:
    """Bright colour of track id `number`: fixed, and distinct from those of nearby ids."""
    red, green, blue = colorsys.hsv_to_rgb((1 / 3 + number * GOLDEN) % 1, 0.75, 1.0)
    return round(255 * red), round(255 * green), round(255 * blue)


def write_id(canvas: Picture, number: int, corner: tuple[float, float], face: float, colour: Colour) -> None:
    """Write the id `number` above the box corner `corner`, on black; the font size follows the face size in px."""
    scale = min(max(face / 200, 0.45), 2.0)
    thickness = max(1, round(scale * 1.5))
    (width, height), below = cv2.getTextSize(str(number), cv2.FONT_HERSHEY_SIMPLEX, scale, thickness)
    x = min(max(round(corner[0]), 0), max(canvas.shape[1] - width - 4, 0))
    y = min(max(round(corner[1]) - below - 4, height + 4), canvas.shape[0])
    cv2.rectangle(canvas, (x, y - height - 4), (x + width + 4, y + below), (0, 0, 0), cv2.FILLED)
    cv2.putText(canvas, str(number), (x + 2, y - 1), cv2.FONT_HERSHEY_SIMPLEX, scale, colour, thickness, cv2.LINE_AA)
