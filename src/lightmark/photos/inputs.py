"""Input pictures from files, folders, glob patterns and standard input."""

from __future__ import annotations

import glob
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lightmark.data.pictures import PICTURE_SUFFIXES, VIDEO_SUFFIXES, pictures_below

STANDARD_INPUT = "-"


@dataclass(frozen=True)
class Input:
    """A picture to read from `path`, None for standard input.

    `place` is the path of its results in a folder of results: relative to the deepest common folder of all inputs.
    """

    path: Path | None
    place: Path

    @property
    def name(self) -> str:
        """Name of the picture in results: its path as the user wrote it, "-" for standard input."""
        return STANDARD_INPUT if self.path is None else str(self.path)


def find_inputs(words: Sequence[str]) -> tuple[list[Input], list[str]]:
    """Resolve `words` to pictures, in order and without repetitions, and a message for each word without pictures.

    A word is a file, a folder (all pictures in it and below), a pattern such as "a/**/*.jpg", or "-". A missing file is
    also an input; the error comes from reading it.
    """
    inputs: dict[Path | None, Path | None] = {}  # absolute path → path as the user wrote it; None is standard input
    roots, failures = [], []
    for word in words:
        if word == STANDARD_INPUT:
            inputs[None] = None
            continue
        try:
            paths, root = _resolve(word)
        except LookupError as error:
            failures.append(f"{word or repr(word)}: {error.args[0]}")
            continue
        films = [path for path in paths if path.suffix.lower() in VIDEO_SUFFIXES and path.is_file()]
        failures += [f"{film}: is a video; `lightmark track` follows the faces in it" for film in films]
        roots.append(absolute(root))
        for path in paths:
            if path in films:
                continue
            inputs.setdefault(absolute(path), path)
    common = os.path.commonpath(roots) if roots else ""
    return [Input(path, full.relative_to(common) if full else Path("stdin")) for full, path in inputs.items()], failures


def absolute(path: Path) -> Path:
    """Absolute `path` without "..", with links unresolved, so that names are those that the user sees."""
    return Path(os.path.normpath(path.absolute()))


def places_with(suffix: str, inputs: Sequence[Input]) -> list[Path]:
    """Path of each input's result: its place with `suffix` instead of its suffix.

    If two places differ only in the suffix (x.jpg, x.png), `suffix` is appended to the full name.
    """
    stems = [str(one.place.with_suffix("")).casefold() for one in inputs]  # some file systems ignore the case
    several = Counter(stems)
    return [
        one.place.with_suffix(suffix) if several[stem] == 1 else one.place.with_name(one.place.name + suffix)
        for one, stem in zip(inputs, stems, strict=True)
    ]


def _resolve(word: str) -> tuple[list[Path], Path]:
    """Pictures of `word` and the root folder of their places; raises `LookupError` with the reason for none."""
    path = Path(word)
    if not word:
        raise LookupError("an empty name")
    if "://" in word and not path.exists():
        raise LookupError("is a URL, and nothing is fetched here: download the picture, and give its file")
    if path.is_dir():
        return _pictures_in(path), path
    if not glob.has_magic(word) or path.exists():
        return [path], path.parent
    return _matches(word), _before_magic(path)


def _matches(word: str) -> list[Path]:
    """Files that match the pattern `word`, and the pictures in matching folders."""
    matches = [Path(match) for match in sorted(glob.glob(word, recursive=True))]  # noqa: PTH207  # takes absolute ones
    if not matches:
        raise LookupError("no such file, and nothing fits it as a pattern")
    return [path for match in matches for path in (pictures_below(match) if match.is_dir() else [match])]


def _pictures_in(folder: Path) -> list[Path]:
    pictures = pictures_below(folder)
    if not pictures:
        raise LookupError(f"no picture in this folder or below ({', '.join(PICTURE_SUFFIXES)})")
    return pictures


def _before_magic(pattern: Path) -> Path:
    """Folder before the first part of `pattern` with *, ? or [."""
    parts = pattern.parts
    first = next(i for i, part in enumerate(parts) if glob.has_magic(part))
    return Path(*parts[:first])
