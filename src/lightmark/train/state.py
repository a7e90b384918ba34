"""What a run needs to go on after a kill as if nothing had happened: weights, averages, optimiser, step and log."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor
from torch.optim import Optimizer

from lightmark.errors import CheckpointError
from lightmark.files import replacing
from lightmark.nets.checkpoint import read_tensors, write_tensors
from lightmark.train.fingerprint import Fingerprint
from lightmark.train.folder import require_same
from lightmark.train.step import Net, Trainee

Row = dict[str, float | int]


@dataclass
class Standing:
    """How far a run is: steps done, seconds spent, the best validation NME so far and its step, the log's rows.

    `sums` and `counted` hold the loss's parts since the last row, so that a resumed run logs the same means. The sums
    stay on the device until they are asked for: reading one makes the processor wait for all that a GPU has to do.
    """

    step: int = 0
    seconds: float = 0.0
    best: float = float("inf")
    best_step: int = 0
    rows: list[Row] = field(default_factory=list)
    sums: dict[str, Tensor | float] = field(default_factory=dict)
    counted: int = 0

    def count(self, parts: Mapping[str, Tensor]) -> None:
        """One more step, with the parts of its loss, each a tensor of one number."""
        self.step += 1
        self.counted += 1
        for name, value in parts.items():
            self.sums[name] = self.sums.get(name, 0.0) + value

    def take_means(self) -> dict[str, float]:
        """Means of the parts since the last call."""
        means = {name: float(total) / self.counted for name, total in self.sums.items()}
        self.sums, self.counted = {}, 0
        return means

    def to_json(self) -> str:
        """JSON text, read back by `Standing(**json.loads(text))`."""
        sums = {name: float(total) for name, total in self.sums.items()}
        return json.dumps({**vars(self), "sums": sums})


def save_state(path: Path, fingerprint: Fingerprint, trainee: Trainee[Net], standing: Standing) -> None:
    """Write everything a run needs to go on, as safetensors; the old state stays until the new one is whole."""
    tensors = {f"network.{name}": tensor for name, tensor in trainee.network.state_dict().items()}
    tensors |= {f"average.{name}": tensor for name, tensor in trainee.average.state_dict().items()}
    for index, slots in trainee.optimiser.state_dict()["state"].items():
        tensors |= {f"optimiser.{index}.{name}": torch.as_tensor(value) for name, value in slots.items()}
    metadata = {"fingerprint": json.dumps(fingerprint), "standing": standing.to_json()}
    write_tensors(path, tensors, metadata)


def load_state(path: Path, fingerprint: Fingerprint, trainee: Trainee[Net]) -> Standing:
    """Put a saved state back; raises `ConfigError` naming the difference where another recipe or data set made it."""
    tensors, metadata = read_tensors(path)
    try:
        kept = json.loads(metadata["fingerprint"]) if "fingerprint" in metadata else None
        require_same(kept, fingerprint, f"{path.parent}: holds an unfinished run")
        trainee.network.load_state_dict(_under("network.", tensors))
        trainee.average.load_state_dict(_under("average.", tensors))
        slots: dict[int, dict[str, Tensor]] = {}
        for name, tensor in _under("optimiser.", tensors).items():
            index, _, slot = name.partition(".")
            slots.setdefault(int(index), {})[slot] = tensor
        groups = trainee.optimiser.state_dict()["param_groups"]
        trainee.optimiser.load_state_dict({"state": slots, "param_groups": groups})
        _require_moments(trainee.optimiser)
        _lay_out_like_parameters(trainee.optimiser)
        return _standing_from_json(metadata["standing"])
    except (RuntimeError, KeyError, ValueError, TypeError, AttributeError, OverflowError) as error:
        raise CheckpointError(f"{path}: not a whole training state ({error}); delete it to begin again") from error


def saved_step(path: Path) -> int | None:
    """Step at which the training state in `path` was saved; None where there is no whole one."""
    try:
        return int(json.loads(read_tensors(path)[1]["standing"])["step"])
    except (CheckpointError, KeyError, ValueError, TypeError):
        return None


def _standing_from_json(text: str) -> Standing:
    standing = Standing(**json.loads(text))
    logged = [value for row in standing.rows for value in row.values()]
    numbers = (standing.seconds, standing.best, *standing.sums.values(), *logged)
    counts = (standing.step, standing.best_step, standing.counted)
    if not all(type(value) is int and value >= 0 for value in counts):
        raise ValueError(f"step, best_step and counted are {counts}")
    if not all(type(value) in (int, float) for value in numbers):
        raise ValueError("seconds, best, sums or rows hold what is no number")
    return standing


def _require_moments(optimiser: Optimizer) -> None:
    """Raise `ValueError` where Adam lacks a moment or has one of another shape: fused kernels would not notice."""
    parameters = [parameter for group in optimiser.param_groups for parameter in group["params"]]
    for index, parameter in enumerate(parameters):
        slots = optimiser.state.get(parameter, {})
        shapes = {name: tuple(tensor.shape) for name, tensor in slots.items()}
        shape = tuple(parameter.shape)
        if slots and shapes != {"step": (), "exp_avg": shape, "exp_avg_sq": shape}:
            raise ValueError(f"moments {shapes} of parameter {index}, which is {shape}")
    if len(optimiser.state) > len(parameters):
        raise ValueError(f"moments of {len(optimiser.state)} parameters, the network has {len(parameters)}")


def _lay_out_like_parameters(optimiser: Optimizer) -> None:
    """Give Adam's moments the order in memory of their parameters.

    The fused kernels pair numbers by their place in memory, whatever the strides; files hold all tensors row by row,
    while parameters are channels_last.
    """
    for parameter, slots in optimiser.state.items():
        for name, tensor in slots.items():
            if tensor.shape == parameter.shape:
                slots[name] = torch.empty_like(parameter).copy_(tensor)


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def write_log(path: Path, rows: list[Row]) -> None:
    """Write the log's rows as CSV, one column for each name that any row has."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)
