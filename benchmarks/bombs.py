"""Decompression bombs: time and memory of `to_picture` on each, in separate processes.

    python benchmarks/bombs.py

Files of up to `SIZE` bytes, made by code, and given to `to_picture` with the limit of pixels that `lightmark serve`
has. Seconds are of the process's CPU; memory is what its peak grew by; both end at `LIMIT` seconds and `MEMORY` bytes.
Beside them ordinary pictures of as many pixels, for scale. The bar: each is a picture or an `ImageError` within
`BAR` seconds. Exit status 1 if it is missed. Writes benchmarks/results/bombs.json. To see what the bounds are worth,
run it with PYTHONPATH at the sources of an older version.
"""

from __future__ import annotations

import argparse
import io
import json
import resource
import struct
import subprocess
import sys
import tempfile
import time
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image

from lightmark.bench.machine import processor
from lightmark.errors import ImageError
from lightmark.files import replacing
from lightmark.outputs import require_free
from lightmark.provenance import git_commit, versions
from lightmark.source import to_picture

SIZE = 19_000_000  # bytes: below --max-bytes of `lightmark serve`
MAX_PIXELS = 50_000_000
LIMIT, MEMORY, BAR = 60, 6 * 2**30, 5.0
SIDE = 7000  # pixels: 49 million in all
RESULT = Path(__file__).parent / "results" / "bombs.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=RESULT)
    parser.add_argument("--force", action="store_true", help="write over what is there")
    parser.add_argument("--one", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one is not None:
        print(json.dumps(measure(options.one.read_bytes())))
        return
    require_free([options.out], force=options.force)
    rows = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, make in FILES.items():
            path = Path(folder) / "picture"
            path.write_bytes(make())
            rows[name] = {"bytes": path.stat().st_size, **measure_apart(path)}
            print(name, json.dumps(rows[name]), flush=True)
    met = all(row["seconds"] is not None and row["seconds"] <= BAR for row in rows.values())
    result = {
        "command": ["python", *sys.argv], "commit": git_commit(), "versions": versions(), "cpu": processor(),
        "bar": {"seconds": BAR, "met": met}, "files": rows,
    }  # fmt: skip
    with replacing(options.out) as out:
        out.write_text(json.dumps(result, indent=1, ensure_ascii=False), encoding="utf-8")
    sys.exit(0 if met else 1)


def measure_apart(path: Path) -> dict[str, Any]:
    """What another process measures, None for seconds where it was killed."""
    command = [sys.executable, __file__, "--one", str(path)]
    try:
        found = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT, check=True)
    except (subprocess.TimeoutExpired, subprocess.CalledProcessError) as error:
        return {"seconds": None, "mb": None, "message": f"killed: {type(error).__name__}"}
    row: dict[str, Any] = json.loads(found.stdout)
    return row


def measure(content: bytes) -> dict[str, Any]:
    """CPU seconds, megabytes and the message for one file."""
    warnings.simplefilter("ignore")
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    before = peak_bytes()
    began = time.process_time()
    try:
        height, width, _ = to_picture(content, MAX_PIXELS, "picture").shape
        message = f"a picture of {width}×{height}"
    except ImageError as error:
        message = str(error)
    seconds = time.process_time() - began
    return {"seconds": round(seconds, 2), "mb": (peak_bytes() - before) // 10**6, "message": message}


def peak_bytes() -> int:
    """The most that this process held at a time; getrusage would count its parent's from before it began, too."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))


def encoded(kind: str, side: int = 64, mode: str = "L", **options: Any) -> bytes:
    """A black square in that format."""
    stream = io.BytesIO()
    Image.new(mode, (side, side)).save(stream, kind, **options)
    return stream.getvalue()


def scans(count: int, mode: str = "L") -> bytes:
    """A progressive JPEG whose last scan is there so many times more."""
    plain = encoded("JPEG", SIDE, mode, progressive=True)
    return plain[:-2] + plain[plain.rindex(b"\xff\xda") : -2] * count + b"\xff\xd9"


def jpeg_of(part: bytes) -> bytes:
    """A small JPEG, `part` behind its first segment until it is as large as may be."""
    plain = encoded("JPEG")
    return plain[:20] + part * (SIZE // len(part)) + plain[20:]


def png_chunk(name: bytes, data: bytes = b"") -> bytes:
    return struct.pack(">L", len(data)) + name + data + struct.pack(">L", zlib.crc32(name + data))


def png_of(chunk: bytes) -> bytes:
    """A small PNG, the chunk behind its header until it is as large as may be."""
    plain = encoded("PNG")
    return plain[:33] + chunk * (SIZE // len(chunk)) + plain[33:]


def gif_of(part: bytes) -> bytes:
    """A small GIF, `part` before its frame until it is as large as may be."""
    plain = encoded("GIF")
    start = 13 + (3 << (plain[10] & 7) + 1)
    return plain[:start] + part * (SIZE // len(part)) + plain[start:]


def map_of(kind: str, largest: str, value: bytes) -> bytes:
    """A portable map of one value."""
    bands = 3 if kind in ("P3", "P6") else 1
    rows = SIZE // (1000 * bands * len(value))
    return f"{kind}\n1000 {rows}\n{largest}\n".encode() + value * (1000 * rows * bands)


def bmp_of(runs: bytes) -> bytes:
    """A run-length coded BMP."""
    head = struct.pack("<LllHHLLllLL", 40, SIDE, SIDE, 1, 8, 1, len(runs), 0, 0, 0, 0)
    return b"BM" + struct.pack("<LHHL", 1078 + len(runs), 0, 0, 1078) + head + bytes(1024) + runs


def tiff_of(*entries: tuple[int, int, int, int]) -> bytes:
    return b"II*\0\x08\0\0\0" + struct.pack("<H", len(entries)) + b"".join(
        struct.pack("<HHLL", *entry) for entry in entries
    )  # fmt: skip


def strips() -> bytes:
    """A TIFF of one column, each of its millions of rows a strip."""
    count = SIZE // 8
    sizes = [(256, 4, 1, 16), (257, 4, 1, count), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1), (278, 4, 1, 1)]
    places = [(273, 4, count, 122), (277, 3, 1, 1), (279, 4, count, 122 + 4 * count)]
    offsets = b"".join(struct.pack("<L", 122 + number % 1000) for number in range(count))
    return tiff_of(*sizes, *places) + bytes(4) + offsets + struct.pack("<L", 16) * count


def greedy_directory(tags: int = 1000) -> bytes:
    """A TIFF whose tags all name the same bytes, which are all of it."""
    size = SIZE - 14 - 12 * tags
    return tiff_of(*((1000 + tag, 7, size, 14 + 12 * tags) for tag in range(tags))) + bytes(4 + size)


def precincts() -> bytes:
    """A JPEG 2000 in precincts of two pixels."""
    plain = encoded("JPEG2000", 2000, no_jp2=True, num_resolutions=6)
    coding, part, data = plain.index(b"\xff\x52"), plain.index(b"\xff\x90"), plain.index(b"\xff\x93")
    body = bytes([1, *plain[coding + 5 : coding + 14]]) + b"\x11" * 6
    tile = plain[part : part + 6] + bytes(4) + plain[part + 10 : part + 12]  # 0: up to the end
    after = coding + 2 + int.from_bytes(plain[coding + 2 : coding + 4], "big")
    head = plain[:coding] + b"\xff\x52" + struct.pack(">H", len(body) + 2) + body + plain[after:part]
    return head + tile + plain[data : data + 2] + bytes(100_000) + b"\xff\xd9"


FILES: dict[str, Callable[[], bytes]] = {
    "JPEG, 3000 scans": lambda: scans(3000),
    "JPEG, 60 scans": lambda: scans(54),
    "JPEG, CMYK, 2000 scans": lambda: scans(2000, "CMYK"),
    "JPEG of empty comments": lambda: jpeg_of(b"\xff\xfe\0\2"),
    "JPEG of padding": lambda: jpeg_of(b"\xff"),
    "JPEG of long comments": lambda: jpeg_of(b"\xff\xfe\xff\xff" + bytes(65533)),
    "JPEG of EXIF": lambda: jpeg_of(b"\xff\xe1\xff\xffExif\0\0" + bytes(65527)),
    "PNG of empty chunks": lambda: png_of(png_chunk(b"tEXt")),
    "PNG of profiles": lambda: png_of(png_chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(2**20 - 10), 9))),
    "PNG of one long comment": lambda: png_of(png_chunk(b"tEXt", b"a\0" + b"x" * (SIZE - 100))),
    "GIF of extensions": lambda: gif_of(b"!\xf0\x01a\0"),
    "GIF of comments": lambda: gif_of(b"!\xfe\x01a\0"),
    "PPM, text": lambda: map_of("P3", "255", b"0 "),
    "PPM, text of comments": lambda: b"P3\n100 100\n255\n" + b"#\n" * (SIZE // 2),
    "PPM, largest value 254": lambda: map_of("P6", "254", b"\0"),
    "PGM, largest value 254": lambda: map_of("P5", "254", b"\0"),
    "PPM, comment in its header": lambda: b"P6\n#" + b"#" * SIZE + b"\n8 8\n255\n" + bytes(192),
    "BMP of short runs": lambda: bmp_of(b"\1\0" * (SIZE // 2)),
    "BMP of empty rows": lambda: bmp_of(b"\1\0\0\0" * SIDE),
    "TIFF of strips": strips,
    "TIFF of tags that name the same bytes": greedy_directory,
    "JPEG 2000 of tiny precincts": precincts,
    "ordinary JPEG": lambda: encoded("JPEG", SIDE, "RGB"),
    "ordinary progressive JPEG": lambda: encoded("JPEG", SIDE, "RGB", progressive=True),
    "ordinary PNG": lambda: encoded("PNG", SIDE, "RGB"),
    "ordinary WebP": lambda: encoded("WEBP", SIDE, "RGB"),
    "ordinary JPEG 2000": lambda: encoded("JPEG2000", SIDE, "RGB"),
}

if __name__ == "__main__":
    main()
