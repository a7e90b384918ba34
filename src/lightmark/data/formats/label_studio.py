"""Label Studio reader: its JSON and JSON-MIN exports with labelled key points.

Format (labelstud.io, tags KeyPointLabels and Image): a list of tasks with data, the picture's URL in one of its values,
and annotations; of their result, entries of the type keypointlabels count, with original_width and original_height, and
value x, y in per cent of the picture, from the corner of its first pixel, so half a pixel is subtracted. JSON-MIN has
the same values in a list beside the URL. Faces of a picture are separated by the region that their points have as
parent (parentID, or a relation); points without one are a face together.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import permutations
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from lightmark.data.formats.documents import read_json
from lightmark.data.formats.named_points import NamedFace, named_samples
from lightmark.data.left_out import LeftOut, leaving_out
from lightmark.data.pictures import PICTURE_SUFFIXES, named_picture
from lightmark.data.sample import Sample
from lightmark.errors import DataError, NoLabelsError, describe_error, reader
from lightmark.geometry import CORNER
from lightmark.schema import Schema

KIND = "keypointlabels"
_UPLOADED = re.compile(r"[0-9a-f]{8}-")  # which Label Studio puts before the name of an uploaded file


def is_label_studio(document: Any) -> bool:
    """Whether a JSON value is a list of Label Studio's tasks."""
    return (
        isinstance(document, list)
        and bool(document)
        and all(
            isinstance(task, dict) and ("data" in task or any(_is_min_result(value) for value in task.values()))
            for task in document[:10]
        )
    )


def _is_min_result(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], dict) and KIND in value[0]


@reader("Label Studio JSON")
def read_label_studio(
    path: str | Path, schema: Schema | None = None, left_out: LeftOut | None = None, document: Any = None
) -> list[Sample]:
    """Read the faces of an export; `document` is its JSON value, where it was read before.

    Of several annotations of a task, the first that was not cancelled counts, or one that is marked as ground truth.
    Raises `DataError` naming a task with a broken result, a turned picture, or a face that has a point twice; with
    `left_out` the message is added there instead.
    """
    path = Path(path)
    document = read_json(path) if document is None else document
    if not is_label_studio(document):
        raise NoLabelsError(f"{path}: no list of tasks with data; expected an export of Label Studio as JSON")
    faces: list[NamedFace] = []
    for number, task in enumerate(document):
        with leaving_out(left_out):
            faces += _faces(path, task, number)
    return named_samples(faces, schema, left_out)


def _faces(path: Path, task: Any, number: int) -> list[NamedFace]:
    where = f"{path}: task {task.get('id', number) if isinstance(task, dict) else number}"
    try:
        results = list(_results(task))
        if not results:
            return []
        picture, size = _picture(path, task), (0.0, 0.0)
        faces: dict[Any, dict[str, tuple[float, float]]] = {}
        for face, name, turned, size, (x, y) in results:
            if turned:
                raise DataError(f"{where}: its picture was turned by {turned}° there; turn the file instead")
            points = faces.setdefault(face, {})
            if name in points:
                raise DataError(
                    f"{where}: point {name!r} is there twice; make the points of each face children of a region"
                )
            points[name] = x / 100 * size[0] - CORNER, y / 100 * size[1] - CORNER
    except DataError:
        raise
    except Exception as error:  # of any type: the JSON is untrusted
        raise DataError(
            f"{where}: {describe_error(error)}; expected results with original_width, original_height and value x, y"
        ) from error
    return [NamedFace(where, picture, points, size=size) for points in faces.values()]


Result = tuple[Any, str, float, tuple[float, float], tuple[float, float]]


def _results(task: Mapping[str, Any]) -> Iterator[Result]:
    """Face, name, rotation, picture's size and place in per cent of each key point of a task."""
    if "data" not in task:  # JSON-MIN
        for entry in next(value for value in task.values() if _is_min_result(value)):
            yield _result(None, entry, entry)
        return
    annotations = [one for one in task.get("annotations", task.get("completions", ())) if not one.get("was_cancelled")]
    annotations.sort(key=lambda one: not one.get("ground_truth", False))
    results = annotations[0]["result"] if annotations else []
    points = {one.get("id") for one in results if one.get("type") == KIND}
    ends = [(one["from_id"], one["to_id"]) for one in results if one.get("type") == "relation"]
    # Arrows are drawn from the point or to it; those between two points draw a contour.
    parents = {a: b for pair in ends for a, b in permutations(pair) if a in points and b not in points}
    for entry in results:
        if entry.get("type") == KIND:
            face = entry.get("parentID") or parents.get(entry.get("id"))
            yield _result(face, entry, entry["value"])


def _result(face: Any, entry: Mapping[str, Any], value: Mapping[str, Any]) -> Result:
    size = float(entry["original_width"]), float(entry["original_height"])
    turned = float(entry.get("image_rotation") or 0)
    return face, str(value[KIND][0]), turned, size, (float(value["x"]), float(value["y"]))


def _picture(path: Path, task: Mapping[str, Any]) -> Path:
    """Picture of a task: the file of a URL such as /data/local-files/?d=a.jpg, or uploaded as 1a2b3c4d-a.jpg."""
    values = [task.get("file_upload"), *dict(task.get("data", task)).values()]
    for value in [one for one in reversed(values) if isinstance(one, str)]:
        parts = urlsplit(value.replace("\\", "/"))
        name = unquote(parse_qs(parts.query).get("d", [parts.path])[0]).lstrip("/")
        if PurePosixPath(name).suffix.lower() in PICTURE_SUFFIXES:
            bare = PurePosixPath(name).name
            plain = named_picture(path, _UPLOADED.sub("", bare, count=1))
            uploaded = named_picture(path, name)
            return plain if plain.is_file() and not uploaded.is_file() else uploaded
    raise DataError(f"{path}: task {task.get('id')}: no picture among {[str(value)[:60] for value in values]}")
