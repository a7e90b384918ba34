"""LRU cache of decoded pictures with a limit in bytes."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable, Hashable
from pathlib import Path

from lightmark.data.sample import Sample, load_image
from lightmark.image import Picture
from lightmark.source import to_picture

LIMIT = 1 << 30  # bytes; enough for 300W's 3148 training faces at their usual size (0.3 MB decoded)
SHARE = 0.25  # of the machine's memory, for the caches of all workers together


class PictureCache:
    """Cache of RGB pictures (H, W, 3) by file, of at most `limit` bytes; one per process.

    Faces in one picture share it. A picture larger than the limit is returned but not cached.
    """

    def __init__(self, limit: int = LIMIT) -> None:
        self.limit = limit
        self.size = 0
        self._pictures: OrderedDict[Hashable, Picture] = OrderedDict()

    def of_sample(self, sample: Sample) -> Picture:
        """Picture of a sample; raises `ImageError` naming it if it cannot be read."""
        if sample.image is not None:
            return sample.image
        return self._get(sample.path if sample.member is None else sample.member, lambda: load_image(sample))

    def of_file(self, path: Path) -> Picture:
        """Picture of a file; raises `ImageError` naming it if it cannot be read."""
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
    """Limit in bytes for the cache of each of `processes`: `LIMIT`, or less if `SHARE` of the memory is less."""
    return min(LIMIT, int(SHARE * _memory() / max(1, processes)))


def _memory() -> int:
    """Size of the machine's memory in bytes; 8 GiB if it is unknown."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # Windows has no sysconf
        return 8 << 30
