"""Exceptions: every error that Lightmark raises on purpose derives from `LightmarkError`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class LightmarkError(Exception):
    """Base of every error that Lightmark raises on purpose."""


class SchemaError(LightmarkError):
    """A landmark schema that contradicts itself, or points that do not fit one."""


class GeometryError(LightmarkError):
    """A box or matrix that cannot be used: empty, not finite, singular."""


class ImageError(LightmarkError):
    """A picture that cannot be read or has the wrong type or shape."""


class VideoError(LightmarkError):
    """A video or camera that cannot be opened, read or written."""


class DataError(LightmarkError):
    """A data set, annotation file or prediction file that cannot be used as it is."""


class WriteError(LightmarkError):
    """A file or standard output that cannot be written: disk full, no permission, no such folder."""


class NoLabelsError(DataError):
    """A file without any labelled faces: a table or JSON of something else."""


class SpecError(LightmarkError):
    """A ModelSpec that is incomplete or contradicts the model beside it."""


class CheckpointError(LightmarkError):
    """A model file that is truncated, of another program or incompatible with this version."""


class ConfigError(LightmarkError):
    """An invalid recipe or option."""


class TrainingError(LightmarkError):
    """A training that cannot continue: non-finite loss, or a process that ended."""


class ExportError(LightmarkError):
    """An exported file whose outputs differ from those of its source model, or that cannot be made."""


class MissingExtraError(LightmarkError):
    """A missing optional dependency; the message contains the install command."""


@contextmanager
def foreign_errors_as(kind: type[LightmarkError], sentence: str) -> Iterator[None]:
    """Context manager that turns any other exception into `kind`, with `sentence` before its text.

    For the entry points of file readers: decoders raise unpredictable types on a broken or hostile file (KeyError,
    OverflowError, RecursionError, MemoryError …). The original exception stays as the cause.
    """
    try:
        yield
    except LightmarkError:
        raise
    except Exception as error:
        raise kind(f"{sentence}: {describe_error(error)}") from error


def describe_error(error: BaseException) -> str:
    """Type and message of `error` on one line; of an `OSError` only the system's message."""
    text = " ".join(str(error).split())
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def reader(what: str, kind: type[LightmarkError] = DataError) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Decorator for file readers, whose first argument is the path: they raise only `LightmarkError`.

    Other exceptions become `kind`, with the path and `what` it could not be read as.
    """

    def decorate(read: Callable[P, T]) -> Callable[P, T]:
        @wraps(read)
        def checked(*args: P.args, **options: P.kwargs) -> T:
            path = args[0] if args else next(iter(options.values()), "no file")
            with foreign_errors_as(kind, f"{path}: cannot be read as {what}"):
                return read(*args, **options)

        return checked

    return decorate
