"""Files: whole or not there, written under a temporary name beside the target and renamed; and known by their hash."""

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
NAME_END = 60  # characters of a target's name that its temporary name ends in: 240 bytes at most, of the usual 255

_swept: set[tuple[int, int]] = set()  # folders, by device and inode
_sweeping = threading.Lock()


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Temporary path in the target's folder (made if missing); renamed to `path` on success, removed on an error.

    A link is followed, and the file that it names is replaced. What is no file (a device, a pipe, standard output) gets
    the bytes once they are whole. Raises `WriteError`, which names `path`, where the system refuses.
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
    """As `replacing`, for a target of several files or a folder: its path in a temporary folder beside the target.

    All that is written into that folder goes beside the target on success, the target last, over what has its name.
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
    """Whether `path` is nothing that a file could replace: a device, a pipe, a socket, an open file by its number."""
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
    """Make the folder `path` and those above it where they are missing; raises `WriteError` where it cannot be."""
    with write_errors(path):
        path.mkdir(parents=True, exist_ok=True)


@contextmanager
def write_errors(target: Path) -> Iterator[None]:
    """What the system refuses, as `WriteError`: without the temporary name, which is nothing that a user gave."""
    try:
        yield
    except BrokenPipeError:  # the reader of a pipe has what it wanted; the command ends quietly
        raise
    except (FileExistsError, NotADirectoryError) as error:  # from making its folders
        raise WriteError(f"{target}: cannot be written: a file is where its folder should be") from error
    except OSError as error:
        reason = error.strerror or str(error)
        raise WriteError(
            f"{target}: cannot be written: {reason}; is it a place to write to, with room left?"
        ) from error


def _temporary(target: Path) -> Path:
    """Hidden name beside the file that `target` stands for, whose folder is made; what dead runs left there goes."""
    folder = Path(os.path.realpath(target)).parent
    folder.mkdir(parents=True, exist_ok=True)
    _sweep(folder)
    # The suffix stays last: several libraries choose the format by it.
    return folder / f".lightmark-{_process_space()}-{os.getpid()}-{target.name[-NAME_END:]}"


def _move_over(part: Path, target: Path) -> None:
    if is_stream(target):
        _write_through(part, target)
        return
    real = Path(os.path.realpath(target))
    if part.is_dir() and real.is_dir():  # which no system replaces by a folder that holds something
        real.rename(part.with_name(f"{part.name}-before"))
    elif real.is_file():
        with suppress(OSError):  # some file systems keep no permissions
            shutil.copymode(real, part)
    # A link beside the target may lead to another file system, where nothing can be renamed to.
    part.replace(real) if real.parent.stat().st_dev == part.stat().st_dev else shutil.move(part, real)


def _write_through(source: Path, target: Path) -> None:
    """Write the bytes of the file `source` into the stream `target`."""
    number = _descriptor(target)
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:  # closed by whoever started the process
            stream.flush()
    # Opened anew, standard output that is a file would be written from its first byte.
    with source.open("rb") as file, target.open("wb") if number is None else os.fdopen(os.dup(number), "wb") as sink:
        shutil.copyfileobj(file, sink)


def _descriptor(path: Path) -> int | None:
    """Number of the open file of this process that `path` stands for, as /dev/stdout does; None for any other path."""
    if os.name != "posix":
        return None
    name = os.path.normpath(path.absolute())
    found = re.fullmatch(r"/(?:dev|proc/self)/fd/(\d+)", name)
    return int(found[1]) if found else STANDARD_STREAMS.get(name)


def _sweep(folder: Path) -> None:
    """Remove what processes that run no more left half-written in `folder`; once a process and folder."""
    if os.name != "posix":  # where no signal asks whether a process runs
        return
    status = folder.stat()
    with _sweeping:
        if (status.st_dev, status.st_ino) in _swept:
            return
        _swept.add((status.st_dev, status.st_ino))
        with suppress(OSError):  # a folder to write to need not be one to list
            for path in folder.iterdir():
                found = re.match(rf"\.lightmark-{_process_space()}-(\d+)-", path.name)
                # Before the first file that this process writes here, its own number is that of one before it.
                if found and (int(found[1]) == os.getpid() or not _runs(int(found[1]))):
                    _remove(path)


def _remove(path: Path) -> None:
    with suppress(OSError):
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):  # another user's; no number of a process, so nothing of ours
        return True
    return True


@cache
def _process_space() -> str:
    """Eight hex digits of where a process's number means something: this machine, and under Linux this container."""
    try:
        namespace = str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        namespace = ""
    return hashlib.sha256(f"{platform.node()} {namespace}".encode()).hexdigest()[:8]
