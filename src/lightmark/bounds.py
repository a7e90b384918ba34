"""Bounds: what a picture's file may make its decoder do beside decoding its pixels once.

A limit on pixels alone does not bound the work: a JPEG of 400 kB may go over the same 49 million pixels three thousand
times, and a file of a few megabytes may hold millions of empty parts, each of which Pillow reads in Python.
"""

from __future__ import annotations

import io
import os
import re
import struct
from collections.abc import Callable, Iterator
from typing import IO, Any, cast

from PIL import Image as PilImage

from lightmark.errors import ImageError

# Scans of one JPEG: cameras write 1, libjpeg's progressive script 10, searched ones some 20, which is for any picture.
# More may go over so many pixels in all, which takes some 2 s, up to the 100 at which Skia and libtiff stop, too.
ANYONES_SCANS, SCANNED_PIXELS, MAX_SCANS = 25, 1_000_000_000, 100
MAX_SEGMENTS = 10_000  # of one JPEG, restart markers not counted: 64 kB each make 640 MB
MAX_EXIF = 2**20  # bytes in all of a JPEG's APP1 segments: one of 64 kB holds it, some cameras write a few
MAX_PRECINCTS = 250_000  # of a JPEG 2000, 1.6 kB of OpenJPEG's memory each; at their usual 256 px 100 MP have 2000
MAX_TAGS = 4096  # of a TIFF or EXIF directory; real ones have less than 100
MAX_STRIPS = 100_000  # or tiles of a TIFF; one a row of 100 million square pixels are 10 000
# Calls of `read`: one an element for whatever Pillow goes through in Python. 512 bytes a call are far below what
# encoders write: libpng's chunks have 8 kB in 3 calls.
FREE_READS, BYTES_A_READ = 50_000, 512

BLOCK = 2**16
# Whatever fills or pads, is escaped (FF 00), restarts or is of no known kind is passed over, as libjpeg does it.
MARKER = re.compile(rb"\xff[\xc0-\xcf\xd8-\xfe]")
START, END, SCAN, APP1 = 0xD8, 0xD9, 0xDA, 0xE1
NO_FRAMES = (0xC4, 0xC8, 0xCC)  # among the markers C0 to CF, which else begin a frame
HEAD = 7  # bytes of a segment, its length included, that hold a frame's height and width
CODESTREAM, SIZE, CODING, COMPONENT_CODING, TILE, DATA, STREAM_END = (
    b"\xff\x4f", b"\xff\x51", b"\xff\x52", b"\xff\x53", b"\xff\x90", b"\xff\x93", b"\xff\xd9"
)  # fmt: skip
# Those with a length, of ISO 15444-1 and of its other parts as far as OpenJPEG reads them.
LONG_MARKERS = frozenset(
    b"\xff" + bytes([code]) for code in bytes.fromhex("505152535557585f5c5d5e59606163647475777890")
)
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
STRIP_OFFSETS, TILE_OFFSETS = 273, 324
SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}


class BoundedReads:
    """`stream`, which raises `ImageError` once it has been read from more often than whole pictures need."""

    def __init__(self, stream: IO[bytes], name: str) -> None:
        self._stream = stream
        self._name = name
        self._left = FREE_READS + length_of(stream) // BYTES_A_READ

    def read(self, size: int = -1) -> bytes:
        """As of any stream."""
        self._left -= 1
        if self._left < 0:
            raise ImageError(f"{self._name}: is cut into more parts than any picture needs; save it anew")
        return self._stream.read(size)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def length_of(stream: IO[bytes]) -> int:
    """Bytes of a stream that can be sought; it stays where it is."""
    here = stream.tell()
    length = stream.seek(0, os.SEEK_END)
    stream.seek(here)
    return length


def require_bounded(form: str, stream: IO[bytes], name: str) -> None:
    """Raise `ImageError` where the file of that Pillow format would cost more than its pixels; the stream is rewound.

    Comes before Pillow sees the file: its plugins read what is bounded here as they open.
    """
    check = BOUNDS.get(form)
    if check is not None:
        stream.seek(0)
        check(stream, name)
    stream.seek(0)


def require_few_scans(stream: IO[bytes], name: str) -> None:
    """Raise `ImageError` where the JPEG from here on has too many scans or segments, or too much EXIF."""
    scans, exif, most = 0, 0, MAX_SCANS
    for count, (code, head) in enumerate(segments(stream), 1):
        if 0xC0 <= code <= 0xCF and code not in NO_FRAMES:
            height, width = struct.unpack(">HH", head[3:HEAD])
            most = min(MAX_SCANS, max(ANYONES_SCANS, SCANNED_PIXELS // max(1, height * width)))
        scans += code == SCAN
        exif += int.from_bytes(head[:2], "big") if code == APP1 else 0
        if scans > most:
            raise ImageError(
                f"{name}: a JPEG of more than {most} scans, each of which goes over its pixels anew; "
                "save it again, not progressive"
            )
        if count > MAX_SEGMENTS:
            raise ImageError(f"{name}: a JPEG of more than {MAX_SEGMENTS:,} segments; save it anew")
        if exif > MAX_EXIF:
            raise ImageError(f"{name}: a JPEG with more than {MAX_EXIF:,} bytes of EXIF and XMP; save it anew without")


def segments(stream: IO[bytes]) -> Iterator[tuple[int, bytes]]:
    """Marker and first `HEAD` bytes of each segment of the JPEG from here up to its end, as libjpeg finds them.

    Where a file is damaged these are all that libjpeg might see, perhaps more.
    """
    block, at = b"", 0
    while True:
        found = MARKER.search(block, at)
        if found is None or found.end() + HEAD > len(block):
            more = stream.read(BLOCK)
            if not more and (found is None or found.end() + 2 > len(block)):
                return
            if more:
                kept = max(at, len(block) - 1) if found is None else found.start()
                block, at = block[kept:] + more, 0
                continue
        assert found is not None
        code, at = block[found.end() - 1], found.end()
        if code == END:
            return
        if code == START:
            continue
        yield code, block[at : at + HEAD].ljust(HEAD, b"\0")
        at += max(2, int.from_bytes(block[at : at + 2], "big"))
        if at > len(block):
            stream.seek(at - len(block), os.SEEK_CUR)
            block, at = b"", 0


def require_one_profile(stream: IO[bytes], name: str) -> None:
    """Raise `ImageError` where the PNG has several colour profiles, each of which Pillow would unpack."""
    profiles = 0
    stream = cast("IO[bytes]", BoundedReads(stream, name))
    stream.seek(len(PNG_SIGNATURE))
    while len(header := stream.read(8)) == 8:
        length, kind = struct.unpack(">L4s", header)
        profiles += kind == b"iCCP"
        if profiles > 1:
            raise ImageError(f"{name}: a PNG of more than one colour profile; save it anew")
        stream.seek(length + 4, os.SEEK_CUR)


def require_few_precincts(stream: IO[bytes], name: str) -> None:
    """Raise `ImageError` where the JPEG 2000 is cut into more precincts than memory should hold."""
    stream = cast("IO[bytes]", BoundedReads(stream, name))
    width, height = 0, 0
    try:
        for marker, body in codings(stream, name):
            if marker == SIZE:
                right, lower, left, upper = struct.unpack_from(">4L", body, 2)
                width, height = right - left, lower - upper
                continue
            # Both end alike: style, what is not asked here, levels, four bytes of the blocks, a byte a resolution.
            style, levels = (body[0], body[5:]) if marker == CODING else (body[1], body[2:])
            if style & 1 and precincts(levels[5 : levels[0] + 6], width, height) > MAX_PRECINCTS:
                raise ImageError(f"{name}: a JPEG 2000 of more than {MAX_PRECINCTS:,} precincts; save it anew")
    except (struct.error, IndexError, OSError, ValueError):  # cut or broken, and its reader says so
        return


def precincts(sizes: bytes, width: int, height: int) -> int:
    """At most how many there are in a component; `sizes` has both exponents of each resolution, the smallest first."""
    shifts = [(halvings + (size & 15), halvings + (size >> 4)) for halvings, size in enumerate(reversed(sizes))]
    return sum(((width >> across) + 1) * ((height >> down) + 1) for across, down in shifts)


def codings(stream: IO[bytes], name: str) -> Iterator[tuple[bytes, bytes]]:
    """Marker and body of what sets size and coding in the codestream of a JPEG 2000, main and tiles' headers alike."""
    seek_codestream(stream)
    end_of_part = 0
    while (marker := stream.read(2)) not in (b"", STREAM_END):
        if marker == CODESTREAM:
            continue
        if marker == DATA:
            if end_of_part == 0:  # that of the last tile: it goes on to the end
                return
            stream.seek(end_of_part)
            continue
        if marker not in LONG_MARKERS:  # no two readers agree on where to go on from it
            raise ImageError(f"{name}: a JPEG 2000 with a marker {marker.hex()} that is not known; save it anew")
        here = stream.tell()
        (length,) = struct.unpack(">H", stream.read(2))
        body = stream.read(max(0, length - 2))
        if marker == TILE:
            (part,) = struct.unpack_from(">L", body, 2)
            end_of_part = here - 2 + part if part else 0
        elif marker in (SIZE, CODING, COMPONENT_CODING):
            yield marker, body


def seek_codestream(stream: IO[bytes]) -> None:
    """Go to where the codestream of a JPEG 2000 begins: at once, or in a box of its own."""
    stream.seek(0)
    if stream.read(2) == CODESTREAM:
        stream.seek(0)
        return
    stream.seek(0)
    while len(header := stream.read(8)) == 8:
        length, kind = struct.unpack(">L4s", header)
        if length == 1:
            length = struct.unpack(">Q", stream.read(8))[0] - 8
        if kind == b"jp2c":
            return
        stream.seek(*((length - 8, os.SEEK_CUR) if length else (0, os.SEEK_END)))


def require_small_directory(stream: IO[bytes], name: str) -> None:
    """Raise `ImageError` where the first directory of a TIFF, or of EXIF, would be read into more than the file holds.

    Its entries may all name the same bytes, of which each would become a copy. What is no TIFF passes.
    """
    try:
        tags = list(directory(stream, name))
    except (struct.error, OSError, OverflowError):  # cut, or it points outside: Pillow says so, or does without
        return
    strips = max((count for tag, _, count in tags if tag in (STRIP_OFFSETS, TILE_OFFSETS)), default=0)
    if strips > MAX_STRIPS:
        raise ImageError(f"{name}: a TIFF of {strips:,} strips or tiles, more than {MAX_STRIPS:,}; save it anew")
    if sum(SIZES.get(kind, 0) * count for _, kind, count in tags) > length_of(stream) + BLOCK:
        raise ImageError(f"{name}: its tags claim more bytes than the file has; save it anew")


def directory(stream: IO[bytes], name: str) -> Iterator[tuple[int, int, int]]:
    """Tag, type and count of each entry in the first directory of a TIFF or BigTIFF."""
    header = stream.read(16)
    order = {b"II": "<", b"MM": ">"}.get(header[:2])
    if order is None:
        return
    (version,) = struct.unpack_from(f"{order}H", header, 2)
    big = version == 43
    (offset,) = struct.unpack_from(f"{order}Q" if big else f"{order}L", header, 8 if big else 4)
    head, entry = (f"{order}Q", f"{order}HHQ8x") if big else (f"{order}H", f"{order}HHL4x")
    stream.seek(offset)
    (tags,) = struct.unpack(head, stream.read(struct.calcsize(head)))
    if tags > MAX_TAGS:
        raise ImageError(f"{name}: a directory of {tags:,} tags, more than {MAX_TAGS:,}; save it anew")
    size = struct.calcsize(entry)
    entries = stream.read(tags * size)
    yield from struct.iter_unpack(entry, entries[: len(entries) // size * size])


def has_small_exif(picture: PilImage.Image) -> bool:
    """Whether the EXIF of an opened picture, if it has any, is a directory that holds no more than its own bytes."""
    exif = picture.info.get("exif")
    raw = picture.info.get("Raw profile type exif")  # ImageMagick's way into PNG: hexadecimal digits behind three lines
    try:
        if exif is None and raw is not None:
            exif = bytes.fromhex("".join(str(raw).split("\n")[3:]))
        if isinstance(exif, bytes):
            require_small_directory(io.BytesIO(exif.removeprefix(b"Exif\0\0")), "EXIF")
    except (ValueError, ImageError):
        return False
    return True


BOUNDS: dict[str, Callable[[IO[bytes], str], None]] = {
    "JPEG": require_few_scans,
    "MPO": require_few_scans,  # of which the first picture is read
    "JPEG2000": require_few_precincts,
    "PNG": require_one_profile,
    "TIFF": require_small_directory,
}
