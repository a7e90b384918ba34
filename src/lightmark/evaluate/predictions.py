"""Prediction files: points of any program on a data set, which can be evaluated like a model.

The file is JSON: {"schema": "ibug68", "predictions": {"ibug/image_003_1.jpg": [[x, y], …], …}}, in pixels of the
picture, pixel centres at integers, counted from 0. The name of a face is the path of its picture, with `#index` if the
picture has several faces.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lightmark.data.sample import Sample
from lightmark.errors import DataError, foreign_errors_as, reader
from lightmark.files import replacing
from lightmark.geometry import Array, Floats
from lightmark.schema import SCHEMAS

DECIMALS = 4  # of a pixel, far below the accuracy of labels and models


@dataclass(frozen=True)
class Predictions:
    """Points (N, 2) by name of the face, and the name of their schema."""

    schema: str
    points: Mapping[str, Array]


@reader("predictions")
def read_predictions(path: str | Path) -> Predictions:
    """Read a prediction file; raises `DataError` naming the file and the invalid face."""
    with foreign_errors_as(DataError, f"{path}: cannot be read as JSON"):
        data = json.loads(Path(path).read_text(encoding="utf-8"))
    if not isinstance(data, dict) or not isinstance(data.get("predictions"), dict) or "schema" not in data:
        raise DataError(f'{path}: needs {{"schema": name, "predictions": {{face: [[x, y], …]}}}}')
    points = {str(name): _points(f"{path}: {name}", value) for name, value in data["predictions"].items()}
    _require_one_count(path, str(data["schema"]), points)
    return Predictions(str(data["schema"]), points)


def write_predictions(path: str | Path, schema: str, names: Sequence[str], points: Floats) -> None:
    """Write `points` (F, N, 2) of the faces `names` as a prediction file."""
    faces = {name: np.round(face, DECIMALS).tolist() for name, face in zip(names, points, strict=True)}
    with replacing(path) as temporary:
        temporary.write_text(json.dumps({"schema": schema, "predictions": faces}, indent=0), encoding="utf-8")


def match_predictions(predictions: Predictions, samples: Sequence[Sample], others: Sequence[Sample] = ()) -> Array:
    """Predicted points (F, N, 2) of `samples`; the file may also have predictions of the faces `others`.

    A prediction belongs to the face with which it shares the most trailing parts of the path, if each is the best match
    of the other. Raises `DataError` naming faces without a prediction and predictions without a face.
    """
    partner = match_names([sample.name for sample in (*samples, *others)], predictions.points)
    missing = [sample.name for sample in samples if sample.name not in partner]
    surplus = sorted(predictions.points.keys() - set(partner.values()))
    if missing or surplus:
        raise DataError("; ".join(_complaints(missing, surplus, len(samples))))
    matched = [predictions.points[partner[sample.name]] for sample in samples]
    for sample, points in zip(samples, matched, strict=True):
        if len(points) != sample.schema.size:
            raise DataError(f"{sample.name}: {len(points)} points predicted, {sample.schema.size} are labelled")
    return np.stack(matched)


def match_names(faces: Iterable[str], keys: Iterable[str]) -> dict[str, str]:
    """Key of each face: the mutual best match by the number of common trailing path parts; ties do not match.

    >>> match_names(["/data/a/1.jpg", "/data/b/1.jpg"], ["b/1.jpg", "a/1.jpg"])
    {'/data/a/1.jpg': 'a/1.jpg', '/data/b/1.jpg': 'b/1.jpg'}
    """
    keys_of_file: dict[str, list[str]] = defaultdict(list)
    faces_of_file: dict[str, list[str]] = defaultdict(list)
    for key in keys:
        keys_of_file[_parts(key)[0]].append(key)
    for face in faces:
        faces_of_file[_parts(face)[0]].append(face)
    partners: dict[str, str] = {}
    for file, candidates in faces_of_file.items():
        for face in candidates:
            best = _best(face, keys_of_file[file])
            if best is not None and _best(best, candidates) == face:
                partners[face] = best
    return partners


def _best(name: str, candidates: Sequence[str]) -> str | None:
    """Candidate with the most trailing path parts in common with `name`, None for a tie unless `name` is one of them.
    """
    counts = [_common_parts(name, candidate) for candidate in candidates]
    if not counts or counts.count(max(counts)) > 1:
        return name if name in candidates else None
    return candidates[counts.index(max(counts))]


def _common_parts(first: str, second: str) -> int:
    count = 0
    for a, b in zip(_parts(first), _parts(second), strict=False):
        if a != b:
            break
        count += 1
    return count


def _parts(name: str) -> list[str]:
    return name.replace("\\", "/").split("/")[::-1]


def _complaints(missing: Sequence[str], surplus: Sequence[str], faces: int) -> Iterable[str]:
    if missing:
        yield f"{len(missing)} of {faces} faces have no prediction of their own, such as {_some(missing)}"
    if surplus:
        yield f"{len(surplus)} predictions belong to no face, such as {_some(surplus)}"
    yield "name each face once, by its picture's path below the data folder"


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3])


def _points(where: str, value: Any) -> Array:
    try:
        points = np.array(value, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"{where}: points are pairs of numbers [[x, y], …]: {error}") from error
    if points.ndim != 2 or points.shape[1] != 2 or not np.isfinite(points).all():
        raise DataError(f"{where}: got points of shape {points.shape}, needs (N, 2) finite numbers [[x, y], …]")
    return points


def _require_one_count(path: str | Path, schema: str, points: Mapping[str, Array]) -> None:
    if not points:
        raise DataError(f"{path}: holds no predictions")
    count = SCHEMAS[schema].size if schema in SCHEMAS else len(next(iter(points.values())))
    for name, face in points.items():
        if len(face) != count:
            raise DataError(f"{path}: {name}: {len(face)} points, {schema} needs {count}")
