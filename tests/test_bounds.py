"""Files that would cost far more than their pixels are refused by name, and ordinary ones of the same kind are not.

Each would take from seconds to hours, or gigabytes; here they are small enough that a test without the bound ends, too.
"""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image as PilImage

from lightmark import bounds
from lightmark.errors import ImageError
from lightmark.source import to_picture


def encoded(kind, size=(64, 48), mode="RGB", **options):
    """Bytes of a picture of one colour."""
    buffer = io.BytesIO()
    PilImage.new(mode, size, 7 if mode == "L" else (7, 8, 9)).save(buffer, kind, **options)
    return buffer.getvalue()


def with_scans(jpeg, count):
    """`jpeg` with its last scan so many times more."""
    return jpeg[:-2] + jpeg[jpeg.rindex(b"\xff\xda") : -2] * count + b"\xff\xd9"


def png_chunk(name, data):
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png_with(*chunks):
    """A PNG with more chunks between its header and its pixels."""
    plain = encoded("PNG")
    return plain[:33] + b"".join(chunks) + plain[33:]


def tiff_of(*entries, tail=b""):
    """A TIFF directory of entries (tag, type, count, value)."""
    packed = b"".join(struct.pack("<HHLL", *entry) for entry in entries)
    return b"II*\0\x08\0\0\0" + struct.pack("<H", len(entries)) + packed + b"\0\0\0\0" + tail


def greedy_directory(tags, size=100_000):
    """A directory that turns its picture, and of whose other tags each names the same `size` bytes."""
    turned = (0x112, 3, 1, 6)
    return tiff_of(turned, *((1000 + tag, 7, size, 26 + 12 * tags) for tag in range(tags)), tail=bytes(size))


def refused(content, reason):
    with pytest.raises(ImageError, match=rf"^photo: {reason}") as caught:
        to_picture(content, name="photo")
    assert "save it" in str(caught.value)


@pytest.mark.parametrize("marker", [b"\xff\xc2", b"\xff\xca"])
def test_a_jpeg_that_goes_over_its_pixels_again_and_again(marker):
    """Progressive, by Huffman's code or arithmetic; libjpeg would do all of it."""
    jpeg = encoded("JPEG", progressive=True).replace(b"\xff\xc2", marker, 1)
    refused(with_scans(jpeg, 3000), "a JPEG of more than 100 scans")


def test_a_sequential_jpeg_has_few_scans_too():
    """Scans of one component each make any JPEG one of several."""
    refused(with_scans(encoded("JPEG"), 200), "a JPEG of more than 100 scans")


def test_a_large_jpeg_has_fewer_scans():
    """Work is scans times pixels: 49 million of them are gone over 25 times, not 100."""
    jpeg = bytearray(encoded("JPEG", progressive=True))
    frame = jpeg.index(b"\xff\xc2")
    jpeg[frame + 5 : frame + 9] = struct.pack(">HH", 7000, 7000)
    bounds.require_few_scans(io.BytesIO(with_scans(bytes(jpeg), 25 - jpeg.count(b"\xff\xda"))), "photo")
    refused(with_scans(bytes(jpeg), 26 - jpeg.count(b"\xff\xda")), "a JPEG of more than 25 scans")


def test_scans_of_an_opened_picture_are_counted():
    """Pillow's own object has read no more than the header."""
    bomb = PilImage.open(io.BytesIO(with_scans(encoded("JPEG", progressive=True), 3000)))
    with pytest.raises(ImageError, match="PIL image: a JPEG of more than 100 scans"):
        to_picture(bomb)
    good = PilImage.open(io.BytesIO(encoded("JPEG", progressive=True)))
    assert to_picture(good).shape == (48, 64, 3)


def test_progressive_pictures_are_read():
    """As many scans as encoders write, and more."""
    jpeg = encoded("JPEG", progressive=True)
    np.testing.assert_array_equal(to_picture(with_scans(jpeg, 40)), to_picture(jpeg))


def test_scans_of_what_follows_the_picture_are_not_its_own():
    """A thumbnail in EXIF, another picture or a film behind the end: no decoder looks there."""
    thumbnail = encoded("JPEG", (16, 16), progressive=True)
    exif = b"Exif\0\0II*\0\x08\0\0\0\0\0\0\0\0\0" + thumbnail * 20
    jpeg = encoded("JPEG")
    content = jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + jpeg[2:] + thumbnail * 20
    assert content.count(b"\xff\xda") > 400
    assert to_picture(content).shape == (48, 64, 3)


def test_restart_markers_are_no_segments():
    """A large picture may have one a row of blocks, or a block."""
    jpeg = encoded("JPEG", (1600, 1200), restart_marker_blocks=1)
    assert sum(jpeg.count(bytes([0xFF, 0xD0 + k])) for k in range(8)) > 5000
    assert to_picture(jpeg).shape == (1200, 1600, 3)


@pytest.mark.parametrize("block", [1, 2, 3, 7, 64, 65536])
def test_segments_are_found_wherever_a_block_ends(monkeypatch, block):
    """The same segments however the file is cut into readings."""
    jpeg = with_scans(encoded("JPEG", progressive=True), 5)
    whole = list(bounds.segments(io.BytesIO(jpeg)))
    monkeypatch.setattr(bounds, "BLOCK", block)
    assert list(bounds.segments(io.BytesIO(jpeg))) == whole
    assert [code for code, _ in whole].count(bounds.SCAN) == jpeg.count(b"\xff\xda")


@pytest.mark.parametrize("junk", [b"\xff", b"\0", b"\xff\xfe\0\x02"])
def test_a_jpeg_of_padding(junk):
    """Bytes that fill, or empty comments, before the picture: Pillow looks at each."""
    jpeg = encoded("JPEG")
    with pytest.raises(ImageError, match=r"more than 10,000 segments|far more segments than a picture needs"):
        to_picture(jpeg[:20] + junk * 400_000 + jpeg[20:])  # behind APP0


def test_a_jpeg_whose_exif_goes_on_and_on():
    """Pillow joins its segments, and its tags may all name all of it."""
    jpeg = encoded("JPEG")
    exif = b"\xff\xe1\xff\xffExif\0\0" + bytes(65527)
    refused(jpeg[:2] + exif * 17 + jpeg[2:], "a JPEG with more than 1,048,576 bytes of EXIF and XMP")


def test_a_long_comment_is_no_fault():
    """Twenty megabytes of it are read past."""
    jpeg = encoded("JPEG")
    assert to_picture(jpeg[:2] + (b"\xff\xfe\xff\xff" + bytes(65533)) * 300 + jpeg[2:]).shape == (48, 64, 3)


@pytest.mark.parametrize("name", [b"tEXt", b"IDAT", b"abCd"])
def test_a_png_of_empty_chunks(name):
    """Millions of empty chunks, which Pillow would parse in Python, are refused."""
    refused(png_with(png_chunk(name, b"") * 60_000), "has far more segments than a picture needs")


def test_a_png_of_many_profiles():
    """Each would be unpacked to a megabyte."""
    profile = png_chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(1000)))
    assert to_picture(png_with(profile)).shape == (48, 64, 3)
    refused(png_with(profile, profile), "a PNG of more than one colour profile")


@pytest.mark.parametrize("extension", [b"!\xf0\x01a\0", b"!\xfe\x01a\0", b"\0"])
def test_a_gif_that_does_not_come_to_its_picture(extension):
    """Extensions, comments or bytes of no meaning before the first frame."""
    plain = encoded("GIF")
    start = 13 + (3 << (plain[10] & 7) + 1)
    refused(plain[:start] + extension * 60_000 + plain[start:], "has far more segments than a picture needs")


def test_a_tiff_of_more_strips_than_rows_of_any_picture():
    """Each strip is decoded by a call from Python."""
    count = bounds.MAX_STRIPS + 1
    sizes = [(256, 4, 1, 1), (257, 4, 1, count), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1), (278, 4, 1, 1)]
    places = [(273, 4, count, 110), (277, 3, 1, 1), (279, 4, count, 110)]
    refused(tiff_of(*sizes, *places, tail=bytes(8 * count)), "a TIFF of 100,001 strips or tiles")


def test_a_tiff_whose_tags_claim_more_than_the_file():
    """All of them name the same bytes: two megabytes would become gigabytes."""
    refused(greedy_directory(1000), "its tags claim more bytes than the file has")


@pytest.mark.parametrize("big", [False, True])
def test_a_tiff_of_tags_alone(big):
    """A directory of as many entries as fit, also of the kind with eight bytes for everything."""
    entries = 5000
    small = b"II*\0\x08\0\0\0" + struct.pack("<H", entries) + bytes(12 * entries)
    large = b"II\x2b\0\x08\0\0\0" + struct.pack("<QQ", 16, entries) + bytes(20 * entries)
    refused(large if big else small, "a directory of 5,000 tags")


@pytest.mark.parametrize("options", [{}, {"compression": "tiff_deflate"}, {"big_tiff": True}])
def test_tiffs_are_read(options):
    """Ordinary TIFF files pass the limits: raw, compressed and BigTIFF."""
    assert to_picture(encoded("TIFF", **options)).shape == (48, 64, 3)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.filterwarnings("ignore:Tag data larger than file")  # by newer Pillows, which open JPEG's at once
def test_exif_that_claims_too_much_turns_nothing(kind):
    """The picture is read without its orientation."""
    exif = b"Exif\0\0" + greedy_directory(200, 4000)
    assert to_picture(encoded(kind, exif=exif)).shape == (48, 64, 3)


def test_exif_in_a_text_chunk_claims_too_much():
    """ImageMagick's way into PNG leads to the same reader."""
    greedy = greedy_directory(200, 4000)
    text = f"\nexif\n{len(greedy):8}\n{greedy.hex()}\n".encode()
    picture = PilImage.open(io.BytesIO(png_with(png_chunk(b"tEXt", b"Raw profile type exif\0" + text))))
    assert not bounds.has_small_exif(picture)
    assert bounds.has_small_exif(PilImage.open(io.BytesIO(encoded("JPEG", exif=PilImage.Exif()))))


def coded(jpeg2000, levels, sizes):
    """A codestream whose first tile, too, says into which precincts it is cut."""
    body = b"\xff\x52" + struct.pack(">HBBHBBBBBB", 12 + len(sizes), 1, 0, 1, 0, levels, 4, 4, 0, 1) + sizes
    data = jpeg2000.index(b"\xff\x93")
    part = jpeg2000.index(b"\xff\x90") + 6
    length = struct.unpack(">I", jpeg2000[part : part + 4])[0] + len(body)
    return jpeg2000[:part] + struct.pack(">I", length) + jpeg2000[part + 4 : data] + body + jpeg2000[data:]


@pytest.mark.parametrize("boxed", [False, True])
def test_a_jpeg_2000_of_tiny_precincts(boxed):
    """Each takes more than a kilobyte of memory; a tile may say it, or the main header."""
    plain = encoded("JPEG2000", (3000, 2000), mode="L", no_jp2=not boxed, num_resolutions=6)
    assert to_picture(plain).shape == (2000, 3000, 3)
    refused(coded(plain, 5, b"\x11" * 6), "a JPEG 2000 of more than 250,000 precincts")
    ordinary = coded(plain, 5, b"\x77" + b"\x88" * 5)
    bounds.require_few_precincts(io.BytesIO(ordinary), "photo")


def test_a_jpeg_2000_that_hides_its_coding():
    """After a marker of unknown length."""
    plain = encoded("JPEG2000", no_jp2=True)
    start = plain.index(b"\xff\x52")
    refused(plain[:start] + b"\xff\x30" + plain[start:], "a JPEG 2000 with a marker ff30 that is not known")


def test_precincts_are_counted():
    """By hand: 64×64 in precincts of 16, 8 and 8 px at sizes 64, 32 and 16, one more at each end at most."""
    assert bounds.precincts(b"\x33\x33\x44", 64, 64) == 25 + 25 + 9


def test_run_lengths_of_a_bmp():
    """OpenCV unpacks them: the colours are right, what is cut is refused."""
    palette = bytes(channel for level in range(256) for channel in (level, 255 - level, 3, 0))
    runs = b"\x03\x01\x02\x02\0\0" + b"\x05\x03\0\x01"
    head = struct.pack("<IiiHHIIiiII", 40, 5, 2, 1, 8, 1, len(runs), 0, 0, 0, 0)
    content = b"BM" + struct.pack("<IHHI", 1078 + len(runs), 0, 0, 1078) + head + palette + runs
    picture = to_picture(content)
    rows = [[3, 3, 3, 3, 3], [1, 1, 1, 2, 2]]
    np.testing.assert_array_equal(picture, [[[3, 255 - level, level] for level in row] for row in rows])
    with pytest.raises(ImageError, match="photo: cannot be read as a picture: its runs are cut or broken"):
        to_picture(content[:-8], name="photo")
