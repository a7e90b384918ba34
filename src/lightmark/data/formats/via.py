"""VGG Image Annotator (VIA 1 and 2) reader: project or annotations as JSON, or annotations as CSV.

Format (ox-vgg/via): a value with filename and regions for each picture, in a project below _via_img_metadata. A region
has shape_attributes {name: "point", cx, cy} and region_attributes, which the user defines; VIA 1 numbers the regions in
an object, VIA 2 lists them. The CSV has a row a region with both as JSON. Coordinates are those of the canvas, rounded
to integers and counted from the corner of the first pixel, so half a pixel is subtracted.

The name of a point is its region attribute called as one of `NAMES`, otherwise the only attribute that all points
have. Without any, points are named by their order, and all pictures need the same number of them. Points of several
faces in a picture have a region attribute called as one of `FACES`. Regions of other shapes are ignored.
"""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from lightmark.data.formats.documents import read_bytes, read_json
from lightmark.data.formats.named_points import NamedFace, named_samples
from lightmark.data.left_out import LeftOut, leaving_out
from lightmark.data.pictures import named_picture
from lightmark.data.sample import Sample
from lightmark.errors import DataError, NoLabelsError, describe_error, reader
from lightmark.geometry import CORNER
from lightmark.schema import Schema

NAMES = ("name", "label", "point", "landmark", "keypoint", "part", "type", "class", "id")
FACES = ("face", "face_id", "group", "group_id", "person", "instance", "object")
CSV_COLUMNS = ("filename", "region_shape_attributes", "region_attributes")
PROJECT = "_via_img_metadata"


class _Point(NamedTuple):
    """A point region: picture's file name, place in the label file, position and region attributes."""

    picture: str
    where: str
    x: float
    y: float
    attributes: Mapping[str, str]


def is_via(document: Any) -> bool:
    """Whether a JSON value is a project or the annotations of VIA."""
    if not isinstance(document, dict):
        return False
    entries = document.get(PROJECT, document)
    return isinstance(entries, dict) and any(
        isinstance(entry, dict) and "filename" in entry and "regions" in entry for entry in entries.values()
    )


@reader("VIA annotations")
def read_via(
    path: str | Path, schema: Schema | None = None, left_out: LeftOut | None = None, document: Any = None
) -> list[Sample]:
    """Read the faces of a file of VIA; `document` is its JSON value, where it was read before.

    Raises `DataError` naming the picture and the number of a broken region, or the picture of a face that has a point
    twice; with `left_out` the message is added there instead. Raises `NoLabelsError` for a file without points.
    """
    path = Path(path)
    regions = _csv_regions(path) if path.suffix.lower() == ".csv" else _json_regions(path, document)
    points: list[_Point] = []
    for picture, where, shape, attributes in regions:
        with leaving_out(left_out):
            points += _points(picture, where, shape, attributes)
    if not points:
        raise NoLabelsError(f"{path}: no region of shape point; is it labelled with boxes or polygons only?")
    name_key, face_key = _keys(points)
    faces: dict[tuple[str, str], dict[str, tuple[float, float]]] = {}
    broken: set[tuple[str, str]] = set()
    for point in points:
        key = point.picture, point.attributes.get(face_key, "")
        face = faces.setdefault(key, {})
        name = point.attributes.get(name_key, "") if name_key else str(len(face))
        with leaving_out(left_out):
            if key not in broken and name in face:
                broken.add(key)
                raise DataError(
                    f"{point.where}: point {name!r} is there twice; give the points of each face a region attribute "
                    f"face with its number"
                )
        face[name] = point.x, point.y
    named = [
        NamedFace(f"{path}: {picture}", named_picture(path, picture), face)
        for (picture, group), face in faces.items()
        if (picture, group) not in broken
    ]
    if not name_key:
        named = _of_one_size(named, left_out)
    return named_samples(named, schema, left_out)


def _json_regions(path: Path, document: Any) -> Iterator[tuple[str, str, Any, Any]]:
    """Picture's file name, place in the file, shape and attributes of each region."""
    document = read_json(path) if document is None else document
    if not is_via(document):
        raise NoLabelsError(f"{path}: no filename and regions of a picture; VIA 3 projects: export them by VIA 2")
    for key, entry in document.get(PROJECT, document).items():
        regions = entry.get("regions") if isinstance(entry, dict) else None
        if not isinstance(regions, dict | list) or "filename" not in entry:
            continue
        for number, region in regions.items() if isinstance(regions, dict) else enumerate(regions):
            region = region if isinstance(region, dict) else {}
            where = f"{path}: {key}: region {number}"
            yield str(entry["filename"]), where, region.get("shape_attributes"), region.get("region_attributes")


def _csv_regions(path: Path) -> Iterator[tuple[str, str, Any, Any]]:
    rows = csv.DictReader(io.StringIO(read_bytes(path).decode("utf-8-sig").removeprefix("#")))  # VIA 1: "#filename,…"
    for row in rows:
        where = f"{path}: line {rows.line_num}"
        try:
            shape, attributes = (json.loads(row[column] or "{}") for column in CSV_COLUMNS[1:])
        except (KeyError, TypeError, ValueError, RecursionError) as error:
            raise DataError(f"{where}: {describe_error(error)}; expected VIA's columns {CSV_COLUMNS}") from error
        if shape:  # a picture without regions has a row, too
            yield row["filename"], where, shape, attributes


def _points(picture: str, where: str, shape: Any, attributes: Any) -> list[_Point]:
    """The point of a region; none for another shape."""
    if isinstance(shape, dict) and shape.get("name") not in (None, "point"):
        return []
    try:
        named = {str(key): str(value).strip() for key, value in (attributes or {}).items()}
        return [_Point(picture, where, float(shape["cx"]) - CORNER, float(shape["cy"]) - CORNER, named)]
    except Exception as error:  # of any type: the file is untrusted
        raise DataError(
            f"{where}: {describe_error(error)}; expected shape_attributes with name, cx, cy and region_attributes"
        ) from error


def _keys(points: Sequence[_Point]) -> tuple[str, str]:
    """Region attributes with the name of a point and with its face; "" where there is none."""
    counts = Counter(key for point in points for key, value in point.attributes.items() if value)
    face_key = next((key for key in counts if key.lower() in FACES), "")
    everywhere = [key for key, count in counts.items() if count == len(points) and key != face_key]
    usual = [key for key in everywhere if key.lower() in NAMES]
    usual.sort(key=lambda key: NAMES.index(key.lower()))
    return (usual or (everywhere if len(everywhere) == 1 else [""]))[0], face_key


def _of_one_size(faces: Sequence[NamedFace], left_out: LeftOut | None) -> list[NamedFace]:
    """Faces with the most frequent number of points, whose order then names them."""
    usual = Counter(len(face.points) for face in faces).most_common(1)[0][0]
    kept = []
    for face in faces:
        with leaving_out(left_out):
            if len(face.points) != usual:
                raise DataError(
                    f"{face.where}: {len(face.points)} points, most have {usual}, and no region attribute says which "
                    "these are; define one called name in VIA"
                )
            kept.append(face)
    return kept
