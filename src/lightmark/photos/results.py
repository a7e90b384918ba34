"""Write detections as JSON, JSON Lines, CSV, COCO keypoints, `.pts` files or a table."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import cache
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TextIO, TypeAlias

import numpy as np

from lightmark.errors import ConfigError, DataError
from lightmark.face import Face, table_cells, table_columns
from lightmark.files import replacing
from lightmark.image import Picture
from lightmark.outputs import identities, is_among, require_folder
from lightmark.photos.detect import AddPicture, Detection
from lightmark.photos.inputs import Input, absolute, places_with
from lightmark.schema import Schema

if TYPE_CHECKING:
    from lightmark.alignment import Template

FileFormat = Literal["json", "jsonl", "csv", "coco", "pts"]
Add: TypeAlias = Callable[[Detection], None]
COLUMNS = ("face", "x0 y0", "x1 y1", "confidence", "± px")  # ±: the mean expected error
SUFFIXES: dict[str, FileFormat] = {".json": "json", ".jsonl": "jsonl", ".csv": "csv"}


@contextmanager
def write_json(stream: TextIO, schema: Schema, folder: Path, measures: bool = False) -> Iterator[Add]:
    """Writer of a JSON array with an object per picture; the array is closed even after an interruption."""
    with _json_list(stream) as put:
        yield lambda detection: put(detection.to_dict(measures))


@contextmanager
def write_json_lines(stream: TextIO, schema: Schema, folder: Path, measures: bool = False) -> Iterator[Add]:
    """Writer of JSON Lines, one object per picture, flushed after each line."""

    def add(detection: Detection) -> None:
        stream.write(json.dumps(detection.to_dict(measures)) + "\n")
        stream.flush()

    yield add


@contextmanager
def write_csv(stream: TextIO, schema: Schema, folder: Path, measures: bool = False) -> Iterator[Add]:
    """Writer of CSV with a row per face: file, index in the picture, `table_columns`; none for a picture without faces.
    """
    table = csv.writer(stream, lineterminator="\n")
    table.writerow(["file", "face", *table_columns(schema.size, measures)])

    def add(detection: Detection) -> None:
        for index, face in enumerate(detection.faces):
            table.writerow([detection.source.name, index, *table_cells(face, measures)])

    yield add


@contextmanager
def write_coco(stream: TextIO, schema: Schema, folder: Path, measures: bool = False) -> Iterator[Add]:
    """Writer of COCO keypoints: all points visible, bbox the face's box, `score` the confidence if there is one.

    Names of pictures are relative to `folder`, as COCO's readers expect. Annotations are written one by one, and the
    much shorter list of pictures after them; the JSON is completed even after an interruption.
    """
    from lightmark.data.formats.coco import coco_annotation, coco_category

    def annotation(face: Face, number: int, image: int) -> dict[str, Any]:
        occluded = np.zeros(face.schema.size, dtype=bool)
        score = {} if face.confidence is None else {"score": face.confidence}
        return coco_annotation(number, image, 1, face.points, face.box, occluded) | score

    images: list[dict[str, Any]] = []
    numbers = count(1)
    stream.write('{"annotations": ')
    try:
        with _json_list(stream) as put:

            def add(detection: Detection) -> None:
                name, number = _relative_name(detection.source, folder), len(images) + 1
                image = {"id": number, "file_name": name, "height": detection.height, "width": detection.width}
                images.append(image)
                for face in detection.faces:
                    put(annotation(face, next(numbers), number))

            yield add
    finally:
        stream.write(f', "images": {json.dumps(images)}, "categories": {json.dumps([coco_category(1, schema)])}}}\n')


def _relative_name(source: Input, folder: Path) -> str:
    if source.path is None:
        return source.name
    return Path(os.path.relpath(absolute(source.path), absolute(folder))).as_posix()


@contextmanager
def _json_list(stream: TextIO) -> Iterator[Callable[[dict[str, Any]], None]]:
    """Context with a function that writes the next entry of a JSON array; the array is closed at the end."""
    before = "[\n"

    def put(entry: dict[str, Any]) -> None:
        nonlocal before
        stream.write(before + json.dumps(entry))
        before = ",\n"

    try:
        yield put
    finally:
        stream.write("[]\n" if before == "[\n" else "\n]\n")


Writer: TypeAlias = Callable[[TextIO, Schema, Path, bool], AbstractContextManager[Add]]
WRITERS: dict[str, Writer] = {
    "json": write_json,
    "jsonl": write_json_lines,
    "csv": write_csv,
    "coco": write_coco,
}


@contextmanager
def open_results(
    file_format: FileFormat,
    out: Path,
    schema: Schema,
    inputs: Sequence[Input],
    force: bool = False,
    measures: bool = False,
) -> Iterator[Add]:
    """Context with a function that adds detections to the file `out`, written atomically, or the folder `out` for
    .pts.

    `force` replaces existing files; `measures` are added to JSON and CSV, see `Face.measures`. Raises `WriteError`
    if it cannot be written.
    """
    if file_format == "pts":
        yield pts_writer(out, inputs, force)
        return
    with (
        replacing(out) as temporary,
        # File names may have bytes that are not UTF-8; surrogateescape writes them unchanged.
        temporary.open("w", encoding="utf-8", errors="surrogateescape", newline="") as stream,
        WRITERS[file_format](stream, schema, out.parent, measures) as add,
    ):
        yield add


def pts_writer(folder: Path, inputs: Sequence[Input], force: bool = False) -> Add:
    """Function that writes one `.pts` per face below `folder`, named as `face_paths` says."""
    from lightmark.data.formats.pts import format_pts

    paths_of = face_paths(folder, ".pts", inputs, force)

    def add(detection: Detection) -> None:
        for path, face in zip(paths_of(detection), detection.faces, strict=True):
            with replacing(path) as temporary:
                temporary.write_text(format_pts(face.points), encoding="utf-8")

    return add


def crop_writer(
    folder: Path, inputs: Sequence[Input], size: int, template: Template, force: bool = False
) -> AddPicture:
    """Function that writes `Face.aligned` of each face below `folder` as PNG, named as `face_paths` says."""
    from lightmark.draw import write_png

    paths_of = face_paths(folder, ".png", inputs, force)

    def add(picture: Picture, detection: Detection) -> None:
        for path, face in zip(paths_of(detection), detection.faces, strict=True):
            write_png(face.aligned(picture, size, template).image, path)

    return add


def face_paths(
    folder: Path, suffix: str, inputs: Sequence[Input], force: bool = False
) -> Callable[[Detection], list[Path]]:
    """Function from a detection to a file of each face below `folder`: x for a single face, else x_0, x_1 …

    It raises `DataError` if two faces would get the same name (the only one of x_0.jpg and the first of several in
    x.jpg), if a file exists without `force`, or if it is an input.
    """
    places = dict(zip(inputs, places_with(suffix, inputs), strict=True))
    read = cache(lambda: identities(one.path for one in inputs if one.path is not None))
    written: set[Path] = set()

    def require_own(path: Path, source: str) -> None:
        if path in written:
            raise DataError(f"{source}: {path} is the name of another picture's face, too; rename one")
        if path.exists() and (not force or is_among(path, read())):
            raise DataError(f"{source}: {path} is there already; give another folder{', or --force' * (not force)}")

    def paths_of(detection: Detection) -> list[Path]:
        place, several = folder / places[detection.source], len(detection.faces) > 1
        paths = [
            place.with_name(f"{place.stem}_{index}{suffix}") if several else place
            for index in range(len(detection.faces))
        ]
        for path in paths:
            require_own(path, detection.source.name)
        written.update(paths)
        return paths

    return paths_of


@contextmanager
def print_table() -> Iterator[Add]:
    """Context with a function that adds detections to a table, a row per face, which is printed at the end."""
    from rich.console import Console
    from rich.table import Column, Table
    from rich.text import Text

    table = Table(Column("file", overflow="fold"), *(Column(name, justify="right") for name in COLUMNS))

    def add(detection: Detection) -> None:
        name = Text(os.fsencode(detection.source.name).decode("utf-8", "replace"))  # Text: brackets are no markup
        if not detection.faces:
            table.add_row(name, "no face")
        for index, face in enumerate(detection.faces):
            confidence = "" if face.confidence is None else f"{face.confidence:.2f}"
            corners = (f"{x:.0f} {y:.0f}" for x, y in face.box.reshape(2, 2))
            error = "" if face.expected_error is None else f"{face.expected_error.mean():.1f}"
            table.add_row(name, str(index), *corners, confidence, error)

    yield add
    Console().print(table)


def planned_files(
    out: Path | None, file_format: FileFormat | None, inputs: Sequence[Input], *png_folders: Path | None
) -> list[Path]:
    """Output files of `inputs`, as far as their names do not depend on the number of faces.

    `png_folders` get a PNG per input, or per face. Raises `ConfigError` for `.pts` without a folder and for a folder
    that is a file, `WriteError` for one that is not writable.
    """
    if file_format == "pts" and out is None:
        raise ConfigError("pts are many files: give the folder to write them to with --out")
    files = [] if out is None or file_format == "pts" else [out]
    folders = [*((folder, ".png") for folder in png_folders), (out if file_format == "pts" else None, ".pts")]
    for folder, suffix in folders:
        if folder is not None:
            require_folder(folder)
            files += [folder / place for place in places_with(suffix, inputs)]
    return files
