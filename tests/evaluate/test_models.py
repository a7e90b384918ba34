"""Opening a model by its file's name."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from lightmark.errors import CheckpointError, MissingExtraError
from lightmark.evaluate.models import open_model


def test_an_onnx_file_opens(model_68) -> None:
    """The exported model answers with its 68 points."""
    assert open_model(model_68())(np.zeros((2, 32, 32, 3), np.uint8)).shape == (2, 68, 2)


def test_another_suffix_is_refused(tmp_path) -> None:
    """The error says how model files end."""
    with pytest.raises(CheckpointError, match=r"m\.pth: got a file ending in '\.pth', a model ends in \.onnx, "):
        open_model(tmp_path / "m.pth")


def test_a_checkpoint_without_torch_says_what_to_install(tmp_path, monkeypatch) -> None:
    """The message holds the install line."""
    monkeypatch.delitem(sys.modules, "lightmark.nets.checkpoint", raising=False)
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingExtraError, match=r'pip install "lightmark\[train\]"'):
        open_model(tmp_path / "m.safetensors")
