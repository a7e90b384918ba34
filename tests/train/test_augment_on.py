"""Training on crops that the device cuts is training on the CPU's: same curve, same run, whoever goes on with it."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest
import torch

from lightmark.data.dataset import Batch
from lightmark.data.sample import Sample
from lightmark.errors import ConfigError
from lightmark.train import loop
from lightmark.train.config import Distillation, Recipe
from lightmark.train.distil import distil
from lightmark.train.faces import carve
from lightmark.train.loop import AugmentOn, batches_of, new_spec, train


def losses(out: Path) -> list[float]:
    with (out / "log.csv").open(newline="") as file:
        return [float(row["loss"]) for row in csv.DictReader(file) if row["loss"]]


def curves(tmp_path: Path, recipe: Recipe, faces: list[Sample]) -> tuple[list[float], list[float]]:
    """Losses of every step, by the CPU's crops and by the device's."""
    recipe, found = replace(recipe, log_every=1, batch=8), []
    for place in ("cpu", "device"):
        train(recipe, carve(faces, recipe), tmp_path / place, quiet=True, augment_on=place)
        found.append(losses(tmp_path / place))
    return found[0], found[1]


def test_losses_are_those_of_the_cpus_crops(tmp_path: Path, faces: list[Sample], recipe: Recipe) -> None:
    """With weights that stay nearly where they are, each step's loss differs by what the crops' last levels do."""
    cpu, device = curves(tmp_path, replace(recipe, steps=20, learning_rate=1e-9, weight_decay=0.0), faces)
    assert device == pytest.approx(cpu, rel=5e-3)
    assert device != cpu  # else nothing was cut on the device


def test_training_goes_the_same_way(tmp_path: Path, faces: list[Sample], recipe: Recipe) -> None:
    """The first losses agree; later ones part as those of any two runs that round differently, about one mean."""
    cpu, device = curves(tmp_path, replace(recipe, steps=40), faces)
    assert device[:2] == pytest.approx(cpu[:2], rel=1e-3)
    assert sum(device) == pytest.approx(sum(cpu), rel=0.03)


def test_the_place_is_no_part_of_the_run(
    tmp_path: Path, faces: list[Sample], recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Broken off with the CPU's crops, a run goes on with the device's; finished, it is finished for both."""
    split = carve(faces, recipe)

    def broken(*arguments: object) -> Iterator[Batch]:
        yield from islice(batches_of(*arguments), 5)  # type: ignore[arg-type]  # hands through what it is given
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(loop, "batches_of", broken)
        with pytest.raises(KeyboardInterrupt):
            train(recipe, split, tmp_path, quiet=True)
    assert (tmp_path / "state.safetensors").exists()
    path = train(recipe, split, tmp_path, quiet=True, augment_on="device")
    assert json.loads((tmp_path / "result.json").read_text())["augment_on"] == "device"
    before = path.stat().st_mtime_ns
    assert train(recipe, split, tmp_path, quiet=True).stat().st_mtime_ns == before


def test_same_run_twice_gives_the_same_weights(tmp_path: Path, faces: list[Sample], recipe: Recipe) -> None:
    """On the CPU to the bit, with crops cut in batches too."""
    split = carve(faces, recipe)
    first, second = (
        train(recipe, split, tmp_path / name, quiet=True, augment_on="device").read_bytes() for name in "ab"
    )
    assert first == second


def test_students_are_distilled(tmp_path: Path, faces: list[Sample], distillation: Distillation) -> None:
    """Every stage takes the device's crops, the student with its teachers' kept points."""
    distil(distillation, faces, tmp_path, quiet=True, augment_on="device")
    for stage in ("tough", "tolerant", "student"):
        assert json.loads((tmp_path / stage / "result.json").read_text())["augment_on"] == "device"


def test_processes_cut_their_slices(faces: list[Sample], recipe: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two processes' crops are, row by row, those of one."""
    recipe, spec = replace(recipe, batch=8), new_spec(recipe, split := carve(faces, recipe))

    def batches() -> list[Batch]:
        return list(islice(batches_of(recipe, split, spec, None, 3, 0, "device", "cpu"), 3))

    whole = batches()
    for name, value in {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", "MASTER_ADDR": "localhost"}.items():
        monkeypatch.setenv(name, value)
    for own, all_of_them in zip(batches(), whole, strict=True):
        assert torch.equal(own.points, all_of_them.points[4:])
        assert (own.crops.int() - all_of_them.crops[4:].int()).abs().max() <= 1


@pytest.mark.parametrize(
    ("place", "device", "text"),
    [
        ("gpu", "cpu", "augment_on 'gpu'; known: cpu, device"),
        ("device", "mps", r"device mps: crops are cut on cpu and cuda alone, which have.* \(--augment-on cpu\)"),
    ],
)
def test_impossible_places_are_refused(
    tmp_path: Path, faces: list[Sample], recipe: Recipe, place: AugmentOn, device: str, text: str
) -> None:
    """Before anything is written."""
    with pytest.raises(ConfigError, match=text):
        train(recipe, carve(faces, recipe), tmp_path / "run", device=device, quiet=True, augment_on=place)
    assert not (tmp_path / "run").exists()
