"""Batches of a DataLoader whose workers fail as the main process would: by one of our errors, in one line."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeVar

from lightmark.errors import LightmarkError, TrainingError

T = TypeVar("T")


def batches_from(loader: Iterable[T]) -> Iterator[T]:
    """Batches of `loader`; torch puts a worker's traceback into the text of its error, which is taken off again.

    Raises `TrainingError` where a worker has died, as by the system for its memory.
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
