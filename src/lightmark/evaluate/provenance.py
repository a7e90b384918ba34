"""Where a number comes from: file hashes, versions, the commit of the code."""

from __future__ import annotations

import hashlib
import platform
import subprocess
from importlib import metadata
from pathlib import Path

from lightmark.errors import DataError

_PACKAGES = ("lightmark", "numpy", "opencv-python-headless", "onnxruntime", "pillow", "torch")


def sha256_of(path: str | Path) -> str:
    """Hex SHA-256 of a file; raises `DataError` where it cannot be read."""
    try:
        with Path(path).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error}") from error


def versions() -> dict[str, str]:
    """Versions of Python, of this package and of those that its numbers depend on, as far as installed."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def git_commit() -> str | None:
    """Commit that holds this code, with "+changes" where tracked files differ from it; None outside a git checkout."""
    folder = Path(__file__).parent
    # A package installed into some other project's checkout is not that project's commit.
    if _git(folder, "ls-files", "--error-unmatch", Path(__file__).name) is None:
        return None
    commit = _git(folder, "rev-parse", "HEAD")
    changed = _git(folder, "status", "--porcelain", "--untracked-files=no")
    return f"{commit}+changes" if commit and changed else commit


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        result = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return result.stdout.strip()
