"""Training states are saved and restored completely, or raise an error naming the file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from lightmark.errors import CheckpointError, ConfigError, TrainingError  # noqa: E402  # after the check that torch is there
from lightmark.nets.checkpoint import read_tensors, write_tensors  # noqa: E402  # as above
from lightmark.train.state import (  # noqa: E402  # as above
    TrainingState,
    finite_means,
    load_state,
    save_state,
    saved_step,
    write_log,
)
from lightmark.train.step import Trainee, make_trainee, update_ema  # noqa: E402  # as above

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
    """Counts, sums, rows and Adam's moments are restored."""
    one = trainee()
    assert load_state(state, FINGERPRINT, one) == FIRST
    assert all(slots["exp_avg"].abs().sum() > 0 for slots in one.optimiser.state.values())


@pytest.mark.parametrize(
    ("name", "shape"),
    [("optimiser.0.exp_avg", (3, 2)), ("optimiser.1.exp_avg_sq", (3,)), ("optimiser.0.step", (2,)),
     ("optimiser.0.x", ()), ("optimiser.7.exp_avg", (1,)), ("network.weight", (3, 2))],
)  # fmt: skip
def test_moments_of_another_shape_are_refused(state: Path, name: str, shape: tuple[int, ...]) -> None:
    """Misshapen moments raise an error, since Adam's fused kernels do not check shapes."""
    tensors, metadata = read_tensors(state)
    write_tensors(state, tensors | {name: torch.zeros(shape)}, metadata)
    with pytest.raises(CheckpointError, match=r"(?s)state\.safetensors: not a complete training state .*; delete it"):
        load_state(state, FINGERPRINT, trainee())


def test_a_lost_moment_is_refused(state: Path) -> None:
    """A parameter with only one of its moments raises an error."""
    tensors, metadata = read_tensors(state)
    del tensors["optimiser.1.exp_avg"]
    write_tensors(state, tensors, metadata)
    with pytest.raises(CheckpointError, match="not a complete training state"):
        load_state(state, FINGERPRINT, trainee())


@pytest.mark.parametrize(
    ("key", "value"),
    [("step", "1"), ("step", -1), ("step", None), ("best", []), ("rows", [[1]]), ("rows", 5), ("rows", [{"loss": "a"}]),
     ("sums", [1]), ("sums", {"loss": None}), ("counted", 0.5), ("extra", 1)],
)  # fmt: skip
def test_a_state_of_other_types_is_refused(state: Path, key: str, value: object) -> None:
    """Values of other types raise our error at once, not a Python error during training."""
    tensors, metadata = read_tensors(state)
    changed = json.loads(metadata["standing"]) | {key: value}
    write_tensors(state, tensors, metadata | {"standing": json.dumps(changed)})
    with pytest.raises(CheckpointError, match="not a complete training state"):
        load_state(state, FINGERPRINT, trainee())


def conv_trainee(seed: int) -> Trainee:
    """Two convolutions with channels_last kernels, and a batch norm with counters."""
    torch.manual_seed(seed)
    layers = torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.Conv2d(4, 2, 3)
    return make_trainee(torch.nn.Sequential(*layers), 1e-2, 0.1, "cpu")


def steps_of(one: Trainee, steps: range) -> dict[str, torch.Tensor]:
    """Weights and EMA after some steps on these planes."""
    for step in steps:
        planes = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(step))
        one.optimiser.zero_grad()
        torch.autograd.backward(one.network(planes).square().mean())
        one.optimiser.step()
        update_ema(one.ema, one.network, 0.5)
    return {**one.network.state_dict(), **{f"ema.{name}": tensor for name, tensor in one.ema.state_dict().items()}}


def test_a_resumed_optimiser_goes_on_as_an_unbroken_one(tmp_path: Path) -> None:
    """Weights, EMA and moments are restored exactly, in their memory format."""
    path = tmp_path / "state.safetensors"
    whole = steps_of(conv_trainee(0), range(5))
    broken = conv_trainee(0)
    steps_of(broken, range(3))
    save_state(path, FINGERPRINT, broken, FIRST)
    resumed = conv_trainee(1)
    load_state(path, FINGERPRINT, resumed)
    found = steps_of(resumed, range(3, 5))
    assert found.keys() == whole.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in whole.items())
    kernels = [parameter for parameter in resumed.network.parameters() if parameter.ndim == 4]
    for kernel in kernels:
        slots = resumed.optimiser.state[kernel]
        assert kernel.is_contiguous(memory_format=torch.channels_last)
        assert {slots[name].stride() for name in ("exp_avg", "exp_avg_sq")} == {kernel.stride()}


def test_settings_of_the_optimiser_are_the_new_ones(state: Path) -> None:
    """Optimiser settings come from the recipe; only moments are restored."""
    one = make_trainee(torch.nn.Linear(3, 2), 0.25, 0.75, "cpu")
    load_state(state, FINGERPRINT, one)
    assert [(group["lr"], group["weight_decay"]) for group in one.optimiser.param_groups] == [(0.25, 0.75), (0.25, 0.0)]


def test_a_state_keeps_the_names_of_saved_files(state: Path) -> None:
    """Names in state files stay, so that an interrupted run resumes after an update."""
    tensors, metadata = read_tensors(state)
    of_weights = {f"{kind}.{name}" for kind in ("network", "average") for name in ("weight", "bias")}
    moments = {f"optimiser.{index}.{slot}" for index in (0, 1) for slot in ("step", "exp_avg", "exp_avg_sq")}
    assert tensors.keys() == of_weights | moments
    assert metadata.keys() == {"fingerprint", "standing"}
    assert json.loads(metadata["fingerprint"]) == FINGERPRINT
    assert json.loads(metadata["standing"]) == vars(FIRST)


def test_a_state_before_the_first_step_is_whole(tmp_path: Path) -> None:
    """A state before the first step has no moments and can be restored."""
    path = tmp_path / "state.safetensors"
    save_state(path, FINGERPRINT, trainee(), TrainingState())
    assert load_state(path, FINGERPRINT, trainee()) == TrainingState()
    assert saved_step(path) == 0


def test_another_run_is_refused_by_what_differs(state: Path) -> None:
    """A state of another run, or without a fingerprint, raises an error naming the difference."""
    with pytest.raises(ConfigError) as caught:
        load_state(state, {"seed": 1}, trainee())
    assert str(caught.value) == (
        f"{state.parent}: holds an unfinished run of another recipe, seed or data set: seed (was 0, is 1); "
        "give another --out, or delete it"
    )
    tensors, metadata = read_tensors(state)
    write_tensors(state, tensors, {"standing": metadata["standing"]})
    with pytest.raises(ConfigError, match="holds an unfinished run of an older Lightmark"):
        load_state(state, FINGERPRINT, trainee())


def test_moments_of_a_larger_network_are_refused(state: Path) -> None:
    """Additional moments raise an error."""
    tensors, metadata = read_tensors(state)
    for slot in ("step", "exp_avg", "exp_avg_sq"):
        tensors[f"optimiser.2.{slot}"] = tensors[f"optimiser.1.{slot}"].clone()
    write_tensors(state, tensors, metadata)
    with pytest.raises(CheckpointError, match="moments of 3 parameters, the network has 2"):
        load_state(state, FINGERPRINT, trainee())


@pytest.mark.parametrize(("key", "value"), [("step", 1.0), ("counted", True), ("best_step", -1), ("seconds", True)])
def test_counts_are_whole_numbers(state: Path, key: str, value: object) -> None:
    """Counts that are no natural numbers raise an error naming the value."""
    tensors, metadata = read_tensors(state)
    changed = json.loads(metadata["standing"]) | {key: value}
    write_tensors(state, tensors, metadata | {"standing": json.dumps(changed)})
    expected = "hold what is no number" if key == "seconds" else f"step, best_step and counted are .*{value}"
    with pytest.raises(CheckpointError, match=expected):
        load_state(state, FINGERPRINT, trainee())


def test_the_saved_step_is_read_without_the_tensors(state: Path, tmp_path: Path) -> None:
    """`saved_step` reads the metadata only; None for a missing or broken file."""
    assert saved_step(state) == 1
    assert saved_step(tmp_path / "gone.safetensors") is None
    (tmp_path / "text.safetensors").write_text("no tensors")
    assert saved_step(tmp_path / "text.safetensors") is None
    for standing in ("{}", "[", '{"step": null}', '{"step": "many"}'):
        write_tensors(tmp_path / "other.safetensors", {}, {"standing": standing})
        assert saved_step(tmp_path / "other.safetensors") is None
    write_tensors(tmp_path / "other.safetensors", {}, {"fingerprint": "{}"})
    assert saved_step(tmp_path / "other.safetensors") is None


def test_a_loss_that_is_not_finite_is_named(tmp_path: Path) -> None:
    """A non-finite loss raises an error with step, advice and folder; other parts may be non-finite."""
    state = TrainingState(step=6)
    state.count({"loss": torch.tensor(1.0), "main": torch.tensor(float("nan"))})
    means = finite_means(state, "tiny", tmp_path)
    assert (means["loss"], state.step, state.counted) == (1.0, 7, 0)
    state.count({"loss": torch.tensor(float("inf"))})
    advice = "lower the learning rate, or look for broken labels with `lightmark data check`"
    expected = f"tiny: the loss is not finite at step 8; {advice}; what was saved before stays in {tmp_path}"
    with pytest.raises(TrainingError) as caught:
        finite_means(state, "tiny", tmp_path)
    assert str(caught.value) == expected


def test_a_log_has_a_column_for_every_name(tmp_path: Path) -> None:
    """Columns are in the order of their first appearance; missing values are empty."""
    write_log(tmp_path / "log.csv", [{"step": 2, "loss": 0.5}, {"step": 3, "validation_nme": 0.25, "loss": 1.0}])
    assert (tmp_path / "log.csv").read_bytes() == b"step,loss,validation_nme\r\n2,0.5,\r\n3,1.0,0.25\r\n"
