"""Annotation of one chunk of pictures to one part file, for all engines."""

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
    """Settings of the `Landmarker`; `column` is that of the pictures in Parquet files.

    All but `threads` affect the result. `version` is the release that listed the pictures.
    """

    model: str = DEFAULT_MODEL
    detector: str = "auto"
    min_confidence: float | None = None
    max_pixels: int = MAX_PIXELS
    column: str = "image"
    threads: int = 1
    version: str = __version__
    min_face: float | None = None
    measures: bool = False


@dataclass(frozen=True)
class Done:
    """Result of a chunk: numbers of pictures, faces and unreadable pictures."""

    number: int
    pictures: int
    faces: int
    errors: int


def described(settings: Settings) -> dict[str, Any]:
    """JSON-ready settings that affect the result, files as sha256, for the manifest and the parts."""
    model = model_path(settings.model)
    detector, _, file = settings.detector.partition(":")
    return {
        "lightmark": settings.version,
        "model": model.name,
        "model_sha256": sha256_of(model),
        "detector": detector,
        "detector_sha256": sha256_of(file) if file else None,
        "min_confidence": settings.min_confidence,
        "min_face": settings.min_face,
        "max_pixels": settings.max_pixels,
        "image_column": settings.column,
        # Only with --measures: folders begun by earlier releases go on without it.
        **({"measures": True} if settings.measures else {}),
    }


def with_absolute_paths(settings: Settings) -> Settings:
    """`settings` with absolute paths of model and detector, for workers in other folders."""
    model = settings.model if settings.model in shipped_models() else str(Path(settings.model).resolve())
    kind, colon, file = settings.detector.partition(":")
    return replace(settings, model=model, detector=kind + colon + (str(Path(file).resolve()) if file else ""))


def annotate_chunk(chunk: Chunk, settings: Settings, out: Path) -> Done:
    """Detect the landmarks in all pictures of `chunk` and write its part file atomically.

    One picture is in memory at a time. An unreadable picture becomes a row with the reason. An existing part is
    replaced, so that a chunk may safely be processed twice. Raises `LightmarkError` if the model cannot be used, the
    pictures of the chunk have changed, or the part cannot be written.
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


# Once per process: loading takes longer than ten pictures.
@lru_cache(maxsize=1)
def open_landmarker(settings: Settings) -> Landmarker:
    """The landmarker of `settings`; raises as `Landmarker` does."""
    cv2.setNumThreads(settings.threads)  # OpenCV's warps would otherwise use all processors
    return Landmarker(
        settings.model,
        settings.detector,
        settings.threads,
        min_confidence=settings.min_confidence,
        min_face=settings.min_face,
    )


_described = lru_cache(maxsize=1)(described)


def _row(landmarker: Landmarker, key: str, encoded: Encoded, settings: Settings) -> dict[str, Any]:
    try:
        picture = decode(encoded, key, settings.max_pixels)
        height, width = picture.shape[:2]
        return good_row(key, height, width, landmarker.detect(picture), settings.measures)
    except LightmarkError as error:
        return bad_row(key, _reason(str(error), _names(encoded, key)))


def _names(encoded: Encoded, key: str) -> Sequence[str]:
    if isinstance(encoded, Member):
        return key, f"{encoded.file.as_posix()}/{encoded.name}"
    return (key,)


def _reason(message: str, names: Sequence[str]) -> str:
    """`message` on one line without the prefix of the picture's name, which is in the row."""
    for name in names:
        message = message.removeprefix(f"{name}: ")
    return " ".join(message.split())
