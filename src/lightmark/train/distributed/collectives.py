"""Collective operations over torchrun's ranks: barrier, broadcast, all-reduce, shard, gather.

Every rank has to call them in the same order. In a single process they return at once.
"""

from __future__ import annotations

import atexit
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import TypeVar

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from lightmark.errors import ConfigError, TrainingError
from lightmark.geometry import Array
from lightmark.train.distributed.world import World, world

Item = TypeVar("Item")
Net = TypeVar("Net", bound=nn.Module)

# Only for ranks that hang: dead ones close their connections and are noticed at once. The longest wait for a live rank
# is that for one copy of the teachers' points: at 10 ms a face and teacher, an hour is 180,000 faces.
TIMEOUT = timedelta(hours=1)


def init_distributed(device: str) -> str:
    """Initialise torch.distributed, if there are several ranks, and return this rank's device.

    That is `device`, or with several ranks on GPUs the GPU of this process's local rank. Calling it again is harmless.
    Raises `ConfigError` for a device that does not exist or that ranks cannot share.
    """
    here = world()
    if here.size == 1:
        return _current(device)
    device = _own_device(device, here)
    if not dist.is_initialized():
        with collective_errors():
            # gloo for tensors in main memory, such as validation errors, on machines with GPUs too.
            dist.init_process_group("gloo" if device == "cpu" else "cpu:gloo,cuda:nccl", timeout=TIMEOUT)
        atexit.register(dist.destroy_process_group)
    return device


def _current(device: str) -> str:
    """`device`, set as torch's current GPU if it is one; else torch would also allocate on GPU 0."""
    try:
        kind = torch.device(device)
    except RuntimeError as error:
        raise ConfigError(f"device {device!r}: {error}; cpu, cuda or cuda:1 say") from error
    if kind.type == "cuda":
        if not torch.cuda.is_available():
            raise ConfigError(f"device {device}: torch {torch.__version__} finds no GPU; use --device cpu")
        if (kind.index or 0) >= torch.cuda.device_count():
            raise ConfigError(f"device {device}: {torch.cuda.device_count()} GPUs here, counted from cuda:0")
        torch.cuda.set_device(kind.index or 0)
    return device


def _own_device(device: str, here: World) -> str:
    kind = torch.device(device)
    if kind.type == "cpu":
        return "cpu"
    if kind.type != "cuda" or kind.index not in (None, here.local):
        raise ConfigError(
            f"device {device}: {here.size} processes take cpu, or cuda, where each has the GPU of its own number"
        )
    if here.local >= torch.cuda.device_count():
        raise ConfigError(
            f"process {here.local} of this machine finds no GPU of its own, there are {torch.cuda.device_count()}; "
            "start at most as many processes as GPUs"
        )
    torch.cuda.set_device(here.local)
    return f"cuda:{here.local}"


def require_single_process(what: str) -> None:
    """Raise `ConfigError` where torchrun started several ranks of `what`, which supports only one."""
    if world().size > 1:
        raise ConfigError(f"{what} runs in one process, torchrun started {world().size}; start it without torchrun")


def batch_slice(batch: int) -> slice:
    """This rank's slice of a batch of `batch` samples; raises `ConfigError` where the world size does not divide it."""
    rank, size, _ = world()
    if batch % size:
        fitting = ", ".join(str(count) for count in range(1, batch + 1) if batch % count == 0)
        raise ConfigError(f"a batch of {batch} cannot be cut evenly for {size} processes; start {fitting}")
    share = batch // size
    return slice(rank * share, (rank + 1) * share)


def shard(items: Sequence[Item]) -> Sequence[Item]:
    """This rank's shard of `items`: one in world-size, from its rank on; `gather` is the inverse."""
    rank, size, _ = world()
    return items[rank::size]


def gather(part: Array, count: int) -> Array:
    """Values (count,) of all items on every rank, from each rank's values `part` of its `shard`."""
    rank, size, _ = world()
    values = np.zeros(count)
    values[rank::size] = part
    all_reduce(torch.from_numpy(values))  # a sum gathers, since every other rank has zeros in these places
    return values


def all_reduce(values: Tensor) -> Tensor:
    """Sum of `values` over the ranks, in place."""
    if world().size > 1:
        with collective_errors():
            dist.all_reduce(values)
    return values


def all_reduce_mean(parts: dict[str, Tensor]) -> dict[str, Tensor]:
    """Mean over the ranks of each named number."""
    if world().size == 1:
        return parts
    return dict(zip(parts, all_reduce(torch.stack(list(parts.values()))) / world().size, strict=True))


def data_parallel(network: nn.Module, device: str) -> nn.Module:
    """`network` wrapped in DistributedDataParallel where there are several ranks.

    Its backward pass averages the gradients over the ranks. Batch norm uses the statistics of this rank's slice on
    CPUs, where torch has no SyncBatchNorm; on GPUs call `with_sync_batch_norm` before. Buffers are those of rank 0.
    """
    if world().size == 1:
        return network
    with collective_errors():
        return DistributedDataParallel(network, device_ids=None if device == "cpu" else [torch.device(device)])


def with_sync_batch_norm(network: Net, device: str) -> Net:
    """`network` with SyncBatchNorm, statistics of the complete batch, where several ranks run on GPUs."""
    if world().size == 1 or device == "cpu":
        return network
    converted: Net = nn.SyncBatchNorm.convert_sync_batchnorm(network)  # type: ignore[no-untyped-call]  # torch's
    return converted


def broadcast(value: Item) -> Item:
    """`value` of rank 0 on every rank; pickled, so any object will do."""
    if world().size == 1:
        return value
    values = [value]
    with collective_errors():
        dist.broadcast_object_list(values, src=0, device=torch.device("cpu"))
    return values[0]


def barrier() -> None:
    """Wait until every rank has called this."""
    all_reduce(torch.zeros(1))


@contextmanager
def collective_errors() -> Iterator[None]:
    """Context of a collective operation: the loss of another rank is raised as `TrainingError`."""
    try:
        yield
    except RuntimeError as error:
        rank, size, _ = world()
        if size == 1 or isinstance(error, torch.OutOfMemoryError):
            raise
        raise TrainingError(
            f"process {rank} of {size}: another process of this training has ended or does not respond; start the same "
            f"command again, it goes on from the state saved last ({str(error).partition(chr(10))[0]})"
        ) from error
