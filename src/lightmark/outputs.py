"""Overwrite protection: existing files need `force`, and inputs are never overwritten."""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeAlias

from lightmark.errors import ConfigError, WriteError
from lightmark.files import is_stream

Identity: TypeAlias = tuple[int, int]  # device and inode: the same for all links and spellings of a path


def require_free(targets: Iterable[Path], inputs: Iterable[Path] = (), force: bool = False) -> None:
    """Raise `ConfigError` if an output file is one of `inputs`, or exists and `force` is not set.

    All files below an input folder are inputs. Also raised for a folder in place of a file, and for two outputs of the
    same name; `WriteError` for a place that is not writable, before any work is done. Pipes and devices without
    contents, such as /dev/null, always pass.
    """
    targets = list(targets)
    doubled = [path for path, count in Counter(map(os.path.realpath, targets)).items() if count > 1]
    if doubled and not all(is_stream(Path(path)) for path in doubled):
        raise ConfigError(f"{doubled[0]}: is the name of two outputs; give each its own")
    existing = []
    for target in targets:
        if target.is_dir():
            raise ConfigError(f"{target}: is a folder; the name of a file is needed here")
        if _holds_something(target):
            existing.append(target)
        elif not is_stream(target):
            require_place(target)
    known = identities(inputs) if existing else frozenset()
    for target in existing:
        if is_among(target, known):
            raise ConfigError(
                f"{target}: is one of the inputs, or a file in a folder of them, and these are never written over; "
                "give another name"
            )
        if not force:
            raise ConfigError(f"{target}: is there already; give another name, or --force to write over it")


def require_folder(target: Path) -> None:
    """Raise `ConfigError` if the output folder is a file, `WriteError` if it is not writable."""
    if target.exists() and not target.is_dir():
        raise ConfigError(f"{target}: is a file; a folder is needed here")
    _require_place(target / "any", target)


def require_place(target: Path) -> None:
    """Raise `WriteError` if no file can be created at `target`."""
    _require_place(target, target)


def _require_place(target: Path, named: Path) -> None:
    """`require_place` with the user's path `named` in its errors."""
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
    """Whether `target` is one of the files with the identities `known`."""
    return _identity(target) in known


def identities(inputs: Iterable[Path]) -> frozenset[Identity]:
    """Identities of the files `inputs` and of all files below the folders among them."""
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
