"""A checkpoint given to each command where torch is not installed: one line that says which extra to install."""

from __future__ import annotations

import sys

import pytest
from click.testing import CliRunner

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


@pytest.fixture
def without_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """The base install: neither torch nor safetensors can be imported, by modules that were loaded before neither."""
    for name in list(sys.modules):
        if name.startswith(("lightmark.nets", "lightmark.train", "lightmark.losses", "lightmark.export")):
            monkeypatch.delitem(sys.modules, name)
    for name in ("torch", "safetensors", "safetensors.torch"):
        monkeypatch.setitem(sys.modules, name, None)


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
