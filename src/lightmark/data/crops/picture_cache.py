"""Decoded pictures in memory: one copy a picture, the least recently used dropped beyond a bound of bytes."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable, Hashable
from pathlib import Path

from lightmark.data.sample import Sample, load_image
from lightmark.image import Picture
from lightmark.source import to_picture

# Holds 300W's 3148 training faces at their usual size (0.3 MB a picture decoded).
LIMIT = 1 << 30
# Workers each hold a cache: together they take at most this share of the machine's memory.
SHARE = 0.25


class PictureCache:
    """RGB pictures (H, W, 3) by the file they come from, at most `limit` bytes of them.

    Faces of one picture share one copy. A picture larger than the limit is handed out and not kept. Every process has a
    cache of its own.
    """

    def __init__(self, limit: int = LIMIT) -> None:
        self.limit = limit
        self.size = 0
        self._pictures: OrderedDict[Hashable, Picture] = OrderedDict()

    def of_sample(self, sample: Sample) -> Picture:
        """Picture of a sample; raises `ImageError` naming it where it cannot be read."""
        if sample.image is not None:
            return sample.image
        return self._get(sample.path if sample.member is None else sample.member, lambda: load_image(sample))

    def of_file(self, path: Path) -> Picture:
        """Picture in a file; raises `ImageError` naming it where it cannot be read."""
        return self._get(path, lambda: to_picture(path))

    def _get(self, key: Hashable, load: Callable[[], Picture]) -> Picture:
        if key in self._pictures:
            self._pictures.move_to_end(key)
            return self._pictures[key]
        picture = load()
        if picture.nbytes <= self.limit:
            self._pictures[key] = picture
            self.size += picture.nbytes
            while self.size > self.limit:
                self.size -= self._pictures.popitem(last=False)[1].nbytes
        return picture


def cache_limit(processes: int) -> int:
    """Bytes that the cache of each of `processes` may hold: `LIMIT`, or its part of `SHARE` of a smaller memory."""
    return min(LIMIT, int(SHARE * _memory() / max(1, processes)))


def _memory() -> int:
    """Bytes of this machine's memory; eight gigabytes where the system does not say."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # Windows has no sysconf
        return 8 << 30
