"""Checks of all faces before a training, so that a broken label or picture fails at once instead of hours later.

Pictures are read once and hashed. Their headers are parsed; pixels are decoded only if the end of a file may be cut.
"""

from __future__ import annotations

import hashlib
import os
import zlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lightmark.data.sample import RELATIVE, Sample, at_first_pixel
from lightmark.data.shards.tar import read_member
from lightmark.data.video_frame import VideoFrame
from lightmark.errors import DataError, GeometryError, ImageError
from lightmark.files import sha256_of
from lightmark.geometry import labelled, require_box, tight_box
from lightmark.metrics import interocular
from lightmark.source import header_size, to_picture

READERS = 8  # threads: disks, and network disks even more, serve several files at once
# End markers of JPEG and PNG, searched in the last TAIL bytes, since padding may follow. Others are decoded.
TAIL = 4096
ENDS = (b"\xff\xd9", b"IEND")
ADVICE = "check the data with `lightmark data check`, and correct or remove the face"


class PictureFacts(NamedTuple):
    """Digest of a picture's content, and its width and height if the header was read."""

    key: str
    size: tuple[int, int] | None


def inspect_pictures(samples: Sequence[Sample]) -> list[PictureFacts]:
    """Facts of each sample's picture; raises `ImageError` naming the first that is missing, truncated or no picture."""
    with ThreadPoolExecutor(READERS) as pool:
        return list(pool.map(inspect_picture, samples))


def inspect_files(paths: Sequence[Path]) -> list[PictureFacts]:
    """Facts of the pictures at `paths`; raises as `inspect_pictures` does."""
    with ThreadPoolExecutor(READERS) as pool:
        return list(pool.map(_inspect_path, paths))


def require_trainable(samples: Sequence[Sample], validation: Sequence[Sample] = ()) -> None:
    """Raise `DataError` or `ImageError` naming the first training or validation face that cannot be used, and why.

    Its points are infinite, all missing, span no box or are outside the picture; its picture is missing, truncated or
    no picture; or, for a validation face, its normaliser is zero.
    """
    faces = [*samples, *validation]
    for sample in faces:
        _require_labels(sample)
    for sample in validation:
        if sample.schema.normaliser and interocular(sample.points[None], sample.schema)[0] == 0:
            first, second = sample.schema.normaliser
            raise DataError(
                f"{sample.name}: points {first} and {second} coincide, by whose distance its error is divided; {ADVICE}"
            )
    for sample, facts in zip(faces, inspect_pictures(faces), strict=True):
        if facts.size is not None:
            _require_in_picture(sample, *facts.size)


def _require_labels(sample: Sample) -> None:
    wrong = int(np.isinf(sample.points).any(axis=1).sum())
    if wrong:
        raise DataError(f"{sample.name}: {wrong} of {len(sample.points)} points are not finite; {ADVICE}")
    if not labelled(sample.points).any():
        raise DataError(f"{sample.name}: none of its {len(sample.points)} points is labelled; {ADVICE}")
    if at_first_pixel(sample.points):
        raise DataError(f"{sample.name}: its points are {RELATIVE} {ADVICE}")
    try:
        require_box(sample.box)
    except GeometryError as error:
        raise DataError(f"{sample.name}: its points span no box ({error}); {ADVICE}") from error


def _require_in_picture(sample: Sample, width: int, height: int) -> None:
    box = tight_box(sample.points)  # not sample.box, which has an area even for a single point
    if (box[2:] <= -0.5).any() or (box[:2] >= [width - 0.5, height - 0.5]).any():
        raise DataError(
            f"{sample.name}: its points lie in x {box[0]:.0f} to {box[2]:.0f}, y {box[1]:.0f} to {box[3]:.0f}, all of "
            f"them outside their picture of {width}×{height} pixels; {ADVICE}"
        )


def inspect_picture(sample: Sample) -> PictureFacts:
    """Facts of one sample's picture; raises as `inspect_pictures` does."""
    if sample.image is not None:
        height, width = sample.image.shape[:2]
        return PictureFacts(_sha256(str(sample.image.shape).encode() + sample.image.tobytes()), (width, height))
    if isinstance(sample.member, VideoFrame):
        stat = _stat(sample.member.file)
        content = _sha256_of_video(sample.member.file, stat.st_size, stat.st_mtime_ns)
        return PictureFacts(f"frame {sample.member.number} of {content}", None)
    if sample.member is not None:
        # The bytes were verified when the shard was read; no need to read many gigabytes again.
        checksum = sample.member.crc32
        if checksum is None:
            checksum = zlib.crc32(read_member(sample.member))
        return PictureFacts(f"crc32 {checksum:08x} of {sample.member.size} bytes", None)
    return _inspect_path(sample.path)


def _inspect_path(path: Path) -> PictureFacts:
    stat = _stat(path)
    return _inspect_file(path, stat.st_size, stat.st_mtime_ns)


def _stat(path: Path) -> os.stat_result:
    try:
        return path.stat()
    except OSError as error:
        raise ImageError(f"{path}: no such picture; {ADVICE}") from error


@lru_cache
def _sha256_of_video(path: Path, size: int, modified_ns: int) -> str:
    return sha256_of(path)


# Cached, since the stages of a distillation use the same pictures, and several faces may share one. Size and time of
# modification are part of the key, so that a changed file is read again.
@lru_cache(maxsize=1 << 20)
def _inspect_file(path: Path, size: int, modified_ns: int) -> PictureFacts:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ImageError(f"{path}: cannot be read as a picture: {error.strerror}") from error
    picture_size = header_size(content, str(path))
    if not any(end in content[-TAIL:] for end in ENDS):
        to_picture(content, name=str(path))
    return PictureFacts(_sha256(content), picture_size)


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
