"""Batches of a DataLoader, with the errors of its workers raised as Lightmark's own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeVar

from lightmark.errors import LightmarkError, TrainingError

T = TypeVar("T")


def batches_from(loader: Iterable[T]) -> Iterator[T]:
    """Iterate over `loader`; errors of workers lose the traceback that torch adds to their text.

    Raises `TrainingError` where a worker process has died, for example killed by the system for want of memory.
    """
    try:
        yield from loader
    except LightmarkError as error:
        kind = type(error)
        *_, text = str(error).rpartition(f"{kind.__module__}.{kind.__qualname__}: ")
        raise kind(text.strip()) from error
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise TrainingError(
            f"a process that cuts crops has ended ({str(error).partition(chr(10))[0]}), most likely for want of memory "
            "or of shared memory; try fewer --workers"
        ) from error
