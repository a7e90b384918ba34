"""Training state, saved to resume a killed run exactly: weights, EMA, optimiser, step and log."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor
from torch.optim import Optimizer

from lightmark.errors import CheckpointError, TrainingError
from lightmark.files import replacing
from lightmark.nets.checkpoint import read_metadata, read_tensors, write_tensors
from lightmark.train.fingerprint import Fingerprint
from lightmark.train.folder import require_same
from lightmark.train.step import Net, Trainee

Row = dict[str, float | int]


@dataclass
class TrainingState:
    """Progress of a run: steps and seconds done, best validation NME and its step, rows of the log.

    `sums` and `counted` accumulate the loss's parts since the last row, so that a resumed run logs the same means. The
    sums stay on the device until they are needed: reading one waits for all work queued on a GPU.
    """

    step: int = 0
    seconds: float = 0.0
    best: float = float("inf")
    best_step: int = 0
    rows: list[Row] = field(default_factory=list)
    sums: dict[str, Tensor | float] = field(default_factory=dict)
    counted: int = 0

    def count(self, parts: Mapping[str, Tensor]) -> None:
        """Add one step with the parts of its loss, each a scalar tensor."""
        self.step += 1
        self.counted += 1
        for name, value in parts.items():
            self.sums[name] = self.sums.get(name, 0.0) + value

    def take_means(self) -> dict[str, float]:
        """Means of the parts since the last call; resets the sums."""
        means = {name: float(total) / self.counted for name, total in self.sums.items()}
        self.sums, self.counted = {}, 0
        return means

    def to_json(self) -> str:
        """JSON text, read back by `TrainingState(**json.loads(text))`."""
        sums = {name: float(total) for name, total in self.sums.items()}
        return json.dumps({**vars(self), "sums": sums})


def finite_means(state: TrainingState, name: str, out: Path) -> dict[str, float]:
    """Means of the parts since the last call; raises `TrainingError` where the loss is not finite."""
    means = state.take_means()
    if not math.isfinite(means["loss"]):
        raise TrainingError(
            f"{name}: the loss is not finite at step {state.step}; lower the learning rate, or look for broken labels "
            f"with `lightmark data check`; what was saved before stays in {out}"
        )
    return means


def save_state(path: Path, fingerprint: Fingerprint, trainee: Trainee[Net], state: TrainingState) -> None:
    """Write weights, EMA, optimiser and progress as safetensors; the old file is replaced only by a complete one."""
    # The prefixes and the metadata's keys are those of saved files: do not rename them.
    tensors = {f"network.{name}": tensor for name, tensor in trainee.network.state_dict().items()}
    tensors |= {f"average.{name}": tensor for name, tensor in trainee.ema.state_dict().items()}
    for index, slots in trainee.optimiser.state_dict()["state"].items():
        tensors |= {f"optimiser.{index}.{name}": torch.as_tensor(value) for name, value in slots.items()}
    metadata = {"fingerprint": json.dumps(fingerprint), "standing": state.to_json()}
    write_tensors(path, tensors, metadata)


def load_state(path: Path, fingerprint: Fingerprint, trainee: Trainee[Net]) -> TrainingState:
    """Restore a saved state; raises `ConfigError` naming the difference where its recipe or data differ."""
    tensors, metadata = read_tensors(path)
    try:
        saved = json.loads(metadata["fingerprint"]) if "fingerprint" in metadata else None
        require_same(saved, fingerprint, f"{path.parent}: holds an unfinished run")
        trainee.network.load_state_dict(_with_prefix("network.", tensors))
        trainee.ema.load_state_dict(_with_prefix("average.", tensors))
        slots: dict[int, dict[str, Tensor]] = {}
        for name, tensor in _with_prefix("optimiser.", tensors).items():
            index, _, slot = name.partition(".")
            slots.setdefault(int(index), {})[slot] = tensor
        groups = trainee.optimiser.state_dict()["param_groups"]
        trainee.optimiser.load_state_dict({"state": slots, "param_groups": groups})
        _require_moments(trainee.optimiser)
        _match_memory_format(trainee.optimiser)
        return _state_from_json(metadata["standing"])
    except (RuntimeError, KeyError, ValueError, TypeError, AttributeError, OverflowError) as error:
        raise CheckpointError(f"{path}: not a complete training state ({error}); delete it to begin again") from error


def saved_step(path: Path) -> int | None:
    """Step of the training state saved in `path`; None where the file is missing or broken."""
    try:
        return int(json.loads(read_metadata(path)["standing"])["step"])
    except (CheckpointError, KeyError, ValueError, TypeError):
        return None


def _state_from_json(text: str) -> TrainingState:
    state = TrainingState(**json.loads(text))
    logged = [value for row in state.rows for value in row.values()]
    numbers = (state.seconds, state.best, *state.sums.values(), *logged)
    counts = (state.step, state.best_step, state.counted)
    if not all(type(value) is int and value >= 0 for value in counts):
        raise ValueError(f"step, best_step and counted are {counts}")
    if not all(type(value) in (int, float) for value in numbers):
        raise ValueError("seconds, best, sums or rows hold what is no number")
    return state


def _require_moments(optimiser: Optimizer) -> None:
    """Raise `ValueError` for missing or misshapen moments of Adam, which the fused kernels do not check."""
    parameters = [parameter for group in optimiser.param_groups for parameter in group["params"]]
    for index, parameter in enumerate(parameters):
        slots = optimiser.state.get(parameter, {})
        shapes = {name: tuple(tensor.shape) for name, tensor in slots.items()}
        shape = tuple(parameter.shape)
        if slots and shapes != {"step": (), "exp_avg": shape, "exp_avg_sq": shape}:
            raise ValueError(f"moments {shapes} of parameter {index}, which is {shape}")
    if len(optimiser.state) > len(parameters):
        raise ValueError(f"moments of {len(optimiser.state)} parameters, the network has {len(parameters)}")


def _match_memory_format(optimiser: Optimizer) -> None:
    """Give Adam's moments the memory format of their parameters.

    The fused kernels pair elements by their position in memory and ignore strides; safetensors files are row-major,
    while the parameters are channels_last.
    """
    for parameter, slots in optimiser.state.items():
        for name, tensor in slots.items():
            if tensor.shape == parameter.shape:
                slots[name] = torch.empty_like(parameter).copy_(tensor)


def _with_prefix(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def write_log(path: Path, rows: list[Row]) -> None:
    """Write the log's rows as CSV, with a column for each name in any row."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)
