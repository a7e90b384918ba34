"""COCO keypoints JSON: reader and writer of labelled faces."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence, Set
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightmark.data.formats.documents import read_json
from lightmark.data.left_out import LeftOut, leaving_out
from lightmark.data.own_fields import own_fields
from lightmark.data.pictures import named_picture
from lightmark.data.sample import LABELLED_SIZE, Sample
from lightmark.data.schema_choice import schema_for
from lightmark.data.subsets import photo_of, subsets_of
from lightmark.errors import DataError, NoLabelsError, SchemaError, describe_error, reader
from lightmark.geometry import CORNER, Array, labelled, tight_box
from lightmark.schema import SCHEMAS, Schema, plain_schema, schema_from_dict, schema_to_dict

# COCO's visibility flags: 0 not labelled, 1 labelled but occluded, 2 labelled and visible.
UNLABELLED, OCCLUDED, VISIBLE = 0, 1, 2
# Key of a category or annotation for what COCO has no field for; other readers ignore unknown keys.
_EXTENSION = "lightmark"
DATUMARO_INFO = {"contributor", "date_created", "description", "url", "version", "year"}
_IN_COCO_FIELDS = ("index", "rect", LABELLED_SIZE)  # attributes that COCO's own fields hold


@reader("COCO keypoints JSON")
def read_coco(
    path: str | Path,
    pictures: str | Path | None = None,
    schema: Schema | None = None,
    left_out: LeftOut | None = None,
    document: Any = None,
) -> list[Sample]:
    """Read the faces of a COCO keypoints file; pictures are in the folder `pictures`, or found by `named_picture`.

    `document` is its JSON value, where it was read before. Coordinates count from 0, as COCO's, but from the corner of
    the first pixel in files of CVAT and Label Studio (`_corner_of`). Flag 1 sets `occluded`, if the file has a flag 2;
    flag 0 is a missing point, whatever its coordinates. Annotations without a labelled point, such as COCO's crowds and
    CVAT's empty tracks, and those of categories without keypoints (Roboflow, Label Studio) are skipped; if no category
    names keypoints, they are numbered. Ids may be texts.

    The attributes are "rect" (x0, y0, x1, y1), the bbox; "labelled_size", the width and height of the image; and
    "index", the number of the face in a picture with several. The default `schema` is that of the category: its
    "lightmark" entry, the built-in schema of that many points, or a plain one with the names and the skeleton of the
    category. Raises `DataError` naming a broken annotation; with `left_out` the message is added there instead.
    """
    path = Path(path)
    document = _require_lists(path, read_json(path) if document is None else document)
    images = _by_id(path, document, "images")
    categories = _by_id(path, document, "categories")
    of_points = {key: entry for key, entry in categories.items() if entry.get("keypoints")}
    # A category of boxes beside one of keypoints has no schema.
    boxes, corner = categories.keys() - of_points if of_points else set(), _corner_of(document)
    labelled = []
    for entry in document["annotations"]:
        with leaving_out(left_out):
            labelled += [entry] if _is_labelled(path, entry, boxes) else []
    if document["annotations"]:  # pictures without any face have no categories in our own files
        of_points = of_points or _numbered(path, categories, labelled)
    schemas = {key: _ordered(_schema(path, entry, schema), entry["keypoints"]) for key, entry in of_points.items()}
    faces_of = Counter(str(entry.get("image_id")) for entry in labelled)
    next_index: Counter[str] = Counter()
    samples = []
    for entry in labelled:
        key = str(entry.get("image_id"))
        index = next_index[key] if faces_of[key] > 1 else None
        next_index[key] += 1
        with leaving_out(left_out):
            folder = None if pictures is None else Path(pictures)
            samples.append(_sample(path, entry, images, schemas, folder, index, corner))
    # With flags 0 and 1 only, as MMPose and SLEAP write them, 1 is every labelled point.
    flagged = any(_EXTENSION in entry or VISIBLE in entry["keypoints"][2::3] for entry in labelled)
    return samples if flagged else [replace(sample, occluded=None) for sample in samples]


def _require_lists(path: Path, document: Any) -> dict[str, Any]:
    """`document` with the lists of COCO; raises `NoLabelsError` without."""
    content = list(document) if isinstance(document, dict) else type(document).__name__
    for name in ("images", "annotations", "categories"):
        if not isinstance(document, dict) or not isinstance(document.get(name), list):
            raise NoLabelsError(
                f"{path}: no list {name!r}; it holds {content}; expected COCO's images, annotations, categories"
            )
    return dict(document)


def _corner_of(document: Mapping[str, Any]) -> float:
    """Coordinate of the first pixel's centre: 0, or 0.5 in the files of tools that write those of their canvas.

    Label Studio gives itself as `contributor`; CVAT writes with Datumaro, which leaves all six fields of `info` empty.
    """
    info = document.get("info")
    if not isinstance(info, dict):
        return 0.0
    datumaro = info.keys() == DATUMARO_INFO and not any(info.values())
    return CORNER if datumaro or info.get("contributor") == "Label Studio" else 0.0


def _by_id(path: Path, document: dict[str, Any], name: str) -> dict[str, dict[str, Any]]:
    """Entries of the list `name` by their id as a text, since tools write 7 in one place and "7" in another."""
    try:
        return {str(entry["id"]): dict(entry) for entry in document[name]}
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path}: an entry of {name!r} has no id: {error!r}") from error


def _numbered(
    path: Path, categories: Mapping[str, dict[str, Any]], labelled: Sequence[dict[str, Any]]
) -> dict[str, dict[str, Any]]:
    """Categories of a file that names no keypoints, as MMPose's sets of faces: numbered as those of the annotations."""
    counts: dict[str, int] = {}
    for entry in labelled:
        counts.setdefault(str(entry.get("category_id")), len(entry["keypoints"]) // 3)
    if not counts:
        raise NoLabelsError(
            f"{path}: no category and no annotation has keypoints; is this a file for detection? CVAT exports points "
            "as COCO only from a skeleton: export others as CVAT for images 1.1"
        )
    return {
        key: entry | {"keypoints": [str(i) for i in range(counts[key])]}
        for key, entry in categories.items()
        if key in counts
    }


def _schema(path: Path, category: dict[str, Any], schema: Schema | None) -> Schema:
    """Schema of a category; see `read_coco`."""
    where = f"{path}: category {category.get('name', category['id'])!r}"
    names = category["keypoints"]
    if not isinstance(names, list):
        raise DataError(f"{where}: keypoints is {type(names).__name__}, expected a list of the points' names")
    if schema is not None or (len(names) in {known.size for known in SCHEMAS.values()} and _EXTENSION not in category):
        return schema_for(len(names), schema, where)
    try:
        if _EXTENSION in category:
            return schema_from_dict(category[_EXTENSION])
        plain = plain_schema(len(names))
        pairs = [(int(a), int(b)) for a, b in category.get("skeleton") or ()]
        first = 0 if any(0 in pair for pair in pairs) else 1  # COCO counts from 1, CarFusion from 0
        return Schema(
            name=str(category.get("name", plain.name)),
            mirror=plain.mirror,
            normaliser=plain.normaliser,
            edges=tuple((a - first, b - first) for a, b in pairs),
            point_names=tuple(map(str, names)),
            normaliser_name=plain.normaliser_name,
        )
    except (SchemaError, TypeError, ValueError, OverflowError) as error:
        raise DataError(f"{where}: {error}; skeleton counts keypoints from 1") from error


def _ordered(schema: Schema, names: Sequence[Any]) -> tuple[Schema, list[int]]:
    """Schema of a category with `names`, and the indices of its keypoints in the order of the schema's names."""
    place = {str(name): i for i, name in enumerate(names)}
    if place.keys() == set(schema.point_names) and len(place) == schema.size:
        return schema, [place[name] for name in schema.point_names]
    return schema, list(range(schema.size))


def _is_labelled(path: Path, entry: Any, boxes: Set[str]) -> bool:
    """Whether an annotation has a labelled point; False for the categories `boxes`, which have none."""
    if not isinstance(entry, dict):
        raise DataError(f"{path}: an annotation is {type(entry).__name__}, not an object with image_id, keypoints …")
    where = f"{path}: annotation {entry.get('id')}"
    keypoints = entry.get("keypoints", [])
    if keypoints == [] or str(entry.get("category_id")) in boxes:
        return False
    if not isinstance(keypoints, list) or len(keypoints) % 3:
        got = len(keypoints) if isinstance(keypoints, list) else keypoints
        raise DataError(f"{where}: got keypoints {got}, expected a list of x, y, v for each point")
    return any(flag != UNLABELLED for flag in keypoints[2::3])


def _sample(
    path: Path,
    entry: dict[str, Any],
    images: Mapping[str, dict[str, Any]],
    schemas: Mapping[str, tuple[Schema, list[int]]],
    pictures: Path | None,
    index: int | None,
    corner: float,
) -> Sample:
    where = f"{path}: annotation {entry.get('id')}"
    try:
        image = images[str(entry["image_id"])]
        picture = named_picture(path, image["file_name"], pictures)
        size = _size(image)
        category, order = schemas[str(entry["category_id"])]
        values = np.array(entry["keypoints"], dtype=np.float64).reshape(-1, 3) - (corner, corner, 0)
        x, y, width, height = (float(value) for value in entry.get("bbox") or [np.nan] * 4)
        extension = own_fields(entry.get(_EXTENSION, {}))
        place = picture.resolve()
    except Exception as error:  # of any type: the JSON is untrusted
        raise DataError(
            f"{where}: {describe_error(error)}; expected image_id and category_id of entries of this file, numbers as "
            "keypoints and bbox x, y, width, height"
        ) from error
    schema_for(len(values), category, where)
    values = values[order]
    flags = values[:, 2]
    missing = (flags == UNLABELLED) | np.isnan(values[:, :2]).any(axis=1)
    points = np.where(missing[:, None], np.nan, values[:, :2])
    rect = np.array([x, y, x + width, y + height]) - corner
    # Other tools' boxes are drawn by hand, about whole heads; in our own files it is the box that the sample had.
    own = _EXTENSION in entry and missing.any() and np.isfinite(rect).all()
    return Sample(
        path=picture,
        points=points,
        box=rect if own else tight_box(points),
        schema=category,
        photo=photo_of(place) if extension.photo is None else extension.photo,
        subsets=subsets_of(place) if extension.subsets is None else extension.subsets,
        attributes=dict(extension.attributes)
        | ({} if np.isnan(x) else {"rect": tuple(rect.tolist())})
        | size
        | ({} if index is None else {"index": index}),
        occluded=flags == OCCLUDED,
    )


def _size(image: Mapping[str, Any]) -> dict[str, tuple[float, float]]:
    """Attribute of an image's width and height; empty if they are missing or 0."""
    width, height = float(image.get("width") or 0), float(image.get("height") or 0)
    return {LABELLED_SIZE: (width, height)} if width > 0 and height > 0 else {}


def coco_document(
    samples: Sequence[Sample], pictures: Sequence[Path], sizes: Sequence[tuple[int, int]], folder: Path
) -> dict[str, Any]:
    """COCO keypoints JSON of `samples` for a file in `folder`, with one of `pictures` and `sizes` (h, w) per sample.

    Photograph, subsets, attributes and the schema are stored under the key "lightmark". Raises `DataError` for points
    that are not finite and faces without labelled points.
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
    """Entry of `schema` in a file's categories; the skeleton counts points from 1, as in COCO."""
    return {
        "id": number,
        "name": schema.name,
        "supercategory": "face",
        "keypoints": list(schema.point_labels),
        "skeleton": [[a + 1, b + 1] for a, b in schema.edges],
        _EXTENSION: schema_to_dict(schema),
    }


def _annotation(number: int, sample: Sample, image: int, category: int) -> dict[str, Any]:
    if np.isinf(sample.points).any():
        raise DataError(f"{sample.name}: points are not all finite, which JSON cannot hold; take the face out")
    if not labelled(sample.points).any():
        raise DataError(f"{sample.name}: no point is labelled; take the face out")
    occluded = np.zeros(sample.schema.size, dtype=bool) if sample.occluded is None else sample.occluded
    return coco_annotation(number, image, category, sample.points, sample.box, occluded) | {
        _EXTENSION: {
            "photo": sample.photo,
            "subsets": sorted(sample.subsets),
            "attributes": {name: value for name, value in sample.attributes.items() if name not in _IN_COCO_FIELDS},
        },
    }


def coco_annotation(
    number: int, image: int, category: int, points: Array, box: Array, occluded: NDArray[np.bool_]
) -> dict[str, Any]:
    """COCO's own fields of a face with `points` (N, 2) from 0, the mask `occluded` (N,) and `box` (4,).

    Missing points are 0, 0 with flag 0, as in COCO.
    """
    mask = labelled(points)
    flags = np.where(mask, np.where(occluded, OCCLUDED, VISIBLE), UNLABELLED)
    points = np.where(mask[:, None], points, 0.0)
    x0, y0, x1, y1 = box.tolist()
    return {
        "id": number,
        "image_id": image,
        "category_id": category,
        "keypoints": [v for (x, y), f in zip(points.tolist(), flags.tolist(), strict=True) for v in (x, y, f)],
        "num_keypoints": int(mask.sum()),
        "bbox": [x0, y0, x1 - x0, y1 - y0],
        "area": (x1 - x0) * (y1 - y0),
        "iscrowd": 0,
    }
