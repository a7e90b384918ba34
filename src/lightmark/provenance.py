"""Where a number comes from: versions, the commit of the code."""

from __future__ import annotations

import platform
import subprocess
from importlib import metadata
from pathlib import Path

# What measurements write into a checkout: a number that was made again changes none of those that follow it.
_MEASURED = ("benchmarks/results", "docs/figures")
_PACKAGES = ("lightmark", "numpy", "opencv-python-headless", "onnxruntime", "pillow", "torch")


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
    """Commit that holds this code, with "+changes" where tracked files differ from it; None outside a git checkout.

    Files that measurements write do not count.
    """
    folder = Path(__file__).parent
    # A package installed into some other project's checkout is not that project's commit.
    if _git(folder, "ls-files", "--error-unmatch", Path(__file__).name) is None:
        return None
    commit = _git(folder, "rev-parse", "HEAD")
    others = [f":(top,exclude){path}" for path in _MEASURED]
    changed = _git(folder, "status", "--porcelain", "--untracked-files=no", "--", ":(top)", *others)
    return f"{commit}+changes" if commit and changed else commit


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        result = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return result.stdout.strip()
