"""Fingerprints of training runs: all settings and data that decide the result, by name.

A fingerprint is a JSON object whose values are plain values, hashes or objects of the same kind, so that two runs can
be compared and the error can name the difference.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeAlias

from lightmark.data.crops.dataset import TeacherPoints
from lightmark.data.fingerprint import DIGITS, fingerprint_of_faces, fingerprint_of_pictures
from lightmark.errors import CheckpointError, DataError
from lightmark.files import sha256_of
from lightmark.train.config import DetectorRecipe, Recipe
from lightmark.train.faces import Split

Fingerprint: TypeAlias = Mapping[str, Any]

SHOWN = 5  # differences that an error lists


def run_fingerprint(
    recipe: Recipe, split: Split, start: Path | None, teachers: TeacherPoints | None = None
) -> Fingerprint:
    """Fingerprint of a landmark network's training: recipe and seed, faces, start's weights, teachers' points."""
    points = {} if teachers is None else {name: _hash(points.tobytes()) for name, points in vars(teachers).items()}
    start_hash = weights_hash(start)
    return plain({"recipe": asdict(recipe), **_of_split(split), "start": start_hash, "teachers' points": points})


def detector_fingerprint(
    recipe: DetectorRecipe, split: Split, known: Sequence[Path], unknown: Sequence[Path], start: Path | None
) -> Fingerprint:
    """Fingerprint of the face detector's training; `known` backgrounds train, `unknown` ones validate."""
    backgrounds = {"training": fingerprint_of_pictures(known), "validation": fingerprint_of_pictures(unknown)}
    return plain(
        {"recipe": asdict(recipe), **_of_split(split), "backgrounds": backgrounds, "start": weights_hash(start)}
    )


def weights_hash(checkpoint: Path | None) -> str:
    """SHA-256 of a checkpoint's file, "" for none; raises `CheckpointError` where it cannot be read."""
    if checkpoint is None:
        return ""
    try:
        return sha256_of(checkpoint)
    except DataError as error:
        raise CheckpointError(str(error)) from error


def plain(fingerprint: Fingerprint) -> Fingerprint:
    """`fingerprint` after a round trip through JSON (tuples become lists), to compare it with a saved one."""
    loaded: Fingerprint = json.loads(json.dumps(fingerprint))
    return loaded


def differences(before: Fingerprint, now: Fingerprint) -> str:
    """Differences of two fingerprints as text; empty where they are equal.

    >>> differences({"recipe": {"steps": 8}, "start": ""}, {"recipe": {"steps": 9}, "start": ""})
    'recipe: steps (was 8, is 9)'
    """
    changes = list(_differences(before, now))
    more = f" and {len(changes) - SHOWN} more" if len(changes) > SHOWN else ""
    return ", ".join(changes[:SHOWN]) + more


def _differences(before: Fingerprint, now: Fingerprint, where: str = "") -> Iterator[str]:
    for name in dict.fromkeys((*before, *now)):
        old, new = before.get(name), now.get(name)
        if isinstance(old, dict) and isinstance(new, dict):
            yield from _differences(old, new, f"{where}{name}: ")
        elif old != new:
            readable = not (_is_hash(old) or _is_hash(new))
            yield f"{where}{name}" + (f" (was {old!r}, is {new!r})" if readable else "")


def _is_hash(value: object) -> bool:
    return isinstance(value, str) and len(value) >= DIGITS and not set(value) - set("0123456789abcdef")


def _of_split(split: Split) -> dict[str, object]:
    return {
        "training faces": fingerprint_of_faces(split.train),
        "validation faces": fingerprint_of_faces(split.validation),
    }


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:DIGITS]
