"""Train / validation split by source photograph."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence, Set

from lightmark.data.sample import Sample
from lightmark.errors import DataError

SEEDS_TRIED = 1000  # enough for the hardest case: two photographs at a share of 0.06 split with one seed in nine


def split_by_photo(samples: Sequence[Sample], share: float, seed: int) -> tuple[list[Sample], list[Sample]]:
    """Training and validation samples, with about `share` of the photographs in validation.

    A photograph's side depends on `seed` and its key alone, so that adding samples moves no other photograph. Raises
    `DataError` where `share` is not between 0 and 1 or a side would be empty.
    """
    if not 0 < share < 1:
        raise DataError(f"split_by_photo: share {share}; expected a share between 0 and 1, 0.1 say")
    training: list[Sample] = []
    validation: list[Sample] = []
    for sample in samples:
        (validation if _position(sample.photo, seed) < share else training).append(sample)
    if not training or not validation:
        photos = {sample.photo for sample in samples}
        raise DataError(
            f"split_by_photo: {len(photos)} photographs at share {share}, seed {seed} give {len(training)} training "
            f"and {len(validation)} validation faces; give {_advice(photos, share)}"
        )
    return training, validation


def photos_in_order(samples: Sequence[Sample], seed: int) -> list[str]:
    """Photographs of `samples` in a random order that depends on `seed` and their keys alone."""
    return sorted({sample.photo for sample in samples}, key=lambda photo: _position(photo, seed))


def _advice(photos: Set[str], share: float) -> str:
    """Advice in the error text: data or a seed with which the split is possible."""
    if len(photos) < 2:
        return "faces of at least two photographs"
    for seed in range(SEEDS_TRIED):
        if 0 < sum(_position(photo, seed) < share for photo in photos) < len(photos):
            return f"more photographs, or seed {seed}, which leaves some on each side"
    return "more photographs"


def _position(photo: str, seed: int) -> float:
    """Pseudo-random number in [0, 1) of `photo`, the same on every machine."""
    digest = hashlib.sha256(f"{seed}:{photo}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64
