"""The exception tree: everything Lightmark raises on purpose derives from `LightmarkError`."""

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
    """A picture that cannot be read or has the wrong form."""


class VideoError(LightmarkError):
    """A video or camera that cannot be opened, read or written."""


class DataError(LightmarkError):
    """A data set, annotation file or prediction file that cannot be used as it is."""


class WriteError(LightmarkError):
    """A file or standard output that cannot be written: no room, no permission, no such place."""


class NoLabelsError(DataError):
    """A file that holds no labelled faces at all: a table or JSON of something else."""


class SpecError(LightmarkError):
    """A ModelSpec that is incomplete or contradicts the model beside it."""


class CheckpointError(LightmarkError):
    """A model file that is cut, foreign or does not fit the code that loads it."""


class ConfigError(LightmarkError):
    """A recipe or option that cannot be carried out."""


class TrainingError(LightmarkError):
    """A training that cannot go on: its loss is no longer finite, or one of its processes has ended."""


class ExportError(LightmarkError):
    """An exported file that is not the model it came from."""


class MissingExtraError(LightmarkError):
    """An optional dependency is not installed; the message holds the install line."""


@contextmanager
def foreign_errors_as(kind: type[LightmarkError], sentence: str) -> Iterator[None]:
    """Raise `kind` with `sentence` before its text in place of any error that is not ours.

    For the place where the reading of a file begins: what decoders raise on a broken or hostile file is no list that
    anybody has (KeyError, OverflowError, RecursionError, MemoryError …). The cause stays behind the error.
    """
    try:
        yield
    except LightmarkError:
        raise
    except Exception as error:
        raise kind(f"{sentence}: {describe_error(error)}") from error


def describe_error(error: BaseException) -> str:
    """Kind and text of `error` on one line; of a system's error only the text, which the reader knows."""
    text = " ".join(str(error).split())
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def reader(what: str, kind: type[LightmarkError] = DataError) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Decorator of a function whose first argument is the file to read: it raises `LightmarkError` and nothing else.

    Other errors become `kind`, with the file's name and `what` it could not be read as.
    """

    def decorate(read: Callable[P, T]) -> Callable[P, T]:
        @wraps(read)
        def checked(*args: P.args, **options: P.kwargs) -> T:
            path = args[0] if args else next(iter(options.values()), "no file")
            with foreign_errors_as(kind, f"{path}: cannot be read as {what}"):
                return read(*args, **options)

        return checked

    return decorate
