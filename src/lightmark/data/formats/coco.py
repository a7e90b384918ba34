"""COCO keypoints JSON, in and out."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightmark.data.left_out import LeftOut, leaving_out
from lightmark.data.own_fields import own_fields
from lightmark.data.sample import LABELLED_SIZE, Sample
from lightmark.data.schema_choice import schema_for
from lightmark.data.subsets import photo_of, subsets_of
from lightmark.errors import DataError, NoLabelsError, SchemaError, describe_error, foreign_errors_as, reader
from lightmark.geometry import Array, labelled, tight_box
from lightmark.schema import SCHEMAS, Schema, plain_schema, schema_from_dict, schema_to_dict

# Keypoint flags: 0 not labelled, 1 labelled but covered, 2 labelled and visible.
_UNLABELLED, _COVERED, _VISIBLE = 0, 1, 2
# What COCO has no field for lies under this key of a category or annotation, where other readers pass it over.
_OURS = "lightmark"
_COCOS_OWN = ("index", "rect", LABELLED_SIZE)  # attributes that COCO's own fields hold


@reader("COCO keypoints JSON")
def read_coco(
    path: str | Path,
    pictures: str | Path | None = None,
    schema: Schema | None = None,
    left_out: LeftOut | None = None,
) -> list[Sample]:
    """Faces of a COCO keypoints file; each file_name is looked for in `pictures`, or else beside the file.

    Coordinates count from 0. Flag 1 sets `occluded`. An annotation none of whose points is labelled (flag 0), as COCO
    marks crowds, is passed over; in others such points are missing ones, whatever their coordinates. "rect"
    (x0, y0, x1, y1) is the bbox; "labelled_size" the image's width and height; "index" numbers the faces of a picture
    that has several. Without `schema` it is the one of the category: its "lightmark" entry, the usual one of that many
    points, or a plain one with the category's names and skeleton.
    Raises `DataError` naming an annotation that is broken; with `left_out`, it is noted there instead.
    """
    path = Path(path)
    document = _load(path)
    images = _by_id(path, document, "images")
    schemas = {key: _schema(path, entry, schema) for key, entry in _by_id(path, document, "categories").items()}
    labelled = []
    for entry in document["annotations"]:
        with leaving_out(left_out):
            labelled += [entry] if _is_labelled(path, entry) else []
    several = Counter(entry.get("image_id") for entry in labelled)
    seen: Counter[Any] = Counter()
    samples = []
    for entry in labelled:
        key = entry.get("image_id")
        index = seen[key] if several[key] > 1 else None
        seen[key] += 1
        with leaving_out(left_out):
            samples.append(_sample(path, entry, images, schemas, Path(pictures or path.parent), index))
    return samples


def _load(path: Path) -> dict[str, Any]:
    with foreign_errors_as(DataError, f"{path}: cannot be read as JSON"):
        document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    held = list(document) if isinstance(document, dict) else type(document).__name__
    for name in ("images", "annotations", "categories"):
        if not isinstance(document, dict) or not isinstance(document.get(name), list):
            wanted = "COCO's images, annotations, categories"
            raise NoLabelsError(f"{path}: no list {name!r}; it holds {held}; wanted {wanted}")
    return document


def _by_id(path: Path, document: dict[str, Any], name: str) -> dict[Any, dict[str, Any]]:
    try:
        return {entry["id"]: dict(entry) for entry in document[name]}
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path}: an entry of {name!r} has no id: {error!r}") from error


def _schema(path: Path, category: dict[str, Any], schema: Schema | None) -> Schema:
    where = f"{path}: category {category.get('name', category['id'])!r}"
    names = category.get("keypoints")
    if not names or not isinstance(names, list):
        raise DataError(f"{where}: no keypoints; wanted the points' names; is this a file for detection?")
    if schema is not None or (len(names) in {known.size for known in SCHEMAS.values()} and _OURS not in category):
        return schema_for(len(names), schema, where)
    try:
        if _OURS in category:
            return schema_from_dict(category[_OURS])
        plain = plain_schema(len(names))
        edges = tuple((int(a) - 1, int(b) - 1) for a, b in category.get("skeleton") or ())
        return Schema(
            name=str(category.get("name", plain.name)),
            mirror=plain.mirror,
            normaliser=plain.normaliser,
            edges=edges,
            point_names=tuple(map(str, names)),
            normaliser_name=plain.normaliser_name,
        )
    except (SchemaError, TypeError, ValueError, OverflowError) as error:
        raise DataError(f"{where}: {error}; skeleton counts keypoints from 1") from error


def _is_labelled(path: Path, entry: Any) -> bool:
    if not isinstance(entry, dict):
        raise DataError(f"{path}: an annotation is {type(entry).__name__}, wanted an object with image_id, keypoints …")
    where = f"{path}: annotation {entry.get('id')}"
    keypoints = entry.get("keypoints")
    if not isinstance(keypoints, list) or not keypoints or len(keypoints) % 3:
        got = len(keypoints) if isinstance(keypoints, list) else keypoints
        raise DataError(f"{where}: got keypoints {got}, wanted a list of x, y, v for each point")
    return any(flag != _UNLABELLED for flag in keypoints[2::3])


def _sample(
    path: Path,
    entry: dict[str, Any],
    images: Mapping[Any, dict[str, Any]],
    schemas: Mapping[Any, Schema],
    pictures: Path,
    index: int | None,
) -> Sample:
    where = f"{path}: annotation {entry.get('id')}"
    try:
        image = images[entry["image_id"]]
        picture = pictures / image["file_name"]
        size = _size(image)
        schema = schemas[entry["category_id"]]
        values = np.array(entry["keypoints"], dtype=np.float64).reshape(-1, 3)
        x, y, width, height = (float(value) for value in entry["bbox"])
        ours = own_fields(entry.get(_OURS, {}))
        place = picture.resolve()
    except Exception as error:  # of whatever kind: the JSON may come from anybody
        raise DataError(
            f"{where}: {describe_error(error)}; wanted image_id and category_id of entries of this file, numbers as "
            "keypoints and bbox x, y, width, height"
        ) from error
    flags = values[:, 2]
    absent = (flags == _UNLABELLED) | np.isnan(values[:, :2]).any(axis=1)
    points = np.where(absent[:, None], np.nan, values[:, :2])
    return Sample(
        path=picture,
        points=points,
        box=tight_box(points),
        schema=schema_for(len(points), schema, where),
        photo=photo_of(place) if ours.photo is None else ours.photo,
        subsets=subsets_of(place) if ours.subsets is None else ours.subsets,
        attributes=dict(ours.attributes)
        | {"rect": (x, y, x + width, y + height)}
        | size
        | ({} if index is None else {"index": index}),
        occluded=flags == _COVERED,
    )


def _size(image: Mapping[str, Any]) -> dict[str, tuple[float, float]]:
    """The attribute with an image's width and height; none where it lacks them or has zeros in their place."""
    width, height = float(image.get("width") or 0), float(image.get("height") or 0)
    return {LABELLED_SIZE: (width, height)} if width > 0 and height > 0 else {}


def coco_document(
    samples: Sequence[Sample], pictures: Sequence[Path], sizes: Sequence[tuple[int, int]], folder: Path
) -> dict[str, Any]:
    """The JSON form of `samples`, for a file in `folder`; `pictures` and `sizes` (height, width) are one a sample.

    Photograph, subsets, attributes and the whole schema are kept beside COCO's own fields. Raises `DataError` for
    points that are not finite.
    """
    schemas = {sample.schema.name: sample.schema for sample in samples}
    category_ids = {name: number for number, name in enumerate(schemas, start=1)}
    files = [Path(os.path.relpath(picture.resolve(), folder.resolve())).as_posix() for picture in pictures]
    image_ids = {file: number for number, file in enumerate(dict.fromkeys(files), start=1)}
    return {
        "images": [
            {"id": image_ids[file], "file_name": file, "height": height, "width": width}
            for file, (height, width) in dict(zip(files, sizes, strict=True)).items()
        ],
        "annotations": [
            _annotation(number, sample, image_ids[file], category_ids[sample.schema.name])
            for number, (sample, file) in enumerate(zip(samples, files, strict=True), start=1)
        ],
        "categories": [coco_category(category_ids[name], schema) for name, schema in schemas.items()],
    }


def coco_category(number: int, schema: Schema) -> dict[str, Any]:
    """The entry of `schema` among a file's categories; COCO counts points from 1."""
    return {
        "id": number,
        "name": schema.name,
        "supercategory": "face",
        "keypoints": list(schema.point_names) or [str(i) for i in range(schema.size)],
        "skeleton": [[a + 1, b + 1] for a, b in schema.edges],
        _OURS: schema_to_dict(schema),
    }


def _annotation(number: int, sample: Sample, image: int, category: int) -> dict[str, Any]:
    if np.isinf(sample.points).any():
        raise DataError(f"{sample.name}: points are not all finite, which JSON cannot hold; take the face out")
    if not labelled(sample.points).any():
        raise DataError(f"{sample.name}: no point is labelled; take the face out")
    covered = np.zeros(sample.schema.size, dtype=bool) if sample.occluded is None else sample.occluded
    return coco_annotation(number, image, category, sample.points, sample.box, covered) | {
        _OURS: {
            "photo": sample.photo,
            "subsets": sorted(sample.subsets),
            "attributes": {name: value for name, value in sample.attributes.items() if name not in _COCOS_OWN},
        },
    }


def coco_annotation(
    number: int, image: int, category: int, points: Array, box: Array, covered: NDArray[np.bool_]
) -> dict[str, Any]:
    """COCO's own fields of a face with `points` (N, 2) counted from 0, some of them `covered` (N,), in `box` (4,).

    Missing points are 0, 0 with flag 0, as COCO has them.
    """
    there = labelled(points)
    flags = np.where(there, np.where(covered, _COVERED, _VISIBLE), _UNLABELLED)
    points = np.where(there[:, None], points, 0.0)
    x0, y0, x1, y1 = box.tolist()
    return {
        "id": number,
        "image_id": image,
        "category_id": category,
        "keypoints": [v for (x, y), f in zip(points.tolist(), flags.tolist(), strict=True) for v in (x, y, f)],
        "num_keypoints": int(there.sum()),
        "bbox": [x0, y0, x1 - x0, y1 - y0],
        "area": (x1 - x0) * (y1 - y0),
        "iscrowd": 0,
    }
