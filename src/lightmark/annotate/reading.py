"""Read the pictures of a chunk lazily, each with its key."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

from lightmark.annotate.listing import Chunk, Kind, key_of, picture_members
from lightmark.data.shards.tar import Member, read_member
from lightmark.errors import DataError, ImageError, describe_error
from lightmark.image import Picture
from lightmark.source import to_picture

Encoded: TypeAlias = Path | Member | bytes | ImageError
ROWS = 16  # of Parquet per batch, some megabytes


def read_chunk(chunk: Chunk, column: str) -> Iterator[tuple[str, Encoded]]:
    """Key and encoded picture, or error, of each of the chunk's `count` pictures.

    Raises `DataError` if a tar has fewer pictures than when it was listed.
    """
    return READERS[chunk.kind](chunk, column)


def decode(encoded: Encoded, key: str, max_pixels: int) -> Picture:
    """Decode a picture of `read_chunk` to RGB uint8 (H, W, 3); raises `ImageError`, whose text begins with `key`."""
    if isinstance(encoded, ImageError):
        raise encoded
    if isinstance(encoded, Member):
        encoded = read_member(encoded)
    return to_picture(encoded, max_pixels, key)


def _loose(chunk: Chunk, _column: str) -> Iterator[tuple[str, Encoded]]:
    for name in chunk.names:
        yield key_of(name), chunk.place / name


def _packed(chunk: Chunk, _column: str) -> Iterator[tuple[str, Encoded]]:
    count = 0
    try:
        for member in picture_members(chunk.place, chunk.start):
            yield f"{chunk.prefix}/{key_of(member.name)}", member
            count += 1
            if count == chunk.count:
                return
    except DataError as error:
        raise _changed(chunk, count) from error
    raise _changed(chunk, count)


def _changed(chunk: Chunk, count: int) -> DataError:
    return DataError(
        f"{chunk.place}: {count} pictures from byte {chunk.start} on, {chunk.count} when it was listed; it was changed "
        "meanwhile: restore it, or begin anew with another --out"
    )


def _rows(chunk: Chunk, column: str) -> Iterator[tuple[str, Encoded]]:
    number, reason = chunk.start, "the file ends before this row"
    try:
        for cell in _cells(chunk, column):
            key = f"{chunk.prefix}#{number}"
            yield key, cell if cell is not None else ImageError(f"{key}: no bytes in this row")
            number += 1
    except Exception as error:  # of any type, as in listing.py
        reason = f"cannot be read from its Parquet file: {describe_error(error)}"
    for row in range(number, chunk.start + chunk.count):
        yield f"{chunk.prefix}#{row}", ImageError(f"{chunk.prefix}#{row}: {reason}")


def _cells(chunk: Chunk, column: str) -> Iterator[bytes | None]:
    """Bytes in the rows of `chunk`; rows of the same row groups before it are skipped."""
    from pyarrow import parquet

    # Without a memory map and without buffering column chunks, since row groups of pictures may have gigabytes.
    with parquet.ParquetFile(chunk.place, pre_buffer=False, buffer_size=1 << 20) as file:
        groups, row = _groups(file.metadata, chunk)
        for batch in file.iter_batches(ROWS, row_groups=groups, columns=[column], use_threads=False):
            first = max(0, chunk.start - row)
            last = min(len(batch), chunk.start + chunk.count - row)
            for value in batch.column(0)[first : max(first, last)]:
                cell = value.as_py()
                yield cell["bytes"] if isinstance(cell, dict) else cell
            row += len(batch)
            if row >= chunk.start + chunk.count:
                return


def _groups(metadata: Any, chunk: Chunk) -> tuple[list[int], int]:
    """Row groups with rows of `chunk`, and the first row of the first group."""
    groups: list[int] = []
    row = first = 0
    for group in range(metadata.num_row_groups):
        rows = metadata.row_group(group).num_rows
        if row + rows > chunk.start and row < chunk.start + chunk.count:
            first = first if groups else row
            groups.append(group)
        row += rows
    return groups, first


READERS: dict[Kind, Callable[[Chunk, str], Iterator[tuple[str, Encoded]]]] = {
    "pictures": _loose,
    "tar": _packed,
    "parquet": _rows,
}
