"""Load test of `lightmark serve --api`: throughput, latency, lost requests and memory of the server.

    python benchmarks/serve_load.py

Visitors on this machine, each on one connection that it keeps, send one JPEG with a painted face again and again, over
loopback, to a server in a process of its own, which has `--workers` threads and a queue that all visitors fit in.
Visitors and server share the machine's cores. An answer counts as right if it is, number by number, that to the first
request; all else is lost. Memory is the server's resident set, read before each twentieth of the requests and after the
last, the first time after as many requests to warm up. Beside it, in the same run: the same picture from bytes to JSON
without a server, one at a time.

The bar: nothing lost, the server ends as it should, and memory at the end is no more than 5 % above that halfway. Exit
status 1 if it is missed. Writes benchmarks/results/serve-load.json.
"""

from __future__ import annotations

import argparse
import http.client
import json
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import cv2
import numpy as np

from lightmark.bench.machine import processor
from lightmark.data.synthetic import synthetic_samples
from lightmark.files import replacing, sha256_of
from lightmark.landmarker import Landmarker
from lightmark.outputs import require_free
from lightmark.provenance import git_commit, versions
from lightmark.runtime.shipped import model_path
from lightmark.serve.endpoint import detect_faces

PARTS = 20  # of the requests, with a look at the memory before each and after the last
GROWTH = 1.05  # the bar: memory at the end over that halfway
SEED, FACE, SIDE = 0, 4, 480  # a painted face that the detector finds, and the side of its picture in pixels
DIRECT = 50  # pictures that are timed without a server
MAX_PIXELS = 50_000_000  # as `lightmark serve` has it by default
RESULT = Path(__file__).parent / "results" / "serve-load.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=2000)
    parser.add_argument("--concurrency", type=int, default=8, help="visitors at a time")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--model", default="fast")
    parser.add_argument("--out", type=Path, default=RESULT)
    parser.add_argument("--force", action="store_true", help="write over what is there")
    options = parser.parse_args()
    require_free([options.out], force=options.force)
    commit = git_commit()  # of the code that runs: it takes minutes
    picture = jpeg()
    with serving(options.model, options.workers, options.concurrency) as (server, port):
        reference = Visitor(port, picture).ask()
        load(port, picture, reference, options.requests // PARTS, options.concurrency)
        parts = [options.requests * (part + 1) // PARTS - options.requests * part // PARTS for part in range(PARTS)]
        memory, times, took = [resident_bytes(server.pid)], Times(), 0.0
        for count in parts:
            began = time.perf_counter()
            times += load(port, picture, reference, count, options.concurrency)
            took += time.perf_counter() - began
            memory.append(resident_bytes(server.pid))
        status = stop(server)
    direct = time_direct(options.model, picture)
    throughput = len(times.right) / took
    found = {
        "requests": options.requests,
        "right": len(times.right),
        "lost": dict(times.lost),
        "answers_per_second": throughput,
        "ms": {name: float(np.percentile(times.right, share)) for name, share in PERCENTILES.items()},
        "direct_ms": direct,
        "answers_per_second_over_direct": throughput * direct / 1000,
        "resident_bytes": {"start": memory[0], "middle": memory[PARTS // 2], "end": memory[-1], "all": memory},
        "end_over_middle": memory[-1] / memory[PARTS // 2],
        "server_exit_status": status,
    }
    met = len(times.right) == options.requests and found["end_over_middle"] <= GROWTH and status == 128 + signal.SIGTERM
    result = {
        "command": ["python", *sys.argv],
        "commit": commit,
        "versions": versions(),
        "cpu": processor(),
        "model": {"name": options.model, "sha256": sha256_of(model_path(options.model))},
        "picture": {"seed": SEED, "face": FACE, "side": SIDE, "bytes": len(picture), "faces": len(reference["faces"])},
        "concurrency": options.concurrency,
        "workers": options.workers,
        "bar": {"lost": 0, "end_over_middle": GROWTH, "met": bool(met)},
        **found,
    }
    with replacing(options.out) as path:
        path.write_text(json.dumps(result, indent=1), encoding="utf-8")
    print(json.dumps(found, indent=1))
    sys.exit(0 if met else 1)


PERCENTILES = {"p50": 50.0, "p90": 90.0, "p99": 99.0, "max": 100.0}


class Times:
    """Milliseconds of the right answers, and how often each other thing came instead."""

    def __init__(self) -> None:
        self.right: list[float] = []
        self.lost: Counter[str] = Counter()

    def __iadd__(self, other: Times) -> Times:
        self.right += other.right
        self.lost += other.lost
        return self


class Visitor:
    """Sends one picture again and again on one connection."""

    def __init__(self, port: int, picture: bytes) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        self._picture = picture

    def ask(self) -> Any:
        """JSON of the answer; raises `RuntimeError` with the status of one that is none."""
        self._connection.request("POST", "/v1/landmarks", self._picture, {"Content-Type": "image/jpeg"})
        answer = self._connection.getresponse()
        body = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"status {answer.status}")
        return json.loads(body)

    def ask_and_time(self, reference: Any, times: Times) -> None:
        """One request more in `times`; `reference` is the right answer."""
        began = time.perf_counter()
        try:
            answer = self.ask()
        except RuntimeError as error:
            times.lost[str(error)] += 1
        except (OSError, http.client.HTTPException, ValueError) as error:
            times.lost[type(error).__name__] += 1
            self._connection.close()  # the next request opens it again
        else:
            if answer == reference:
                times.right.append(1000 * (time.perf_counter() - began))
            else:
                times.lost["another answer"] += 1


def load(port: int, picture: bytes, reference: Any, count: int, concurrency: int) -> Times:
    """Times of `count` requests from `concurrency` visitors at once."""
    times = [Times() for _ in range(concurrency)]
    turns = iter(range(count))
    lock = threading.Lock()

    def visit(own_times: Times) -> None:
        visitor = Visitor(port, picture)
        while True:
            with lock:
                if next(turns, None) is None:
                    return
            visitor.ask_and_time(reference, own_times)

    threads = [threading.Thread(target=visit, args=(own_times,)) for own_times in times]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum_times(times)


def sum_times(parts: list[Times]) -> Times:
    whole = Times()
    for part in parts:
        whole += part
    return whole


@contextmanager
def serving(model: str, workers: int, queue: int) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """The command in a process of its own with an empty page, and its port."""
    with tempfile.TemporaryDirectory() as page:
        (Path(page) / "index.html").touch()
        words = ["serve", "--api", "--quiet", "--port", "0", "--page", page, "--model", model]
        words += ["--workers", str(workers), "--queue", str(queue)]
        command = [sys.executable, "-c", "from lightmark.cli import main; main()", *words]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
            try:
                assert server.stdout is not None
                port = urlsplit(server.stdout.readline().strip()).port
                if port is None:
                    raise SystemExit("the server did not start; its output is above")
                yield server, port
            finally:
                server.kill()


def stop(server: subprocess.Popen[str]) -> int:
    """End the server as systems do, and return its exit status."""
    server.send_signal(signal.SIGTERM)
    return server.wait(timeout=60)


def resident_bytes(pid: int) -> int:
    """What a process holds in memory, by Linux's count."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("VmRSS:"))


def jpeg() -> bytes:
    """A painted face as JPEG."""
    image = synthetic_samples(FACE + 1, SEED, SIDE)[FACE].image
    assert image is not None
    done, encoded = cv2.imencode(".jpg", np.ascontiguousarray(image[..., ::-1]), [cv2.IMWRITE_JPEG_QUALITY, 90])
    assert done
    return encoded.tobytes()


def time_direct(model: str, picture: bytes) -> float:
    """Median milliseconds from bytes to JSON on one thread, in this process."""
    landmarker = Landmarker(model, threads=1)
    taken = []
    for _ in range(DIRECT):
        began = time.perf_counter()
        detect_faces(landmarker, picture, MAX_PIXELS, None)
        taken.append(1000 * (time.perf_counter() - began))
    return float(np.median(taken))


if __name__ == "__main__":
    main()
