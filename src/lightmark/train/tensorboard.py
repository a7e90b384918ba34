"""TensorBoard event file of a training run."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from lightmark.errors import MissingExtraError
from lightmark.files import write_errors
from lightmark.train.state import Row


class _Writer(Protocol):
    def add_scalar(self, tag: str, value: float, step: int) -> None: ...

    def flush(self) -> None: ...


class TensorBoardLog:
    """Writer of a run's TensorBoard event file.

    A resumed run writes all its rows again; TensorBoard shows equal steps once.
    """

    def __init__(self, folder: Path) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise MissingExtraError('TensorBoard is not installed: pip install "lightmark[tensorboard]"') from error
        self.folder, self.written = folder, 0
        with write_errors(folder):
            self.writer: _Writer = SummaryWriter(str(folder))

    def write(self, rows: list[Row]) -> None:
        """Append the rows that this writer has not written yet."""
        with write_errors(self.folder):
            for row in rows[self.written :]:
                for name, value in row.items():
                    if name != "step":
                        self.writer.add_scalar(name, value, int(row["step"]))
            self.writer.flush()
        self.written = len(rows)
