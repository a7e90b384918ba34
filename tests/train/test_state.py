"""States of unfinished runs: whole, or refused with the file's name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from lightmark.errors import CheckpointError  # noqa: E402  # after the check that torch is there
from lightmark.nets.checkpoint import read_tensors, write_tensors  # noqa: E402  # as above
from lightmark.train.state import TrainingState, load_state, save_state  # noqa: E402  # as above
from lightmark.train.step import Trainee, make_trainee  # noqa: E402  # as above

FINGERPRINT = {"seed": 0}
FIRST = TrainingState(1, 2.0, 0.5, 1, [{"step": 1}], {"loss": 0.5}, 1)


def trainee() -> Trainee:
    return make_trainee(torch.nn.Linear(3, 2), 1e-3, 0.1, "cpu")


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """The state of a run after its first step."""
    one = trainee()
    torch.autograd.backward(one.network(torch.ones(1, 3)).sum())
    one.optimiser.step()
    save_state(tmp_path / "state.safetensors", FINGERPRINT, one, FIRST)
    return tmp_path / "state.safetensors"


def test_state_comes_back(state: Path) -> None:
    """What was counted is there again, and the moments too."""
    one = trainee()
    assert load_state(state, FINGERPRINT, one) == FIRST
    assert all(slots["exp_avg"].abs().sum() > 0 for slots in one.optimiser.state.values())


@pytest.mark.parametrize(
    ("name", "shape"),
    [("optimiser.0.exp_avg", (3, 2)), ("optimiser.1.exp_avg_sq", (3,)), ("optimiser.0.step", (2,)),
     ("optimiser.0.x", ()), ("optimiser.7.exp_avg", (1,)), ("network.weight", (3, 2))],
)  # fmt: skip
def test_moments_of_another_shape_are_refused(state: Path, name: str, shape: tuple[int, ...]) -> None:
    """Adam's fused kernels read as many numbers as the parameter has, whatever the moments have."""
    tensors, metadata = read_tensors(state)
    write_tensors(state, tensors | {name: torch.zeros(shape)}, metadata)
    with pytest.raises(CheckpointError, match=r"(?s)state\.safetensors: not a whole training state .*; delete it"):
        load_state(state, FINGERPRINT, trainee())


def test_a_lost_moment_is_refused(state: Path) -> None:
    """A parameter has both moments or none."""
    tensors, metadata = read_tensors(state)
    del tensors["optimiser.1.exp_avg"]
    write_tensors(state, tensors, metadata)
    with pytest.raises(CheckpointError, match="not a whole training state"):
        load_state(state, FINGERPRINT, trainee())


@pytest.mark.parametrize(
    ("key", "value"),
    [("step", "1"), ("step", -1), ("step", None), ("best", []), ("rows", [[1]]), ("rows", 5), ("rows", [{"loss": "a"}]),
     ("sums", [1]), ("sums", {"loss": None}), ("counted", 0.5), ("extra", 1)],
)  # fmt: skip
def test_a_state_of_other_types_is_refused(state: Path, key: str, value: object) -> None:
    """Not in mid-training, with an error of Python's."""
    tensors, metadata = read_tensors(state)
    changed = json.loads(metadata["standing"]) | {key: value}
    write_tensors(state, tensors, metadata | {"standing": json.dumps(changed)})
    with pytest.raises(CheckpointError, match="not a whole training state"):
        load_state(state, FINGERPRINT, trainee())
