"""Extras: packages that only some of the work needs, asked for where it begins."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec

from lightmark.errors import MissingExtraError


def require_extra(packages: Sequence[str], extra: str, what: str) -> None:
    """Raise `MissingExtraError`, which holds the install line, where one of `packages`, which `what` needs, is missing.

    Nothing is imported.
    """
    for package in packages:
        if find_spec(package) is None:
            raise MissingExtraError(f'{what} needs {package}: pip install "lightmark[{extra}]"')
