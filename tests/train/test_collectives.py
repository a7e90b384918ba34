"""What the processes of one training say to each other, beside two that are not there."""

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
    """One of three processes whose others hold the same numbers; the calls that it made."""
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
def test_a_world_is_told_by_all_of_torchruns_variables(monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    """Without one of them there is one process; the number on the machine is 0 unless it is environment."""
    environment = {"RANK": "2", "WORLD_SIZE": "4", "MASTER_ADDR": "there"}
    monkeypatch.setattr(os, "environ", environment)
    assert world() == World(2, 4, 0)
    monkeypatch.setattr(os, "environ", {**environment, "LOCAL_RANK": "1", "HOME": "/"})
    assert world() == World(2, 4, 1)
    monkeypatch.setattr(os, "environ", {name: value for name, value in environment.items() if name != missing})
    assert world() == World(0, 1, 0)


def test_sums_and_means_are_over_all(second_of_three: list[str]) -> None:
    """Sums in place; means of named numbers keep their names."""
    values = torch.tensor([1.0, 2.0])
    assert ranks.all_reduce(values) is values
    assert values.tolist() == [3.0, 6.0]
    parts = ranks.all_reduce_mean({"loss": torch.tensor(0.5), "main": torch.tensor(0.25)})
    assert {name: float(value) for name, value in parts.items()} == {"loss": 0.5, "main": 0.25}
    assert second_of_three == ["all_reduce"] * 2


def test_shares_are_put_together_again(second_of_three: list[str]) -> None:
    """The others' places are zeros of this process, to which their values are added."""
    assert ranks.gather(np.array([4.0, 5.0]), 7).tolist() == [0, 12, 0, 0, 15, 0, 0]


def test_the_firsts_value_is_everybodys(second_of_three: list[str]) -> None:
    """Sent by the first process, through main memory; to meet is to add up nothing."""
    assert ranks.broadcast("mine") == ("first", "mine")
    ranks.barrier()
    assert second_of_three == ["broadcast from 0 by cpu", "all_reduce"]


def test_the_end_of_another_process_is_told(second_of_three: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """With what to do, and the first line of what torch says."""

    def closed(*values: object, **options: object) -> None:
        raise RuntimeError("Connection closed by peer\nat line 5")

    monkeypatch.setattr(dist, "all_reduce", closed)
    monkeypatch.setattr(dist, "broadcast_object_list", closed)
    message = r"^process 1 of 3: another process .* goes on from the state saved last \(Connection closed by peer\)$"
    for call in (ranks.barrier, lambda: ranks.broadcast(1)):
        with pytest.raises(TrainingError, match=message):
            call()


def test_batch_norms_are_synchronised_on_gpus_alone(second_of_three: list[str]) -> None:
    """torch has no synchronised one for CPUs."""
    assert isinstance(ranks.with_sync_batch_norm(nn.BatchNorm2d(1), "cuda:1"), nn.SyncBatchNorm)
    network = nn.BatchNorm2d(1)
    assert ranks.with_sync_batch_norm(network, "cpu") is network


@pytest.mark.parametrize(("device", "ids"), [("cpu", None), ("cuda:1", [torch.device("cuda:1")])])
def test_a_network_is_wrapped_on_its_device(
    second_of_three: list[str], monkeypatch: pytest.MonkeyPatch, device: str, ids: list[torch.device] | None
) -> None:
    """By its number on a GPU, without one on the CPU."""
    monkeypatch.setattr(ranks, "DistributedDataParallel", lambda network, device_ids: (network, device_ids))
    network = nn.Linear(1, 1)
    assert ranks.data_parallel(network, device) == (network, ids)


def test_an_error_of_this_process_is_not_told_as_anothers(
    second_of_three: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory that runs out is this one's own; and one alone has nobody else to blame."""
    with pytest.raises(torch.OutOfMemoryError), ranks.collective_errors():
        raise torch.OutOfMemoryError("full")
    monkeypatch.delenv("WORLD_SIZE")
    with pytest.raises(RuntimeError, match="mine"), ranks.collective_errors():
        raise RuntimeError("mine")


def test_alone_nobody_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything is returned as it came."""
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
    """The group waits for an hour, is left at exit, and is not joined twice."""
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
    """A GPU where torch finds none, one beyond the last, and what torch does not know; nothing is made current."""
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
    """From two on; what runs in one refuses them, and says what to do."""
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
    """Each has that of its own number, if there are so many; the GPU may be named where it is that one."""
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
