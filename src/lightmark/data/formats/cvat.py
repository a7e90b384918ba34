"""CVAT XML 1.1: reader of "CVAT for images" and "CVAT for video", writer of the first.

Format (docs.cvat.ai, XML annotation format; cvat-ai/cvat, dataset_manager/formats/cvat.py): for images, image with
name, width, height, and in it skeleton elements with points of the attributes label, outside, occluded and points
"x,y"; for videos, track elements with a skeleton, or points, a frame. outside="1" is a point that is not in the
picture: missing. meta lists the labels, the points of a skeleton with it as parent. Points without a skeleton are a
face by their labels, those with the same group_id together; a shape of several points is a face by itself, its points
numbered. CVAT counts from the corner of the first pixel, so half a pixel is subtracted.

Exported pictures are in images/, those of a project in a folder there for each subset. Frames of a video are called
frame_000000, in the XML without the suffix .PNG of the picture; a project numbers the frames of a subset's tasks on.
"""

from __future__ import annotations

import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

import numpy as np

from lightmark.data.formats.documents import read_xml
from lightmark.data.formats.named_points import NamedFace, named_samples
from lightmark.data.left_out import LeftOut, leaving_out
from lightmark.data.pictures import named_picture
from lightmark.data.sample import Sample
from lightmark.data.video_frame import VideoFrame, videos_among
from lightmark.errors import DataError, NoLabelsError, describe_error, reader
from lightmark.geometry import CORNER, Array, labelled
from lightmark.schema import Schema

_NODE = re.compile(r'data-node-id="([^"]*)"[^>]*data-label-name="([^"]*)"')
CONFIDENCE, ERROR = "confidence", "expected_error"  # attributes of a sample, and of CVAT's skeletons and points
_EDGE = re.compile(r'data-node-from="([^"]*)"[^>]*data-node-to="([^"]*)"')
_FRAME, _STEP, _NUMBER = re.compile(r"frame_([0-9]{6,9})"), re.compile(r"step=([0-9]{1,9})"), re.compile(r"[0-9]{1,9}")


class _Task(NamedTuple):
    """File name of a task's video, and the number that the video's first frame has in the XML."""

    source: str | None
    first: int


@reader("CVAT XML")
def read_cvat(path: str | Path, schema: Schema | None = None, left_out: LeftOut | None = None) -> list[Sample]:
    """Read the faces of a CVAT XML file; `DataError` names a broken shape, or is added to `left_out`."""
    path = Path(path)
    return cvat_samples(path, read_xml(path), schema, left_out)


def cvat_samples(
    path: Path, root: Element, schema: Schema | None = None, left_out: LeftOut | None = None
) -> list[Sample]:
    """Faces of CVAT's XML with the element `root`; raises as `read_cvat` does, `NoLabelsError` for another root.

    Pictures of a video are its frames: images/frame_000000.png beside the file if they were exported, otherwise those
    of the video in its folder. Faces of several skeletons have several schemas; if one is called as `schema`, the
    others are skipped.
    """
    if root.tag != "annotations":
        raise NoLabelsError(f"{path}: root element {root.tag!r}; expected CVAT's annotations")
    by_label: dict[str, list[NamedFace]] = {}
    for where, picture, size, frame, label, shapes in _groups(path, root):
        with leaving_out(left_out):
            by_label.setdefault(label, []).append(_face(where, picture, size, frame, shapes))
    if schema is not None and schema.name in by_label:
        by_label = {schema.name: by_label[schema.name]}
    samples: list[Sample] = []
    for label, faces in by_label.items():
        declared = [one.findtext("name", "") for one in root.iter("label") if one.findtext("parent") == label]
        samples += named_samples(faces, schema, left_out, declared, _edges(root, label), label or None)
    return samples


Group = tuple[str, Path, tuple[float, float] | None, VideoFrame | None, str, list[tuple[str, Element]]]


def _groups(path: Path, root: Element) -> Iterator[Group]:
    """Place, picture, size, frame, skeleton's label ("" for none) and points with their names of each face."""
    tasks, videos = _tasks(root), videos_among(path.parent.iterdir())
    for image in root.iter("image"):
        where, name = f"{path}: image {image.get('name')}", image.get("name")
        if name is None:
            raise DataError(f"{path}: image {image.get('id')}: no name; expected the picture's file name")
        picture, frame = _picture(path, name, image), None
        if match := _FRAME.fullmatch(name):
            picture, frame = _frame(path, int(match[1]), image, tasks, videos)
        try:
            size = float(image.get("width", "")), float(image.get("height", ""))
        except ValueError:
            size = None
        for label, shapes in _faces_of(image):
            yield where, picture, size, frame, label, shapes
    frames: dict[tuple[str, str], Element] = {}
    for track in root.iter("track"):
        for shape in track:
            if shape.tag in ("skeleton", "points"):
                shape.set("label", track.get("label", ""))
                shape.set("group_id", shape.get("group_id", track.get("group_id", "")))
                key = track.get("task_id", ""), shape.get("frame", "")
                frames.setdefault(key, Element("frame", track.attrib)).append(shape)
    for (_, text), element in frames.items():
        where, number = f"{path}: frame {text}", _whole(text)
        if number is None:
            raise DataError(f"{where}: expected a whole number")
        picture, frame = _frame(path, number, element, tasks, videos)
        for label, shapes in _faces_of(element):
            yield where, picture, None, frame, label, shapes


def _faces_of(image: Element) -> Iterator[tuple[str, list[tuple[str, Element]]]]:
    """Skeleton's label, and points with their names, of each face in an image or a frame."""
    groups: dict[str, list[tuple[str, Element]]] = defaultdict(list)
    for shape in image:
        if shape.tag == "skeleton" and shape.get("outside") != "1":
            yield shape.get("label", ""), [(point.get("label", ""), point) for point in shape.findall("points")]
        elif shape.tag == "points" and ";" in shape.get("points", ""):
            parts = shape.get("points", "").split(";")
            yield "", [(str(i), Element("points", {**shape.attrib, "points": xy})) for i, xy in enumerate(parts)]
        elif shape.tag == "points":
            groups[shape.get("group_id", "")].append((shape.get("label", ""), shape))
    yield from (("", shapes) for shapes in groups.values())


def _face(
    where: str, picture: Path, size: tuple[float, float] | None, frame: VideoFrame | None,
    shapes: Sequence[tuple[str, Element]],
) -> NamedFace:  # fmt: skip
    points: dict[str, tuple[float, float]] = {}
    for name, shape in shapes:
        if shape.get("outside") == "1":
            continue
        if name in points:
            raise DataError(
                f"{where}: point {name!r} is there twice; label each point of a face by its own name, and group the "
                "points of each face, or use a skeleton"
            )
        try:
            x, y = (float(value) - CORNER for value in shape.get("points", "").split(","))
        except ValueError as error:
            raise DataError(f"{where}: point {name!r}: {describe_error(error)}; expected points x,y") from error
        points[name] = x, y
    occluded = frozenset(name for name, shape in shapes if shape.get("occluded") == "1")
    return NamedFace(where, picture, points, occluded, size=size, frame=frame)


def _picture(path: Path, name: str, owner: Element) -> Path:
    """Picture called `name` of an image or a track, which has the attribute subset in the export of a project."""
    names = [f"{owner.get('subset')}/{name}", name] if owner.get("subset") else [name]
    pictures = [named_picture(path, one) for one in names]
    return next((picture for picture in pictures if picture.is_file()), pictures[-1])


def _tasks(root: Element) -> dict[str | None, _Task]:
    """Tasks by their ids; in a project, frames are numbered on from one task of a subset to the next."""
    tasks, ends = {}, Counter[str | None]()
    for task in root.iter("task"):
        subset, step = task.findtext("subset"), _STEP.search(task.findtext("frame_filter") or "")
        tasks[task.findtext("id")] = _Task(task.findtext("source"), ends[subset])
        size = (_whole(task.findtext("size")) or 0) * (int(step[1]) if step else 1)
        ends[subset] += (_whole(task.findtext("start_frame")) or 0) + size
    return tasks


def _whole(text: str | None) -> int | None:
    return int(text) if text is not None and _NUMBER.fullmatch(text) else None


def _frame(
    path: Path, number: int, owner: Element, tasks: Mapping[str | None, _Task], videos: Sequence[Path]
) -> tuple[Path, VideoFrame | None]:
    """Picture of a frame, and the frame of the video that it is where no picture of it was exported."""
    pictures = [_picture(path, f"frame_{number:06}{suffix}", owner) for suffix in (".png", ".PNG", ".jpg", ".jpeg")]
    exported = next((picture for picture in pictures if picture.is_file()), None)
    alone = len(tasks) < 2  # a task or a job; jobs do not name their video
    task = tasks.get(owner.get("task_id")) or next(iter(tasks.values() if alone else ()), _Task(None, 0))
    fallback = videos[0] if alone and len(videos) == 1 else None
    video = next((one for one in videos if one.name == task.source), fallback)
    if exported is not None or video is None or number < task.first:
        return exported or pictures[0], None
    frame = VideoFrame(video, number - task.first)
    return frame.path, frame


def _edges(root: Element, label: str) -> list[tuple[str, str]]:
    """Pairs of point names that the drawing of a skeleton joins."""
    for one in root.iter("label"):
        if one.findtext("name") == label and (svg := one.findtext("svg")):
            names = dict(_NODE.findall(svg))
            return [(names[a], names[b]) for a, b in _EDGE.findall(svg) if a in names and b in names]
    return []


def cvat_xml(
    samples: Sequence[Sample], pictures: Sequence[Path], sizes: Sequence[tuple[int, int]], folder: Path
) -> bytes:
    """"CVAT for images" XML of `samples` for a file in `folder`, with one of `pictures` and `sizes` (h, w) per sample.

    Each schema is a skeleton whose points are called as in the schema, or by their numbers from 0. The task that it is
    uploaded to needs the same labels (`cvat_labels`), and pictures of these names. A sample's attributes `confidence`
    and `expected_error` (N,) become attributes of the skeleton and of its points.
    """
    root = Element("annotations")
    SubElement(root, "version").text = "1.1"
    labels = SubElement(SubElement(SubElement(root, "meta"), "task"), "labels")
    for schema in {sample.schema.name: sample.schema for sample in samples}.values():
        _add_label(labels, schema.name, "skeleton")
        for name in schema.point_labels:
            _add_label(labels, name, "points", schema.name)
    images: dict[Path, Element] = {}
    for sample, picture, (height, width) in zip(samples, pictures, sizes, strict=True):
        if picture not in images:
            name = Path(os.path.relpath(picture.resolve(), folder.resolve())).as_posix()
            extent = {"width": str(width), "height": str(height)}
            images[picture] = SubElement(root, "image", {"id": str(len(images)), "name": name, **extent})
        _add_skeleton(images[picture], sample)
    ElementTree.indent(root)
    return bytes(ElementTree.tostring(root, encoding="utf-8", xml_declaration=True))


def cvat_labels(schema: Schema, places: Array) -> list[dict[str, Any]]:
    """Labels of a CVAT task for faces of `schema`, for its constructor's Raw tab; `places` (N, 2) draw the skeleton."""
    low, high = places.min(axis=0), places.max(axis=0)
    drawn = 5 + 90 * (places - low) / max((high - low).max(), 1e-9)  # of a canvas of 100 × 100
    svg = Element("svg")
    for a, b in schema.edges:
        ends = dict(zip(("x1", "y1", "x2", "y2"), (*drawn[a], *drawn[b]), strict=True))
        nodes = {"data-type": "edge", "data-node-from": a + 1, "data-node-to": b + 1, "stroke-width": 0.5}
        _add_shape(svg, "line", ends | {"stroke": "black"} | nodes)
    for i, (name, (x, y)) in enumerate(zip(schema.point_labels, drawn, strict=True), start=1):
        circle = {"r": 0.75, "stroke": "black", "fill": "#b3b3b3", "cx": x, "cy": y, "stroke-width": 0.1}
        node = {"data-type": "element node", "data-element-id": i, "data-node-id": i, "data-label-name": name}
        _add_shape(svg, "circle", circle | node)
    text = "".join(ElementTree.tostring(shape, encoding="unicode", short_empty_elements=False) for shape in svg)
    points = [{"name": name, "type": "points", "attributes": [_attribute(ERROR)]} for name in schema.point_labels]
    label = {"name": schema.name, "type": "skeleton", "attributes": [_attribute(CONFIDENCE)], "svg": text}
    return [label | {"sublabels": points}]


def _attribute(name: str) -> dict[str, Any]:
    """Attribute of a label; a text, since CVAT's numbers are whole and have limits."""
    return {"name": name, "mutable": False, "input_type": "text", "default_value": "", "values": [""]}


def _add_shape(svg: Element, kind: str, fields: Mapping[str, Any]) -> None:
    values = {name: f"{value:.2f}" if isinstance(value, float) else str(value) for name, value in fields.items()}
    SubElement(svg, kind, values)


def _add_label(labels: Element, name: str, kind: str, parent: str | None = None) -> None:
    label = SubElement(labels, "label")
    SubElement(label, "name").text, SubElement(label, "type").text = name, kind
    SubElement(label, "attributes")
    if parent is not None:
        SubElement(label, "parent").text = parent


def _add_skeleton(image: Element, sample: Sample) -> None:
    skeleton = SubElement(image, "skeleton", {"label": sample.schema.name, "source": "manual", "z_order": "0"})
    mask, occluded = labelled(sample.points), sample.occluded
    places = np.where(mask[:, None], sample.points + CORNER, 0.0).tolist()
    errors = sample.attributes.get(ERROR)
    for i, (name, (x, y)) in enumerate(zip(sample.schema.point_labels, places, strict=True)):
        flags = {"outside": str(int(not mask[i])), "occluded": str(int(occluded is not None and occluded[i]))}
        place = {"points": f"{x:.4f},{y:.4f}"}
        point = SubElement(skeleton, "points", {"label": name, "source": "manual", **flags, **place})
        _add_attribute(point, ERROR, None if errors is None else errors[i])
    _add_attribute(skeleton, CONFIDENCE, sample.attributes.get(CONFIDENCE))


def _add_attribute(shape: Element, name: str, value: float | None) -> None:
    if value is not None:
        SubElement(shape, "attribute", {"name": name}).text = f"{value:.4g}"
