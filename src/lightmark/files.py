"""Atomic file writes (temporary file, then rename), and SHA-256 of files."""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shutil
import stat
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from lightmark.errors import DataError, WriteError

STANDARD_STREAMS = {"/dev/stdin": 0, "/dev/stdout": 1, "/dev/stderr": 2}
NAME_END = 60  # last characters of the target's name that its temporary name keeps: at most 240 bytes, of 255 allowed

_swept: set[tuple[int, int]] = set()  # folders already cleaned by this process, by device and inode
_sweeping = threading.Lock()


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Context manager for atomic writes: a temporary path, renamed to `path` on success, removed on error.

    The target's folder is created if missing. Symbolic links are followed. A device, pipe or standard output receives
    the bytes once the file is complete. Raises `WriteError` naming `path` if the system refuses.
    """
    target = Path(path)
    with write_errors(target):
        if is_stream(target):
            with TemporaryDirectory() as folder:
                yield Path(folder) / target.name
                _write_through(Path(folder) / target.name, target)
            return
        temporary = _temporary(target)
        try:
            yield temporary
            _move_over(temporary, target)
        finally:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)


@contextmanager
def replacing_together(path: str | Path) -> Iterator[Path]:
    """Like `replacing`, for a target of several files or a folder: a path in a temporary folder beside it.

    On success all files of that folder are moved beside the target, the target itself last, replacing existing ones.
    """
    target = Path(path)
    with write_errors(target):
        folder = _temporary(target)
        folder.mkdir()
        try:
            yield folder / target.name
            for part in sorted(folder.iterdir(), key=lambda part: part.name == target.name):
                _move_over(part, target.with_name(part.name))
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def is_stream(path: Path) -> bool:
    """Whether `path` cannot be replaced by a file: a device, pipe, socket or /dev/fd entry."""
    if _descriptor(path) is not None:
        return True
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def sha256_of(path: str | Path) -> str:
    """Hex SHA-256 of a file; raises `DataError` where it cannot be read."""
    try:
        with Path(path).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error}") from error


def make_folder(path: Path) -> None:
    """Create the folder `path` and its parents if missing; raises `WriteError` if that fails."""
    with write_errors(path):
        path.mkdir(parents=True, exist_ok=True)


@contextmanager
def write_errors(target: Path) -> Iterator[None]:
    """Context manager that turns `OSError` into `WriteError` naming `target`, not the temporary file."""
    try:
        yield
    except BrokenPipeError:  # the reader closed the pipe (as `head` does); the command ends silently
        raise
    except (FileExistsError, NotADirectoryError) as error:  # from creating its folders
        raise WriteError(f"{target}: cannot be written: a file is where its folder should be") from error
    except OSError as error:
        reason = error.strerror or str(error)
        raise WriteError(
            f"{target}: cannot be written: {reason}; is it a place to write to, with room left?"
        ) from error


def _temporary(target: Path) -> Path:
    """Hidden temporary path beside the resolved `target`; creates its folder and cleans it (`_sweep`)."""
    folder = Path(os.path.realpath(target)).parent
    folder.mkdir(parents=True, exist_ok=True)
    _sweep(folder)
    # The suffix stays last: several libraries choose the file format by it.
    return folder / f".lightmark-{_process_space()}-{os.getpid()}-{target.name[-NAME_END:]}"


def _move_over(part: Path, target: Path) -> None:
    if is_stream(target):
        _write_through(part, target)
        return
    real = Path(os.path.realpath(target))
    if part.is_dir() and real.is_dir():  # no system replaces a folder that is not empty
        real.rename(part.with_name(f"{part.name}-before"))
    elif real.is_file():
        with suppress(OSError):  # some file systems have no permissions
            shutil.copymode(real, part)
    # A symbolic link may lead to another file system, and a rename cannot cross file systems.
    part.replace(real) if real.parent.stat().st_dev == part.stat().st_dev else shutil.move(part, real)


def _write_through(source: Path, target: Path) -> None:
    """Write the bytes of the file `source` into the stream `target`."""
    number = _descriptor(target)
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:  # None if the parent process closed it
            stream.flush()
    # Duplicated, not reopened: reopening a redirected standard output would start at its first byte.
    with source.open("rb") as file, target.open("wb") if number is None else os.fdopen(os.dup(number), "wb") as sink:
        shutil.copyfileobj(file, sink)


def _descriptor(path: Path) -> int | None:
    """File descriptor that `path` refers to, such as /dev/stdout or /dev/fd/3; None for any other path."""
    if os.name != "posix":
        return None
    name = os.path.normpath(path.absolute())
    match = re.fullmatch(r"/(?:dev|proc/self)/fd/(\d+)", name)
    return int(match[1]) if match else STANDARD_STREAMS.get(name)


def _sweep(folder: Path) -> None:
    """Remove temporary files of dead processes in `folder`; once per process and folder."""
    if os.name != "posix":  # Windows: no signal 0 to test whether a process runs
        return
    status = folder.stat()
    with _sweeping:
        if (status.st_dev, status.st_ino) in _swept:
            return
        _swept.add((status.st_dev, status.st_ino))
        with suppress(OSError):  # a writable folder need not be readable
            for path in folder.iterdir():
                match = re.match(rf"\.lightmark-{_process_space()}-(\d+)-", path.name)
                # This process has written nothing here yet, so a file with its own id is from an earlier process.
                if match and (int(match[1]) == os.getpid() or not _runs(int(match[1]))):
                    _remove(path)


def _remove(path: Path) -> None:
    with suppress(OSError):
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):  # another user's process; a number too large for an id is not ours
        return True
    return True


@cache
def _process_space() -> str:
    """Eight hex digits that identify the scope of process ids: the machine and, on Linux, the container."""
    try:
        namespace = str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        namespace = ""
    return hashlib.sha256(f"{platform.node()} {namespace}".encode()).hexdigest()[:8]
