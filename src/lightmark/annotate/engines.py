"""Engines that process the chunks of a job: one process, or Ray on this machine or a cluster.

With Ray each chunk is a task that writes its own part and returns four numbers. `ray.wait` limits the tasks in flight
to the number of workers, so that neither pictures nor results accumulate. Ray Data is not used: it streams rows through
its object store and chooses the files' blocks itself, while resuming needs exactly one part per chunk. Ray restarts a
task whose worker died; processing a chunk twice still gives one part.
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

OBJECT_STORE = 100 << 20  # bytes, near Ray's minimum: it only holds names and four numbers per chunk
RETRIES = 3  # of a chunk whose worker died


def run_local(job: Job) -> Iterator[Done]:
    """Process the remaining chunks of a job in this process, one after another."""
    for chunk in job.todo():
        yield annotate_chunk(chunk, job.settings, job.out)


def run_ray(job: Job, workers: int | None = None, address: str | None = None) -> Iterator[Done]:
    """Process the remaining chunks of a job with Ray, `workers` at a time, each on `settings.threads` processors.

    Without `address` Ray is started for this job, without dashboard and telemetry, and stopped again. With an address
    that cluster is used; its machines must have source and output under the same paths. `workers` None is as many as
    the processors allow. A Ray that the caller has initialised is used as it is. Raises what a chunk raised,
    `ConfigError` if no cluster responds, `DataError` for a chunk whose worker died repeatedly.
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
    """Context with the connected Ray module; a Ray that was started here is stopped at the end."""
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
    except Exception as error:  # of any type: Ray raises a bare Exception if starting takes too long
        ray.shutdown()
        what = "Ray does not start" if address is None else f"no Ray cluster responds at {address}"
        raise ConfigError(f"{what}: {error}; the same command tries again, --engine local does without") from error
    try:
        yield ray
    finally:
        ray.shutdown()


def _processors(threads: int) -> int:
    """Number of workers with `threads` threads that fit the processors of this process."""
    # macOS and Windows have no affinity.
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, count // threads)
