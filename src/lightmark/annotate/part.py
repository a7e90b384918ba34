"""Parquet part file of one chunk, one row per picture."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lightmark.errors import DataError, foreign_errors_as
from lightmark.face import Face
from lightmark.files import replacing

METADATA_KEY = "lightmark"  # of the table's metadata, the settings


@dataclass
class Summary:
    """Counts over parts: pictures, faces, pictures with faces, errors by reason and the first picture of each."""

    pictures: int = 0
    faces: int = 0
    with_faces: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    first: dict[str, str] = field(default_factory=dict)


def part_path(out: Path, number: int) -> Path:
    """Path of the part of chunk `number` in the folder `out`."""
    return out / f"part-{number:06}.parquet"


def good_row(key: str, height: int, width: int, faces: Sequence[Face], measures: bool = False) -> dict[str, Any]:
    """Row of a readable picture, whose faces have their `measures` on request."""
    rows = [_face(face.to_dict((width, height) if measures else None)) for face in faces]
    return {"key": key, "width": width, "height": height, "faces": rows, "error": None}


def bad_row(key: str, reason: str) -> dict[str, Any]:
    """Row of an unreadable picture: the reason instead of size and faces."""
    return {"key": key, "width": None, "height": None, "faces": None, "error": reason}


def write_part(path: Path, rows: Sequence[Mapping[str, Any]], settings: Mapping[str, Any]) -> None:
    """Write `rows` to `path` atomically; raises `WriteError`."""
    import pyarrow as pa
    from pyarrow import parquet

    schema = _schema(bool(settings.get("measures"))).with_metadata({METADATA_KEY: json.dumps(settings)})
    with replacing(path) as temporary:
        parquet.write_table(pa.Table.from_pylist(list(rows), schema=schema), temporary, compression="zstd")


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """Context of the part's ParquetFile; raises `DataError` if it cannot be read."""
    from pyarrow import parquet

    message = f"{path}: cannot be read, delete it, and the same command makes it anew"
    with foreign_errors_as(DataError, message), parquet.ParquetFile(path) as file:
        yield file


def read_part(path: Path) -> Iterator[dict[str, Any]]:
    """Rows of the part at `path`; raises `DataError` if it cannot be read."""
    with _opened(path) as file:
        for batch in file.iter_batches():
            yield from batch.to_pylist()


def add_part(summary: Summary, path: Path) -> None:
    """Add the part at `path` to `summary`; raises `DataError` if it cannot be read."""
    from pyarrow import compute

    with _opened(path) as file:
        # One small column of the faces suffices for their number.
        table = file.read(columns=["key", "error", "faces.list.element.confidence"])
    lengths = compute.list_value_length(table["faces"])
    summary.pictures += len(table)
    summary.faces += compute.sum(lengths).as_py() or 0
    summary.with_faces += compute.sum(compute.greater(lengths, 0)).as_py() or 0
    for key, reason in zip(table["key"].to_pylist(), table["error"].to_pylist(), strict=True):
        if reason is not None:
            summary.errors[_kind(reason)] += 1
            summary.first.setdefault(_kind(reason), key)


def _kind(reason: str) -> str:
    """`reason` without numbers, which differ between pictures.

    >>> _kind("cannot be read as a picture: image file is truncated (27 bytes not processed)")
    'cannot be read as a picture: image file is truncated (… bytes not processed)'
    """
    return re.sub(r"\d[\d,.]*", "…", reason)


FIELDS = ("box", "confidence", "points", "expected_error", "pose")
MEASURES = ("inside", "five_points", "eye_openness", "eyes_closed", "mouth_openness", "transform")


def _face(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: fields.get(name) for name in (FIELDS + MEASURES if "inside" in fields else FIELDS)}


def _schema(measures: bool) -> Any:
    """Arrow schema; coordinates are pixels of the upright picture in float32, accurate to 0.001 up to 16,000."""
    import pyarrow as pa

    number = pa.float32()
    fields = {
        "box": pa.list_(number, 4),
        "confidence": number,
        "points": pa.list_(pa.list_(number, 2)),
        "expected_error": pa.list_(number),
        "pose": pa.struct({"yaw": number, "pitch": number, "roll": number}),
    }
    if measures:
        fields |= {
            "inside": pa.list_(pa.bool_()),
            "five_points": pa.list_(pa.list_(number, 2)),
            "eye_openness": pa.struct({"left": number, "right": number}),
            "eyes_closed": pa.struct({"left": pa.bool_(), "right": pa.bool_()}),
            "mouth_openness": number,
            "transform": pa.list_(pa.list_(number, 4)),
        }
    face = pa.struct(fields)
    return pa.schema(
        {
            "key": pa.string(),
            "width": pa.int32(),
            "height": pa.int32(),
            "faces": pa.list_(face),
            "error": pa.string(),
        }
    )
