"""Safety checks of untrusted ONNX files, before any library opens them.

A landmark model is one straight graph with its weights inside. Three things that ONNX allows are refused:

- weights in another file (external data), since the name may lead out of the model's folder;
- graphs inside a node (Loop, Scan, If, SequenceMap), which can run for ever;
- functions of the model's own, which grow without bound where each calls the one before it twice.

The file is walked as protobuf (https://protobuf.dev/programming-guides/encoding/), without the package onnx, which the
base install does not have. Field numbers are those of onnx.proto3 of ONNX 1.16.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lightmark.errors import CheckpointError, describe_error

MOST_BYTES = 2**31 - 1  # protobuf reads no larger message
MOST_FIELDS = 200_000  # standard-int8 has 4 thousand; two seconds' work

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5

# Which fields of a message are messages that hold what is looked for.
_INSIDE: dict[str, dict[int, str]] = {
    "Model": {7: "Graph"},
    "Graph": {1: "Node", 5: "Tensor", 15: "SparseTensor"},
    "Node": {5: "Attribute"},
    "Attribute": {5: "Tensor", 10: "Tensor", 22: "SparseTensor", 23: "SparseTensor"},
    "SparseTensor": {1: "Tensor", 2: "Tensor"},
    "Tensor": {},
}
_OTHER_FILE = "keeps weights in another file; a model is one file: export it without external data"
_OWN_GRAPH = "holds a graph inside a node (Loop, If, Scan), which may run for ever; a landmark model has none"
_REFUSED: dict[tuple[str, int], str] = {
    ("Model", 20): "holds graphs for training; export the model for inference",
    ("Model", 25): "holds functions of its own; let the exporter inline them",
    ("Tensor", 13): _OTHER_FILE,
    ("Attribute", 6): _OWN_GRAPH,
    ("Attribute", 11): _OWN_GRAPH,
}
_LOCATION = ("Tensor", 14)  # of the data: 0 is in the tensor
_OPERATOR = ("Node", 4)
_GRAPH, _INITIALISER, _FLOAT = 7, 5, 1  # fields of Model and Graph, and onnx.proto's type of float32
_CONTEXT = memoryview(b"EPContext")  # a node that names a file of compiled code


@dataclass(frozen=True)
class _Field:
    """A field of a protobuf message: its number, and its value or, of a varint, its number."""

    number: int
    value: memoryview | int


def read_onnx(path: Path) -> bytes:
    """Bytes of an ONNX file that is one straight graph with its weights inside.

    Raises `CheckpointError` for a file that is missing, cut, none, or holds what is refused here.
    """
    if not path.is_file():
        raise CheckpointError(f"{path}: no such model file")
    try:
        if path.stat().st_size > MOST_BYTES:
            raise ValueError(f"{path.stat().st_size:,} bytes, an ONNX file has less than 2 GiB")
        content = path.read_bytes()
        refused = _refusal(content)
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: no ONNX model; cut or foreign? {describe_error(error)}") from error
    if refused:
        raise CheckpointError(f"{path}: {refused}")
    return content


def float_weights(content: bytes) -> dict[str, NDArray[np.float32]]:
    """float32 weights of an ONNX file by name, without those that it keeps in another form than raw bytes."""
    weights = {}
    graphs = [field.value for field in _fields(memoryview(content)) if field.number == _GRAPH]
    for tensor in [one.value for graph in graphs for one in _message(graph) if one.number == _INITIALISER]:
        dims: list[int] = []
        name, kind, raw = "", 0, None
        for field in _message(tensor):
            if field.number == 1:
                dims += [field.value] if isinstance(field.value, int) else list(_varints(field.value))
            elif field.number == 2:
                kind = int(field.value) if isinstance(field.value, int) else 0
            elif isinstance(field.value, memoryview) and field.number in (8, 9):
                name, raw = (bytes(field.value).decode(), raw) if field.number == 8 else (name, field.value)
        if kind == _FLOAT and raw is not None:
            weights[name] = np.frombuffer(raw, "<f4").reshape(dims)
    return weights


def _message(value: memoryview | int) -> Iterator[_Field]:
    return _fields(value) if isinstance(value, memoryview) else iter(())


def _varints(message: memoryview) -> Iterator[int]:
    """Numbers of a packed field."""
    at = 0
    while at < len(message):
        value, at = _varint(message, at)
        yield value


def _refusal(content: bytes) -> str | None:
    """Why the model is refused, None where it is not; raises `ValueError` for what is no protobuf message."""
    messages = [("Model", memoryview(content))]
    seen = 0
    while messages:
        kind, message = messages.pop()
        for field in _fields(message):
            seen += 1
            if seen > MOST_FIELDS:
                raise ValueError(f"more than {MOST_FIELDS:,} fields")
            reason = _REFUSED.get((kind, field.number)) or _by_value(kind, field)
            if reason:
                return reason
            inner = _INSIDE[kind].get(field.number)
            if inner and isinstance(field.value, memoryview):
                messages.append((inner, field.value))
    return None


def _by_value(kind: str, field: _Field) -> str | None:
    if (kind, field.number) == _LOCATION and field.value != 0:
        return _OTHER_FILE
    if (kind, field.number) == _OPERATOR and field.value == _CONTEXT:
        return "holds an EPContext node, which names another file; export the model itself"
    return None


def _fields(message: memoryview) -> Iterator[_Field]:
    """The fields of a message in order; raises `ValueError` where it is cut or no message."""
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        number, wire = tag >> 3, tag & 7
        if number == 0:
            raise ValueError(f"field 0 at byte {at}")
        if wire == _VARINT:
            value, at = _varint(message, at)
            yield _Field(number, value)
            continue
        if wire == _BYTES:
            length, at = _varint(message, at)
        elif wire in (_FIXED64, _FIXED32):
            length = 8 if wire == _FIXED64 else 4
        else:  # groups, which proto3 does not have
            raise ValueError(f"wire type {wire} at byte {at}")
        if length > len(message) - at:
            raise ValueError(f"field {number} of {length} bytes, {len(message) - at} are left")
        yield _Field(number, message[at : at + length])
        at += length


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    """The number at byte `at`, and the byte behind it."""
    value = 0
    for count in range(10):
        if at + count >= len(message):
            break
        byte = message[at + count]
        value |= (byte & 0x7F) << 7 * count
        if byte < 0x80:
            return value & (2**64 - 1), at + count + 1
    raise ValueError(f"a number that does not end at byte {at}")
