"""Collective operations of one training process beside two simulated ones."""

from __future__ import annotations

import atexit
import os
import re

import numpy as np
import pytest
import torch
import torch.distributed as dist
from torch import nn

from lightmark.errors import ConfigError, TrainingError
from lightmark.train.distributed import collectives as ranks
from lightmark.train.distributed.world import World, world

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture
def second_of_three(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Rank 1 of 3 simulated ranks with equal numbers; records its calls."""
    for name, value in {"RANK": "1", "WORLD_SIZE": "3", "LOCAL_RANK": "1", "MASTER_ADDR": "localhost"}.items():
        monkeypatch.setenv(name, value)
    calls: list[str] = []

    def all_reduce(values: torch.Tensor) -> None:
        calls.append("all_reduce")
        values.mul_(3)

    def broadcast(values: list[object], src: int, device: torch.device) -> None:
        calls.append(f"broadcast from {src} by {device}")
        values[0] = ("first", values[0])

    monkeypatch.setattr(dist, "all_reduce", all_reduce)
    monkeypatch.setattr(dist, "broadcast_object_list", broadcast)
    return calls


@pytest.mark.parametrize("missing", ["RANK", "WORLD_SIZE", "MASTER_ADDR"])
def test_a_world_needs_all_of_torchruns_variables(monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    """Without one of torchrun's variables the world size is 1; the local rank defaults to 0."""
    environment = {"RANK": "2", "WORLD_SIZE": "4", "MASTER_ADDR": "there"}
    monkeypatch.setattr(os, "environ", environment)
    assert world() == World(2, 4, 0)
    monkeypatch.setattr(os, "environ", {**environment, "LOCAL_RANK": "1", "HOME": "/"})
    assert world() == World(2, 4, 1)
    monkeypatch.setattr(os, "environ", {name: value for name, value in environment.items() if name != missing})
    assert world() == World(0, 1, 0)


def test_sums_and_means_are_over_all(second_of_three: list[str]) -> None:
    """`all_reduce` sums in place; `all_reduce_mean` keeps the names."""
    values = torch.tensor([1.0, 2.0])
    assert ranks.all_reduce(values) is values
    assert values.tolist() == [3.0, 6.0]
    parts = ranks.all_reduce_mean({"loss": torch.tensor(0.5), "main": torch.tensor(0.25)})
    assert {name: float(value) for name, value in parts.items()} == {"loss": 0.5, "main": 0.25}
    assert second_of_three == ["all_reduce"] * 2


def test_shares_are_put_together_again(second_of_three: list[str]) -> None:
    """`gather` sums arrays that are zero in the places of other ranks."""
    assert ranks.gather(np.array([4.0, 5.0]), 7).tolist() == [0, 12, 0, 0, 15, 0, 0]


def test_broadcast_sends_the_value_of_rank_0(second_of_three: list[str]) -> None:
    """`broadcast` sends rank 0's object through main memory; `barrier` reduces one number."""
    assert ranks.broadcast("mine") == ("first", "mine")
    ranks.barrier()
    assert second_of_three == ["broadcast from 0 by cpu", "all_reduce"]


def test_the_loss_of_another_rank_is_an_error(second_of_three: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The loss of another rank raises an error with advice and the first line of torch's."""

    def closed(*values: object, **options: object) -> None:
        raise RuntimeError("Connection closed by peer\nat line 5")

    monkeypatch.setattr(dist, "all_reduce", closed)
    monkeypatch.setattr(dist, "broadcast_object_list", closed)
    message = r"^process 1 of 3: another process .* goes on from the state saved last \(Connection closed by peer\)$"
    for call in (ranks.barrier, lambda: ranks.broadcast(1)):
        with pytest.raises(TrainingError, match=message):
            call()


def test_batch_norms_are_synchronised_on_gpus_alone(second_of_three: list[str]) -> None:
    """SyncBatchNorm is used on GPUs only; torch has none for CPUs."""
    assert isinstance(ranks.with_sync_batch_norm(nn.BatchNorm2d(1), "cuda:1"), nn.SyncBatchNorm)
    network = nn.BatchNorm2d(1)
    assert ranks.with_sync_batch_norm(network, "cpu") is network


@pytest.mark.parametrize(("device", "ids"), [("cpu", None), ("cuda:1", [torch.device("cuda:1")])])
def test_a_network_is_wrapped_on_its_device(
    second_of_three: list[str], monkeypatch: pytest.MonkeyPatch, device: str, ids: list[torch.device] | None
) -> None:
    """DistributedDataParallel gets the GPU's number, on a CPU none."""
    monkeypatch.setattr(ranks, "DistributedDataParallel", lambda network, device_ids: (network, device_ids))
    network = nn.Linear(1, 1)
    assert ranks.data_parallel(network, device) == (network, ids)


def test_errors_of_this_process_are_raised_unchanged(
    second_of_three: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Out of memory, and errors of a single process, are raised unchanged."""
    with pytest.raises(torch.OutOfMemoryError), ranks.collective_errors():
        raise torch.OutOfMemoryError("full")
    monkeypatch.delenv("WORLD_SIZE")
    with pytest.raises(RuntimeError, match="mine"), ranks.collective_errors():
        raise RuntimeError("mine")


def test_a_single_rank_communicates_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """With one rank all operations return their input."""
    monkeypatch.setattr(dist, "all_reduce", None)
    monkeypatch.setattr(dist, "broadcast_object_list", None)
    parts = {"loss": torch.tensor(0.5)}
    assert ranks.all_reduce_mean(parts) is parts
    assert ranks.broadcast("mine") == "mine"
    assert ranks.all_reduce(torch.ones(1)).tolist() == [1.0]
    assert ranks.gather(np.array([1.0, 2.0]), 2).tolist() == [1.0, 2.0]
    network = nn.BatchNorm2d(1)
    assert ranks.data_parallel(network, "cpu") is network
    assert ranks.with_sync_batch_norm(network, "cuda:0") is network
    ranks.barrier()
    ranks.require_single_process("the demo")


@pytest.mark.parametrize(
    ("asked", "given", "backend"), [("cpu", "cpu", "gloo"), ("cuda", "cuda:1", "cpu:gloo,cuda:nccl"),
                                    ("cuda:1", "cuda:1", "cpu:gloo,cuda:nccl")]
)  # fmt: skip
def test_a_process_joins_once_with_the_gpu_of_its_number(
    second_of_three: list[str], monkeypatch: pytest.MonkeyPatch, asked: str, given: str, backend: str
) -> None:
    """The process group is initialised once, with a timeout of an hour, and destroyed at exit."""
    joined: list[tuple[object, ...]] = []
    chosen: list[int] = []
    left: list[object] = []
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    monkeypatch.setattr(atexit, "register", left.append)
    monkeypatch.setattr(dist, "is_initialized", lambda: bool(joined))
    monkeypatch.setattr(dist, "init_process_group", lambda kind, timeout: joined.append((kind, timeout)))
    assert [ranks.init_distributed(asked), ranks.init_distributed(asked)] == [given, given]
    assert joined == [(backend, ranks.TIMEOUT)]
    assert left == [dist.destroy_process_group]
    assert chosen == ([] if asked == "cpu" else [1, 1])


def test_a_named_gpu_becomes_the_current_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of several GPUs, the one that was asked for is torch's current device."""
    chosen: list[int] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    devices = ["cuda:1", "cuda", "cpu"]
    assert [ranks.init_distributed(device) for device in devices] == devices
    assert chosen == [1, 0]


def test_devices_that_are_not_there_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing GPU or an unknown device raises an error."""
    monkeypatch.setattr(torch.cuda, "set_device", None)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    missing = f"device cuda: torch {torch.__version__} finds no GPU; use --device cpu"
    with pytest.raises(ConfigError, match=f"^{re.escape(missing)}$"):
        ranks.init_distributed("cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    for device in ("cuda:2", "cuda:7"):
        with pytest.raises(ConfigError, match=f"^device {device}: 2 GPUs here, counted from cuda:0$"):
            ranks.init_distributed(device)
    monkeypatch.setattr(torch.cuda, "set_device", lambda index: None)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert ranks.init_distributed("cuda") == "cuda"
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(ConfigError, match=r"^device cuda: 0 GPUs here"):
        ranks.init_distributed("cuda")
    with pytest.raises(ConfigError, match=r"^device 'gpu': (?s:.*); cpu, cuda or cuda:1 say$"):
        ranks.init_distributed("gpu")


@pytest.mark.parametrize("size", [2, 3])
def test_several_processes_are_several(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    """A single-process command raises an error from two ranks on, with advice."""
    monkeypatch.setattr(ranks, "world", lambda: World(1, size, 1))
    with pytest.raises(ConfigError) as caught:
        ranks.require_single_process("the demo")
    assert str(caught.value) == (f"the demo runs in one process, torchrun started {size}; start it without torchrun")
    assert list(range(2 * size))[ranks.batch_slice(2 * size)] == [2, 3]
    with pytest.raises(ConfigError) as caught:
        ranks.batch_slice(size + 1)
    assert str(caught.value).startswith(f"a batch of {size + 1} cannot be cut evenly for {size} processes; start 1, ")
    assert str(caught.value).endswith(f"{size + 1}")


@pytest.mark.usefixtures("second_of_three")
def test_gpus_of_other_processes_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each rank uses the GPU of its local rank; another one, or too few, raises an error."""
    chosen: list[int] = []
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(dist, "is_initialized", lambda: True)
    for device in ("cuda:0", "cuda:2", "mps"):
        with pytest.raises(ConfigError) as caught:
            ranks.init_distributed(device)
        assert str(caught.value) == (
            f"device {device}: 3 processes take cpu, or cuda, where each has the GPU of its own number"
        )
    for device in ("cuda", "cuda:1"):
        with pytest.raises(ConfigError) as caught:
            ranks.init_distributed(device)
        assert str(caught.value) == (
            "process 1 of this machine finds no GPU of its own, there are 1; start at most as many processes as GPUs"
        )
    assert chosen == []
