"""Engines that run a job's chunks: one process, or Ray on this machine or a cluster.

With Ray each chunk is one task that writes its own part and gives back four numbers. `ray.wait` keeps as many tasks in
flight as there are workers, so that neither pictures nor results gather anywhere. Ray Data would stream rows through
its object store and choose the blocks that become files itself: exactly one part a chunk, by which a killed run goes
on, would have to be forced upon it. A task that dies with its worker is started again by Ray; done twice, it is still
one part.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any

from lightmark.annotate.chunk import Done, annotate_chunk
from lightmark.annotate.job import Job
from lightmark.errors import ConfigError, DataError
from lightmark.extras import require_extra

OBJECT_STORE = 100 << 20  # bytes, near the least that Ray takes: names and four numbers are all that it holds
RETRIES = 3  # of a chunk whose worker died


def run_local(job: Job) -> Iterator[Done]:
    """Work on all chunks that are still to do in this process, one after the other."""
    for chunk in job.todo():
        yield annotate_chunk(chunk, job.settings, job.out)


def run_ray(job: Job, workers: int | None = None, address: str | None = None) -> Iterator[Done]:
    """Work on all chunks that are still to do with Ray, `workers` at a time, each on `settings.threads` processors.

    Without `address` Ray is started for this job alone, without dashboard and telemetry, and stopped again; with one,
    the cluster there is used, whose machines must see source and output under the same paths. None for `workers` is as
    many as processors allow. A Ray that the caller has started is used as it is. Raises what a chunk raised,
    `ConfigError` where no cluster answers, `DataError` for a chunk whose worker died again and again.
    """
    require_extra(("ray",), "ray", "--engine ray")
    todo = job.todo()
    if not todo:
        return
    workers = workers if workers is not None or address is not None else _processors(job.settings.threads)
    with _ray(workers, job.settings.threads, address) as ray:
        threads = job.settings.threads
        limit = workers or max(1, int(ray.cluster_resources().get("CPU", 1)) // threads)
        task = ray.remote(annotate_chunk).options(num_cpus=threads, max_retries=RETRIES)
        waiting = iter(todo)
        running = {task.remote(chunk, job.settings, job.out): chunk for chunk in islice(waiting, limit)}
        while running:
            (ready, *_), _ = ray.wait(list(running), num_returns=1)
            chunk = running.pop(ready)
            yield _result(ray, ready, chunk.number)
            running |= {task.remote(chunk, job.settings, job.out): chunk for chunk in islice(waiting, 1)}


def _result(ray: Any, reference: Any, number: int) -> Done:
    try:
        done: Done = ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        raise error.cause from None
    except ray.exceptions.RayError as error:
        raise DataError(
            f"chunk {number}: its worker died {RETRIES + 1} times: {type(error).__name__}; is there memory enough? "
            "Parts that are done stay, the same command goes on"
        ) from error
    return done


@contextmanager
def _ray(workers: int | None, threads: int, address: str | None) -> Iterator[Any]:
    """The module, connected; what was started here is stopped at the end."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    import ray

    if ray.is_initialized():
        yield ray
        return
    quiet = {"log_to_driver": False, "logging_level": "error", "include_dashboard": False}
    try:
        if address is None:
            ray.init("local", num_cpus=(workers or 1) * threads, object_store_memory=OBJECT_STORE, **quiet)
        else:
            ray.init(address, log_to_driver=False, logging_level="error")
    except Exception as error:  # Ray raises bare ones, too, where starting takes too long
        ray.shutdown()
        what = "Ray does not start" if address is None else f"no Ray cluster answers at {address}"
        raise ConfigError(f"{what}: {error}; the same command tries again, --engine local does without") from error
    try:
        yield ray
    finally:
        ray.shutdown()


def _processors(threads: int) -> int:
    """Workers of that many threads that this process's processors allow."""
    # macOS and Windows know no affinity.
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, count // threads)
