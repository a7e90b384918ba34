"""Strict reader of numeric matrices in MATLAB 5 files (.mat): no other types, no nesting, bounded size.

Not scipy's, which crashes the process (SIGSEGV) on some broken files; label files of faces hold only a few small
matrices. Format: "MAT-File Format", The MathWorks, version 5; numbers of types are from its tables 1-1 and 1-3.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from lightmark.errors import DataError, reader
from lightmark.geometry import Array

Order: TypeAlias = Literal["<", ">"]

MOST_BYTES = 16 * 2**20  # of a file, and of one decompressed variable; 300W-LP's labels have 5 kB
_HEADER = 128
_MATRIX, _COMPRESSED = 14, 15
# miINT8 … miUINT64, the stored types; MATLAB stores numbers in a smaller type than the matrix's where they fit.
_STORED = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
_NUMERIC_CLASSES = range(6, 16)  # mxDOUBLE_CLASS … mxUINT64_CLASS
_COMPLEX = 0x0800


@reader("a MATLAB 5 file")
def read_matlab5(path: Path) -> dict[str, Array | None]:
    """Variables of a MATLAB 5 file by name: real numeric matrices as float64, all others as None.

    Raises `DataError` for a file that is truncated or of another format.
    """
    if path.stat().st_size > MOST_BYTES:
        raise DataError(f"{path}: cannot be read as a MATLAB 5 file: {path.stat().st_size:,} bytes, a label has less")
    content = path.read_bytes()
    orders: dict[bytes, Order] = {b"IM": "<", b"MI": ">"}
    order = orders.get(content[126:_HEADER])
    if order is None:
        raise DataError(f"{path}: cannot be read as a MATLAB 5 file: no header of one; fetch it again")
    variables: dict[str, Array | None] = {}
    for kind, data in _elements(content[_HEADER:], order):
        for inner, matrix in _elements(_inflated(data), order) if kind == _COMPRESSED else [(kind, data)]:
            if inner == _MATRIX:
                name, value = _matrix(matrix, order)
                variables[name] = value
    return variables


def _inflated(data: bytes) -> bytes:
    decompressor = zlib.decompressobj()
    content = decompressor.decompress(data, MOST_BYTES)
    if not decompressor.eof:
        raise ValueError(f"a compressed variable is cut, or unfolds to more than {MOST_BYTES:,} bytes")
    return content


def _elements(content: bytes, order: Order) -> Iterator[tuple[int, bytes]]:
    """Type and bytes of each data element in `content`."""
    at = 0
    while at < len(content):
        kind, size = struct.unpack_from(f"{order}II", content, at)
        if kind >> 16:  # a small element: type and size share a word, up to four bytes follow
            kind, size, start, end = kind & 0xFFFF, kind >> 16, at + 4, at + 8
            if size > 4:
                raise ValueError(f"a small element of {size} bytes at byte {at}")
        else:
            start = at + 8
            # Elements are padded to a multiple of eight bytes, except compressed ones.
            end = start + (size if kind == _COMPRESSED else -(-size // 8) * 8)
        if start + size > len(content):
            raise ValueError(f"an element of {size} bytes at byte {at}, {len(content) - start} are left")
        yield kind, content[start : start + size]
        at = end


def _matrix(data: bytes, order: Order) -> tuple[str, Array | None]:
    """Name and matrix of a miMATRIX element: flags, dimensions, name, then the real part in column-major order."""
    parts = _elements(data, order)
    flags = _numbers(*next(parts), order)
    shape = tuple(int(length) for length in _numbers(*next(parts), order))
    if min(shape, default=0) < 0:
        raise ValueError(f"a matrix of shape {shape}")
    name = next(parts)[1].decode("latin-1")
    if int(flags[0]) & 0xFF not in _NUMERIC_CLASSES or int(flags[0]) & _COMPLEX:
        return name, None
    numbers = _numbers(*next(parts), order)
    return name, numbers.astype(np.float64).reshape(shape, order="F")


def _numbers(kind: int, data: bytes, order: Order) -> NDArray[Any]:
    return np.frombuffer(data, dtype=np.dtype(_STORED[kind]).newbyteorder(order))
