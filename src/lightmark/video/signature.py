"""Video container formats by the first bytes of a file (magic numbers)."""

from __future__ import annotations

SIGNATURE_BYTES = 389  # reaches the third sync byte of an MPEG transport stream with Blu-ray's 192-byte packets
# First bytes of each container, from its specification; RIFF and ISO media need a second look, below.
SIGNATURES = {
    b"\x1a\x45\xdf\xa3": "Matroska or WebM",
    b"FLV\x01": "Flash Video",
    b"\x30\x26\xb2\x75\x8e\x66\xcf\x11": "Windows Media",
    b"OggS": "Ogg",
    b"\x00\x00\x01\xba": "MPEG program stream",
    b"\x00\x00\x01\xb3": "MPEG video",
    b"\x06\x0e\x2b\x34\x02\x05\x01\x01": "MXF",
}
# ISO 14496-12 brands of still pictures, which `lightmark.source` reads.
PICTURE_BRANDS = (b"avif", b"avis", b"mif1", b"msf1", b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"jxl ")
QUICKTIME_ATOMS = (b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot")  # older files lack "ftyp"
TRANSPORT_PACKET = 188  # bytes of an MPEG transport stream between two sync bytes; Blu-ray's have 4 more


def video_format(start: bytes) -> str | None:
    """Name of the video container of a file with the first `SIGNATURE_BYTES` bytes `start`; None for others.

    >>> video_format(b"RIFF____AVI LIST")
    'AVI'
    """
    for signature, name in SIGNATURES.items():
        if start.startswith(signature):
            return name
    if start[:4] == b"RIFF" and start[8:12] == b"AVI ":
        return "AVI"
    if start[4:8] == b"ftyp":
        return None if is_picture_brand(start) else "MP4 or QuickTime"
    if start[4:8] in QUICKTIME_ATOMS:
        return "MP4 or QuickTime"
    return "MPEG transport stream" if _is_transport_stream(start) else None


def is_picture_brand(start: bytes) -> bool:
    """Whether a file that begins with `start` is a still picture in ISO media format: AVIF, HEIC, JPEG XL."""
    return start[4:8] == b"ftyp" and start[8:12] in PICTURE_BRANDS


def _is_transport_stream(start: bytes) -> bool:
    """Whether three successive packets begin with the sync byte 0x47; a single one may be the letter G."""
    for offset, packet in ((0, TRANSPORT_PACKET), (4, TRANSPORT_PACKET + 4)):
        if len(start) > offset + 2 * packet and all(start[offset + i * packet] == 0x47 for i in range(3)):
            return True
    return False
