"""Reader of shards: labelled faces in uncompressed tar files in the layout of WebDataset.

A picture is two consecutive members, KEY.jpg (or another suffix) and KEY.json with {"lightmark": 1, "picture":
{"crc32"}, "faces": [{"points", "schema", "photo", "subsets", "attributes", "occluded"}, …]}. Only "lightmark" and the
"points" of each face are required; a missing point is null. Labels are read at once, pictures on demand by the offset
of their bytes. `lightmark.data.shards.pack` writes shards.
"""

from __future__ import annotations

import json
import logging
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from lightmark.data.own_fields import own_fields
from lightmark.data.pictures import PICTURE_SUFFIXES
from lightmark.data.sample import Sample, label_box
from lightmark.data.schema_choice import schema_for
from lightmark.data.shards.tar import Member, read_member, tar_members
from lightmark.errors import DataError, ImageError, describe_error, foreign_errors_as
from lightmark.geometry import labelled
from lightmark.schema import SCHEMAS, Schema, schema_from_dict, schema_to_dict
from lightmark.source import to_picture

VERSION = 1
MARK = "lightmark"  # key that identifies the .json members of our shards; its value is their version
MANIFEST = "lightmark-shards.json"  # file beside the shards
UNFINISHED = "unfinished"  # key of a manifest whose shards are not all written, with the fingerprint of their packing
INSPECTED = 20  # pictures of an unknown tar that are searched for our labels, since the first may be broken

LOGGER = logging.getLogger(__name__)
Report: TypeAlias = Callable[[str], None]


@dataclass(frozen=True)
class PackedPicture:
    """A picture in a shard: its key and its members by suffix."""

    key: str
    members: Mapping[str, Member]


class Faults:
    """Counts of the pictures left out of one shard, by reason."""

    def __init__(self, shard: Path) -> None:
        self.shard = shard
        self._counts: Counter[str] = Counter()
        self._first: dict[str, str] = {}

    def add(self, reason: str, key: str, count: int = 1) -> None:
        """Count the picture `key`, or `count` pictures from there on."""
        self._counts[reason] += count
        self._first.setdefault(reason, key)

    def send(self, report: Report) -> None:
        """Call `report` with a message if any picture was left out."""
        if self._counts:
            reasons = (f"{count} {reason} (first {self._first[reason]})" for reason, count in self._counts.items())
            report(f"{self.shard}: left out: {', '.join(reasons)}")


def is_shard(file: Path) -> bool:
    """Whether `file` is a shard: named in the manifest beside it, or with our labels in its first pictures."""
    if file.suffix.lower() != ".tar":
        return False
    if file.name in _manifest(file.parent):
        return True
    try:
        return any(_has_labels(packed) for packed in islice(packed_pictures(file), INSPECTED))
    except DataError:
        return False


def _has_labels(packed: PackedPicture) -> bool:
    try:
        return MARK in _labels(packed)
    except DataError:
        return False


def read_shards(files: Iterable[Path], report: Report = LOGGER.warning) -> list[Sample]:
    """Read the faces of the shards `files`, in order; pictures are decoded later, when they are loaded.

    Every picture's bytes are read once and verified. Broken pictures (truncated bytes, missing labels, the end of a
    truncated tar) are left out, and `report` is called with a message per shard; also for shards that are in a manifest
    but missing. By default the messages are logged as warnings. Raises `DataError` for a folder whose packing was not
    finished.
    """
    files = list(files)
    for folder in dict.fromkeys(file.parent for file in files):
        require_finished(folder)
    report_missing(files, report)
    return [sample for file in files for sample in _faces_of(file, report)]


def _faces_of(file: Path, report: Report) -> list[Sample]:
    samples, faults = [], Faults(file)
    for packed in intact_pictures(file, faults):
        try:
            samples += read_packed(packed)[0]
        except DataError as error:
            faults.add(str(error), packed.key)
    faults.send(report)
    return samples


def read_shard(file: Path, report: Report = LOGGER.warning) -> list[Sample]:
    """Read the faces of one shard, without regard to its manifest; raises `DataError` if no face can be used."""
    samples = _faces_of(file, report)
    if not samples:
        raise DataError(f"{file}: no face in this shard can be used; copy it again, or pack it anew")
    return samples


def report_missing(files: Iterable[Path], report: Report = LOGGER.warning) -> None:
    """Call `report` with a message for each missing shard that a manifest beside `files` names."""
    for folder in dict.fromkeys(file.parent for file in files):
        for name in _manifest(folder):
            if not (folder / name).exists():
                report(f"{folder / name}: missing, though {MANIFEST} names it; copy it again")


def require_finished(folder: Path) -> None:
    """Raise `DataError` if the packing of the shards in `folder` was not finished."""
    if UNFINISHED in read_manifest(folder):
        raise DataError(f"{folder}: its packing was not finished; the same `lightmark data pack` goes on")


def intact_pictures(file: Path, faults: Faults) -> Iterator[PackedPicture]:
    """`packed_pictures` that adds a broken end of the tar to `faults` instead of raising.

    The number of lost pictures comes from the manifest; without one it is counted as 1.
    """
    count = 0
    try:
        for packed in packed_pictures(file):
            count += 1
            yield packed
    except DataError as error:
        reason = str(error).removeprefix(f"{file}: ")
        lost = _manifest(file.parent).get(file.name, 0) - count
        faults.add(f"behind a broken end ({reason})", f"after {count} pictures", max(1, lost))


def packed_pictures(file: Path) -> Iterator[PackedPicture]:
    """Pictures of the shard `file`: consecutive members with the same key; raises as `tar_members` does."""
    key, members, broken = "", dict[str, Member](), None
    try:
        for member in tar_members(file):
            stem, suffix = _split(member.name)
            if stem != key and members:
                yield PackedPicture(key, members)
                members = {}
            key = stem
            members[suffix] = member
    except DataError as error:
        broken = error
    if members:
        yield PackedPicture(key, members)
    if broken is not None:
        raise broken


def _split(name: str) -> tuple[str, str]:
    """Key and suffix of a member, split at the first dot of the file name, as in WebDataset.

    >>> _split("a.b/0001.left.jpg")
    ('a.b/0001', 'left.jpg')
    """
    folder, slash, own = name.rpartition("/")
    stem, _, suffix = own.partition(".")
    return folder + slash + stem, suffix.lower()


def read_packed(packed: PackedPicture) -> tuple[list[Sample], bytes]:
    """Faces of a packed picture, and its verified encoded bytes.

    Raises `DataError`, whose text is only the reason, if it cannot be used.
    """
    pictures = [member for suffix, member in packed.members.items() if f".{suffix}" in PICTURE_SUFFIXES]
    if not pictures:
        raise DataError("without a picture")
    labels = _labels(packed)
    if labels.get(MARK) != VERSION:
        raise DataError(f"with .json that is not ours (version {labels.get(MARK)!r}, expected {VERSION})")
    try:
        samples = [_sample(pictures[0], face) for face in labels["faces"]]
        checksum = labels.get("picture", {}).get("crc32")
    except Exception as error:  # of any type: the JSON is untrusted
        raise DataError(f"with labels that cannot be used: {describe_error(error)}") from error
    content = _verified(pictures[0], checksum)
    member = replace(pictures[0], crc32=zlib.crc32(content))
    return [replace(sample, member=member) for sample in samples], content


def face_labels(sample: Sample) -> dict[str, Any]:
    """Entry of a face in a shard's .json."""
    built_in = SCHEMAS.get(sample.schema.name) == sample.schema
    mask = labelled(sample.points).tolist()
    return {
        "points": [point if known else None for point, known in zip(sample.points.tolist(), mask, strict=True)],
        "schema": sample.schema.name if built_in else schema_to_dict(sample.schema),
        "photo": sample.photo,
        "subsets": sorted(sample.subsets),
        "attributes": {name: _plain(value) for name, value in sample.attributes.items()},
        "occluded": None if sample.occluded is None else sample.occluded.tolist(),
    }


def _labels(packed: PackedPicture) -> dict[str, Any]:
    if "json" not in packed.members:
        raise DataError("without .json")
    try:
        labels = json.loads(read_member(packed.members["json"]))
    except Exception as error:  # see read_packed
        raise DataError("with .json that cannot be read") from error
    return labels if isinstance(labels, dict) else {}


def _verified(member: Member, checksum: int | None) -> bytes:
    """Bytes of a picture with the CRC-32 `checksum`; without one, the picture is decoded as a test."""
    try:
        content = read_member(member)
        if checksum is None:
            to_picture(content)
    except ImageError as error:
        raise DataError("with a picture that is cut or damaged") from error
    if checksum is not None and zlib.crc32(content) != checksum:
        raise DataError("with a picture that is cut or damaged")
    return content


def _sample(picture: Member, face: Mapping[str, Any]) -> Sample:
    points = np.array([(np.nan, np.nan) if point is None else point for point in face["points"]], dtype=np.float64)
    if points.ndim != 2 or points.shape[1] != 2:
        raise ValueError(f"points of shape {points.shape}, expected (N, 2)")
    place = picture.file / picture.name
    occluded = face.get("occluded")
    if occluded is not None and len(occluded) != len(points):
        raise ValueError(f"{len(occluded)} flags of occlusion for {len(points)} points")
    schema = schema_for(len(points), _schema(json.dumps(face.get("schema"))), place)
    fields = own_fields(face)
    attributes = {name: tuple(value) if isinstance(value, list) else value for name, value in fields.attributes.items()}
    return Sample(
        path=place,
        points=points,
        box=label_box(points, schema),
        schema=schema,
        photo=place.with_suffix("").as_posix() if fields.photo is None else fields.photo,
        subsets=_subsets(fields.subsets or frozenset()),
        attributes=attributes,
        occluded=None if occluded is None else np.array(occluded, dtype=bool),
        member=picture,
    )


# Cached, since a million faces share a few schemas and sets of subsets.
@lru_cache(maxsize=64)
def _schema(text: str) -> Schema | None:
    value = json.loads(text)
    if isinstance(value, dict):
        return schema_from_dict(value)
    return None if value is None else SCHEMAS[value]


@lru_cache(maxsize=1024)
def _subsets(names: frozenset[str]) -> frozenset[str]:
    return names


def _plain(value: Any) -> Any:
    """JSON-ready `value`: NumPy numbers and arrays as Python's, tuples as lists."""
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    return [_plain(one) for one in value] if isinstance(value, (list, tuple)) else value


def _manifest(folder: Path) -> dict[str, int]:
    """Numbers of pictures by shard, from the manifest in `folder`; empty without a manifest."""
    return {str(shard["file"]): int(shard["pictures"]) for shard in read_manifest(folder).get("shards", ())}


def read_manifest(folder: Path) -> dict[str, Any]:
    """Content of the manifest in `folder`, empty without one; raises `DataError` for an invalid file."""
    manifest = folder / MANIFEST
    if not manifest.exists():
        return {}
    with foreign_errors_as(DataError, f"{manifest}: no manifest of shards; take it away to read what is there"):
        content: dict[str, Any] = json.loads(manifest.read_text(encoding="utf-8"))
        for shard in content["shards"]:
            str(shard["file"]), int(shard["pictures"])
        return content
