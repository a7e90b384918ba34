"""Scripts beside the package keep to its rule: they write over nothing without --force."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
WRITERS = {"replacing", "savefig", "save_checkpoint", "export_detector", "export_onnx", "write_text", "write_bytes"}
RESUMED = {"face_free.py"}  # fetches what is not there yet
SCRIPTS = sorted([*(ROOT / "benchmarks").glob("*.py"), *(ROOT / "docs").rglob("*.py")])


def calls_of(script: Path) -> list[tuple[str, int]]:
    """Name and line of every call in `script`."""
    nodes = (node for node in ast.walk(ast.parse(script.read_text(encoding="utf-8"))) if isinstance(node, ast.Call))
    return [(getattr(node.func, "id", getattr(node.func, "attr", "")), node.lineno) for node in nodes]


@pytest.mark.skipif(not SCRIPTS, reason="the package alone, without its scripts")
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_a_script_that_writes_asks_before_it_works(script: Path) -> None:
    """Right after it has read its options, among which is --force."""
    calls = calls_of(script)
    if script.name in RESUMED or not WRITERS & {name for name, _ in calls}:
        return
    asked = [line for name, line in calls if name == "require_free"]
    (parsed,) = (line for name, line in calls if name == "parse_args")
    assert asked, f"{script.name}: writes without asking `lightmark.outputs.require_free`"
    assert parsed < asked[0] < parsed + 15
    assert '"--force"' in script.read_text(encoding="utf-8")


def test_the_golden_files_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One script run for all: refused with a file there, before it draws."""
    import runpy

    from lightmark.errors import ConfigError

    (tmp_path / "crop.png").write_text("mine")
    monkeypatch.setattr("sys.argv", ["golden.py", "--out", str(tmp_path)])
    with pytest.raises(ConfigError, match=r"crop\.png: is there already"):
        runpy.run_path(str(ROOT / "docs" / "mobile" / "golden.py"), run_name="__main__")
    assert [path.name for path in tmp_path.iterdir()] == ["crop.png"]
