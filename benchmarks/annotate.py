"""Throughput, memory and resuming of `lightmark annotate`: Ray's workers against one process with one thread.

    python benchmarks/annotate.py

Draws `--pictures` JPEGs of 320×240: one of a few hundred drawn faces each (those of 300 that the detector finds),
recoloured, scaled and put somewhere on a plain ground; every 100th is cut short, as a bad picture. Then, all in one
run, on the same pictures:

- `--engine local`: one process, one thread;
- `--engine ray --workers 2`, undisturbed, on the first quarter and on all;
- the same on all, killed by SIGKILL when a third and when two thirds of the parts are there, and at once started again.

Seconds are those of the whole command, with its start. Memory is the proportional set size (what several processes
share counts once) of the command and of all that it started, read twice a second, at its highest.

The bar: every picture has exactly one row in every run, bad ones with a reason; all runs have the same rows; parts that
were finished when a run was killed are not written again; memory on all pictures is at most 1.1 times that on a
quarter. Exit status 1 if it is missed. Writes benchmarks/results/annotate.json. Linux only.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from importlib import metadata
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from pyarrow import parquet

from lightmark.annotate.chunk import Settings
from lightmark.annotate.job import MANIFEST, open_job, summarise
from lightmark.bench.machine import processor
from lightmark.data.sample import load_image
from lightmark.data.synthetic import synthetic_samples
from lightmark.files import replacing, sha256_of
from lightmark.image import Picture
from lightmark.landmarker import Landmarker
from lightmark.outputs import require_free
from lightmark.provenance import git_commit, versions
from lightmark.runtime.shipped import DEFAULT_MODEL, model_path

SEED = 0
FACES, FACE_SIDE = 300, 160  # drawn once
WIDTH, HEIGHT = 320, 240
BAD_EVERY = 100
GROWTH = 1.1  # the bar: memory on all pictures over that on a quarter
LOOK_EVERY = 0.5  # seconds between looks at memory
KILLED_AT = (1 / 3, 2 / 3)  # of the parts
RESULT = Path(__file__).parent / "results" / "annotate.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=20_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--part", type=int, default=256, help="pictures a part")
    parser.add_argument("--out", type=Path, default=RESULT)
    parser.add_argument("--force", action="store_true", help="write over what is there")
    options = parser.parse_args()
    require_free([options.out], force=options.force)
    commit = git_commit()  # of the code that runs: it takes minutes
    with tempfile.TemporaryDirectory() as folder:
        found = measure(Path(folder), options.pictures, options.workers, options.part)
    result = {
        "command": ["python", *sys.argv],
        "commit": commit,
        "versions": versions() | {name: metadata.version(name) for name in ("ray", "pyarrow")},
        "cpu": processor(),
        "cores": os.cpu_count(),
        "model": {"name": DEFAULT_MODEL, "sha256": sha256_of(model_path(DEFAULT_MODEL))},
        "drawn": {"seed": SEED, "faces": FACES, "width": WIDTH, "height": HEIGHT, "bad_every": BAD_EVERY},
        "workers": options.workers,
        "pictures_per_part": options.part,
        **found,
    }
    with replacing(options.out) as path:
        path.write_text(json.dumps(result, indent=1), encoding="utf-8")
    print(json.dumps(found, indent=1))
    print(f"{options.workers} workers over one process: {found['ratio']:.2f}")
    sys.exit(0 if found["bar"]["met"] else 1)


def measure(folder: Path, pictures: int, workers: int, part: int) -> dict[str, Any]:
    everything, quarter = folder / "all", folder / "quarter"
    draw(everything, pictures)
    quarter.mkdir()
    for file in sorted(everything.iterdir())[: pictures // 4]:
        os.link(file, quarter / file.name)
    ray = ["--engine", "ray", "--workers", str(workers), "--pictures-per-part", str(part)]
    local = ["--engine", "local", "--pictures-per-part", str(part)]
    runs = {
        "local": run(everything, folder / "local", local),
        "ray_quarter": run(quarter, folder / "ray-quarter", ray),
        "ray": run(everything, folder / "ray", ray),
    }
    killed = run_killed(everything, folder / "killed", ray)
    outs = [folder / name for name in ("local", "ray", "killed")]
    once = {out.name: exactly_once(out, everything) for out in outs}
    same = all(same_rows(outs[0], out) for out in outs[1:])
    rows = summarise(open_job(everything, outs[0], Settings(), part))
    growth = runs["ray"]["peak_bytes"] / runs["ray_quarter"]["peak_bytes"]
    met = all(once.values()) and same and not killed["parts_written_again"] and growth <= GROWTH
    return {
        "pictures": pictures,
        "runs": runs,
        "killed": killed,
        "ratio": runs["local"]["seconds"] / runs["ray"]["seconds"],
        "peak_over_quarter": growth,
        "exactly_once": once,
        "same_rows": same,
        "bad": sum(rows.errors.values()),
        "faces": rows.faces,
        "bar": {"peak_over_quarter": GROWTH, "met": bool(met)},
    }


def draw(folder: Path, count: int) -> None:
    """`count` JPEGs, a face in each; the same for the same seed."""
    folder.mkdir()
    landmarker = Landmarker(DEFAULT_MODEL, threads=1)
    drawn = [load_image(face) for face in synthetic_samples(FACES, SEED, FACE_SIDE)]
    faces = [face for face in drawn if landmarker.detect(face)]
    rng = np.random.default_rng(SEED)
    for number in range(count):
        picture = place(faces[number % len(faces)], rng)
        _, encoded = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 85])
        content = encoded.tobytes()
        bad = number % BAD_EVERY == BAD_EVERY - 1
        (folder / f"{number:06}.jpg").write_bytes(content[: len(content) // 3] if bad else content)


def place(face: Picture, rng: np.random.Generator) -> Picture:
    """`face` in other colours and of another size, somewhere in a picture of one colour."""
    side = int(rng.integers(FACE_SIDE // 2, HEIGHT))
    gains = rng.uniform(0.7, 1.3, 3)
    coloured = np.clip(cv2.resize(face, (side, side)) * gains, 0, 255).astype(np.uint8)
    picture = np.empty((HEIGHT, WIDTH, 3), np.uint8)
    picture[:] = rng.integers(0, 256, 3)
    x, y = int(rng.integers(WIDTH - side + 1)), int(rng.integers(HEIGHT - side + 1))
    picture[y : y + side, x : x + side] = coloured
    return picture


def start(source: Path, out: Path, words: list[str]) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", "from lightmark.cli import main; main()"]
    return subprocess.Popen([*command, "annotate", str(source), "--out", str(out), *words])


def run(source: Path, out: Path, words: list[str]) -> dict[str, float]:
    """Seconds and peak memory of the command from its start to its end."""
    began, peak = time.perf_counter(), 0
    with start(source, out, words) as process:
        while process.poll() is None:
            peak = max(peak, memory_of(tree_of(process.pid)))
            time.sleep(LOOK_EVERY)
        seconds = time.perf_counter() - began
        require_end(process.returncode)
    count = json.loads((out / MANIFEST).read_text(encoding="utf-8"))["pictures"]
    return {"pictures": count, "seconds": seconds, "pictures_per_second": count / seconds, "peak_bytes": peak}


def run_killed(source: Path, out: Path, words: list[str]) -> dict[str, Any]:
    """Kill the command at each of `KILLED_AT`, start it again at once, and look at what it had finished each time.

    Ray's workers outlive it by seconds and may finish the chunks that they have; what they finish is not counted.
    """
    kept: dict[str, int] = {}
    for share in KILLED_AT:
        with start(source, out, words) as process:
            wait_until_done(share, out, process)
            process.kill()
            process.wait()
            kept = marks(out) | kept
    with start(source, out, words) as process:
        require_end(process.wait())
    now = marks(out)
    return {
        "kills": len(KILLED_AT),
        "parts_finished_when_killed": len(kept),
        "parts": len(now),
        "parts_written_again": sorted(name for name, mark in kept.items() if now[name] != mark),
    }


def wait_until_done(share: float, out: Path, process: subprocess.Popen[bytes]) -> None:
    while share_done(out) < share:
        if process.poll() is not None:
            raise SystemExit("the run ended before it could be killed; give more --pictures or a smaller --part")
        time.sleep(0.02)


def require_end(status: int) -> None:
    """Raise unless the command ended well; 1 says that pictures were bad, which they are."""
    if status not in (0, 1):
        raise SystemExit(f"lightmark annotate ended with status {status}; its output is above")


def marks(out: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in out.glob("part-*.parquet")}


def share_done(out: Path) -> float:
    manifest = out / MANIFEST
    if not manifest.exists():
        return 0.0
    return len(marks(out)) / int(json.loads(manifest.read_text(encoding="utf-8"))["parts"])


def exactly_once(out: Path, source: Path) -> bool:
    """Whether the rows are those of the pictures, each once, with a reason for those that were cut and no others."""
    parts = [parquet.read_table(path, columns=["key", "error"]) for path in sorted(out.glob("part-*.parquet"))]
    rows = [row for part in parts for row in part.to_pylist()]
    reported = {row["key"] for row in rows if row["error"]}
    names = sorted(file.name for file in source.iterdir())
    bad = {name for name in names if int(name[:6]) % BAD_EVERY == BAD_EVERY - 1}
    return sorted(row["key"] for row in rows) == names and reported == bad


def same_rows(first: Path, second: Path) -> bool:
    names = sorted(marks(first))
    if names != sorted(marks(second)):
        return False
    return all(parquet.read_table(first / name).equals(parquet.read_table(second / name)) for name in names)


def tree_of(pid: int) -> list[int]:
    """`pid` and all that it has started, and so on."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (parent := parent_of(entry)) is not None:
            children.setdefault(parent, []).append(int(entry.name))
    tree, waiting = [], [pid]
    while waiting:
        one = waiting.pop()
        tree.append(one)
        waiting += children.get(one, [])
    return tree


def parent_of(entry: Path) -> int | None:
    try:
        # The name before it stands in brackets and may hold anything.
        return int((entry / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[1])
    except OSError:
        return None


def memory_of(pids: list[int]) -> int:
    """Proportional set size of `pids` in bytes; those that have ended meanwhile have none."""
    total = 0
    for pid in pids:
        try:
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="utf-8").splitlines()
        except OSError:
            continue
        total += next((1024 * int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)
    return total


if __name__ == "__main__":
    main()
