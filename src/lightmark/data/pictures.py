"""Picture files: all in a folder, and the one beside a label file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

# In order of preference, lossless first, for pictures that exist in several formats.
PICTURE_SUFFIXES = (
    ".png", ".tif", ".tiff", ".bmp", ".ppm", ".pgm",
    ".jpg", ".jpeg", ".webp", ".avif", ".heic", ".heif", ".jp2", ".gif",
)  # fmt: skip


def pictures_below(folder: Path) -> list[Path]:
    """Sorted picture files in `folder` and below, by suffix in any case; hidden files are skipped."""
    # macOS adds files such as ._a.jpg to archives, which are no pictures.
    return sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in PICTURE_SUFFIXES and not path.name.startswith(".") and path.is_file()
    )


def pictures_beside(files: Iterable[Path]) -> dict[Path, Path]:
    """Picture of the same stem and folder for each label file; a .jpg path where there is none.

    A missing picture raises no error here, so that `check` can count it, but when it is loaded.
    """
    files = list(files)
    stems = {folder: _pictures_by_stem(folder) for folder in {file.parent for file in files}}
    return {file: _picture(file, stems[file.parent]) for file in files}


def _picture(file: Path, by_stem: Mapping[str, Path]) -> Path:
    return by_stem.get(file.stem, file.with_suffix(".jpg"))


def _pictures_by_stem(folder: Path) -> dict[str, Path]:
    pictures = [file for file in folder.iterdir() if file.suffix.lower() in PICTURE_SUFFIXES]
    pictures.sort(key=lambda file: (PICTURE_SUFFIXES.index(file.suffix.lower()), file.name), reverse=True)
    return {file.stem: file for file in pictures}
