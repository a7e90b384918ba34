"""Collectives between the processes that torchrun starts for one training; a single process calls none."""

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

# Dead processes are noticed at once; this is for those that hang. The longest that a live one lets others wait is one
# copy of the teachers' points: 10 ms a face and teacher would be 180,000 faces an hour.
TIMEOUT = timedelta(hours=1)


def join(device: str) -> str:
    """Join the other processes, if there are any, and return the device that this one computes on.

    That is `device`, and with several processes on GPUs the one of this process's number on its machine. May be called
    again. Raises `ConfigError` for a device that is not there or cannot be shared out.
    """
    here = world()
    if here.size == 1:
        return _current(device)
    device = _own_device(device, here)
    if not dist.is_initialized():
        with collective():
            # gloo carries what lies in main memory, such as validation errors, on machines with GPUs too.
            dist.init_process_group("gloo" if device == "cpu" else "cpu:gloo,cuda:nccl", timeout=TIMEOUT)
        atexit.register(dist.destroy_process_group)
    return device


def _current(device: str) -> str:
    """`device`, made torch's current one where it is a GPU, so that nothing is set up on the first GPU besides."""
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


def require_alone(what: str) -> None:
    """Raise `ConfigError` where torchrun started several processes of `what`, which runs in one."""
    if world().size > 1:
        raise ConfigError(f"{what} runs in one process, torchrun started {world().size}; start it without torchrun")


def slice_of(batch: int) -> slice:
    """This process's part of `batch` samples; raises `ConfigError` where they cannot be cut evenly."""
    rank, size, _ = world()
    if batch % size:
        fitting = ", ".join(str(count) for count in range(1, batch + 1) if batch % count == 0)
        raise ConfigError(f"a batch of {batch} cannot be cut evenly for {size} processes; start {fitting}")
    share = batch // size
    return slice(rank * share, (rank + 1) * share)


def mine(items: Sequence[Item]) -> Sequence[Item]:
    """This process's share of `items`: every world-th one; `whole` puts shares together again."""
    rank, size, _ = world()
    return items[rank::size]


def whole(share: Array, count: int) -> Array:
    """The values (count,) of all items, of which `share` holds those of `mine`."""
    rank, size, _ = world()
    values = np.zeros(count)
    values[rank::size] = share
    total(torch.from_numpy(values))  # zeros add nothing
    return values


def total(values: Tensor) -> Tensor:
    """Sum of `values` over the processes, in place."""
    if world().size > 1:
        with collective():
            dist.all_reduce(values)
    return values


def mean(parts: dict[str, Tensor]) -> dict[str, Tensor]:
    """Mean over the processes of each named number."""
    if world().size == 1:
        return parts
    return dict(zip(parts, total(torch.stack(list(parts.values()))) / world().size, strict=True))


def data_parallel(network: nn.Module, device: str) -> nn.Module:
    """`network` as its training calls it: within DistributedDataParallel where there are several processes.

    Its backward pass makes every gradient the mean over the processes. Batch norm sees this process's slice on CPUs,
    where torch has no synchronised one; on GPUs `synchronised` comes before. Buffers are the first process's.
    """
    if world().size == 1:
        return network
    with collective():
        return DistributedDataParallel(network, device_ids=None if device == "cpu" else [torch.device(device)])


def synchronised(network: Net, device: str) -> Net:
    """`network` whose batch norms use the whole batch's statistics, where there are several processes on GPUs."""
    if world().size == 1 or device == "cpu":
        return network
    converted: Net = nn.SyncBatchNorm.convert_sync_batchnorm(network)  # type: ignore[no-untyped-call]  # torch's
    return converted


def from_first(value: Item) -> Item:
    """The first process's `value`, in every process."""
    if world().size == 1:
        return value
    values = [value]
    with collective():
        dist.broadcast_object_list(values, src=0, device=torch.device("cpu"))
    return values[0]


def meet() -> None:
    """Wait until every process has come here."""
    total(torch.zeros(1))


@contextmanager
def collective() -> Iterator[None]:
    """What all processes do at once; the end of another one becomes a `TrainingError`."""
    try:
        yield
    except RuntimeError as error:
        rank, size, _ = world()
        if size == 1 or isinstance(error, torch.OutOfMemoryError):
            raise
        raise TrainingError(
            f"process {rank} of {size}: another process of this training has ended or does not answer; start the same "
            f"command again, it goes on from the state saved last ({str(error).partition(chr(10))[0]})"
        ) from error
