"""Landmarks of one chunk of pictures, written to one part file; the same for every engine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2

from lightmark import __version__
from lightmark.annotate.listing import Chunk
from lightmark.annotate.part import bad_row, good_row, part_path, write_part
from lightmark.annotate.reading import Encoded, decode, read_chunk
from lightmark.data.shards.tar import Member
from lightmark.errors import ConfigError, DataError, LightmarkError
from lightmark.files import sha256_of
from lightmark.landmarker import Landmarker
from lightmark.runtime.shipped import DEFAULT_MODEL, model_path, shipped_models
from lightmark.source import MAX_PIXELS


@dataclass(frozen=True)
class Settings:
    """How landmarks are found; see `Landmarker`. `column` holds the pictures in Parquet files.

    All but `threads` decide what is found. `version` is that of the code that lists the pictures.
    """

    model: str = DEFAULT_MODEL
    detector: str = "auto"
    min_confidence: float | None = None
    max_pixels: int = MAX_PIXELS
    column: str = "image"
    threads: int = 1
    version: str = __version__


@dataclass(frozen=True)
class Done:
    """Result of a chunk: numbers of pictures, faces and unreadable pictures."""

    number: int
    pictures: int
    faces: int
    errors: int


def described(settings: Settings) -> dict[str, Any]:
    """All that decides what is found, files by their sha256, for manifest and parts."""
    model = model_path(settings.model)
    detector, _, file = settings.detector.partition(":")
    return {
        "lightmark": settings.version,
        "model": model.name,
        "model_sha256": sha256_of(model),
        "detector": detector,
        "detector_sha256": sha256_of(file) if file else None,
        "min_confidence": settings.min_confidence,
        "max_pixels": settings.max_pixels,
        "image_column": settings.column,
    }


def with_whole_paths(settings: Settings) -> Settings:
    """`settings` with absolute paths of model and detector, for workers in other folders."""
    model = settings.model if settings.model in shipped_models() else str(Path(settings.model).resolve())
    kind, colon, file = settings.detector.partition(":")
    return replace(settings, model=model, detector=kind + colon + (str(Path(file).resolve()) if file else ""))


def annotate_chunk(chunk: Chunk, settings: Settings, out: Path) -> Done:
    """Find the landmarks in all pictures of `chunk` and write its part, whole or not at all.

    One picture is held at a time. One that cannot be read becomes a row with the reason. What was there under the
    part's name is replaced, so that a chunk done twice is one part. Raises `LightmarkError` where the model cannot be
    used, the chunk has changed, or the part cannot be written.
    """
    if settings.version != __version__:
        raise ConfigError(
            f"lightmark {__version__} works here, {settings.version} listed the pictures; install one version on all"
        )
    landmarker = open_landmarker(settings)
    rows = [_row(landmarker, key, encoded, settings) for key, encoded in read_chunk(chunk, settings.column)]
    if len(rows) != chunk.count:
        raise DataError(f"{chunk.place}: {len(rows)} pictures in chunk {chunk.number}, {chunk.count} were listed")
    write_part(part_path(out, chunk.number), rows, {**_described(settings), "schema": landmarker.spec.schema.name})
    errors = sum(row["error"] is not None for row in rows)
    return Done(chunk.number, len(rows), sum(len(row["faces"] or ()) for row in rows), errors)


# Once a process: loading takes longer than ten pictures do.
@lru_cache(maxsize=1)
def open_landmarker(settings: Settings) -> Landmarker:
    """The landmarker of `settings`; raises as `Landmarker` does."""
    cv2.setNumThreads(settings.threads)  # as many as asked for, also where pictures are warped
    return Landmarker(settings.model, settings.detector, settings.threads, min_confidence=settings.min_confidence)


_described = lru_cache(maxsize=1)(described)


def _row(landmarker: Landmarker, key: str, encoded: Encoded, settings: Settings) -> dict[str, Any]:
    try:
        picture = decode(encoded, key, settings.max_pixels)
        height, width = picture.shape[:2]
        return good_row(key, height, width, landmarker.detect(picture))
    except LightmarkError as error:
        return bad_row(key, _reason(str(error), _names(encoded, key)))


def _names(encoded: Encoded, key: str) -> Sequence[str]:
    if isinstance(encoded, Member):
        return key, f"{encoded.file.as_posix()}/{encoded.name}"
    return (key,)


def _reason(sentence: str, names: Sequence[str]) -> str:
    """`sentence` on one line, without the picture's name before it, which the row has."""
    for name in names:
        sentence = sentence.removeprefix(f"{name}: ")
    return " ".join(sentence.split())
