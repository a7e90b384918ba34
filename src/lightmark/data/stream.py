"""Streaming packed shards, front to back, for faces that are more than memory holds."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from lightmark.data.sample import Sample
from lightmark.data.shards import LOGGER, Faults, Report, is_shard, read_packed, tell_missing, whole_pictures
from lightmark.errors import ConfigError, DataError
from lightmark.source import to_picture

SHARD_STREAM, BUFFER_STREAM = 10, 11  # of random numbers, apart from those of `lightmark.data.dataset`
BUFFER = 2000  # encoded pictures: some 100 MB of crops

_Waiting = tuple[Sample, bytes]


@dataclass(frozen=True)
class Part:
    """Which of `count` equal parts, counted from 0: one for every worker of every rank."""

    index: int = 0
    count: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.index < self.count:
            raise ConfigError(f"part {self.index} of {self.count}: parts are counted from 0, each below their number")


def find_shards(path: str | Path) -> list[Path]:
    """The shards in the folder `path` and below, in order, or the one shard; raises `DataError` for none."""
    path = Path(path)
    found = sorted(file for file in path.rglob("*.tar") if is_shard(file)) if path.is_dir() else [path]
    if not found or not is_shard(found[0]):
        raise DataError(f"{path}: no packed shards here; `lightmark data pack` makes them")
    return found


def stream_samples(
    path: str | Path,
    seed: int,
    epoch: int = 0,
    part: Part = Part(),
    buffer: int = BUFFER,
    report: Report = LOGGER.warning,
) -> Iterator[Sample]:
    """Every face of one epoch that falls to `part`, with its picture decoded, in an order of (seed, epoch) alone.

    The shards come in random order. As many as all parts can have equally many of go to one part each, whole; of the
    rest every part takes every `count`-th picture, so that few shards, even one, are split as evenly. Faces then go
    through a buffer of `buffer` that are drawn from at random, encoded; 0 keeps the order of the shards. Each face
    comes to exactly one part in each epoch. What is broken is left out and told to `report` as by `read_shards`.
    """
    shards = find_shards(path)
    if part.index == 0:
        tell_missing(shards, report)
    order = np.random.default_rng((seed, SHARD_STREAM, epoch)).permutation(len(shards))
    shards = [shards[i] for i in order]
    whole = len(shards) // part.count * part.count
    faces = _faces(shards[part.index : whole : part.count], shards[whole:], part, report)
    rng = np.random.default_rng((seed, BUFFER_STREAM, epoch, part.index))
    for sample, content in _shuffled(faces, buffer, rng):
        yield replace(sample, image=to_picture(content, name=sample.path.as_posix()), member=None)


def _faces(own: list[Path], shared: list[Path], part: Part, report: Report) -> Iterator[_Waiting]:
    for shard in own:
        yield from _faces_of(shard, Part(), 0, report)
    turn = 0
    for shard in shared:
        turn = yield from _faces_of(shard, part, turn, report)


def _faces_of(shard: Path, part: Part, turn: int, report: Report) -> Generator[_Waiting, None, int]:
    """The faces of `part` in `shard`, whose first picture's turn is `turn`; returns the turn that is next."""
    ends, faults = Faults(shard), Faults(shard)
    for packed in whole_pictures(shard, ends):
        turn += 1
        if (turn - 1) % part.count != part.index:
            continue
        try:
            samples, content = read_packed(packed)
        except DataError as error:
            faults.add(str(error), packed.key)
            continue
        yield from ((sample, content) for sample in samples)
    faults.tell(report)
    if part.index == 0:  # all who share a shard meet its broken end
        ends.tell(report)
    return turn


def _shuffled(faces: Iterator[_Waiting], size: int, rng: np.random.Generator) -> Iterator[_Waiting]:
    waiting: list[_Waiting] = []
    for face in faces:
        if len(waiting) < size:
            waiting.append(face)
            continue
        if not size:
            yield face
            continue
        place = int(rng.integers(size))
        drawn, waiting[place] = waiting[place], face
        yield drawn
    for place in rng.permutation(len(waiting)):
        yield waiting[place]
