"""labelme reader: a JSON file a picture with a shape a point.

Format (wkentaro/labelme, labelme/label_file.py): imagePath relative to the file, imageWidth, imageHeight, and shapes
with label, points [[x, y]], group_id and shape_type, here "point". Coordinates are those of the canvas, counted from
the corner of the first pixel, so half a pixel is subtracted. The label is the name of the point; points of a face share
a group_id, None for a picture with one face. Shapes of other types are ignored, but a rectangle with a group_id is the
box of that face.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from lightmark.data.formats.documents import read_json
from lightmark.data.formats.named_points import NamedFace, named_samples
from lightmark.data.left_out import LeftOut, leaving_out
from lightmark.data.pictures import named_picture
from lightmark.data.sample import Sample
from lightmark.errors import DataError, describe_error, reader
from lightmark.geometry import CORNER
from lightmark.schema import Schema


def is_labelme(document: Any) -> bool:
    """Whether a JSON value is a file of labelme."""
    return isinstance(document, dict) and "imagePath" in document and isinstance(document.get("shapes"), list)


@reader("labelme JSON")
def read_labelme(path: str | Path, schema: Schema | None = None, left_out: LeftOut | None = None) -> list[Sample]:
    """Read the faces of one labelme file; see `labelme_samples`."""
    return labelme_samples({Path(path): read_json(Path(path))}, schema, left_out)


def labelme_samples(
    documents: dict[Path, Any], schema: Schema | None = None, left_out: LeftOut | None = None
) -> list[Sample]:
    """Faces of labelme's files, JSON values by their paths, with the points that any of them has.

    Raises `DataError` naming a broken shape, or a label that one face has twice; with `left_out` the message is added
    there instead.
    """
    faces: list[NamedFace] = []
    for path, document in documents.items():
        with leaving_out(left_out):
            faces += _faces(path, document)
    return named_samples(faces, schema, left_out)


def _faces(path: Path, document: Any) -> Iterable[NamedFace]:
    """Faces of one file."""
    if not is_labelme(document):
        raise DataError(f"{path}: no imagePath and shapes; is it a file of labelme?")
    try:
        picture = named_picture(path, document["imagePath"])
        size = float(document.get("imageWidth") or 0), float(document.get("imageHeight") or 0)
    except Exception as error:  # of any type: the JSON is untrusted
        raise DataError(f"{path}: {describe_error(error)}; expected imagePath, imageWidth and imageHeight") from error
    points: dict[Any, dict[str, tuple[float, float]]] = {}
    boxes: dict[Any, tuple[float, float, float, float]] = {}
    for where, kind, label, group, places in _shapes(path, document["shapes"]):
        if kind == "rectangle" and group is not None:
            xs, ys = zip(*places, strict=True)  # two opposite corners, or all four, as X-AnyLabeling writes them
            boxes[group] = min(xs), min(ys), max(xs), max(ys)
        if kind == "point":
            face = points.setdefault(group, {})
            if label in face:
                raise DataError(
                    f"{where}: label {label!r} is there twice; give the points of each face their own group_id"
                )
            face[label] = places[0]
    return [
        NamedFace(f"{path}: group_id {group}", picture, face, rect=boxes.get(group), size=size if min(size) else None)
        for group, face in points.items()
    ]


def _shapes(path: Path, shapes: list[Any]) -> Iterator[tuple[str, str, str, Any, list[tuple[float, float]]]]:
    """Place in the file, type, label, group_id and points of each shape."""
    for number, shape in enumerate(shapes):
        where = f"{path}: shape {number}"
        try:
            places = [(float(x) - CORNER, float(y) - CORNER) for x, y in shape["points"]]
            group = shape.get("group_id")
            kind, label = str(shape.get("shape_type", "polygon")), str(shape["label"])
            if not places:
                raise ValueError("no points")
            hash(group)
        except Exception as error:  # of any type: the JSON is untrusted
            raise DataError(f"{where}: {describe_error(error)}; expected label and points [[x, y]]") from error
        yield where, kind, label, group, places
