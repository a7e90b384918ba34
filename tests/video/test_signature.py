"""Video containers and pictures differ in their first bytes."""

from __future__ import annotations

import io

import pytest
from PIL import Image

from lightmark.video.signature import SIGNATURE_BYTES, video_format

PACKET = b"\x47" + bytes(187)

STARTS = {
    "MP4 or QuickTime": b"\x00\x00\x00\x20ftypisom\x00\x00\x02\x00isomiso2",
    "AVI": b"RIFF\x10\x00\x00\x00AVI LIST",
    "Matroska or WebM": b"\x1a\x45\xdf\xa3\x9f\x42\x86\x81",
    "MPEG transport stream": PACKET * 3,
    "MPEG program stream": b"\x00\x00\x01\xba\x44\x00",
    "Flash Video": b"FLV\x01\x05\x00\x00\x00\x09",
    "Ogg": b"OggS\x00\x02",
    "Windows Media": b"\x30\x26\xb2\x75\x8e\x66\xcf\x11\xa6\xd9",
}


@pytest.mark.parametrize(("name", "start"), STARTS.items())
def test_each_container_has_its_name(name: str, start: bytes) -> None:
    """The first bytes as the specifications have them."""
    assert video_format(start.ljust(SIGNATURE_BYTES, b"\0")) == name


@pytest.mark.parametrize("start", [b"\x00\x00\x00\x14ftypqt  ", b"\x00\x00\x00\x08wide\x00\x00\x10\x00mdat"])
def test_quicktime_with_and_without_its_type(start: bytes) -> None:
    """Files from before 2003 begin with another atom."""
    assert video_format(start) == "MP4 or QuickTime"


def test_blu_ray_packets_have_four_more_bytes() -> None:
    """A time stamp stands before each packet of an .m2ts file."""
    assert video_format((bytes(4) + PACKET) * 3) == "MPEG transport stream"


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "AVIF"])
def test_pictures_are_no_videos(kind: str) -> None:
    """Also those in containers that videos use: AVIF in MP4's, WebP in AVI's."""
    stream = io.BytesIO()
    Image.new("RGB", (32, 32), (200, 30, 30)).save(stream, kind)
    assert video_format(stream.getvalue()[:SIGNATURE_BYTES]) is None


@pytest.mark.parametrize("start", [b"", b"G", b"Good morning", b"GGGG", b"\x00\x00\x00\x18ftypheic\x00\x00"])
def test_other_files_are_no_videos(start: bytes) -> None:
    """Nothing, one letter, text, and a HEIC picture."""
    assert video_format(start) is None
