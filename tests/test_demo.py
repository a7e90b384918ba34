"""The demo runs all its stages and says where its pictures lie."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from lightmark import demo
from lightmark.train.recipes import STAGES, demo64


def test_demo_makes_a_table_a_report_and_pictures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With two steps a stage the whole path runs: every row is printed, every named file is there."""
    recipe = demo64(0)
    short = {stage: replace(getattr(recipe, stage), steps=2, batch=8) for stage in STAGES}
    monkeypatch.setattr(demo, "get_distillation", lambda _name, _seed: replace(recipe, **short))
    monkeypatch.setattr(demo, "TRAINING_FACES", 40)
    monkeypatch.setattr(demo, "UNSEEN_FACES", 8)
    tmp_path /= "not there yet"
    demo.run_demo(tmp_path, seed=0)
    printed = capsys.readouterr().out
    assert len(json.loads((tmp_path / "results.json").read_text())["rows"]) == 5
    for row in ("mean shape", "Tough-Teacher", "Tolerant-Teacher", "student alone", "student distilled"):
        assert row in printed
    assert Image.open(tmp_path / "student-on-unseen-faces.png").size[0] > 1000
    # A newcomer sees landmarks before anything is trained.
    assert "by the shipped model 'standard': 1" in printed.partition("synthetic faces to train on")[0]
    assert Image.open(tmp_path / "astronaut.png").size == (768, 768)
    assert (tmp_path / "report/report.html").stat().st_size > 10_000
    assert sorted(path.parent.name for path in tmp_path.glob("run/*/model.safetensors")) == sorted(STAGES)
