"""Splitting samples into training and validation without tearing photographs apart."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from lightmark.data.sample import Sample
from lightmark.errors import DataError


def split_by_photo(samples: Sequence[Sample], share: float, seed: int) -> tuple[list[Sample], list[Sample]]:
    """Training and validation samples, about `share` of the photographs in validation, every photograph whole.

    A photograph's side depends on `seed` and its key alone: adding samples moves no other. Raises `DataError` where
    `share` is not between 0 and 1 or a side would be empty.
    """
    if not 0 < share < 1:
        raise DataError(f"split_by_photo: share {share}; wanted a share between 0 and 1, 0.1 say")
    training: list[Sample] = []
    validation: list[Sample] = []
    for sample in samples:
        (validation if _position(sample.photo, seed) < share else training).append(sample)
    if not training or not validation:
        photos = len({sample.photo for sample in samples})
        raise DataError(
            f"split_by_photo: {photos} photographs at share {share}, seed {seed} give {len(training)} training and "
            f"{len(validation)} validation faces; give more photographs, another share or another seed"
        )
    return training, validation


def _position(photo: str, seed: int) -> float:
    """Place of `photo` in [0, 1), the same on every machine."""
    digest = hashlib.sha256(f"{seed}:{photo}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64
