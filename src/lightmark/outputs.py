"""Outputs: what may be written to. Nothing is written over unasked, and no input at all."""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeAlias

from lightmark.errors import ConfigError, WriteError
from lightmark.files import is_stream

Identity: TypeAlias = tuple[int, int]  # device and inode: one for all links, spellings and cases of a file's name


def require_free(targets: Iterable[Path], inputs: Iterable[Path] = (), force: bool = False) -> None:
    """Raise `ConfigError` where a file to write is one of `inputs`, or is there already and `force` is not set.

    Of an input folder every file in it or below counts as an input. Also raised for a folder in a file's place, and for
    two outputs of one name; `WriteError` for a place that cannot be written to, before any work is done. Pipes and
    devices without contents, as /dev/null, are always free.
    """
    targets = list(targets)
    doubled = [path for path, count in Counter(map(os.path.realpath, targets)).items() if count > 1]
    if doubled and not all(is_stream(Path(path)) for path in doubled):
        raise ConfigError(f"{doubled[0]}: is the name of two outputs; give each its own")
    there = []
    for target in targets:
        if target.is_dir():
            raise ConfigError(f"{target}: is a folder; the name of a file is needed here")
        if _holds_something(target):
            there.append(target)
        elif not is_stream(target):
            require_place(target)
    known = identities(inputs) if there else frozenset()
    for target in there:
        if is_among(target, known):
            raise ConfigError(
                f"{target}: is one of the inputs, or a file in a folder of them, and these are never written over; "
                "give another name"
            )
        if not force:
            raise ConfigError(f"{target}: is there already; give another name, or --force to write over it")


def require_folder(target: Path) -> None:
    """Raise `ConfigError` where a folder to write into is a file, `WriteError` where it cannot be written to."""
    if target.exists() and not target.is_dir():
        raise ConfigError(f"{target}: is a file; a folder is needed here")
    _require_place(target / "any", target)


def require_place(target: Path) -> None:
    """Raise `WriteError` where no file can be made at `target`: no folder there can be written to or made."""
    _require_place(target, target)


def _require_place(target: Path, named: Path) -> None:
    """`require_place` whose errors name a path that the user gave."""
    real = Path(os.path.realpath(target))
    folder = next(folder for folder in real.parents if os.path.lexists(folder))
    if not folder.is_dir():
        raise WriteError(f"{named}: cannot be written: {folder} is a file, not a folder; give another name")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise WriteError(f"{named}: cannot be written: no permission to write to {folder}; give another place")


def _holds_something(target: Path) -> bool:
    """Whether there is a file, or a device with contents, at `target`."""
    try:
        mode = target.stat().st_mode
    except OSError:
        return False
    return (stat.S_ISREG(mode) and not is_stream(target)) or stat.S_ISBLK(mode)


def is_among(target: Path, known: frozenset[Identity]) -> bool:
    """Whether `target` is one of the files whose `identities` are known."""
    return _identity(target) in known


def identities(inputs: Iterable[Path]) -> frozenset[Identity]:
    """Of `inputs`, and of all files in the folders among them or below."""
    return frozenset(_identities(inputs))


def _identity(path: Path) -> Identity | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _identities(inputs: Iterable[Path]) -> Iterator[Identity]:
    for path in inputs:
        below = (Path(folder, name) for folder, _, names in os.walk(path) for name in names)
        files = below if path.is_dir() else [path]
        yield from (identity for file in files if (identity := _identity(file)) is not None)
