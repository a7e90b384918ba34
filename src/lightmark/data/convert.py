"""Conversion of samples to COCO keypoints JSON, CVAT XML, or folders of `.pts` or YOLO-pose files with pictures."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from lightmark.data.check.inspection import inspect_picture
from lightmark.data.formats.coco import coco_document
from lightmark.data.formats.cvat import cvat_xml
from lightmark.data.formats.pts import format_pts
from lightmark.data.formats.yolo_pose import yolo_lines, yolo_yaml
from lightmark.data.left_out import LeftOut, leaving_out
from lightmark.data.read import read_samples
from lightmark.data.sample import Sample, encoded_picture, encoded_suffix, load_image
from lightmark.data.shards.pack import by_picture
from lightmark.errors import DataError
from lightmark.files import replacing
from lightmark.geometry import labelled
from lightmark.outputs import require_free
from lightmark.schema import Schema

FileFormat = Literal["coco", "cvat", "pts", "yolo"]


def convert(
    source: str | Path,
    target: str | Path,
    file_format: FileFormat,
    schema: Schema | None = None,
    subset: str | None = None,
    force: bool = False,
    inputs: Sequence[Path] = (),
    left_out: LeftOut | None = None,
) -> int:
    """Convert the faces of `source` to a file or folder of `file_format` at `target` and return their number.

    `source` and `inputs` are never overwritten, even with `force`. A face with broken labels or picture raises
    `DataError`, or is left out with a message in `left_out`; `DataError` also if no face is left.
    """
    samples = _usable(read_samples(source, schema, subset, left_out), left_out)
    if not samples and left_out:
        raise DataError(f"{source}: no face of it can be converted; {left_out[0]} ({len(left_out)} such)")
    if file_format not in _WRITERS:
        raise DataError(f"{target}: no format {file_format!r} to convert to; known: {', '.join(_WRITERS)}")
    _WRITERS[file_format](samples, target, force, [Path(source), *inputs])
    return len(samples)


def _usable(samples: Sequence[Sample], left_out: LeftOut | None) -> list[Sample]:
    usable = []
    for sample in samples:
        with leaving_out(left_out):
            _require_labels(sample)
            inspect_picture(sample)
            usable.append(sample)
    return usable


def write_coco(
    samples: Sequence[Sample], path: str | Path, force: bool = False, inputs: Sequence[Path] = ()
) -> None:
    """Write `samples` as a COCO keypoints file with paths of the pictures relative to its folder.

    Pictures inside other files (COFW, shards) are written to a folder beside it, named as the file without suffix.
    Raises `ConfigError` for existing files without `force`, and for any output that is a sample's picture or one of
    `inputs`; `DataError` for points that are not finite; `ImageError` for an unreadable picture, since COCO needs its
    size.
    """

    def encode(*arguments: Any) -> bytes:
        return json.dumps(coco_document(*arguments), allow_nan=False).encode()

    _write_beside_pictures(samples, Path(path), encode, force, inputs)


def write_cvat(
    samples: Sequence[Sample], path: str | Path, force: bool = False, inputs: Sequence[Path] = ()
) -> None:
    """Write `samples` as "CVAT for images" XML with paths of the pictures relative to its folder; as `write_coco`."""
    for sample in samples:
        _require_labels(sample)
    _write_beside_pictures(samples, Path(path), cvat_xml, force, inputs)


def _write_beside_pictures(
    samples: Sequence[Sample], path: Path, encode: Callable[..., bytes], force: bool, inputs: Sequence[Path]
) -> None:
    """Write one label file, of the bytes of `encode`, and the pictures that are no files in a folder beside it."""
    inside = _pictures_without_file(samples, path.with_suffix(""))
    _require_free([path, *inside.values()], samples, inputs, force)
    pictures = [inside.get(i, sample.path) for i, sample in enumerate(samples)]
    content = encode(samples, pictures, [_size(sample) for sample in samples], path.parent)
    for i, picture in inside.items():
        _write_whole(picture, encoded_picture(samples[i]))
    _write_whole(path, content)


def write_pts(
    samples: Sequence[Sample], folder: str | Path, force: bool = False, inputs: Sequence[Path] = ()
) -> None:
    """Write one `.pts` file per face into `folder`, with a copy of its picture beside it.

    The folders below the samples' common folder are reproduced, since photograph and subsets are derived from them when
    the tree is read. Occlusion flags and attributes are lost, unlike in COCO. Raises `ConfigError` as `write_coco`
    does; `force` replaces files of the same names only.
    """
    folder = Path(folder)
    stems = _stems(samples)
    pictures = [_beside(folder / stem, encoded_suffix(sample)) for stem, sample in zip(stems, samples, strict=True)]
    labels = [_beside(folder / stem, ".pts") for stem in stems]
    _require_free([*labels, *pictures], samples, inputs, force)
    texts = [_pts_text(sample) for sample in samples]
    for sample, label, picture, text in zip(samples, labels, pictures, texts, strict=True):
        _write_whole(picture, encoded_picture(sample))
        _write_whole(label, text.encode())


def write_yolo(
    samples: Sequence[Sample], folder: str | Path, force: bool = False, inputs: Sequence[Path] = ()
) -> None:
    """Write data.yaml, and labels/ and images/ with a file each for every picture, into `folder`, as YOLO-pose.

    A point outside its picture becomes a missing one (`yolo_lines`). Raises as `write_pts` does, and `DataError` for
    faces of several schemas, since all need the same number of points.
    """
    folder = Path(folder)
    names = sorted({sample.schema.name for sample in samples})
    if len(names) != 1:
        found = ", ".join(names) or "no schema"
        raise DataError(f"{folder}: faces of {found}; YOLO-pose holds those of one: convert one at a time")
    faces = by_picture(samples)
    # One label file a picture: its stem has no index, but where the picture itself is inside another file.
    firsts = [group[0] if group[0].image is not None else replace(group[0], attributes={}) for group in faces]
    stems = _stems(firsts)
    pictures = [_beside(folder / "images" / stem, encoded_suffix(one)) for stem, one in zip(stems, firsts, strict=True)]
    labels = [_beside(folder / "labels" / stem, ".txt") for stem in stems]
    _require_free([folder / "data.yaml", *labels, *pictures], samples, inputs, force)
    for sample in samples:
        _require_labels(sample)
    texts = [yolo_lines(group, _size(one)) for group, one in zip(faces, firsts, strict=True)]
    for one, label, picture, text in zip(firsts, labels, pictures, texts, strict=True):
        _write_whole(picture, encoded_picture(one))
        _write_whole(label, text.encode())
    _write_whole(folder / "data.yaml", yolo_yaml(samples[0].schema).encode())


_WRITERS: dict[str, Callable[[Sequence[Sample], str | Path, bool, Sequence[Path]], None]] = {
    "coco": write_coco,
    "cvat": write_cvat,
    "pts": write_pts,
    "yolo": write_yolo,
}


def _beside(stem: Path, suffix: str) -> Path:
    """`stem` with `suffix` appended; Path.with_suffix would replace the part after a dot in the stem."""
    return stem.with_name(stem.name + suffix)


def _stems(samples: Sequence[Sample]) -> list[Path]:
    """Path of each face relative to the target folder, without suffix; with an index if its picture has several."""
    places = [sample.path.resolve() for sample in samples]
    if not places:
        raise DataError("write_pts: no samples to write")
    common = os.path.commonpath([place.parent for place in places])
    stems = []
    for sample, place in zip(samples, places, strict=True):
        index = sample.attributes.get("index")
        name = place.stem if index is None else f"{place.stem}_{index:05}"
        stems.append(place.relative_to(common).with_name(name))
    doubled = [stem.as_posix() for stem, count in Counter(stems).items() if count > 1]
    if doubled:
        raise DataError(
            f"write_pts: {len(doubled)} names stand for several faces, {doubled[0]} first; convert one set at a time"
        )
    return stems


def _pictures_without_file(samples: Sequence[Sample], folder: Path) -> dict[int, Path]:
    return {
        i: folder / f"{i:06}{encoded_suffix(sample)}"
        for i, sample in enumerate(samples)
        if sample.image is not None or sample.member is not None
    }


def _require_free(paths: Sequence[Path], samples: Sequence[Sample], inputs: Sequence[Path], force: bool) -> None:
    require_free(paths, [*inputs, *(sample.path for sample in samples if sample.image is None)], force)


def _pts_text(sample: Sample) -> str:
    _require_labels(sample)
    return format_pts(sample.points)


def _require_labels(sample: Sample) -> None:
    if np.isinf(sample.points).any():
        raise DataError(f"{sample.name}: points are not all finite; take the face out")
    if not labelled(sample.points).any():
        raise DataError(f"{sample.name}: no point is labelled; take the face out")


def _size(sample: Sample) -> tuple[int, int]:
    height, width, _ = load_image(sample).shape
    return height, width


def _write_whole(path: Path, content: bytes) -> None:
    with replacing(path) as temporary:
        temporary.write_bytes(content)
