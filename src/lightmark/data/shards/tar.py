"""Tar files as rows of members, each known by the place of its bytes, so that it can be read without the rest."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lightmark.errors import DataError, ImageError, foreign_errors_as

BLOCK = 512  # bytes; POSIX.1-1988 ends an archive by two blocks of zeros


@dataclass(frozen=True)
class Member:
    """A file inside the uncompressed tar `file`: `size` bytes from `offset` on; its header begins at `header`.

    `crc32` is that of its bytes where they were read before.
    """

    file: Path
    name: str
    header: int
    offset: int
    size: int
    crc32: int | None = None


def tar_members(file: Path, start: int = 0) -> Iterator[Member]:
    """The files inside the tar `file`, in order, from the header at byte `start` on.

    Raises `DataError` for a file that is no tar, and behind the last readable member where the tar is cut or broken;
    the bytes of that member may be cut, which `read_member` reports.
    """
    with foreign_errors_as(DataError, f"{file}: cut, broken or no uncompressed tar"), file.open("rb") as stream:
        stream.seek(start)
        with tarfile.open(fileobj=stream, mode="r:") as archive:
            end = start
            while (one := archive.next()) is not None:
                if archive.offset <= end:  # a negative size, which older Pythons follow backwards for ever
                    raise ValueError(f"the size of {one.name!r} leads back to byte {archive.offset}")
                end = archive.offset
                # tarfile would keep every header until the end.
                archive.members.clear()  # type: ignore[attr-defined]  # there since ever, not in typeshed
                if one.isreg():
                    yield Member(file, one.name, one.offset, one.offset_data, one.size)
            end = archive.offset
        stream.seek(end)
        # tarfile takes a broken header for the end of the archive.
        if stream.read(BLOCK) != bytes(BLOCK):
            raise DataError(f"{file}: cut or broken at byte {end}: what follows there is lost; copy the file again")


def read_member(member: Member) -> bytes:
    """The bytes of `member`; raises `ImageError` where they cannot be read in full."""
    where = f"{member.file.as_posix()}/{member.name}"
    with foreign_errors_as(ImageError, f"{where}: cannot be read"), member.file.open("rb") as stream:
        stream.seek(member.offset)
        content = stream.read(member.size)
    if len(content) < member.size:
        raise ImageError(f"{where}: cut: {len(content)} of {member.size} bytes are there")
    return content
