"""Labels left out: broken label files, rows and annotations as sentences, where the rest of a data set is read on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeAlias

from lightmark.errors import LightmarkError, NoLabelsError

LeftOut: TypeAlias = list[str]


@contextmanager
def leaving_out(left_out: LeftOut | None) -> Iterator[None]:
    """Add the text of an error in the block to `left_out`; raise it where that is None.

    `NoLabelsError` is raised in either case: a file of something else has no labels that could be left out.
    """
    try:
        yield
    except NoLabelsError:
        raise
    except LightmarkError as error:
        if left_out is None:
            raise
        left_out.append(str(error))
