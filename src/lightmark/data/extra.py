"""Libraries that only some readers need, imported when such a file is read."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

from lightmark.errors import MissingExtraError


def import_extra(module: str, path: Path) -> ModuleType:
    """The library `module`, needed to read `path`; raises `MissingExtraError` with the install line."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtraError(
            f'{path}: reading it needs {module.partition(".")[0]}; pip install "lightmark[train]"'
        ) from error
