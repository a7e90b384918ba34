"""Collection of broken labels as messages, so that the rest of a data set can be read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeAlias

from lightmark.errors import LightmarkError, NoLabelsError

LeftOut: TypeAlias = list[str]


@contextmanager
def leaving_out(left_out: LeftOut | None) -> Iterator[None]:
    """Append the message of an error in the block to `left_out`; raise it where that is None.

    `NoLabelsError` is always raised: a file that is no label file has no labels to leave out.
    """
    try:
        yield
    except NoLabelsError:
        raise
    except LightmarkError as error:
        if left_out is None:
            raise
        left_out.append(str(error))
