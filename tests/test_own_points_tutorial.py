"""The tutorial of own points, command by command as it stands, on a small part of its data."""

from __future__ import annotations

import json
import re
import shlex
from importlib.util import find_spec
from pathlib import Path

import pytest
from click.testing import CliRunner

pytest.importorskip("torch")

from lightmark.cli import main
from lightmark.train.folder import read_result

PAGE = Path(__file__).parents[1] / "docs" / "own-points-tutorial.md"
pytestmark = pytest.mark.skipif(not PAGE.exists(), reason="the package alone, without its documents")
STEPS = "3"  # instead of the tutorial's, which take minutes
FACES = {"train": 22, "test": 2}  # of the 825 and 549


@pytest.fixture
def folder(real_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Working folder with links to the first faces of scut86."""
    for part, count in FACES.items():
        (tmp_path / "scut86" / part).mkdir(parents=True)
        for label in sorted((real_data / "scut86" / part).glob("*.pts"))[:count]:
            for file in (label, label.with_suffix(".jpg")):
                (tmp_path / "scut86" / part / file.name).symlink_to(file)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def commands() -> list[list[str]]:
    """Words of the tutorial's commands, but for the server, which would not end."""
    blocks = re.findall(r"^```sh\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    lines = [shlex.split(line, comments=True) for block in blocks for line in block.splitlines()]
    return [words[1:] for words in lines if words[:1] == ["lightmark"] and words[1] != "serve"]


def adapted(words: list[str]) -> list[str]:
    """Few steps, and LiteRT only where it is installed."""
    words = [STEPS if before == "--steps" else word for before, word in zip(["", *words], words, strict=False)]
    return words if find_spec("litert_torch") else [word.replace("onnx,litert", "onnx") for word in words]


def test_the_tutorial_runs_as_it_stands(folder: Path) -> None:
    """Schema, check, student of 86 points, evaluation, review, export and detection, each from the one before."""
    for words in commands():
        result = CliRunner().invoke(main, adapted(words))
        assert result.exit_code == 0, f"{' '.join(words)}\n{result.output}"
    schema = json.loads((folder / "points86.json").read_text())
    assert len(schema["mirror"]) == 86
    assert read_result(folder / "runs" / "points86")["train_faces"] == 18
    assert "<figure>" in (folder / "review.html").read_text(encoding="utf-8")
    assert (folder / "device").is_dir()
    assert [picture.suffix for picture in (folder / "drawn").iterdir()] == [".png"]
