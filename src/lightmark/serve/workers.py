"""Thread pool with a bounded queue for slow requests."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

T = TypeVar("T")


class BusyError(Exception):
    """The queue is full, or the memory budget exhausted."""


class Place:
    """A place in the queue of `Workers`, for one task."""

    def __init__(self, threads: ThreadPoolExecutor) -> None:
        self._threads = threads
        self.future: Future[Any] | None = None

    async def run(self, task: Callable[[], T]) -> T:
        """Result of `task` on the first free worker; it never starts if this is cancelled before."""
        future = self._threads.submit(task)
        self.future = future
        return await asyncio.wrap_future(future)


class Workers:
    """Pool of `count` threads with a bounded queue: up to `queue` further tasks may wait."""

    def __init__(self, count: int, queue: int) -> None:
        self._threads = ThreadPoolExecutor(count, thread_name_prefix="landmarks")
        self.size = count + queue
        self._taken = 0
        self._lock = threading.Lock()

    @property
    def busy(self) -> bool:
        """Whether any task waits or runs."""
        return self._taken > 0

    @property
    def full(self) -> bool:
        """Whether all places are taken."""
        return self._taken == self.size

    @contextmanager
    def place(self) -> Iterator[Place]:
        """Context with a place for one task; raises `BusyError` if all are taken.

        Threads cannot be stopped, so a running task keeps its place until it ends, even if its client has disconnected.
        """
        with self._lock:
            if self.full:
                raise BusyError
            self._taken += 1
        place = Place(self._threads)
        try:
            yield place
        finally:
            if place.future is None:
                self._release()
            else:
                place.future.cancel()
                place.future.add_done_callback(self._release)

    def close(self) -> None:
        """Start no further tasks; running ones continue."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _release(self, _future: Future[Any] | None = None) -> None:
        with self._lock:
            self._taken -= 1
