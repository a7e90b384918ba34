"""Time of `detect` and `track` with and without measures, as ratios within one run.

    taskset -c 0 python benchmarks/measures_time.py

One thread, the samples of the page (640 px, one and four faces). In each round every stage has one turn, so that other
work on the core meets all alike; a stage's ratio is the median over the rounds of its time to that of the same round's
first stage. The JSON of a face holds its pose in both cases. `unasked_modules` are those of measures that are loaded
after `detect`, `track` and JSON without them: none. Writes benchmarks/results/measures-time.json.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import lightmark
from lightmark.bench.machine import processor
from lightmark.face import Face
from lightmark.files import replacing
from lightmark.image import Picture
from lightmark.landmarker import Landmarker
from lightmark.outputs import require_free
from lightmark.provenance import git_commit, versions
from lightmark.runtime.shipped import DEFAULT_MODEL, shipped_hashes
from lightmark.source import to_picture
from lightmark.video.tracker import TrackedFace, Tracker

RESULT = Path(__file__).parent / "results" / "measures-time.json"
SAMPLES = Path(lightmark.__file__).parent / "page" / "samples"
PICTURES = {"1 face": "curls.jpg", "4 faces": "meeting.jpg"}
OPTIONAL = ("lightmark.measures", "lightmark.alignment", "lightmark.schemes", "lightmark.video.events")
Stages = dict[str, Callable[[], object]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--out", type=Path, default=RESULT)
    parser.add_argument("--force", action="store_true", help="write over what is there")
    options = parser.parse_args()
    require_free([options.out], force=options.force)
    plain = {name: plain_stages(to_picture(SAMPLES / file)) for name, file in PICTURES.items()}
    for stages in plain.values():
        for stage in stages.values():
            stage()
    loaded = [module for module in OPTIONAL if module in sys.modules]
    rows = {name: measured(stages | asked_stages(to_picture(SAMPLES / PICTURES[name])), options.rounds)
            for name, stages in plain.items()}  # fmt: skip
    report = {
        "command": ["python", *sys.argv], "commit": git_commit(), "versions": versions(), "processor": processor(),
        "model": shipped_hashes(DEFAULT_MODEL), "rounds": options.rounds, "unasked_modules": loaded, "rows": rows,
    }  # fmt: skip
    print(json.dumps(rows, indent=1), "loaded unasked:", loaded)
    with replacing(options.out) as path:
        path.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


def plain_stages(picture: Picture) -> Stages:
    """`detect` and `track`, and their faces as JSON, without measures."""
    landmarker, follow = Landmarker(threads=1), follower(picture)

    return {
        "detect": lambda: [face.to_dict() for face in landmarker.detect(picture)],
        "track": lambda: [tracked.face.to_dict() for tracked in follow()],
    }


def asked_stages(picture: Picture) -> Stages:
    """The same with measures: all of `--measures`, and the signals of `--events`."""
    from lightmark.video.events import signal_values

    size = (picture.shape[1], picture.shape[0])
    landmarker, follow, watch = Landmarker(threads=1), follower(picture), follower(picture)

    def measured_face(face: Face) -> dict[str, Any]:
        return face.to_dict(size)

    return {
        "detect --measures": lambda: [measured_face(face) for face in landmarker.detect(picture)],
        "track --measures": lambda: [measured_face(tracked.face) for tracked in follow()],
        "track --events": lambda: [(tracked.face.to_dict(), signal_values(tracked)) for tracked in watch()],
    }


def follower(picture: Picture) -> Callable[[], list[TrackedFace]]:
    """Function that tracks `picture` as the next frame of 30 a second."""
    tracker, frame = Tracker(Landmarker(threads=1)), 0

    def follow() -> list[TrackedFace]:
        nonlocal frame
        frame += 1
        return tracker.update(picture, frame / 30)

    return follow


def measured(stages: Stages, rounds: int) -> dict[str, dict[str, float]]:
    """Median milliseconds of each stage, and of its ratios to the stage without measures."""
    times = np.array([[turn(stage) for stage in stages.values()] for _ in range(rounds)])
    names = list(stages)
    bases = times[:, [names.index(name.split()[0]) for name in names]]
    return {
        name: {"ms": round(float(ms), 2), "ratio": round(float(ratio), 3)}
        for name, ms, ratio in zip(names, np.median(times, axis=0), np.median(times / bases, axis=0), strict=True)
    }


def turn(stage: Callable[[], object]) -> float:
    """Milliseconds of one call."""
    began = time.perf_counter()
    stage()
    return (time.perf_counter() - began) * 1000


if __name__ == "__main__":
    main()
