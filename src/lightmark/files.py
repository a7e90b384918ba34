"""Files: whole or not there, written under a temporary name beside the target and renamed; and known by their hash."""

from __future__ import annotations

import hashlib
import os
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


def sha256_of(path: str | Path) -> str:
    """Hex SHA-256 of a file; raises `DataError` where it cannot be read."""
    try:
        with Path(path).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error}") from error
