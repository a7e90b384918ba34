"""Latency of good requests to `lightmark serve --api` while other clients abuse it.

    python benchmarks/serve_abuse.py

A server in a process of its own, on a free port of 127.0.0.1, with `--workers` threads. For each kind of abuse, from
`VISITORS` threads for `SECONDS`: what another visitor waits for the answer to a good picture, asked again and again;
what the abusers were answered; the server's memory before and at the most. Abuse: a JPEG whose last progressive scan
is there three thousand times more, from two visitors and from many; other pictures of more work than pixels; silent
connections, half a header, headers and bodies a byte at a time, 1000 idle connections, bytes that are no HTTP, a
stranger's Host, answers that nobody takes.

The bar: every good picture is answered right, within `LIMIT` seconds, and the server ends as it should. Exit status 1
if it is missed. Writes benchmarks/results/serve-abuse.json.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import socket
import struct
import sys
import threading
import time
import zlib
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from PIL import Image

from lightmark.bench.machine import processor
from lightmark.files import replacing, sha256_of
from lightmark.outputs import require_free
from lightmark.provenance import git_commit, versions
from lightmark.runtime.shipped import model_path
from serve_load import Visitor, jpeg, resident_bytes, serving, stop

VISITORS, SECONDS, LIMIT = 8, 6.0, 2.0
IDLE = 1000  # connections
SCANS = 3000
HEADER = b"POST /v1/landmarks HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/jpeg\r\n"
RESULT = Path(__file__).parent / "results" / "serve-abuse.json"

Abuse = Callable[[int, Counter[str]], None]  # port, what was answered; one turn


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--model", default="fast")
    parser.add_argument("--out", type=Path, default=RESULT)
    parser.add_argument("--force", action="store_true", help="write over what is there")
    options = parser.parse_args()
    require_free([options.out], force=options.force)
    commit, picture = git_commit(), jpeg()
    with serving(options.model, options.workers, 16) as (server, port):
        reference = Visitor(port, picture).ask()
        rows = {"nothing": under(None, 0, server.pid, port, picture, reference)}
        for name, (visitors, abuse) in kinds().items():
            rows[name] = under(abuse, visitors, server.pid, port, picture, reference)
            print(name, json.dumps(rows[name]), flush=True)
        status = stop(server)
    met = status == 143 and all(row["lost"] == 0 and row["worst_seconds"] <= LIMIT for row in rows.values())
    result = {
        "command": ["python", *sys.argv],
        "commit": commit,
        "versions": versions(),
        "cpu": processor(),
        "cores": os.cpu_count(),
        "workers": options.workers,
        "model": {"name": options.model, "sha256": sha256_of(model_path(options.model))},
        "seconds_each": SECONDS,
        "bar": {"lost": 0, "worst_seconds": LIMIT, "met": met},
        "server_exit_status": status,
        "abuse": rows,
    }
    with replacing(options.out) as path:
        path.write_text(json.dumps(result, indent=1), encoding="utf-8")
    sys.exit(0 if met else 1)


def under(
    abuse: Abuse | None, visitors: int, pid: int, port: int, picture: bytes, reference: Any
) -> dict[str, Any]:
    """How a good visitor fares while so many others do that."""
    answers: Counter[str] = Counter()
    ends = time.monotonic() + SECONDS
    before = most = resident_bytes(pid)

    def repeat() -> None:
        while abuse is not None and time.monotonic() < ends:
            try:
                abuse(port, answers)
            except OSError as error:
                answers[type(error).__name__] += 1

    threads = [threading.Thread(target=repeat) for _ in range(visitors)]
    for thread in threads:
        thread.start()
    time.sleep(0.3)  # they are at it
    waits, lost = [], 0
    while time.monotonic() < ends:
        began = time.monotonic()
        try:
            lost += Visitor(port, picture).ask() != reference
        except (OSError, RuntimeError):
            lost += 1
        waits.append(time.monotonic() - began)
        most = max(most, resident_bytes(pid))
    for thread in threads:
        thread.join()
    return {
        "good": len(waits), "lost": lost,
        "worst_seconds": round(max(waits), 3), "median_seconds": round(sorted(waits)[len(waits) // 2], 3),
        "abusers": visitors, "their_answers": dict(answers.most_common(6)),
        "resident_mb": {"before": before // 10**6, "most": most // 10**6},
    }  # fmt: skip


def kinds() -> dict[str, tuple[int, Abuse]]:
    """Kinds of abuse by name: how many do it, and what each does again and again."""
    bomb = scan_bomb()
    return {
        "scan bomb, two visitors": (2, post(bomb)),
        "scan bomb": (VISITORS, post(bomb)),
        "PNG of empty chunks": (VISITORS, post(png_of_chunks())),
        "text picture of comments": (VISITORS, post(b"P3\n100 100\n255\n" + b"#\n" * 5_000_000)),
        "TIFF of tags that name the same bytes": (VISITORS, post(greedy_tiff())),
        "silent connections": (VISITORS, say(b"")),
        "half a header": (VISITORS, say(HEADER)),
        "header, a byte at a time": (VISITORS, trickle(HEADER * 100)),
        "body, a byte at a time": (VISITORS, trickle(bytes(10_000), HEADER + b"Content-Length: 10000\r\n\r\n")),
        f"{IDLE} idle connections": (1, idle),
        "no HTTP": (VISITORS, say(os.urandom(2000) + b"\r\n\r\n")),
        "a stranger's Host": (VISITORS, say(b"GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n")),
        "answers that nobody takes": (VISITORS, say(b"GET /models/standard.onnx HTTP/1.1\r\nHost: localhost\r\n\r\n")),
    }


def post(body: bytes) -> Abuse:
    """Send a body and read the answer."""
    return say(HEADER + f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + body)


def say(words: bytes) -> Abuse:
    """Send words, and wait a second at most for the first of an answer."""

    def turn(port: int, answers: Counter[str]) -> None:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
            connection.sendall(words)
            note(connection, answers)

    return turn


def trickle(words: bytes, first: bytes = b"") -> Abuse:
    """Send words a byte at a time, twenty a second, until the server has enough or the time is over."""

    def turn(port: int, answers: Counter[str]) -> None:
        with socket.create_connection(("127.0.0.1", port), timeout=0.05) as connection:
            connection.sendall(first)
            for number in range(int(20 * SECONDS)):
                connection.sendall(words[number : number + 1])
                if note(connection, answers, quiet=True):
                    return
            answers["still awaited"] += 1

    return turn


def idle(port: int, answers: Counter[str]) -> None:
    """Open many connections and say nothing on any."""
    with ExitStack() as open_ones:
        for _ in range(IDLE):
            open_ones.enter_context(socket.create_connection(("127.0.0.1", port), timeout=1))
            answers["connections"] += 1
        time.sleep(SECONDS / 2)


def note(connection: socket.socket, answers: Counter[str], quiet: bool = False) -> bool:
    """Count the status of the answer, or that none came; whether the server had anything to say."""
    try:
        start = connection.recv(12)
    except TimeoutError:
        if not quiet:
            answers["nothing within 1 s"] += 1
        return False
    answers[start[9:].decode("ascii", "replace") or "closed"] += 1
    return True


def scan_bomb() -> bytes:
    """A JPEG of 49 million pixels whose last progressive scan is there three thousand times more."""
    stream = io.BytesIO()
    Image.new("L", (7000, 7000)).save(stream, "JPEG", progressive=True)
    content = stream.getvalue()
    return content[:-2] + content[content.rindex(b"\xff\xda") : -2] * SCANS + b"\xff\xd9"


def png_of_chunks() -> bytes:
    """A PNG of a million and a half empty chunks."""
    stream = io.BytesIO()
    Image.new("L", (64, 64)).save(stream, "PNG")
    content = stream.getvalue()
    return content[:33] + (b"\0\0\0\0tEXt" + struct.pack(">L", zlib.crc32(b"tEXt"))) * 1_500_000 + content[33:]


def greedy_tiff() -> bytes:
    """A TIFF of 10 MB whose thousand tags all name the same 10 MB."""
    size, tags = 10_000_000, 1000
    entries = b"".join(struct.pack("<HHLL", 1000 + tag, 7, size, 14 + 12 * tags) for tag in range(tags))
    return b"II*\0\x08\0\0\0" + struct.pack("<H", tags) + entries + bytes(4 + size)


if __name__ == "__main__":
    main()
