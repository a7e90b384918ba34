"""Workers: a bounded number of places, each free again only when its work has ended."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

import pytest

from lightmark.serve.workers import BusyError, Workers


def test_work_runs_on_a_thread_of_its_own() -> None:
    """Its result comes back, and its place is free again."""
    workers = Workers(1, 0)

    async def ask() -> str:
        with workers.place() as place:
            assert workers.busy
            return await place.run(lambda: threading.current_thread().name)

    assert asyncio.run(ask()).startswith("landmarks")
    assert not workers.busy


def test_an_error_of_the_work_comes_back() -> None:
    """An error of the task is raised, and its place is released."""
    workers = Workers(1, 0)

    async def ask() -> None:
        with workers.place() as place:
            await place.run(lambda: 1 // 0)

    with pytest.raises(ZeroDivisionError):
        asyncio.run(ask())
    assert not workers.busy


def test_no_more_places_than_workers_and_queue() -> None:
    """The one after that is refused at once; a place that was not used is free again."""
    workers = Workers(1, 1)
    with workers.place(), workers.place(), pytest.raises(BusyError), workers.place():
        pass
    with workers.place(), workers.place():
        assert workers.busy
    assert not workers.busy


def test_abandoned_work_occupies_its_worker_until_it_ends(wait_until: Callable[[Callable[[], bool]], None]) -> None:
    """A thread cannot be stopped; work that had not begun never does."""
    workers, go, begun = Workers(1, 1), threading.Event(), []

    def work(name: str) -> None:
        begun.append(name)
        go.wait(10)

    async def ask(name: str) -> None:
        with workers.place() as place:
            await place.run(lambda: work(name))

    async def give_up() -> None:
        asked = [asyncio.create_task(ask(name)) for name in ("first", "second")]
        while not begun:
            await asyncio.sleep(0.005)
        for one in asked:
            one.cancel()
        await asyncio.gather(*asked, return_exceptions=True)

    asyncio.run(give_up())
    with workers.place():
        assert workers.busy
        with pytest.raises(BusyError), workers.place():
            pass
    go.set()
    wait_until(lambda: not workers.busy)
    assert begun == ["first"]
