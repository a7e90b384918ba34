"""Optional dependencies (extras), checked before the code that needs them runs."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

from lightmark.errors import MissingExtraError


def require_extra(packages: Sequence[str], extra: str, what: str) -> None:
    """Raise `MissingExtraError` with the install command if one of `packages`, needed by `what`, is missing.

    Imports nothing.
    """
    for package in packages:
        if find_spec(package) is None:
            raise MissingExtraError(f'{what} needs {package}: pip install "lightmark[{extra}]"')


def import_extra(module: str, path: Path) -> ModuleType:
    """Import `module`, needed to read `path`; raises `MissingExtraError` with the install command."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtraError(
            f'{path}: reading it needs {module.partition(".")[0]}; pip install "lightmark[train]"'
        ) from error
