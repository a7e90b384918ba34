"""Provenance of measurements: package versions and the commit of the code."""

from __future__ import annotations

import platform
import subprocess
from importlib import metadata
from pathlib import Path

# Output folders of measurements: rewriting one result must not mark the code as changed for the next ones.
_MEASURED = ("benchmarks/results", "docs/figures")
_PACKAGES = ("lightmark", "numpy", "opencv-python-headless", "onnxruntime", "pillow", "torch")


def versions() -> dict[str, str]:
    """Versions of Python, this package and its numerical dependencies, if installed."""
    installed = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            installed[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return installed


def git_commit() -> str | None:
    """Commit of this code, with "+changes" if tracked files differ from it; None outside a git checkout.

    Output files of measurements do not count as changes.
    """
    folder = Path(__file__).parent
    # The package may be installed inside another project's checkout, whose commit is unrelated.
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
