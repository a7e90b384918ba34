"""Members of an uncompressed tar file by their byte offsets, for random access."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lightmark.errors import DataError, ImageError, foreign_errors_as

BLOCK = 512  # bytes; POSIX.1-1988 ends an archive by two blocks of zeros


@dataclass(frozen=True)
class Member:
    """A file inside the uncompressed tar `file`: `size` bytes at `offset`, with its header at `header`.

    `crc32` is the checksum of its bytes if they were read before.
    """

    file: Path
    name: str
    header: int
    offset: int
    size: int
    crc32: int | None = None


def tar_members(file: Path, start: int = 0) -> Iterator[Member]:
    """Iterate over the files inside the tar `file`, from the header at byte `start` on.

    Raises `DataError` for a file that is no tar, and after the last readable member of a truncated or broken tar. The
    bytes of that member may be truncated, which `read_member` detects.
    """
    with foreign_errors_as(DataError, f"{file}: cut, broken or no uncompressed tar"), file.open("rb") as stream:
        stream.seek(start)
        with tarfile.open(fileobj=stream, mode="r:") as archive:
            end = start
            while (one := archive.next()) is not None:
                if archive.offset <= end:  # a negative size, which makes older Pythons loop forever
                    raise ValueError(f"the size of {one.name!r} leads back to byte {archive.offset}")
                end = archive.offset
                # tarfile keeps all headers in memory otherwise.
                archive.members.clear()  # type: ignore[attr-defined]  # missing in typeshed
                if one.isreg():
                    yield Member(file, one.name, one.offset, one.offset_data, one.size)
            end = archive.offset
        stream.seek(end)
        # tarfile treats a broken header as the end of the archive; a true end is a block of zeros.
        if stream.read(BLOCK) != bytes(BLOCK):
            raise DataError(f"{file}: cut or broken at byte {end}: what follows there is lost; copy the file again")


def read_member(member: Member) -> bytes:
    """Bytes of `member`; raises `ImageError` if they cannot be read in full."""
    where = f"{member.file.as_posix()}/{member.name}"
    with foreign_errors_as(ImageError, f"{where}: cannot be read"), member.file.open("rb") as stream:
        stream.seek(member.offset)
        content = stream.read(member.size)
    if len(content) < member.size:
        raise ImageError(f"{where}: cut: {len(content)} of {member.size} bytes are there")
    return content
