"""Packed shards: labelled faces in plain tar files, as WebDataset lays them out, read by the place of their bytes.

A picture is two members one after the other, KEY.jpg (or another suffix) and KEY.json, which holds {"lightmark": 1,
"picture": {"crc32"}, "faces": [{"points", "schema", "photo", "subsets", "attributes", "occluded"}, …]}. Only
"lightmark" and each face's "points" must be there; a missing point is null. `lightmark.data.shards.pack` writes them.
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
MARK = "lightmark"  # the key by which our .json members are known
MANIFEST = "lightmark-shards.json"  # beside the shards
UNFINISHED = "unfinished"  # key of a manifest whose shards are still being written, by a run or a killed one
LOOKED_AT = 20  # pictures of a tar that may be anybody's: the first of them may be broken

LOGGER = logging.getLogger(__name__)
Report: TypeAlias = Callable[[str], None]


@dataclass(frozen=True)
class PackedPicture:
    """A picture of a shard: the members that share its key, by their suffixes."""

    key: str
    members: Mapping[str, Member]


class Faults:
    """What is left out of one shard, counted by its reason."""

    def __init__(self, shard: Path) -> None:
        self.shard = shard
        self._counts: Counter[str] = Counter()
        self._first: dict[str, str] = {}

    def add(self, reason: str, key: str, count: int = 1) -> None:
        """Count the picture called `key`, or `count` from there on."""
        self._counts[reason] += count
        self._first.setdefault(reason, key)

    def tell(self, report: Report) -> None:
        """Hand a sentence to `report` where something was left out."""
        if self._counts:
            reasons = (f"{count} {reason} (first {self._first[reason]})" for reason, count in self._counts.items())
            report(f"{self.shard}: left out: {', '.join(reasons)}")


def is_shard(file: Path) -> bool:
    """Whether `file` is a tar with labels of ours: one that a manifest beside it names, or by its first pictures."""
    if file.suffix.lower() != ".tar":
        return False
    if file.name in _manifest(file.parent):
        return True
    try:
        return any(_is_ours(packed) for packed in islice(packed_pictures(file), LOOKED_AT))
    except DataError:
        return False


def _is_ours(packed: PackedPicture) -> bool:
    try:
        return MARK in _labels(packed)
    except DataError:
        return False


def read_shards(files: Iterable[Path], report: Report = LOGGER.warning) -> list[Sample]:
    """The faces of the shards `files`, in order; their pictures stay where they are until they are loaded.

    Every picture's bytes are read once and checked. What is broken (a cut picture, labels that are missing, the end of
    a cut tar) is left out, and `report` gets a sentence a shard that says what and how many; so it does for shards that
    a manifest names and that are not there. Without other handlers a log's warnings go to the standard error stream.
    Raises `DataError` for a folder whose packing was not finished.
    """
    files = list(files)
    for folder in dict.fromkeys(file.parent for file in files):
        require_finished(folder)
    tell_missing(files, report)
    return [sample for file in files for sample in _faces_of(file, report)]


def _faces_of(file: Path, report: Report) -> list[Sample]:
    samples, faults = [], Faults(file)
    for packed in whole_pictures(file, faults):
        try:
            samples += read_packed(packed)[0]
        except DataError as error:
            faults.add(str(error), packed.key)
    faults.tell(report)
    return samples


def read_shard(file: Path, report: Report = LOGGER.warning) -> list[Sample]:
    """The faces of one shard, whatever lies beside it; raises `DataError` where all of it is broken."""
    samples = _faces_of(file, report)
    if not samples:
        raise DataError(f"{file}: no face in this shard can be used; copy it again, or pack it anew")
    return samples


def tell_missing(files: Iterable[Path], report: Report = LOGGER.warning) -> None:
    """Hand a sentence to `report` for each shard that is not there, though the manifest beside `files` names it."""
    for folder in dict.fromkeys(file.parent for file in files):
        for name in _manifest(folder):
            if not (folder / name).exists():
                report(f"{folder / name}: missing, though {MANIFEST} names it; copy it again")


def require_finished(folder: Path) -> None:
    """Raise `DataError` where the shards in `folder` are not all there yet."""
    if UNFINISHED in read_manifest(folder):
        raise DataError(f"{folder}: its packing was not finished; the same `lightmark data pack` goes on")


def whole_pictures(file: Path, faults: Faults) -> Iterator[PackedPicture]:
    """`packed_pictures`, where a broken end is counted, as pictures if a manifest tells how many, instead of raised."""
    seen = 0
    try:
        for packed in packed_pictures(file):
            seen += 1
            yield packed
    except DataError as error:
        reason = str(error).removeprefix(f"{file}: ")
        lost = _manifest(file.parent).get(file.name, 0) - seen
        faults.add(f"behind a broken end ({reason})", f"after {seen} pictures", max(1, lost))


def packed_pictures(file: Path) -> Iterator[PackedPicture]:
    """The pictures of the shard `file`: neighbours whose names agree up to the first dot; raises as `tar_members`."""
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
    """Key and suffix of a member, as WebDataset tells them apart: at the first dot of the file's own name.

    >>> _split("a.b/0001.left.jpg")
    ('a.b/0001', 'left.jpg')
    """
    folder, slash, own = name.rpartition("/")
    stem, _, suffix = own.partition(".")
    return folder + slash + stem, suffix.lower()


def read_packed(packed: PackedPicture) -> tuple[list[Sample], bytes]:
    """The faces of a packed picture, and its encoded bytes, which were checked.

    Raises `DataError` with the bare reason where it cannot be used.
    """
    pictures = [member for suffix, member in packed.members.items() if f".{suffix}" in PICTURE_SUFFIXES]
    if not pictures:
        raise DataError("without a picture")
    labels = _labels(packed)
    if labels.get(MARK) != VERSION:
        raise DataError(f"with .json that is not ours (version {labels.get(MARK)!r}, wanted {VERSION})")
    try:
        samples = [_sample(pictures[0], face) for face in labels["faces"]]
        checksum = labels.get("picture", {}).get("crc32")
    except Exception as error:  # of whatever kind: the JSON may come from anybody
        raise DataError(f"with labels that cannot be used: {describe_error(error)}") from error
    content = _checked(pictures[0], checksum)
    member = replace(pictures[0], crc32=zlib.crc32(content))
    return [replace(sample, member=member) for sample in samples], content


def face_labels(sample: Sample) -> dict[str, Any]:
    """What a shard's .json holds of a face; raises `DataError` for attributes that JSON cannot hold."""
    known = SCHEMAS.get(sample.schema.name) == sample.schema
    there = labelled(sample.points).tolist()
    return {
        "points": [point if here else None for point, here in zip(sample.points.tolist(), there, strict=True)],
        "schema": sample.schema.name if known else schema_to_dict(sample.schema),
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
    except Exception as error:  # as in read_packed
        raise DataError("with .json that cannot be read") from error
    return labels if isinstance(labels, dict) else {}


def _checked(member: Member, checksum: int | None) -> bytes:
    """The picture's bytes, as they were packed; without a checksum, such as can be decoded."""
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
        raise ValueError(f"points of shape {points.shape}, wanted (N, 2)")
    place = picture.file / picture.name
    occluded = face.get("occluded")
    if occluded is not None and len(occluded) != len(points):
        raise ValueError(f"{len(occluded)} flags of occlusion for {len(points)} points")
    schema = schema_for(len(points), _schema(json.dumps(face.get("schema"))), place)
    ours = own_fields(face)
    attributes = {name: tuple(value) if isinstance(value, list) else value for name, value in ours.attributes.items()}
    return Sample(
        path=place,
        points=points,
        box=label_box(points, schema),
        schema=schema,
        photo=place.with_suffix("").as_posix() if ours.photo is None else ours.photo,
        subsets=_subsets(ours.subsets or frozenset()),
        attributes=attributes,
        occluded=None if occluded is None else np.array(occluded, dtype=bool),
        member=picture,
    )


# A million faces share a handful of schemas and subsets.
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
    """`value` as JSON can hold it: NumPy's numbers as Python's, tuples as lists."""
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    return [_plain(one) for one in value] if isinstance(value, (list, tuple)) else value


def _manifest(folder: Path) -> dict[str, int]:
    """Shards that the folder's manifest names, and their numbers of pictures; none where there is no manifest."""
    return {str(shard["file"]): int(shard["pictures"]) for shard in read_manifest(folder).get("shards", ())}


def read_manifest(folder: Path) -> dict[str, Any]:
    """What the manifest in `folder` holds, nothing where there is none; raises `DataError` for a file that is none."""
    manifest = folder / MANIFEST
    if not manifest.exists():
        return {}
    with foreign_errors_as(DataError, f"{manifest}: no manifest of shards; take it away to read what is there"):
        content: dict[str, Any] = json.loads(manifest.read_text(encoding="utf-8"))
        for shard in content["shards"]:
            str(shard["file"]), int(shard["pictures"])
        return content
