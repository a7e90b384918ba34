"""One row a face: what was measured on it, and the CSV that keeps it."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lightmark.data.normaliser import normalisers_of
from lightmark.data.sample import Sample
from lightmark.errors import DataError, SchemaError, reader
from lightmark.evaluate.predict import face_boxes, same_points
from lightmark.files import replacing
from lightmark.geometry import Floats, labelled
from lightmark.metrics import labelled_mean, nme, point_errors
from lightmark.schema import Schema

# Nine digits survive any statistic quoted from the table; seventeen only make it unreadable.
FORMAT = ".9g"
_MEASURES = ("size_px", "normaliser_px", "points")


@dataclass(frozen=True)
class FaceRow:
    """Errors of one face, as fractions of its normaliser; `size_px` is the longer side of its box.

    Each is the mean over labelled points, of which there are `points`. `nme_inner` leaves out the jaw, where anything
    else is labelled; `groups` holds the NME of each group of points of the schema, NaN where none of it is labelled.
    """

    name: str
    subsets: tuple[str, ...]
    nme: float
    nme_inner: float
    groups: Mapping[str, float]
    size_px: float
    normaliser_px: float
    points: int


def face_rows(samples: Sequence[Sample], points: Floats, root: Path | None = None) -> list[FaceRow]:
    """Rows of `samples` with predicted `points` (F, N, 2), named by their path below `root` where they lie there.

    Raises `SchemaError` for samples of several schemas, `DataError` for a label that gives no normaliser or a name
    that comes twice.
    """
    schema = one_schema(samples)
    truth = np.stack([sample.points for sample in samples])
    normaliser = normalisers_of(samples)
    whole = nme(points, truth, normaliser)
    shares = point_errors(points, truth) / normaliser[:, None]
    inner = labelled_mean(shares[:, list(schema.inner or range(schema.size))])
    groups = {group: labelled_mean(shares[:, list(members)]) for group, members in schema.groups.items()}
    counts = labelled(truth).sum(axis=1)
    boxes = face_boxes(samples)
    sizes = (boxes[:, 2:] - boxes[:, :2]).max(axis=1)
    names = face_names(samples, root)
    return [
        FaceRow(
            name=names[i],
            subsets=tuple(sorted(sample.subsets)),
            nme=float(whole[i]),
            nme_inner=float(whole[i] if np.isnan(inner[i]) else inner[i]),
            groups={group: float(errors[i]) for group, errors in groups.items()},
            size_px=float(sizes[i]),
            normaliser_px=float(normaliser[i]),
            points=int(counts[i]),
        )
        for i, sample in enumerate(samples)
    ]


def face_names(samples: Sequence[Sample], root: Path | None = None) -> list[str]:
    """Names of faces that do not depend on where the data lie; raises `DataError` for one that comes twice."""
    prefix = "" if root is None else f"{root.as_posix()}/"
    names = [sample.name.removeprefix(prefix) for sample in samples]
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise DataError(f"{name}: two faces have this name; give each its own `index` attribute")
        seen.add(name)
    return names


def one_schema(samples: Sequence[Sample]) -> Schema:
    """The schema that all `samples` have; raises `SchemaError` where they differ."""
    if not samples:
        raise DataError("no faces to evaluate; needs at least one")
    schema = samples[0].schema
    for sample in samples:
        if not same_points(sample.schema, schema):
            raise SchemaError(f"{sample.name}: labelled with {sample.schema.name}, those before it with {schema.name}")
    return schema


def nme_key(schema: Schema) -> str:
    """Name under which errors are written, with the normaliser in it, such as `nme_inter_ocular`."""
    return "nme_" + schema.normaliser_name.replace("-", "_").replace(" ", "_")


def write_rows(path: str | Path, rows: Sequence[FaceRow], key: str) -> None:
    """Write `rows` as CSV, errors under the column `key`; the file is whole or not there."""
    groups = list(rows[0].groups)
    columns = [key, f"{key}_inner", *(f"{key}_{group}" for group in groups)]
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["name", "subsets", *columns, *_MEASURES])
        for row in rows:
            errors = (row.nme, row.nme_inner, *(row.groups[group] for group in groups))
            numbers = (format(number, FORMAT) for number in (*errors, row.size_px, row.normaliser_px, row.points))
            writer.writerow([row.name, ";".join(row.subsets), *numbers])


@reader("a table of faces")
def read_rows(path: str | Path) -> tuple[str, list[FaceRow]]:
    """The errors' column and the rows of a CSV that `write_rows` wrote; raises `DataError` naming file and line."""
    with Path(path).open(encoding="utf-8", newline="") as file:
        table = csv.reader(file)
        header = next(table, [])
        key = _key_of(path, header)
        return key, [_row(f"{path}: line {table.line_num}", key, header, fields) for fields in table]


def _key_of(path: str | Path, header: Sequence[str]) -> str:
    if len(header) < 6 or header[:2] != ["name", "subsets"] or not header[2].startswith("nme_"):
        raise DataError(f"{path}: no table of faces; its first line names the columns name, subsets, nme_…")
    return header[2]


def _row(where: str, key: str, header: Sequence[str], fields: Sequence[str]) -> FaceRow:
    try:
        values = dict(zip(header, fields, strict=True))
        return FaceRow(
            name=values["name"],
            subsets=tuple(values["subsets"].split(";")) if values["subsets"] else (),
            nme=float(values[key]),
            nme_inner=float(values[f"{key}_inner"]),
            groups={
                column.removeprefix(f"{key}_"): float(values[column])
                for column in header[4:]
                if column not in _MEASURES
            },
            size_px=float(values["size_px"]),
            normaliser_px=float(values["normaliser_px"]),
            points=int(values.get("points", 0)),  # tables older than missing points lack it
        )
    except (KeyError, ValueError) as error:
        raise DataError(f"{where}: does not fit the columns {', '.join(header)}: {error}") from error
