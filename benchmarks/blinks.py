"""Blinks, open mouths and nods counted in rendered films with known ones, at 15, 30 and 60 frames a second.

    python benchmarks/blinks.py [--people 5]

Drawn people (lightmark.data.synthetic) sway, turn, talk, nod and blink at random times for `SECONDS`. Each film is
rendered at 60 frames a second, gets a camera's noise and JPEG a frame, and is tracked by `fast` at every rate: whole,
and with every second and every fourth frame. A found event is right if it overlaps a true one of its kind, each of
which counts once. A blink closes within 60 to 100 ms, stays shut for 20 to 100 ms and opens within 100 to 180 ms. The
bar: F1 of blinks at least 0.95 at each rate. Exit status 1 if it is missed. The constants of lightmark.video.events
were chosen on the films of seed 900.

`--figure PNG` also draws the signals of the first film at 30 frames a second.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from lightmark.data.synthetic.render import render_scene
from lightmark.data.synthetic.scene import random_scene
from lightmark.files import replacing
from lightmark.geometry import Array
from lightmark.image import Picture
from lightmark.landmarker import Landmarker
from lightmark.outputs import require_free
from lightmark.provenance import git_commit
from lightmark.runtime.shipped import shipped_hashes
from lightmark.video.events import Event
from lightmark.video.timeline import Timeline, write_plot
from lightmark.video.tracker import Tracker

OUT = Path(__file__).parent / "results" / "blinks.json"
FPS, RATES, SECONDS, SIZE = 60, (60, 30, 15), 12.0, 144
LEAST_F1 = 0.95
NOISE, QUALITY = 5.0, 85  # levels of 255; of the JPEG
KINDS = ("blink", "mouth_open", "nod")
Span = tuple[float, float]


@dataclass(frozen=True)
class Script:
    """True events of a film, each a start and an end in seconds, and the curves (T,) that make them."""

    events: dict[str, list[Span]]
    closed: Array
    jaw: Array
    pitch: Array
    yaw: Array
    roll: Array


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--people", type=int, default=5)
    parser.add_argument("--seed", type=int, default=21)
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--figure", type=Path, help="PNG to draw the signals of the first film to")
    parser.add_argument("--force", action="store_true", help="write over what is there")
    options = parser.parse_args()
    require_free([options.out, *filter(None, [options.figure])], force=options.force)
    counts = {rate: {kind: np.zeros(3, int) for kind in KINDS} for rate in RATES}
    for person in range(options.people):
        script, images = film_of(options.seed, person)
        frames = list(images)
        for rate in RATES:
            timeline = timeline_of(frames[:: FPS // rate], rate)
            events = timeline.events()
            if options.figure is not None and (person, rate) == (0, 30):
                write_plot(options.figure, timeline.signals, events)
            for kind in KINDS:
                counts[rate][kind] += matches(script.events[kind], [event for event in events if event.kind == kind])
    rows = [row_of(rate, kind, counts[rate][kind]) for rate in RATES for kind in KINDS]
    for row in rows:
        print(row)
    report = {
        "command": f"python benchmarks/blinks.py --people {options.people} --seed {options.seed}",
        "commit": git_commit(), "models": shipped_hashes("fast", "face"), "people": options.people,
        "seconds": SECONDS, "size": SIZE, "noise": NOISE, "jpeg_quality": QUALITY, "rows": rows,
    }  # fmt: skip
    with replacing(options.out) as path:
        path.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    sys.exit(any(row["kind"] == "blink" and row["f1"] < LEAST_F1 for row in rows))


def film_of(seed: int, person: int) -> tuple[Script, Iterator[Picture]]:
    """What a person does, and the frames of it."""
    rng = np.random.default_rng([seed, person])
    script = random_script(rng)
    return script, film(rng, script)


def random_script(rng: np.random.Generator) -> Script:
    """Blinks every 0.7 to 2.4 s, two open mouths, two nods, slow sway."""
    times = np.arange(round(SECONDS * FPS)) / FPS
    blinks, closed = [], np.zeros_like(times)
    start = rng.uniform(0.5, 2.0)
    while start < SECONDS - 1:
        close, shut, reopen = rng.uniform(0.06, 0.1), rng.uniform(0.02, 0.1), rng.uniform(0.1, 0.18)
        marks = start + np.cumsum([0, close, shut, reopen])
        closed = np.maximum(closed, np.interp(times, marks, [0, 1, 1, 0]) * rng.uniform(0.9, 1.0))
        blinks.append((float(marks[0]), float(marks[-1])))
        start = marks[-1] + rng.uniform(0.5, 2.0)
    mouths, jaw = bumps(rng, times, count=2, lengths=(0.6, 1.6), height=(0.7, 1.0))
    nods, drop = bumps(rng, times, count=2, lengths=(0.4, 0.8), height=(12, 18))
    sway = [rng.uniform(0.4, 1.0) * np.sin(2 * np.pi * times / rng.uniform(5, 9) + rng.uniform(0, 6)) for _ in range(3)]
    return Script({"blink": blinks, "mouth_open": mouths, "nod": nods}, closed, jaw, 5 * sway[0] - drop, 15 * sway[1],
                  5 * sway[2])  # fmt: skip


def bumps(rng: np.random.Generator, times: Array, count: int, lengths: Span, height: Span) -> tuple[list[Span], Array]:
    """`count` smooth bumps, one in each equal part of the film, and their curve (T,)."""
    spans, curve = [], np.zeros_like(times)
    for part in range(count):
        length = rng.uniform(*lengths)
        start = SECONDS * part / count + rng.uniform(0.8, SECONDS / count - length - 0.8)
        phase = np.clip((times - start) / length, 0, 1)
        curve += rng.uniform(*height) * np.sin(np.pi * phase) ** 2
        spans.append((float(start), float(start + length)))
    return spans, curve


def film(rng: np.random.Generator, script: Script) -> Iterator[Picture]:
    """Frames of one person who plays `script`, before a camera with noise and JPEG; without sunglasses."""
    scene = replace(random_scene(rng, SIZE), cover=None)
    scene = replace(scene, photo=replace(scene.photo, noise=0.0, quality=95, grey=False))
    if scene.looks.glasses == "dark":  # behind which no blink can be seen
        scene = replace(scene, looks=replace(scene.looks, glasses="clear"))
    for index, closed in enumerate(script.closed):
        pose = replace(scene.pose, yaw=script.yaw[index], pitch=script.pitch[index], roll=script.roll[index])
        expression = replace(
            scene.expression, eyes_closed=(closed, closed), jaw_drop=script.jaw[index], smile=0.0, pucker=0.0
        )
        image = render_scene(replace(scene, pose=pose, expression=expression)).image
        noisy = np.clip(image + rng.normal(0, NOISE, image.shape), 0, 255).astype(np.uint8)
        coded = cv2.imencode(".jpg", noisy, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1]
        yield np.asarray(cv2.imdecode(coded, cv2.IMREAD_COLOR), dtype=np.uint8)


def timeline_of(frames: Sequence[Picture], rate: int) -> Timeline:
    """Signals of all faces that are tracked through a film."""
    tracker, timeline = Tracker(Landmarker("fast", threads=1)), Timeline()
    for index, frame in enumerate(frames):
        timeline.add(index / rate, tracker.update(frame, index / rate))
    return timeline


def matches(spans: Sequence[Span], events: Sequence[Event]) -> Array:
    """True positives, false positives and misses (3,): each span matches the first event that overlaps it."""
    left = list(events)
    right = 0
    for start, end in spans:
        for event in left:
            if event.start <= end and event.end >= start:
                left.remove(event)
                right += 1
                break
    return np.array([right, len(left), len(spans) - right])


def row_of(rate: int, kind: str, counts: Array) -> dict[str, Any]:
    right, wrong, missed = counts.tolist()
    f1 = 2 * right / max(2 * right + wrong + missed, 1)
    counted = {"true": right + missed, "right": right, "wrong": wrong, "missed": missed}
    return {"fps": rate, "kind": kind, **counted, "f1": round(f1, 4)}


if __name__ == "__main__":
    main()
