"""Hashes of training data: labels, boxes and the bytes of pictures."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from lightmark.data.check.inspection import inspect_files, inspect_pictures
from lightmark.data.sample import Sample

DIGITS = 16  # hexadecimal, 64 bits: a collision has a chance of 2^-64


def fingerprint_of_faces(samples: Sequence[Sample]) -> dict[str, object]:
    """Number of faces and hashes of their labels, boxes and pictures, in order; names and folders are ignored.

    Raises `ImageError` naming the first picture that is missing, cut or no picture.
    """
    return {
        "number": len(samples),
        "labels": digest(_label_bytes(samples)),
        "boxes": digest(np.asarray(sample.box, dtype="<f8").tobytes() for sample in samples),
        "pictures": digest(facts.key.encode() for facts in inspect_pictures(samples)),
    }


def fingerprint_of_pictures(paths: Sequence[Path]) -> dict[str, object]:
    """Number of picture files and a hash of their bytes, in order; raises as `fingerprint_of_faces` does."""
    return {"number": len(paths), "pictures": digest(facts.key.encode() for facts in inspect_files(paths))}


def digest(parts: Iterable[bytes]) -> str:
    """Hash of `parts`, each with its length, so that other boundaries give another hash."""
    hasher = hashlib.sha256()
    for part in parts:
        hasher.update(len(part).to_bytes(8, "little"))
        hasher.update(part)
    return hasher.hexdigest()[:DIGITS]


def _label_bytes(samples: Sequence[Sample]) -> Iterator[bytes]:
    for sample in samples:
        yield f"{sample.schema.mirror} {sample.schema.normaliser}".encode()
        missing = np.isnan(sample.points)  # made uniform: the bits of NaN differ between machines
        yield np.where(missing, np.nan, sample.points).astype("<f8").tobytes()
