"""Limits on picture files that would cost a decoder far more than their pixels (decompression bombs).

A limit on pixels alone does not bound the work: a JPEG of 400 kB may decode the same 49 million pixels three thousand
times, and a file of a few megabytes may hold millions of empty segments, each of which Pillow reads in Python.
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

# Scans of one JPEG: cameras write 1, libjpeg's progressive script 10, optimisers some 20; 25 are allowed for any size.
# More are allowed up to this number of pixels over all scans (some 2 s), and up to 100, where Skia and libtiff stop.
ANYONES_SCANS, SCANNED_PIXELS, MAX_SCANS = 25, 1_000_000_000, 100
MAX_SEGMENTS = 10_000  # of one JPEG, without restart markers: with 64 kB each they make 640 MB
MAX_EXIF = 2**20  # total bytes of a JPEG's APP1 segments: one of 64 kB is usual, some cameras write a few
MAX_PRECINCTS = 250_000  # of a JPEG 2000, 1.6 kB of OpenJPEG's memory each; at their usual 256 px 100 MP have 2000
MAX_TAGS = 4096  # of a TIFF or EXIF directory; real ones have less than 100
MAX_STRIPS = 100_000  # or tiles of a TIFF; one a row of 100 million square pixels are 10 000
# Calls of `read`: Pillow makes at least one per element that it parses in Python. 512 bytes per call are far below what
# encoders write: libpng's chunks have 8 kB in 3 calls.
FREE_READS, BYTES_A_READ = 50_000, 512

BLOCK = 2**16
# Skips fill bytes, escapes (FF 00), restart markers and unknown markers, as libjpeg does.
MARKER = re.compile(rb"\xff[\xc0-\xcf\xd8-\xfe]")
START, END, SCAN, APP1 = 0xD8, 0xD9, 0xDA, 0xE1
NO_FRAMES = (0xC4, 0xC8, 0xCC)  # the markers from C0 to CF that do not start a frame (DHT, JPG, DAC)
HEAD = 7  # first bytes of a segment, up to and including a frame's height and width
CODESTREAM, SIZE, CODING, COMPONENT_CODING, TILE, DATA, STREAM_END = (
    b"\xff\x4f", b"\xff\x51", b"\xff\x52", b"\xff\x53", b"\xff\x90", b"\xff\x93", b"\xff\xd9"
)  # fmt: skip
# JPEG 2000 markers followed by a length, of ISO 15444-1 and the other parts that OpenJPEG reads.
LONG_MARKERS = frozenset(
    b"\xff" + bytes([code]) for code in bytes.fromhex("505152535557585f5c5d5e59606163647475777890")
)
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
STRIP_OFFSETS, TILE_OFFSETS = 273, 324
SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}


class BoundedReads:
    """Binary stream that raises `ImageError` after too many calls of `read` for its length."""

    def __init__(self, stream: IO[bytes], name: str) -> None:
        self._stream = stream
        self._name = name
        self._left = FREE_READS + length_of(stream) // BYTES_A_READ

    def read(self, size: int = -1) -> bytes:
        """Read up to `size` bytes."""
        self._left -= 1
        if self._left < 0:
            raise ImageError(f"{self._name}: has far more segments than a picture needs; save it again")
        return self._stream.read(size)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def length_of(stream: IO[bytes]) -> int:
    """Length of a seekable stream in bytes; the position is unchanged."""
    here = stream.tell()
    length = stream.seek(0, os.SEEK_END)
    stream.seek(here)
    return length


def require_bounded(file_format: str, stream: IO[bytes], name: str) -> None:
    """Raise `ImageError` if a file of Pillow format `file_format` exceeds the limits; rewinds the stream.

    Must run before Pillow opens the file: its plugins parse the limited structures on opening.
    """
    check = BOUNDS.get(file_format)
    if check is not None:
        stream.seek(0)
        check(stream, name)
    stream.seek(0)


def require_few_scans(stream: IO[bytes], name: str) -> None:
    """Raise `ImageError` if the JPEG has too many scans or segments, or too much EXIF."""
    scans, exif, most = 0, 0, MAX_SCANS
    for count, (code, head) in enumerate(segments(stream), 1):
        if 0xC0 <= code <= 0xCF and code not in NO_FRAMES:
            height, width = struct.unpack(">HH", head[3:HEAD])
            most = min(MAX_SCANS, max(ANYONES_SCANS, SCANNED_PIXELS // max(1, height * width)))
        scans += code == SCAN
        exif += int.from_bytes(head[:2], "big") if code == APP1 else 0
        if scans > most:
            raise ImageError(
                f"{name}: a JPEG of more than {most} scans, each of which decodes all pixels again; "
                "save it again, not progressive"
            )
        if count > MAX_SEGMENTS:
            raise ImageError(f"{name}: a JPEG of more than {MAX_SEGMENTS:,} segments; save it again")
        if exif > MAX_EXIF:
            raise ImageError(f"{name}: a JPEG with more than {MAX_EXIF:,} bytes of EXIF and XMP; save it again without")


def segments(stream: IO[bytes]) -> Iterator[tuple[int, bytes]]:
    """Marker and first `HEAD` bytes of each segment of a JPEG, as libjpeg parses them.

    For a damaged file these are at least all segments that libjpeg might parse.
    """
    block, at = b"", 0
    while True:
        match = MARKER.search(block, at)
        if match is None or match.end() + HEAD > len(block):
            more = stream.read(BLOCK)
            if not more and (match is None or match.end() + 2 > len(block)):
                return
            if more:
                start = max(at, len(block) - 1) if match is None else match.start()  # FF may be the last byte
                block, at = block[start:] + more, 0
                continue
        assert match is not None
        code, at = block[match.end() - 1], match.end()
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
    """Raise `ImageError` if the PNG has several colour profiles, each of which Pillow would decompress."""
    profiles = 0
    stream = cast("IO[bytes]", BoundedReads(stream, name))
    stream.seek(len(PNG_SIGNATURE))
    while len(header := stream.read(8)) == 8:
        length, kind = struct.unpack(">L4s", header)
        profiles += kind == b"iCCP"
        if profiles > 1:
            raise ImageError(f"{name}: a PNG of more than one colour profile; save it again")
        stream.seek(length + 4, os.SEEK_CUR)


def require_few_precincts(stream: IO[bytes], name: str) -> None:
    """Raise `ImageError` if the JPEG 2000 has more precincts than memory should hold."""
    stream = cast("IO[bytes]", BoundedReads(stream, name))
    width, height = 0, 0
    try:
        for marker, body in codings(stream, name):
            if marker == SIZE:
                right, lower, left, upper = struct.unpack_from(">4L", body, 2)
                width, height = right - left, lower - upper
                continue
            # COD and COC end alike: style, unused bytes, levels, four bytes for the blocks, one byte per resolution.
            style, levels = (body[0], body[5:]) if marker == CODING else (body[1], body[2:])
            if style & 1 and precincts(levels[5 : levels[0] + 6], width, height) > MAX_PRECINCTS:
                raise ImageError(f"{name}: a JPEG 2000 of more than {MAX_PRECINCTS:,} precincts; save it again")
    except (struct.error, IndexError, OSError, ValueError):  # truncated or broken: the decoder raises a better error
        return


def precincts(sizes: bytes, width: int, height: int) -> int:
    """Upper bound of the precincts of a component; `sizes` has a byte (both exponents) per resolution."""
    shifts = [(halvings + (size & 15), halvings + (size >> 4)) for halvings, size in enumerate(reversed(sizes))]
    return sum(((width >> across) + 1) * ((height >> down) + 1) for across, down in shifts)


def codings(stream: IO[bytes], name: str) -> Iterator[tuple[bytes, bytes]]:
    """Marker and body of the SIZ, COD and COC segments of a JPEG 2000, in the main and the tile-part headers."""
    seek_codestream(stream)
    end_of_part = 0
    while (marker := stream.read(2)) not in (b"", STREAM_END):
        if marker == CODESTREAM:
            continue
        if marker == DATA:
            if end_of_part == 0:  # length 0: the last tile-part extends to the end
                return
            stream.seek(end_of_part)
            continue
        if marker not in LONG_MARKERS:  # decoders disagree about where the next marker is
            raise ImageError(f"{name}: a JPEG 2000 with a marker {marker.hex()} that is not known; save it again")
        here = stream.tell()
        (length,) = struct.unpack(">H", stream.read(2))
        body = stream.read(max(0, length - 2))
        if marker == TILE:
            (part,) = struct.unpack_from(">L", body, 2)
            end_of_part = here - 2 + part if part else 0
        elif marker in (SIZE, CODING, COMPONENT_CODING):
            yield marker, body


def seek_codestream(stream: IO[bytes]) -> None:
    """Seek the start of a JPEG 2000 codestream: the start of the file, or of its jp2c box."""
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
    """Raise `ImageError` if the first directory of a TIFF or EXIF claims more bytes than the file has.

    All its entries may refer to the same bytes, and each would become a copy. Anything but a TIFF passes.
    """
    try:
        tags = list(directory(stream, name))
    except (struct.error, OSError, OverflowError):  # truncated, or offsets outside: Pillow raises or ignores it
        return
    strips = max((count for tag, _, count in tags if tag in (STRIP_OFFSETS, TILE_OFFSETS)), default=0)
    if strips > MAX_STRIPS:
        raise ImageError(f"{name}: a TIFF of {strips:,} strips or tiles, more than {MAX_STRIPS:,}; save it again")
    if sum(SIZES.get(kind, 0) * count for _, kind, count in tags) > length_of(stream) + BLOCK:
        raise ImageError(f"{name}: its tags claim more bytes than the file has; save it again")


def directory(stream: IO[bytes], name: str) -> Iterator[tuple[int, int, int]]:
    """Tag, type and count of each entry of the first directory (IFD) of a TIFF or BigTIFF."""
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
        raise ImageError(f"{name}: a directory of {tags:,} tags, more than {MAX_TAGS:,}; save it again")
    size = struct.calcsize(entry)
    entries = stream.read(tags * size)
    yield from struct.iter_unpack(entry, entries[: len(entries) // size * size])


def has_small_exif(picture: PilImage.Image) -> bool:
    """Whether the EXIF of an opened picture, if any, passes `require_small_directory`."""
    exif = picture.info.get("exif")
    raw = picture.info.get("Raw profile type exif")  # ImageMagick's EXIF in PNG: hexadecimal digits after three lines
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
    "MPO": require_few_scans,  # a sequence of JPEGs, of which only the first is decoded
    "JPEG2000": require_few_precincts,
    "PNG": require_one_profile,
    "TIFF": require_small_directory,
}
