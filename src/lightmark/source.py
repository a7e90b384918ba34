"""Load a picture from a path, bytes, PIL image or array as RGB uint8 (H, W, 3)."""

from __future__ import annotations

import importlib
import io
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, TypeAlias, cast

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, ImageFile, ImageOps
from PIL import Image as PilImage

from lightmark.bit_depth import HIGH_BYTE_USED, is_deep_colour, read_deep_colour, to_8_bits
from lightmark.bounds import BoundedReads, has_small_exif, require_bounded
from lightmark.errors import ImageError, LightmarkError, MissingExtraError
from lightmark.image import Picture, require_image
from lightmark.pnm import read_pnm

Source: TypeAlias = str | Path | bytes | PilImage.Image | NDArray[Any]

ORIENTATION = 0x0112  # EXIF tag
MAX_PIXELS = 100_000_000  # 300 MB decoded; phones' largest pictures hold 200 million, other cameras' less than 100
# Pillow's plugins for what cameras, phones and the web write, most common first. The others are not used: an
# untrusted picture must not reach Ghostscript (EPS), and some have no signature to recognise them by (TGA).
PLUGINS = {
    "JPEG": "Jpeg", "PNG": "Png", "WEBP": "WebP", "GIF": "Gif", "BMP": "Bmp", "TIFF": "Tiff", "AVIF": "Avif",
    "JPEG2000": "Jpeg2K", "PPM": "Ppm",
}  # fmt: skip
# ISO 14496-12's file type brands, bytes 8 to 12 after "ftyp"; mif1 and msf1 are shared by both.
AVIF_BRANDS = (b"avif", b"avis")
HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1")
SIDEWAYS = (5, 6, 7, 8)  # EXIF orientations that swap width and height

_PILLOWS_LIMIT = threading.Lock()


def to_picture(source: Source, max_pixels: int = MAX_PIXELS, name: str | None = None) -> Picture:
    """Load a path, encoded bytes, PIL image or array as RGB uint8 (H, W, 3), upright by its EXIF orientation.

    Grey is repeated in three channels, palettes are resolved, CMYK is converted without profile; 16 bits are scaled by
    the smallest of 8, 10, 12, 14 and 16 bits that holds the largest value. Of several frames or pages the first is
    used. Alpha is ignored: every pixel has its stored colour, since the all-zero alpha channel of some screen captures
    must not blank a face. Arrays are uint8:
    RGB (H, W, 3), RGBA (H, W, 4) or grey (H, W); OpenCV's go through `from_bgr` first.

    Raises `ImageError`, which names the picture `name` (None: its path), if it cannot be read in full, and before
    decoding if it has more than `max_pixels` or exceeds a limit of `lightmark.bounds`; `MissingExtraError` for HEIC
    without pillow-heif.
    """
    if isinstance(source, np.ndarray):
        return _array_to_rgb(source, name or "image")
    if isinstance(source, PilImage.Image):
        return _decode(source, max_pixels, name or "PIL image")
    if isinstance(source, bytes):
        return _read(io.BytesIO(source), max_pixels, name or f"{len(source)} bytes")
    if not isinstance(source, (str, Path)):
        raise ImageError(f"{name or 'picture'}: got {type(source).__name__}, needs a path, bytes, a PIL image or array")
    try:
        with Path(source).open("rb") as stream:
            return _read(stream, max_pixels, name or str(source))
    except FileNotFoundError as error:
        raise ImageError(f"{name or source}: no such picture") from error
    except (OSError, ValueError) as error:  # a folder, no permission; a null byte in the path
        raise ImageError(f"{name or source}: cannot be read as a picture: {error}") from error


def header_size(content: bytes, name: str, max_pixels: int = MAX_PIXELS) -> tuple[int, int]:
    """Width and height of an encoded picture after EXIF rotation, from its header without decoding.

    Raises `ImageError` naming `name` if it is no picture or has more than `max_pixels`.
    """
    opened = _open_named(io.BytesIO(content), name)
    _require_pixels(opened, max_pixels, name)
    try:
        turned = has_small_exif(opened) and opened.getexif().get(ExifTags.Base.Orientation, 1) in SIDEWAYS
    except Exception as error:  # see _decode
        raise ImageError(f"{name}: cannot be read as a picture: {error}") from error
    width, height = opened.size
    return (height, width) if turned else (width, height)


def from_bgr(image: NDArray[Any]) -> Picture:
    """RGB copy of OpenCV's BGR (H, W, 3) or BGRA (H, W, 4); the channel order of an array cannot be detected."""
    coloured = image.ndim == 3 and image.shape[2] in (3, 4)
    return to_picture(image[..., 2::-1].copy() if coloured else image, name="BGR image")


def _array_to_rgb(image: NDArray[Any], name: str) -> Picture:
    if image.dtype != np.uint8 or not (image.ndim == 2 or (image.ndim == 3 and image.shape[2] in (3, 4))):
        raise ImageError(
            f"{name}: got {image.dtype} {image.shape}, needs RGB uint8 (H, W, 3), RGBA (H, W, 4) or grey (H, W)"
        )
    if image.ndim == 2:
        image = np.repeat(image[..., None], 3, axis=2)
    return require_image(image if image.shape[2] == 3 else image[..., :3].copy(), name)


def _read(stream: IO[bytes], max_pixels: int, name: str) -> Picture:
    return _decode(_open_named(stream, name), max_pixels, name)


def _open_named(stream: IO[bytes], name: str) -> ImageFile.ImageFile:
    try:
        return _open(stream, name)
    except LightmarkError:
        raise
    except Exception as error:  # see _decode
        raise ImageError(f"{name}: cannot be read as a picture: {error}") from error


def _open(stream: IO[bytes], name: str) -> ImageFile.ImageFile:
    """Open a picture without decoding it; not with Pillow's `open`, which warns above 89 million pixels."""
    start = stream.read(16)
    reason = "no format that is known here" if start else "it is empty"
    for plugin, module in PLUGINS.items():
        with suppress(ImportError):  # AVIF came with Pillow 11.3
            importlib.import_module(f"PIL.{module}ImagePlugin")
        factory, accepts = PilImage.OPEN.get(plugin, (None, None))
        if factory is None or accepts is None or accepts(start) is not True:
            continue
        require_bounded(plugin, stream, name)
        try:
            return factory(cast(IO[bytes], BoundedReads(stream, name)), b"")
        except (SyntaxError, IndexError, TypeError, struct.error) as error:  # as Pillow's own `open` goes on
            reason = str(error)
    if start[4:8] == b"ftyp" and start[8:12] in HEIF_BRANDS:
        stream.seek(0)
        return _open_heif(stream, name)
    if start[4:8] == b"ftyp" and start[8:12] in AVIF_BRANDS and "AVIF" not in PilImage.OPEN:
        reason = 'AVIF needs a newer Pillow: pip install "pillow>=11.3"'
    raise ValueError(reason)


def _open_heif(stream: IO[bytes], name: str) -> ImageFile.ImageFile:
    try:
        from pillow_heif import HeifImageFile
    except ImportError as error:
        raise MissingExtraError(f'{name}: HEIC needs pillow-heif: pip install "lightmark[heif]"') from error
    opened: ImageFile.ImageFile = HeifImageFile(stream)
    return opened


def _require_pixels(picture: PilImage.Image, max_pixels: int, name: str) -> None:
    width, height = picture.size
    if width * height > max_pixels:
        raise ImageError(
            f"{name}: {width}×{height} are {width * height:,} pixels, more than the limit of {max_pixels:,}; "
            "raise max_pixels (--max-pixels) if you trust the picture"
        )


def _decode(picture: PilImage.Image, max_pixels: int, name: str) -> Picture:
    _require_pixels(picture, max_pixels, name)
    try:
        if isinstance(picture, ImageFile.ImageFile) and picture.tile:
            _require_bounded(picture, name)
            reader = READERS.get(picture.tile[0][0])
            if reader is not None:
                return require_image(reader(picture), name)
        deep = picture.fp if isinstance(picture, ImageFile.ImageFile) and is_deep_colour(picture) else None
        with _pillows_limit_lifted_for(picture.width * picture.height):
            picture.load()
        # Broken EXIF, and EXIF that Pillow would expand to gigabytes, is ignored.
        turned = has_small_exif(picture)
        if deep is not None and np.asarray(_to_rgb(picture)).max() < HIGH_BYTE_USED:
            picture = _with_exif_of(picture, read_deep_colour(deep), turned)
        if picture.mode == "I" and picture.format == "PPM":  # a 16-bit greymap (PGM), which has no EXIF
            picture = PilImage.fromarray(to_8_bits(np.asarray(picture)))
        upright = ImageOps.exif_transpose(picture) if turned else picture
        return require_image(np.asarray(_to_rgb(upright)), name)
    except LightmarkError:
        raise
    except Exception as error:  # decoders raise many types on a broken file: OSError, SyntaxError, EOFError …
        raise ImageError(f"{name}: cannot be read as a picture: {error}") from error


def _with_exif_of(picture: PilImage.Image, pixels: Picture, turned: bool) -> PilImage.Image:
    """`pixels` (H, W, 3) as a PIL image with the EXIF orientation of `picture`."""
    shown = PilImage.fromarray(pixels)
    if turned:
        shown.getexif()[ORIENTATION] = picture.getexif().get(ORIENTATION, 1)
    return shown


def _require_bounded(picture: ImageFile.ImageFile, name: str) -> None:
    """Check the limits of `lightmark.bounds` for a PIL image that the caller opened and has not decoded."""
    stream = picture.fp
    if stream is not None and not isinstance(stream, BoundedReads):
        here = stream.tell()
        require_bounded(picture.format or "", stream, name)
        stream.seek(here)


def _read_bmp(picture: ImageFile.ImageFile) -> Picture:
    """RGB of a run-length encoded BMP, by OpenCV: Pillow decodes it run by run in Python."""
    assert picture.fp is not None
    picture.fp.seek(0)
    data = np.frombuffer(picture.fp.read(), np.uint8)
    # OpenCV would also print the error raised below; 4.10 has this function in another module.
    set_log_level = getattr(cv2, "setLogLevel", None) or cv2.utils.logging.setLogLevel
    before = set_log_level(SILENT)
    try:
        decoded: NDArray[Any] | None = cv2.imdecode(data, cv2.IMREAD_COLOR)
    finally:
        set_log_level(before)
    if decoded is None:
        raise ValueError("its runs are cut or broken")
    return np.ascontiguousarray(decoded[..., ::-1], dtype=np.uint8)


SILENT = 0  # OpenCV's lowest log level
# Replacements for Pillow's decoders written in Python, which take half a minute for 20 MB.
READERS: dict[str | None, Callable[[ImageFile.ImageFile], Picture]] = {
    "ppm": read_pnm, "ppm_plain": read_pnm, "bmp_rle": _read_bmp,
}  # fmt: skip


@contextmanager
def _pillows_limit_lifted_for(pixels: int) -> Iterator[None]:
    """Context manager that lifts Pillow's process-wide pixel limit for a picture that passed our own limit.

    Needed because some of Pillow's decoders (TIFF) check again while loading. One thread at a time, and only for
    pictures above Pillow's limit.
    """
    if PilImage.MAX_IMAGE_PIXELS is None or pixels <= PilImage.MAX_IMAGE_PIXELS:
        yield
        return
    with _PILLOWS_LIMIT:
        before, PilImage.MAX_IMAGE_PIXELS = PilImage.MAX_IMAGE_PIXELS, None
        try:
            yield
        finally:
            PilImage.MAX_IMAGE_PIXELS = before


def _to_rgb(picture: PilImage.Image) -> PilImage.Image:
    """Convert to 8-bit RGB; 16-bit grey is scaled by its bit depth, where Pillow would clip at 255."""
    if picture.mode.startswith("I;16"):
        picture = PilImage.fromarray(to_8_bits(np.asarray(picture)))
    if picture.mode in ("I", "F"):
        raise ValueError(f"mode {picture.mode} has no agreed range; save it with 8 or 16 bits")
    if picture.mode in ("P", "PA", "RGBa", "La"):  # Pillow warns or fails on a direct conversion to RGB
        picture = picture.convert("LA" if picture.mode == "La" else "RGBA")
    return picture.convert("RGB")
