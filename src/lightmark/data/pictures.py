"""Which files are pictures: those in a folder, and the one that lies beside a label file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

# Lossless first: where a picture is there twice, the better copy is read.
PICTURE_SUFFIXES = (
    ".png", ".tif", ".tiff", ".bmp", ".ppm", ".pgm",
    ".jpg", ".jpeg", ".webp", ".avif", ".heic", ".heif", ".jp2", ".gif",
)  # fmt: skip


def pictures_below(folder: Path) -> list[Path]:
    """Pictures in `folder` and below, by their suffixes in any case, in order; none whose name starts with a dot."""
    # macOS adds such names to archives: no pictures, whatever their suffix.
    return sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in PICTURE_SUFFIXES and not path.name.startswith(".") and path.is_file()
    )


def pictures_beside(files: Iterable[Path]) -> dict[Path, Path]:
    """For each label file the picture of the same stem in its folder, its suffix in any case; .jpg where there is none.

    A missing picture is no error here, so that `check` can count it; loading it raises.
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
