"""Files: whole or not there, written under a temporary name beside the target and renamed; and known by their hash."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lightmark.errors import DataError


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Temporary path in the target's folder (made if missing); renamed to `path` on success, removed on an error."""
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    # The suffix stays last: several libraries choose the format by it.
    temporary = target.with_name(f".{os.getpid()}-{target.name}")
    try:
        yield temporary
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def replacing_together(path: str | Path) -> Iterator[Path]:
    """As `replacing`, for a target of several files or a folder: its path in a temporary folder beside the target.

    All that is written into that folder goes beside the target on success, the target last, over what has its name.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    folder = target.with_name(f".{os.getpid()}-{target.name}-parts")
    folder.mkdir()
    try:
        yield folder / target.name
        for part in sorted(folder.iterdir(), key=lambda part: part.name == target.name):
            _move_over(part, target.with_name(part.name))
    finally:
        shutil.rmtree(folder)


def _move_over(part: Path, target: Path) -> None:
    if part.is_dir() and target.is_dir():  # which no system replaces by a folder that holds something
        target.rename(part.with_name(f"{part.name}-before"))
    part.replace(target)


def sha256_of(path: str | Path) -> str:
    """Hex SHA-256 of a file; raises `DataError` where it cannot be read."""
    try:
        with Path(path).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error}") from error
