"""List the input pictures in numbered chunks, deterministically for the same files."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from lightmark.data.pictures import PICTURE_SUFFIXES
from lightmark.data.shards.tar import Member, tar_members
from lightmark.errors import DataError, describe_error

Kind = Literal["pictures", "tar", "parquet"]
KINDS: dict[str, Kind] = {".tar": "tar", ".parquet": "parquet", **dict.fromkeys(PICTURE_SUFFIXES, "pictures")}


@dataclass(frozen=True)
class Chunk:
    """`count` pictures of one part file: picture files, or consecutive ones in one tar or Parquet file.

    Picture files are `names` below the folder `place`. Pictures of a tar begin at the byte `start` of a header, those
    of a Parquet file at the row `start`; `prefix` is the file's path below the source, with which their keys begin.
    """

    number: int
    kind: Kind
    place: Path
    count: int
    prefix: str = ""
    start: int = 0
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class Listing:
    """All chunks, the number of pictures, a digest of names and sizes, and a message for each unusable file."""

    chunks: tuple[Chunk, ...]
    pictures: int
    digest: str
    faults: tuple[str, ...]


def list_pictures(source: str | Path, per_chunk: int, column: str) -> Listing:
    """List the pictures of `source`, a folder with all below it or one file, in chunks of at most `per_chunk`.

    Files may be pictures, uncompressed tars of pictures, and Parquet files whose `column` holds encoded pictures as
    bytes or as Hugging Face's struct of bytes and path. Nothing is decoded. Names that begin with a dot are ignored.
    Unusable files are faults; raises `DataError` if there is no picture.
    """
    source = Path(source).resolve()
    root, files = _files(source)
    digest = hashlib.sha256()
    parts: list[dict[str, Any]] = []
    faults: list[str] = []
    loose = [file for file in files if _kind(file) == "pictures"]
    for first in range(0, len(loose), per_chunk):
        names = tuple(_sized(loose[first : first + per_chunk], root, digest, faults))
        parts.append({"kind": "pictures", "place": root, "count": len(names), "names": names})
    for file in files:
        name = key_of(file.relative_to(root).as_posix())
        known = {"kind": _kind(file), "place": file, "prefix": name}
        try:
            if _kind(file) == "tar":
                parts += [{**known, **span} for span in _tar_spans(file, name, per_chunk, digest, faults)]
            elif _kind(file) == "parquet":
                parts += [{**known, **span} for span in _parquet_spans(file, name, per_chunk, column, digest)]
        except DataError as error:
            faults.append(str(error))
        except OSError as error:
            faults.append(f"{file}: cannot be read: {error}")
    chunks = tuple(Chunk(number=number, **part) for number, part in enumerate(part for part in parts if part["count"]))
    if not chunks:
        broken = f"; {'; '.join(faults)}" if faults else ""
        raise DataError(f"{source}: no pictures; looked for {', '.join(KINDS)} in it and below{broken}")
    return Listing(chunks, sum(chunk.count for chunk in chunks), digest.hexdigest(), tuple(faults))


def key_of(name: str) -> str:
    """`name` as valid text: bytes that are not UTF-8 become backslashes and hex digits."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def picture_members(file: Path, start: int = 0) -> Iterator[Member]:
    """Pictures inside a tar, by suffix, from the header at byte `start` on; raises as `tar_members` does."""
    for member in tar_members(file, start):
        name = PurePosixPath(member.name)
        if name.suffix.lower() in PICTURE_SUFFIXES and not name.name.startswith("."):
            yield member


def _files(source: Path) -> tuple[Path, list[Path]]:
    """Root folder of the names, and all files, sorted."""
    if source.is_dir():
        files = (file for file in source.rglob("*") if file.suffix.lower() in KINDS and not file.name.startswith("."))
        return source, sorted((file for file in files if file.is_file()), key=lambda file: file.as_posix())
    if not source.is_file() or source.suffix.lower() not in KINDS:
        raise DataError(f"{source}: no such folder, nor a file that ends in {', '.join(KINDS)}")
    return source.parent, [source]


def _sized(files: Sequence[Path], root: Path, digest: hashlib._Hash, faults: list[str]) -> Iterator[str]:
    """Names of picture files below `root`; adds names and sizes to the digest, and files deleted meanwhile to faults.
    """
    for file in files:
        name = file.relative_to(root).as_posix()
        try:
            digest.update(f"{key_of(name)}\t{file.stat().st_size}\n".encode())
        except OSError as error:
            faults.append(f"{file}: cannot be read: {error}")
            continue
        yield name


def _kind(file: Path) -> Kind:
    return KINDS[file.suffix.lower()]


def _tar_spans(
    file: Path, name: str, per_chunk: int, digest: hashlib._Hash, faults: list[str]
) -> Iterator[dict[str, int]]:
    """Start and count of each chunk of a tar; of a truncated one, up to its last readable header."""
    starts, count = [], 0
    try:
        for member in picture_members(file):
            if count % per_chunk == 0:
                starts.append(member.header)
            count += 1
            digest.update(f"{name}/{member.name}\t{member.size}\n".encode("utf-8", "surrogateescape"))
    except DataError as error:
        faults.append(str(error))
    for number, start in enumerate(starts):
        yield {"start": start, "count": min(per_chunk, count - number * per_chunk)}


def _parquet_spans(
    file: Path, name: str, per_chunk: int, column: str, digest: hashlib._Hash
) -> Iterator[dict[str, int]]:
    """First row and count of each chunk of a Parquet file."""
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(file) as opened:
            schema, rows = opened.schema_arrow, opened.metadata.num_rows
    except Exception as error:  # of any type: column names that are no text raise no error of pyarrow's
        raise OSError(describe_error(error)) from error
    if column not in schema.names or not _holds_pictures(schema.field(column).type):
        columns = ", ".join(f"{field.name} ({str(field.type)[:40]})" for field in schema)
        raise DataError(
            f"{file}: no column {column!r} of bytes, or of a struct with bytes; there are {columns}; name that of the "
            "pictures with --image-column"
        )
    digest.update(f"{name}\t{rows}\t{file.stat().st_size}\n".encode())
    for start in range(0, rows, per_chunk):
        yield {"start": start, "count": min(per_chunk, rows - start)}


def _holds_pictures(kind: Any) -> bool:
    from pyarrow import types

    if types.is_struct(kind):
        return any(kind.field(i).name == "bytes" for i in range(kind.num_fields))
    return bool(types.is_binary(kind) or types.is_large_binary(kind))
