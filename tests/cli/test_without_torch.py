"""Each command with a checkpoint where torch is not installed: one line with the extra to install."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

import pytest
from click.testing import CliRunner

import lightmark
from lightmark.cli import main

COMMANDS = (
    "detect FACES --model CHECKPOINT",
    "track FILM --model CHECKPOINT --records ROOT/rows.csv",
    "annotate FACES --engine local --model CHECKPOINT --out ROOT/out",
    "serve --port 0 --api --model CHECKPOINT",
    "bench CHECKPOINT",
    "info CHECKPOINT",
    "evaluate CHECKPOINT --data FACES --schema SCHEMA",
    "data check FACES --schema SCHEMA --against CHECKPOINT",
    "export CHECKPOINT --out ROOT/out.onnx",
    "train demo64-plain --data FACES --schema SCHEMA --start CHECKPOINT --out ROOT/out",
    "confidence CHECKPOINT --data FACES --schema SCHEMA --out ROOT/out.safetensors",
)


PACKAGES_OF_TORCH = ("lightmark.nets", "lightmark.train", "lightmark.losses", "lightmark.export", "lightmark.evaluate")


def unload() -> dict[str, ModuleType]:
    """Our modules that need torch, taken out of `sys.modules` and off their packages."""
    modules = {name: module for name, module in sys.modules.items() if name.startswith(PACKAGES_OF_TORCH)}
    for name in modules:
        del sys.modules[name]
        package, _, child = name.rpartition(".")
        vars(sys.modules.get(package) or modules[package]).pop(child, None)
    return modules


@contextmanager
def torch_missing() -> Iterator[None]:
    """The base install: neither torch nor safetensors can be imported, by modules that were loaded before neither."""
    modules = unload()
    with pytest.MonkeyPatch.context() as patch:
        for name in ("torch", "safetensors", "safetensors.torch"):
            patch.setitem(sys.modules, name, None)
        try:
            yield
        finally:
            unload()  # a half-imported package must not stand in for the real one in later tests
            sys.modules.update(modules)
            for name, module in modules.items():
                package, _, child = name.rpartition(".")
                setattr(sys.modules[package], child, module)


@pytest.fixture
def without_torch() -> Iterator[None]:
    """No torch for one test."""
    with torch_missing():
        yield


def test_later_tests_get_their_modules_back() -> None:
    """A module imported before is afterwards what its package holds, though the package was imported anew between."""
    before = importlib.import_module("lightmark.nets.pretrained")
    with torch_missing():
        importlib.import_module("lightmark.nets")
    assert lightmark.nets.pretrained is before
    assert importlib.import_module("lightmark.nets.pretrained") is before


@pytest.mark.usefixtures("without_torch")
@pytest.mark.parametrize("text", COMMANDS)
def test_a_checkpoint_names_the_extra(world, text: str) -> None:
    """Status 1 or 2, and the install line."""
    checkpoint = world.root / "model.safetensors"
    checkpoint.write_bytes(b"\x08\x00\x00\x00\x00\x00\x00\x00{}      ")
    words = [word.replace("CHECKPOINT", str(checkpoint)) for word in world.words(text)]
    result = CliRunner().invoke(main, words)
    assert result.exit_code in (1, 2), result.output
    assert isinstance(result.exception, SystemExit), result.exception
    assert 'pip install "lightmark[' in result.output
    assert "Traceback" not in result.output


@pytest.mark.usefixtures("without_torch")
@pytest.mark.parametrize(
    "text",
    [
        "evaluate MODEL --data FACES --schema SCHEMA --report ROOT/report",
        "export fast --to onnx-fp16 --out ROOT/half.onnx",
    ],
)
def test_what_is_onnx_needs_no_torch(world, text: str) -> None:
    """The extras `report` and `onnx` are enough to plot a report and to convert an ONNX file."""
    result = CliRunner().invoke(main, world.words(text), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert (world.root / "report" / "report.html").exists() or (world.root / "half.onnx").exists()
