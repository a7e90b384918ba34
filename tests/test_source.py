"""Every kind of picture that users have comes out as RGB uint8, or is refused by name before it costs anything."""

import io
import struct
import sys
import warnings
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image as PilImage

from lightmark.errors import ImageError, MissingExtraError
from lightmark.source import from_bgr, to_picture


def encoded(picture, kind="PNG", **options):
    """Bytes of a PIL picture."""
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def noise(height, width, seed=0):
    """A picture in which no two pixels need agree."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def waves(height, width):
    """A smooth picture: neighbouring pixels differ by at most 13 levels."""
    y, x = np.mgrid[:height, :width]
    planes = [np.sin(x / 9 + 1), np.cos(y / 8), np.sin((x + y) / 12)]
    return np.round(127.5 + 100 * np.stack(planes, axis=-1)).astype(np.uint8)


# What a writer stores so that a reader, turning by the EXIF orientation, sees `upright` (EXIF 2.3, tag 0x0112).
STORED = {
    1: lambda upright: upright,
    2: lambda upright: upright[:, ::-1],
    3: lambda upright: upright[::-1, ::-1],
    4: lambda upright: upright[::-1],
    5: lambda upright: upright.swapaxes(0, 1),
    6: lambda upright: np.rot90(upright, 1),
    7: lambda upright: upright[::-1, ::-1].swapaxes(0, 1),
    8: lambda upright: np.rot90(upright, -1),
}


@pytest.mark.parametrize("orientation", STORED)
def test_exif_turn_is_undone(orientation):
    """A picture stored turned or mirrored is read upright."""
    upright = noise(5, 7)
    exif = PilImage.Exif()
    exif[0x0112] = orientation
    stored = PilImage.fromarray(np.ascontiguousarray(STORED[orientation](upright)))
    np.testing.assert_array_equal(to_picture(encoded(stored, exif=exif)), upright)


def test_colour_is_read_as_rgb():
    """The channels of a picture are in the order RGB."""
    red = np.zeros((2, 3, 3), np.uint8)
    red[..., 0] = 200
    picture = to_picture(encoded(PilImage.fromarray(red)))
    assert picture.dtype == np.uint8
    np.testing.assert_array_equal(picture, red)


def test_jpeg_is_read():
    """A JPEG comes back almost as it was."""
    difference = to_picture(encoded(PilImage.fromarray(waves(32, 48)), "JPEG", quality=95)).astype(int) - waves(32, 48)
    assert np.abs(difference).max() < 12


@pytest.mark.parametrize("mode", ["L", "LA", "1"])
def test_grey_picture_has_three_equal_channels(mode):
    """Grey, grey with alpha and black-and-white pictures become RGB."""
    levels = np.where(noise(5, 7)[..., 0] > 127, 255, 0).astype(np.uint8)
    picture = to_picture(encoded(PilImage.fromarray(levels).convert(mode)))
    np.testing.assert_array_equal(picture, np.repeat(levels[..., None], 3, axis=2))


def test_palette_is_looked_up():
    """A palette picture becomes the colours its palette names."""
    colours = np.array([[255, 0, 10], [3, 200, 5]], np.uint8)
    indices = np.arange(6).reshape(2, 3) % 2
    picture = PilImage.fromarray(indices.astype(np.uint8), mode="P")
    picture.putpalette(colours.reshape(-1).tolist())
    np.testing.assert_array_equal(to_picture(encoded(picture)), colours[indices])


def test_alpha_is_dropped():
    """Transparent pixels keep their colour."""
    colours = noise(4, 4)
    alpha = np.full((4, 4, 1), 128, np.uint8)
    picture = PilImage.fromarray(np.concatenate([colours, alpha], axis=2))
    np.testing.assert_array_equal(to_picture(encoded(picture)), colours)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_16_bit_grey_keeps_its_high_byte(kind):
    """Sixteen bits are scaled to eight, not cut at 255."""
    levels = (np.arange(256, dtype=np.uint16) * 257).reshape(16, 16)
    picture = to_picture(encoded(PilImage.fromarray(levels), kind))
    np.testing.assert_array_equal(picture, np.repeat(np.arange(256).reshape(16, 16, 1), 3, axis=2))


@pytest.mark.parametrize("dtype", [np.int32, np.float32])
def test_pixels_without_range_are_refused(tmp_path, dtype):
    """Numbers of 32 bits have no agreed white, so nothing is guessed."""
    PilImage.fromarray(np.ones((4, 4), dtype)).save(tmp_path / "depth.tiff")
    with pytest.raises(ImageError, match=r"depth\.tiff: .*mode [IF] has no agreed range; save it with 8 or 16 bits"):
        to_picture(tmp_path / "depth.tiff")


def test_one_pixel_is_a_picture():
    """A picture of one pixel is read."""
    assert to_picture(encoded(PilImage.new("RGB", (1, 1), (1, 2, 3)))).tolist() == [[[1, 2, 3]]]


def test_path_with_any_letters_is_read(tmp_path):
    """A path outside ASCII works, as text too."""
    path = tmp_path / "Gesicht ñ 顔.png"
    PilImage.fromarray(noise(3, 4)).save(path)
    np.testing.assert_array_equal(to_picture(str(path)), noise(3, 4))


def test_missing_picture_is_named(tmp_path):
    """A path that is not there is named."""
    with pytest.raises(ImageError, match=r"顔\.png: no such picture"):
        to_picture(tmp_path / "顔.png")


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "WEBP", "TIFF", "GIF", "AVIF"])
@pytest.mark.parametrize("share", [0.3, 0.8])
def test_cut_picture_is_named(tmp_path, kind, share):
    """Half a download is an error, not a half-grey face."""
    try:
        whole = encoded(PilImage.fromarray(noise(40, 40)), kind)
    except KeyError:
        pytest.skip(f"this Pillow does not write {kind}")
    (tmp_path / "cut.img").write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(ImageError, match=r"cut\.img: cannot be read as a picture: "):
        to_picture(tmp_path / "cut.img")


@pytest.mark.parametrize("content", [b"", b"version: 1\nn_points: 68\n"])
def test_file_that_is_no_picture_is_named(tmp_path, content):
    """Empty and foreign files are named."""
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(ImageError, match=r"a\.png: cannot be read as a picture"):
        to_picture(tmp_path / "a.png")


def test_folder_is_no_picture(tmp_path):
    """A folder is named."""
    with pytest.raises(ImageError, match=f"{tmp_path.name}: cannot be read as a picture"):
        to_picture(tmp_path)


def test_bytes_that_are_no_picture_are_counted():
    """Encoded bytes have no name, so their number stands for it."""
    with pytest.raises(ImageError, match="5 bytes: cannot be read as a picture"):
        to_picture(b"hello")


def png_header(width, height):
    """A PNG that says it is `width`×`height` and holds no pixels worth the name."""

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"nonsense") + chunk(b"IEND", b"")


def test_transparent_palette_keeps_its_colours():
    """A palette with an alpha for each colour gives the colours, without Pillow's warning."""
    colours = np.array([[255, 0, 10], [3, 200, 5]], np.uint8)
    picture = PilImage.fromarray(np.array([[0, 1], [1, 0]], np.uint8), mode="P")
    picture.putpalette(colours.reshape(-1).tolist())
    content = encoded(picture, transparency=b"\x00\x80")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(to_picture(content), colours[[[0, 1], [1, 0]]])


@pytest.mark.parametrize("mode", ["RGBA", "LA", "RGBa", "La", "PA"])
def test_wholly_transparent_pictures_are_not_blank(mode):
    """An alpha of zeros, as screen captures leave it, hides nothing; premultiplied ones have no colour left."""
    picture = PilImage.new(mode, (2, 2), (90, 0) if len(mode) == 2 else (90, 90, 90, 0))
    if mode == "PA":
        picture.putpalette([level for level in range(256) for _ in "RGB"])
    premultiplied = mode in ("RGBa", "La")
    assert to_picture(picture).shape == (2, 2, 3)
    assert premultiplied or (to_picture(picture) == 90).all()


def test_16_bit_colour_keeps_its_high_byte():
    """Sixteen bits a channel, as scanners write them, in PNG and TIFF."""
    levels = np.random.default_rng(0).integers(0, 2**16, (5, 7, 3), dtype=np.uint16)
    for kind in (".png", ".tiff"):
        content = cv2.imencode(kind, levels[..., ::-1])[1].tobytes()
        np.testing.assert_array_equal(to_picture(content), levels >> 8)


def deep(bits, channels, seed=0):
    """Levels (5, 7, C) of `bits` bits, the largest among them, in uint16."""
    levels = np.random.default_rng(seed).integers(0, 1 << bits, (5, 7, channels), dtype=np.uint16)
    levels[0, 0, 0] = (1 << bits) - 1
    return levels


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
@pytest.mark.parametrize("kind", [".png", ".tiff", ".pgm"])
def test_16_bit_grey_is_scaled_by_the_bits_it_uses(bits, kind):
    """A camera's 12 bits in a file of 16 are no black picture."""
    levels = deep(bits, 1)[..., 0]
    picture = to_picture(cv2.imencode(kind, levels)[1].tobytes())
    np.testing.assert_array_equal(picture, np.repeat((levels >> (bits - 8))[..., None], 3, axis=2))


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("kind", [".png", ".tiff"])
def test_16_bit_colour_is_scaled_by_the_bits_it_uses(bits, channels, kind):
    """All channels by one factor, which keeps the colours; alpha does not count."""
    levels = deep(bits, channels)
    levels[..., 3:] = 65535
    order = [2, 1, 0, 3][:channels]
    picture = to_picture(cv2.imencode(kind, levels[..., order])[1].tobytes())
    np.testing.assert_array_equal(picture, levels[..., :3] >> (bits - 8))


def test_16_bit_pixmap_is_scaled_by_the_bits_it_uses():
    """A PPM of maximum 65535 may have values up to 1023 only."""
    levels = deep(10, 3)
    content = b"P6 7 5 65535\n" + levels.astype(">u2").tobytes()
    np.testing.assert_array_equal(to_picture(content), np.rint(levels * (255 / 1023)))


def test_16_bit_colour_is_rotated_by_its_exif():
    """The orientation is applied by the other decoder, too."""
    levels = deep(12, 3)
    exif = PilImage.Exif()
    exif[0x0112] = 6
    chunk = encoded(PilImage.new("RGB", (1, 1)), exif=exif)
    content = cv2.imencode(".png", levels[..., ::-1])[1].tobytes()
    at = chunk.index(b"eXIf") - 4
    note = chunk[at : at + 12 + int.from_bytes(chunk[at : at + 4], "big")]
    content = content[:33] + note + content[33:]
    np.testing.assert_array_equal(to_picture(content), np.rot90(levels >> 4, -1))


def test_cut_16_bit_colour_of_few_bits_is_named():
    """Half a download is an error with this decoder, too."""
    content = cv2.imencode(".png", deep(12, 3)[..., ::-1])[1].tobytes()
    with pytest.raises(ImageError, match="cannot be read as a picture"):
        to_picture(content[: len(content) - 60])


def test_cmyk_jpeg_is_converted():
    """Print's inks become light: no ink is white, full cyan has no red."""
    cmyk = np.zeros((16, 32, 4), np.uint8)
    cmyk[:, 16:, 0] = 255
    picture = to_picture(encoded(PilImage.fromarray(cmyk, mode="CMYK"), "JPEG", quality=100))
    np.testing.assert_allclose(picture[8, 4], [255, 255, 255], atol=4)
    np.testing.assert_allclose(picture[8, 28], [0, 255, 255], atol=4)


@pytest.mark.parametrize("kind", ["GIF", "PNG", "TIFF", "WEBP"])
def test_the_first_of_several_frames_is_taken(kind):
    """Animations and pages begin with the picture people mean."""
    first, second = (PilImage.new("RGB", (20, 10), colour) for colour in ((255, 0, 0), (0, 0, 255)))
    options = {"lossless": True} if kind == "WEBP" else {}
    picture = to_picture(encoded(first, kind, save_all=True, append_images=[second], **options))
    assert picture.shape == (10, 20, 3)
    assert (picture == [255, 0, 0]).all()


@pytest.mark.parametrize("kind", ["WEBP", "AVIF", "TIFF", "BMP", "PPM", "JPEG2000"])
def test_other_formats_are_read(kind):
    """What phones, scanners and the web write besides PNG and JPEG, within what their compression loses."""
    picture = PilImage.fromarray(waves(32, 48))
    try:
        content = encoded(picture, kind)
    except (KeyError, OSError) as error:
        pytest.skip(f"this Pillow does not write {kind}: {error}")
    np.testing.assert_allclose(to_picture(content), waves(32, 48), atol=40)


def test_heic_is_read_upright():
    """With pillow-heif, a phone's picture; its EXIF orientation is applied once."""
    heif = pytest.importorskip("pillow_heif", reason="the extra heif")
    exif = PilImage.Exif()
    exif[0x0112] = 6
    buffer = io.BytesIO()
    heif.from_pillow(PilImage.fromarray(np.rot90(waves(32, 48)).copy())).save(buffer, quality=95, exif=exif.tobytes())
    picture = to_picture(buffer.getvalue())
    assert picture.shape == (32, 48, 3)
    np.testing.assert_allclose(picture, waves(32, 48), atol=40)
    with pytest.raises(ImageError, match="cannot be read as a picture"):
        to_picture(buffer.getvalue()[: len(buffer.getvalue()) // 2])
    with pytest.raises(ImageError, match="1,536 pixels, more than the limit of 1,000"):
        to_picture(buffer.getvalue(), max_pixels=1000)


def test_heic_without_its_library_names_the_extra(monkeypatch, tmp_path):
    """In the base install the error has the file's name and the install line."""
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    (tmp_path / "IMG_1.HEIC").write_bytes(b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic")
    with pytest.raises(MissingExtraError, match=r'IMG_1\.HEIC: HEIC needs .*pip install "lightmark\[heif\]"'):
        to_picture(tmp_path / "IMG_1.HEIC")


def test_avif_on_an_old_pillow_names_the_new_one(monkeypatch):
    """With an older Pillow, AVIF raises an error that names the needed version."""
    monkeypatch.setitem(sys.modules, "PIL.AvifImagePlugin", None)
    monkeypatch.delitem(PilImage.OPEN, "AVIF", raising=False)
    with pytest.raises(ImageError, match=r"AVIF needs a newer Pillow"):
        to_picture(b"\x00\x00\x00\x18ftypavif\x00\x00\x00\x00mif1avif")


def test_formats_that_run_programs_are_not_opened():
    """EPS would be handed to Ghostscript."""
    with pytest.raises(ImageError, match="no format that is known here"):
        to_picture(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n")


def test_exif_that_is_broken_turns_nothing():
    """Complete pixels with damaged metadata are read."""
    content = encoded(PilImage.fromarray(waves(16, 24)), "JPEG", exif=b"Exif\x00\x00no TIFF header")
    assert to_picture(content).shape == (16, 24, 3)


def test_a_picture_above_the_limit_is_refused_undecoded():
    """400 million pixels that are not even there: the header is enough, and Pillow's own warning is not heard."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ImageError, match=r"20000×20000 are 400,000,000 pixels, .* 100,000,000; .*--max-pixels"):
            to_picture(png_header(20000, 20000))
        with pytest.raises(ImageError, match="cannot be read as a picture"):
            to_picture(png_header(9800, 10000))  # above Pillow's limit, below ours: its pixels are asked for


def test_the_limit_itself_is_allowed():
    """So many pixels and no more, for files and PIL images alike."""
    picture = PilImage.new("RGB", (10, 10))
    assert to_picture(encoded(picture), max_pixels=100).shape == (10, 10, 3)
    for source in (encoded(picture), picture):
        with pytest.raises(ImageError, match="100 pixels, more than the limit of 99"):
            to_picture(source, max_pixels=99)


@pytest.mark.parametrize("kind", ["TIFF", "PNG", "JPEG", "GIF", "WEBP"])
def test_pillows_limit_gives_way_to_ours(monkeypatch, kind):
    """A caller who allows more gets more, without a warning, and Pillow's limit stands again afterwards."""
    content = encoded(PilImage.fromarray(waves(16, 16)), kind)
    monkeypatch.setattr(PilImage, "MAX_IMAGE_PIXELS", 200)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert to_picture(content).shape == (16, 16, 3)
    assert PilImage.MAX_IMAGE_PIXELS == 200


def test_pil_images_are_turned_and_left_alone():
    """An open PIL image gives what its file gives; the caller's copy keeps its mode."""
    exif = PilImage.Exif()
    exif[0x0112] = 6
    content = encoded(PilImage.fromarray(noise(4, 6)), exif=exif)
    with PilImage.open(io.BytesIO(content)) as picture:
        np.testing.assert_array_equal(to_picture(picture), to_picture(content))
        assert picture.size == (6, 4)


def test_arrays_of_every_agreed_form_are_taken():
    """RGB is itself, RGBA loses its alpha, grey gets three channels."""
    rgb = noise(4, 6)
    assert to_picture(rgb) is rgb
    np.testing.assert_array_equal(to_picture(np.dstack([rgb, np.zeros((4, 6), np.uint8)])), rgb)
    np.testing.assert_array_equal(to_picture(rgb[..., 0]), rgb[..., [0, 0, 0]])


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((4, 6, 3), np.float32),
        np.zeros((4, 6), np.uint16),
        np.zeros((4, 6, 2), np.uint8),
        np.zeros((1, 4, 6, 3), np.uint8),
        np.zeros(6, np.uint8),
    ],
)
def test_other_arrays_are_refused(image):
    """The message has the actual type and the accepted ones."""
    with pytest.raises(ImageError, match=rf"camera: got {image.dtype} \({image.shape[0]},.*grey \(H, W\)"):
        to_picture(image, name="camera")


def test_an_array_without_pixels_is_refused():
    """An array without pixels raises an error."""
    with pytest.raises(ImageError, match="at least one pixel"):
        to_picture(np.zeros((0, 6, 3), np.uint8))


def test_opencvs_channel_order_is_converted_by_from_bgr():
    """BGR and BGRA come out as RGB, grey as it is."""
    rgb = noise(4, 6)
    bgra = np.dstack([rgb[..., ::-1], np.zeros((4, 6), np.uint8)])
    np.testing.assert_array_equal(from_bgr(rgb[..., ::-1]), rgb)
    np.testing.assert_array_equal(from_bgr(bgra), rgb)
    np.testing.assert_array_equal(from_bgr(rgb[..., 0]), rgb[..., [0, 0, 0]])
    with pytest.raises(ImageError, match="BGR image: got float64"):
        from_bgr(np.zeros((4, 6, 3)))


@pytest.mark.parametrize("source", [None, 7, ["a.png"]])
def test_what_is_no_source_is_refused(source):
    """Forgotten values are named by their type."""
    with pytest.raises(ImageError, match=f"got {type(source).__name__}, needs a path"):
        to_picture(source)


def test_a_path_with_a_null_byte_is_named():
    """Python's own ValueError does not get through."""
    with pytest.raises(ImageError, match="cannot be read as a picture"):
        to_picture("a\x00b.png")


def test_the_callers_name_stands_in_errors():
    """Errors name the picture by `name`, such as for standard input."""
    with pytest.raises(ImageError, match=r"^standard input: cannot be read as a picture: it is empty$"):
        to_picture(b"", name="standard input")
