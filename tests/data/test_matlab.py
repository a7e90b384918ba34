"""Numeric matrices of MATLAB 5 files: as scipy writes them, and refused where they are broken."""

import struct

import numpy as np
import pytest
import scipy.io

from lightmark.data.formats import matlab
from lightmark.data.formats.matlab import read_matlab5
from lightmark.errors import DataError


def file_of(*elements: bytes, order: str = "<") -> bytes:
    """A MATLAB 5 file of data elements."""
    return b"MATLAB 5.0 MAT-file".ljust(124) + struct.pack(f"{order}HH", 0x0100, 0x4D49) + b"".join(elements)


def element(kind: int, data: bytes, size: int | None = None, order: str = "<") -> bytes:
    """A data element, which may lie about its size."""
    return struct.pack(f"{order}II", kind, len(data) if size is None else size) + data + bytes(-len(data) % 8)


def matrix(numbers: bytes, kind: int = 9, shape: tuple[int, int] = (1, 2), flags: int = 6, order: str = "<") -> bytes:
    """A matrix "a" of stored `numbers`."""
    parts = (
        element(6, struct.pack(f"{order}II", flags, 0), order=order),
        element(5, struct.pack(f"{order}ii", *shape), order=order),
        struct.pack(f"{order}HH", 1, 1) + b"a\0\0\0",
        element(kind, numbers, order=order),
    )
    return element(14, b"".join(parts), order=order)


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize(
    "value",
    [
        np.arange(6.0).reshape(2, 3) / 7,
        np.arange(6, dtype=np.float32).reshape(3, 2),
        np.array([[1, 2, 255]], np.uint8),
        np.array([[-5]], np.int16),
        np.array([[2**40, -(2**40)]], np.int64),
        np.zeros((2, 0)),
        np.arange(24.0).reshape(2, 3, 4),
    ],
)
def test_numbers_come_back(tmp_path, value, compressed):
    """Every numeric type and shape, plain or compressed, as float64."""
    scipy.io.savemat(tmp_path / "a.mat", {"a_long_name": value, "b": value}, do_compression=compressed)
    held = read_matlab5(tmp_path / "a.mat")
    assert list(held) == ["a_long_name", "b"]
    for read in held.values():
        assert read.dtype == np.float64
        np.testing.assert_array_equal(read, value)


def test_other_types_are_none(tmp_path):
    """Text, cells, structs, complex and sparse matrices are not read, only named."""
    others = {"text": "abc", "cell": np.array([1, "b"], object), "struct": {"x": 1}, "complex": np.array([1j])}
    scipy.io.savemat(tmp_path / "a.mat", others | {"sparse": scipy.sparse.eye(3), "numbers": np.ones((1, 1))})
    held = read_matlab5(tmp_path / "a.mat")
    assert [name for name, value in held.items() if value is None] == [*others, "sparse"]
    assert held["numbers"].tolist() == [[1.0]]


def test_either_byte_order_is_read(tmp_path):
    """Big-endian files are recognised by their header."""
    for order in "<>":
        numbers = np.array([1.5, -2.0]).astype(f"{order}f8").tobytes()
        (tmp_path / "a.mat").write_bytes(file_of(matrix(numbers, order=order), order=order))
        assert read_matlab5(tmp_path / "a.mat")["a"].tolist() == [[1.5, -2.0]]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"MATLAB 4",
        file_of(matrix(bytes(16)))[:-9],
        file_of(matrix(bytes(8))),  # one number for two
        file_of(matrix(bytes(16), shape=(-1, 2))),
        file_of(matrix(bytes(16), shape=(2**31 - 1, 2**31 - 1))),
        file_of(matrix(bytes(16), kind=200)),  # no such type
        file_of(matrix(bytes(15))),  # no whole number
        file_of(element(14, b"")),
        file_of(element(14, element(6, b""))),
        file_of(element(14, bytes(8), size=2**32 - 1)),
        file_of(element(15, b"not zlib")),
        file_of(struct.pack("<HH", 5, 5) + bytes(8)),  # a small element of five bytes
    ],
)
def test_broken_file_is_named(tmp_path, content):
    """What is cut, contradicts itself or is another kind of file."""
    (tmp_path / "a.mat").write_bytes(content)
    with pytest.raises(DataError, match=r"a\.mat: cannot be read as a MATLAB 5 file: "):
        read_matlab5(tmp_path / "a.mat")


def test_variable_that_unfolds_to_too_much_is_refused(tmp_path, monkeypatch):
    """A megabyte of zeros is a kilobyte compressed; so a file of a megabyte may be a gigabyte."""
    scipy.io.savemat(tmp_path / "a.mat", {"a": np.zeros((1, 131_072))}, do_compression=True)
    assert (tmp_path / "a.mat").stat().st_size < 10_000
    assert read_matlab5(tmp_path / "a.mat")["a"].shape == (1, 131_072)
    monkeypatch.setattr(matlab, "MOST_BYTES", 100_000)
    with pytest.raises(DataError, match=r"a compressed variable is cut, or unfolds to more than 100,000 bytes"):
        read_matlab5(tmp_path / "a.mat")


def test_file_that_is_too_large_is_not_read(tmp_path, monkeypatch):
    """A file that is too large for a label is not read."""
    scipy.io.savemat(tmp_path / "a.mat", {"a": np.zeros((1, 1000))})
    monkeypatch.setattr(matlab, "MOST_BYTES", 1000)
    with pytest.raises(DataError, match=r"8,\d+ bytes, a label has less"):
        read_matlab5(tmp_path / "a.mat")
