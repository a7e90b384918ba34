"""Picture files: all in a folder, the one of a label file, and the one that a label file names."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

# In order of preference, lossless first, for pictures that exist in several formats.
PICTURE_SUFFIXES = (
    ".png", ".tif", ".tiff", ".bmp", ".ppm", ".pgm",
    ".jpg", ".jpeg", ".webp", ".avif", ".heic", ".heif", ".jp2", ".gif",
)  # fmt: skip
VIDEO_SUFFIXES = (
    ".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".wmv", ".flv", ".mpg", ".mpeg", ".3gp", ".mts", ".m2ts",
)  # fmt: skip
# Folders that data sets keep labels and pictures in, apart from each other: labels/ and images/ (YOLO), landmark/ and
# picture/ (JD-landmark). Others are not searched: test/ may have other pictures of the same names as train/.
_LABEL_FOLDER = re.compile(r"label|annot|landmark|keypoint|points|pts", re.IGNORECASE)
_PICTURE_FOLDER = re.compile(r"image|img|picture|photo|frame|jpe?g|png", re.IGNORECASE)
_LEVELS = 3  # folders above a label file that may hold both


def pictures_below(folder: Path) -> list[Path]:
    """Sorted picture files in `folder` and below, by suffix in any case; hidden files are skipped."""
    # macOS adds files such as ._a.jpg to archives, which are no pictures.
    return sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in PICTURE_SUFFIXES and not path.name.startswith(".") and path.is_file()
    )


def pictures_beside(files: Iterable[Path]) -> dict[Path, Path]:
    """Picture of the same stem for each label file, in its folder or in one of pictures; a .jpg path where none is.

    For labels/a/1.txt that is labels/a/1.png, otherwise images/a/1.png, the folder beside labels/ being called by any
    name of `_PICTURE_FOLDER`. 1.jpg.txt is the label of 1.jpg. A missing picture raises no error here, so that `check`
    can count it, but when it is loaded.
    """
    folders = _Folders()
    return {file: folders.picture_of(file) for file in files}


class _Folders:
    """Pictures and subfolders of folders, each listed once."""

    def __init__(self) -> None:
        self._pictures: dict[Path, dict[str, Path]] = {}
        self._subfolders: dict[Path, list[Path]] = {}

    def picture_of(self, file: Path) -> Path:
        """Picture of a label file; see `pictures_beside`."""
        for folder in (file.parent, *self._apart(file)):
            if picture := self._by_stem(folder).get(file.stem):
                return picture
        return file.with_suffix(".jpg")

    def _apart(self, file: Path) -> Iterator[Path]:
        """Folders of pictures where those of the label file's folder may be."""
        for base in file.parents[1 : 1 + _LEVELS]:
            labels, *rest = file.parent.relative_to(base).parts
            if not _LABEL_FOLDER.search(labels):
                continue
            for folder in self._subfolders_of(base):
                if folder.name != labels and _PICTURE_FOLDER.search(folder.name):
                    yield folder.joinpath(*rest)

    def _subfolders_of(self, folder: Path) -> list[Path]:
        if folder not in self._subfolders:
            self._subfolders[folder] = sorted(path for path in folder.iterdir() if path.is_dir())
        return self._subfolders[folder]

    def _by_stem(self, folder: Path) -> dict[str, Path]:
        """Pictures of a folder by their stems, and by their full names, which some label files use."""
        if folder not in self._pictures:
            files = folder.iterdir() if folder.is_dir() else ()
            pictures = [file for file in files if file.suffix.lower() in PICTURE_SUFFIXES]
            pictures.sort(key=lambda file: (PICTURE_SUFFIXES.index(file.suffix.lower()), file.name), reverse=True)
            self._pictures[folder] = {file.stem: file for file in pictures} | {file.name: file for file in pictures}
        return self._pictures[folder]


def named_picture(label_file: Path, name: str, folder: Path | None = None) -> Path:
    """Picture that `label_file` calls `name`: below `folder`, by default that of the file, or where tools put it.

    Those are images/ beside the file (CVAT), images/ beside its folder and in that a folder of the subset (COCO of
    CVAT: annotations/person_keypoints_SUBSET.json), and each without the folders of the name, which are often those of
    the labeller's machine. Backslashes separate folders. The first place where none has a picture.
    """
    base = label_file.parent if folder is None else folder
    relative = Path(name.replace("\\", "/"))
    apart = base.parent / "images"
    homes = (base, base / "images", apart, apart / label_file.stem.removeprefix("person_keypoints_"))
    places = [home / path for path in dict.fromkeys((relative, Path(relative.name))) for home in homes]
    # Not Path.is_file, which raises for a name that no system allows.
    return next((place for place in places if os.path.isfile(place)), places[0])  # noqa: PTH113
