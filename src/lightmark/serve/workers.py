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
    """All places are taken."""


class Place:
    """The right to one turn on a worker."""

    def __init__(self, threads: ThreadPoolExecutor) -> None:
        self._threads = threads
        self.turn: Future[Any] | None = None

    async def run(self, work: Callable[[], T]) -> T:
        """What `work` gives on the first worker that is free; where this is cancelled before, it never begins."""
        turn = self._threads.submit(work)
        self.turn = turn
        return await asyncio.wrap_future(turn)


class Workers:
    """`count` threads; as many pieces of work run at once, and `queue` more may wait for them."""

    def __init__(self, count: int, queue: int) -> None:
        self._threads = ThreadPoolExecutor(count, thread_name_prefix="landmarks")
        self.size = count + queue
        self._taken = 0
        self._lock = threading.Lock()

    @property
    def busy(self) -> bool:
        """Whether anything waits or runs."""
        return self._taken > 0

    @property
    def full(self) -> bool:
        """Whether all places are taken."""
        return self._taken == self.size

    @contextmanager
    def place(self) -> Iterator[Place]:
        """A place to run one piece of work from; raises `BusyError` where all are taken.

        A thread cannot be stopped: work that its visitor no longer waits for keeps its place until it ends.
        """
        with self._lock:
            if self.full:
                raise BusyError
            self._taken += 1
        place = Place(self._threads)
        try:
            yield place
        finally:
            if place.turn is None:
                self._leave()
            else:
                place.turn.cancel()
                place.turn.add_done_callback(self._leave)

    def close(self) -> None:
        """Begin nothing more; what runs goes on."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _leave(self, _turn: Future[Any] | None = None) -> None:
        with self._lock:
            self._taken -= 1
