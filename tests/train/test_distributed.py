"""Two processes train as one does where batch norm is frozen; any number resumes a state; the dead are named."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from lightmark.data.sample import Sample
from lightmark.errors import ConfigError, TrainingError
from lightmark.nets.checkpoint import read_tensors
from lightmark.train.config import Execution, Recipe
from lightmark.train.distributed.collectives import (
    batch_slice,
    collective_errors,
    data_parallel,
    init_distributed,
    require_single_process,
    shard,
    with_sync_batch_norm,
)
from lightmark.train.distributed.world import World, world
from lightmark.train.faces import Split, split_samples
from lightmark.train.loop import train

QUIET = Execution(quiet=True)

STEPS = 24
STAGES = ("tough", "tolerant", "student")
# All in float64: rounding grows tenfold at each of an untrained network's first steps, so that in float32 even two runs
# of one process part when one adds in another order; here what is left of it cannot hide an error.
RUN = """
import sys
from pathlib import Path
import numpy as np
import torch
sys.path.insert(0, {tests!r})
from conftest import blob_faces
import lightmark.nets.checkpoint as checkpoint
from lightmark.nets.network import Architecture
from lightmark.train.config import Execution, Recipe
from lightmark.train.faces import split_samples
from lightmark.train.loop import train

single = checkpoint.normalise_crops
checkpoint.normalise_crops = lambda crops, spec: single(crops, spec).astype(np.float64)
torch.Tensor.float = torch.Tensor.double
torch.set_default_dtype(torch.float64)
torch.set_num_threads(1)
out = Path(sys.argv[1])

# On CPUs each process has batch norm's statistics of its own slice, so they stay as they begin.
torch.nn.BatchNorm2d.train = lambda norm, mode=True: torch.nn.Module.train(norm, False)
recipe = Recipe("shared", Architecture("mobilenetv2", "spatial", width=0.25), 32, "l1", steps={steps},
                batch=8, warmup=4, learning_rate=1e-3, ema=0.9, validation=0.2, validate_every=4, log_every=2)
faces = blob_faces(49)
for face in faces[::3]:
    face.points[2:] = np.nan  # so that the slices of a batch hold different numbers of labelled points
train(recipe, split_samples(faces, recipe), out, execution=Execution(quiet=True))
"""
PATIENT = ("--monitor-interval", "15")  # torchrun leaves the survivors the time to speak first


def environment() -> dict[str, str]:
    """This process's, with the same packages and one thread."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}


def torchrun(*words: str | Path, options: tuple[str, ...] = ()) -> list[str]:
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    return [*launcher, *options, *map(str, words)]


def run(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, check=False, capture_output=True, text=True, env=environment(), timeout=600)


def log_of(out: Path) -> list[dict[str, str]]:
    with (out / "log.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def require_same_run(out: Path, reference: Path) -> None:
    """Losses, validation errors and weights of both runs agree but for the order in which numbers are added."""
    rows, expected = log_of(out), log_of(reference)
    assert [row["step"] for row in rows] == [row["step"] for row in expected]
    for name in ("loss", "learning_rate", "validation_nme"):
        found, given = ([float(row[name]) for row in one if row[name]] for one in (rows, expected))
        assert found == pytest.approx(given, rel=1e-6), name
    ours, theirs = (read_tensors(folder / "model.safetensors")[0] for folder in (out, reference))
    assert ours.keys() == theirs.keys()
    assert all(
        (tensor - theirs[name]).abs().max() <= 1e-5 * theirs[name].abs().max() + 1e-6 for name, tensor in ours.items()
    )


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("script") / "run.py"
    path.write_text(RUN.format(tests=str(Path(__file__).parent), steps=STEPS))
    return path


@pytest.fixture(scope="module")
def alone(script: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the run of one process."""
    out = tmp_path_factory.mktemp("alone") / "run"
    done = run([sys.executable, str(script), str(out)])
    assert done.returncode == 0, done.stderr
    return out


@pytest.fixture(scope="module")
def together(script: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the run of two processes."""
    out = tmp_path_factory.mktemp("together") / "run"
    done = run(torchrun(script, out))
    assert done.returncode == 0, done.stderr
    return out


def killed(script: Path, out: Path) -> tuple[int, str]:
    """Start the run in two processes, SIGKILL the second after some progress, and return status and standard error."""
    command = torchrun(script, out, options=PATIENT)
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment())
    deadline = time.monotonic() + 300
    while not (out / "state.safetensors").exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    assert process.poll() is None, "the run ended before it could be killed"
    os.kill(worker_of(process.pid, rank=1), signal.SIGKILL)
    _, printed = process.communicate(timeout=300)
    return process.returncode, printed


def worker_of(launcher: int, rank: int) -> int:
    """Process id of the launcher's worker, identified by its environment."""
    children = Path(f"/proc/{launcher}/task/{launcher}/children").read_text().split()
    return next(int(child) for child in children if f"\0RANK={rank}\0".encode() in environment_of(child))


def environment_of(process: str) -> bytes:
    return b"\0" + Path(f"/proc/{process}/environ").read_bytes()


def test_two_processes_train_as_one_does(together: Path, alone: Path) -> None:
    """The same losses, weights and averaged weights, where slices hold different numbers of labelled points."""
    require_same_run(together, alone)
    results = [json.loads((folder / "result.json").read_text()) for folder in (together, alone)]
    assert [result["processes"] for result in results] == [2, 1]
    assert results[0]["fingerprint"] == results[1]["fingerprint"]


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="finds the worker to kill through Linux's /proc")
def test_a_killed_process_ends_the_run_and_any_number_goes_on(tmp_path: Path, script: Path, alone: Path) -> None:
    """The error names the ended process and the next step; one or two processes then resume the same training curve."""
    status, printed = killed(script, tmp_path / "two")
    assert status != 0
    assert "SIGKILL" in printed
    assert "process 0 of 2: another process of this training has ended or does not respond; start the same" in printed
    assert (tmp_path / "two/state.safetensors").exists()
    assert not (tmp_path / "two/result.json").exists()
    shutil.copytree(tmp_path / "two", tmp_path / "one")
    for command, out in ((torchrun(script), "two"), ([sys.executable, str(script)], "one")):
        done = run([*command, str(tmp_path / out)])
        assert done.returncode == 0, done.stderr
        require_same_run(tmp_path / out, alone)


def test_the_command_distils_in_two_processes(tmp_path: Path) -> None:
    """`torchrun -m lightmark distill` runs every stage, shares the teachers' points out, and speaks once."""
    rng = np.random.default_rng(0)
    (tmp_path / "faces").mkdir()
    for index in range(40):
        Image.fromarray(rng.integers(0, 255, (40, 40, 3), dtype=np.uint8)).save(tmp_path / f"faces/{index}.png")
        points = np.array([[12, 15], [28, 15], [20, 22], [14, 30], [26, 30]]) + rng.normal(0, 1, (5, 2))
        rows = [f"{x:.2f} {y:.2f}" for x, y in points]
        (tmp_path / f"faces/{index}.pts").write_text("\n".join(["version: 1", "n_points: 5", "{", *rows, "}"]))
    schema = {"name": "five", "mirror": [1, 0, 2, 4, 3], "normaliser": [0, 1]}
    (tmp_path / "five.json").write_text(json.dumps(schema))
    options = ["--recipe", "demo64", "--steps", "1", "--schema", tmp_path / "five.json"]
    where = ["--data", tmp_path / "faces", "--out", tmp_path / "run"]
    done = run(torchrun("-m", "lightmark", "distill", *options, *where))
    assert done.returncode == 0, done.stderr
    assert [line.split()[0] for line in done.stdout.splitlines() if "safetensors" in line] == list(STAGES)
    assert done.stderr.count("40 faces to train on") == 1
    assert all((tmp_path / "run" / stage / "result.json").exists() for stage in STAGES)
    assert len(list((tmp_path / "run/teacher-points").glob("*/copy-*.npz"))) == 2 * 4


@pytest.fixture
def second_of_three(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment of one of three processes, whose others are not there."""
    for name, value in {"RANK": "1", "WORLD_SIZE": "3", "LOCAL_RANK": "1", "MASTER_ADDR": "localhost"}.items():
        monkeypatch.setenv(name, value)


def test_without_torchrun_there_is_one_process() -> None:
    """No environment, no group: everything is this process's, and networks stay as they are."""
    assert world() == World(0, 1, 0)
    assert init_distributed("cpu") == "cpu"
    assert list(shard(range(5))) == [0, 1, 2, 3, 4]
    network = nn.BatchNorm2d(2)
    assert data_parallel(with_sync_batch_norm(network, "cuda"), "cuda") is network


@pytest.mark.usefixtures("second_of_three")
def test_every_sample_has_one_process() -> None:
    """A batch is sliced in order, faces are assigned round-robin."""
    assert batch_slice(12) == slice(4, 8)
    assert list(shard(range(7))) == [1, 4]


@pytest.mark.usefixtures("second_of_three")
def test_a_batch_that_cannot_be_cut_is_refused() -> None:
    """The message names the numbers of processes that fit."""
    with pytest.raises(ConfigError, match="a batch of 8 cannot be cut evenly for 3 processes; start 1, 2, 4, 8"):
        batch_slice(8)


def test_too_few_validation_faces_are_refused(
    tmp_path: Path, faces: list[Sample], recipe: Recipe, monkeypatch: pytest.MonkeyPatch, second_of_three: None
) -> None:
    """Each process needs a face to judge by."""
    monkeypatch.setattr("lightmark.train.loop.init_distributed", lambda device: device)
    monkeypatch.setattr("lightmark.train.loop.broadcast", lambda value: value)
    with pytest.raises(ConfigError, match="tiny: 2 validation faces for 3 processes, each needs one; start fewer"):
        train(replace(recipe, batch=6), Split(faces[2:], faces[:2]), tmp_path, execution=QUIET)


def test_processes_with_other_faces_are_refused(
    tmp_path: Path, faces: list[Sample], recipe: Recipe, monkeypatch: pytest.MonkeyPatch, second_of_three: None
) -> None:
    """A machine with another data set raises an error before anything is written."""
    monkeypatch.setattr("lightmark.train.loop.init_distributed", lambda device: device)
    monkeypatch.setattr("lightmark.train.loop.broadcast", lambda value: "the first one's")
    with pytest.raises(ConfigError, match="process 1 of 3 has another recipe or other faces than process 0"):
        train(recipe, split_samples(faces, recipe), tmp_path / "run", execution=QUIET)
    assert not (tmp_path / "run").exists()


@pytest.mark.usefixtures("second_of_three")
def test_devices_that_cannot_be_shared_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process's GPU, a kind without a way to talk, and more processes than GPUs."""
    for device in ("cuda:0", "mps"):
        with pytest.raises(ConfigError, match=f"device {device}: 3 processes take cpu, or cuda"):
            init_distributed(device)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(ConfigError, match="finds no GPU of its own, there are 1; start at most as many"):
        init_distributed("cuda")


@pytest.mark.usefixtures("second_of_three")
def test_single_process_commands_refuse_several_processes() -> None:
    """Commands that write from one process refuse several."""
    with pytest.raises(ConfigError, match="the demo runs in one process, torchrun started 3; start it without"):
        require_single_process("the demo")


@pytest.mark.usefixtures("second_of_three")
def test_batch_norm_is_synchronised_on_gpus_alone() -> None:
    """By torch's own module, which keeps the weights' names; torch has none for CPUs."""
    network = nn.Sequential(nn.Conv2d(3, 2, 1), nn.BatchNorm2d(2))
    names = list(network.state_dict())
    assert type(with_sync_batch_norm(network, "cpu")[1]) is nn.BatchNorm2d
    converted = with_sync_batch_norm(network, "cuda:1")
    assert type(converted[1]) is nn.SyncBatchNorm
    assert list(converted.state_dict()) == names


@pytest.mark.usefixtures("second_of_three")
def test_only_torchs_errors_are_laid_on_other_processes() -> None:
    """A GPU that is full is this process's own trouble."""
    blamed = r"process 1 of 3: another process .* \(Connection closed by peer\)"
    with pytest.raises(TrainingError, match=blamed), collective_errors():
        raise RuntimeError("Connection closed by peer\nmore")
    with pytest.raises(torch.OutOfMemoryError), collective_errors():
        raise torch.OutOfMemoryError("full")


def test_a_single_process_keeps_its_errors() -> None:
    """A single process has no other rank that could have failed."""
    with pytest.raises(RuntimeError, match="cannot be multiplied"), collective_errors():
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")
