"""Metrics of each face as a row, and their CSV file."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lightmark.data.sample import Sample, normalisers_of
from lightmark.errors import DataError, SchemaError, reader
from lightmark.evaluate.predict import face_boxes, same_points
from lightmark.files import replacing
from lightmark.geometry import Floats, labelled
from lightmark.metrics import labelled_mean, nme, point_errors
from lightmark.schema import Schema

# Nine digits suffice for any statistic of the table; seventeen would make it unreadable.
FORMAT = ".9g"
_MEASURES = ("size_px", "normaliser_px", "points")


@dataclass(frozen=True)
class FaceRow:
    """Errors of one face, as fractions of its normaliser; `size_px` is the longer side of its box.

    Each is the mean over the labelled points, whose number is `points`. `nme_inner` is without the jaw, unless only the
    jaw is labelled; `groups` are the NME of the schema's groups of points, NaN for a group without labelled points.
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
    """Rows of `samples` with predicted `points` (F, N, 2); names are paths relative to `root` if they are below it.

    Raises `SchemaError` for samples of several schemas, `DataError` for labels without a normaliser and for
    two faces of the same name.
    """
    schema = one_schema(samples)
    target = np.stack([sample.points for sample in samples])
    normaliser = normalisers_of(samples)
    errors = nme(points, target, normaliser)
    shares = point_errors(points, target) / normaliser[:, None]
    inner = labelled_mean(shares[:, list(schema.inner or range(schema.size))])
    groups = {group: labelled_mean(shares[:, list(members)]) for group, members in schema.groups.items()}
    counts = labelled(target).sum(axis=1)
    boxes = face_boxes(samples)
    sizes = (boxes[:, 2:] - boxes[:, :2]).max(axis=1)
    names = face_names(samples, root)
    return [
        FaceRow(
            name=names[i],
            subsets=tuple(sorted(sample.subsets)),
            nme=float(errors[i]),
            nme_inner=float(errors[i] if np.isnan(inner[i]) else inner[i]),
            groups={group: float(values[i]) for group, values in groups.items()},
            size_px=float(sizes[i]),
            normaliser_px=float(normaliser[i]),
            points=int(counts[i]),
        )
        for i, sample in enumerate(samples)
    ]


def face_names(samples: Sequence[Sample], root: Path | None = None) -> list[str]:
    """Names of faces relative to `root`, independent of its place; raises `DataError` for two faces of one name."""
    prefix = "" if root is None else f"{root.as_posix()}/"
    names = [sample.name.removeprefix(prefix) for sample in samples]
    if doubled := [name for name, count in Counter(names).items() if count > 1]:
        raise DataError(f"{doubled[0]}: two faces have this name; give each its own `index` attribute")
    return names


def one_schema(samples: Sequence[Sample]) -> Schema:
    """Common schema of all `samples`; raises `SchemaError` if they differ."""
    if not samples:
        raise DataError("no faces to evaluate; needs at least one")
    schema = samples[0].schema
    for sample in samples:
        if not same_points(sample.schema, schema):
            raise SchemaError(f"{sample.name}: labelled with {sample.schema.name}, those before it with {schema.name}")
    return schema


def nme_key(schema: Schema) -> str:
    """Column name of the NME, which includes the normaliser, such as `nme_inter_ocular`."""
    return "nme_" + schema.normaliser_name.replace("-", "_").replace(" ", "_")


def write_rows(path: str | Path, rows: Sequence[FaceRow], key: str) -> None:
    """Write `rows` as CSV with the NME in the column `key`, atomically."""
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
    """Read a CSV of `write_rows`: the name of the NME column and the rows; raises `DataError` naming file and line."""
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
            points=int(values["points"]),
        )
    except (KeyError, ValueError) as error:
        raise DataError(f"{where}: does not fit the columns {', '.join(header)}: {error}") from error
