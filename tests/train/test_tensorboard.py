"""TensorBoard's event file gets every row of the log once."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from lightmark.errors import MissingExtraError, WriteError
from lightmark.train.tensorboard import TensorBoardLog


class Writer:
    """TensorBoard's writer, without TensorBoard."""

    full = False

    def __init__(self, folder: str) -> None:
        self.folder, self.calls = folder, list[Any]()
        self.fail()

    def fail(self) -> None:
        """As a full disk does."""
        if Writer.full:
            raise OSError(28, "No space left on device")

    def add_scalar(self, *given: object) -> None:
        """One number of a row."""
        self.calls.append(given)

    def flush(self) -> None:
        """What was added is on the disk."""
        self.fail()
        self.calls.append("flushed")


@pytest.fixture
def writer(monkeypatch: pytest.MonkeyPatch) -> type[Writer]:
    """The class that stands for TensorBoard's."""
    module = ModuleType("torch.utils.tensorboard")
    module.SummaryWriter = Writer  # type: ignore[attr-defined]  # a module made here
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)
    monkeypatch.setattr(Writer, "full", False)
    return Writer


def test_each_row_is_written_once(tmp_path: Path, writer: type[Writer]) -> None:
    """All numbers but the step, which is where they stand."""
    board = TensorBoardLog(tmp_path)
    rows = [{"step": 2, "loss": 0.5, "learning_rate": 0.1}]
    board.write(rows)
    board.write([*rows, {"step": 4, "validation_nme": 0.25}])
    board.write([*rows, {"step": 4, "validation_nme": 0.25}])
    made: Any = board.writer
    assert made.folder == str(tmp_path)
    assert made.calls == [
        ("loss", 0.5, 2), ("learning_rate", 0.1, 2), "flushed", ("validation_nme", 0.25, 4), "flushed", "flushed"
    ]  # fmt: skip


def test_a_full_disk_is_named(tmp_path: Path, writer: type[Writer], monkeypatch: pytest.MonkeyPatch) -> None:
    """At the beginning and on the way; what was not written is written the next time."""
    board = TensorBoardLog(tmp_path)
    monkeypatch.setattr(writer, "full", True)
    with pytest.raises(WriteError, match=str(tmp_path)):
        board.write([{"step": 2, "loss": 0.5}])
    with pytest.raises(WriteError, match=str(tmp_path)):
        TensorBoardLog(tmp_path)
    monkeypatch.setattr(writer, "full", False)
    board.write([{"step": 2, "loss": 0.5}])
    made: Any = board.writer
    assert made.calls[-2:] == [("loss", 0.5, 2), "flushed"]


def test_without_tensorboard_the_error_has_the_install_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before any work."""
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(MissingExtraError) as caught:
        TensorBoardLog(tmp_path)
    assert str(caught.value) == 'TensorBoard is not installed: pip install "lightmark[tensorboard]"'
