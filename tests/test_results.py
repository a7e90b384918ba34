"""Published results are repeated by one command, which lists those of older models."""

from __future__ import annotations

import json
import runpy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lightmark.runtime.shipped import shipped_models

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "results.py"
pytestmark = pytest.mark.skipif(not SCRIPT.exists(), reason="the package alone, without its scripts")


@pytest.fixture
def results(tmp_path: Path) -> dict[str, Any]:
    """The script's names, with a checkout of its own."""
    names = runpy.run_path(str(SCRIPT))
    (tmp_path / "benchmarks" / "results").mkdir(parents=True)
    return names


def in_checkout(names: dict[str, Any], function: str, folder: Path) -> Any:
    """`function` of the script, whose checkout is `folder`."""
    found = names[function]
    found.__globals__["ROOT"] = folder
    found.__globals__["RESULTS"] = folder / "benchmarks" / "results"
    return found


def test_every_result_is_there_and_about_known_models(results: dict[str, Any]) -> None:
    """No file that the list names was deleted or renamed, and no model is misspelt."""
    for result in results["RECORDED"]:
        assert (SCRIPT.parent / "results" / result.file).exists()
        assert set(results["shipped_hashes"](*result.models)) == set(result.models)


def test_a_result_of_another_model_is_stale(results: dict[str, Any], tmp_path: Path) -> None:
    """Its sha256 is looked for anywhere in the file; one of two models is enough to make it stale."""
    stale_models = in_checkout(results, "stale_models", tmp_path)
    result = results["Result"]("a.json", ("fast", "standard"), ("python", "x.py"))
    assert stale_models(result) == ["fast", "standard"]
    hashes = results["shipped_hashes"]("fast", "standard")
    file = tmp_path / "benchmarks" / "results" / "a.json"
    file.write_text(json.dumps({"deep": [{"sha256": hashes["fast"]}]}))
    assert stale_models(result) == ["standard"]
    file.write_text(json.dumps([hashes]))
    assert stale_models(result) == []


def test_a_result_of_a_file_with_other_names_inside_is_not_stale(
    results: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sha256 of an earlier file that computed the same bits is as good as the present one."""
    stale_models = in_checkout(results, "stale_models", tmp_path)
    fast = replace(shipped_models()["fast"], earlier_sha256=["earlier"])
    monkeypatch.setitem(stale_models.__globals__, "shipped_models", lambda: {"fast": fast})
    (tmp_path / "benchmarks" / "results" / "a.json").write_text('["earlier"]')
    assert stale_models(results["Result"]("a.json", ("fast",), ("python", "x.py"))) == []


def test_scripts_of_other_languages_run_too(results: dict[str, Any], tmp_path: Path) -> None:
    """The environment variable PYTHON is the interpreter that runs the results."""
    make = in_checkout(results, "make", tmp_path)
    (tmp_path / "data").mkdir()
    (tmp_path / "benchmarks" / "measure.sh").write_text('"$PYTHON" -c "print(1)" > "$1"\n')
    result = results["Result"]("a.json", ("fast",), ("bash", "benchmarks/measure.sh", "{out}"))
    assert make(result, tmp_path / "data")
    assert (tmp_path / "benchmarks" / "results" / "a.json").read_text() == "1\n"


def test_what_a_command_made_takes_the_old_files_place(results: dict[str, Any], tmp_path: Path) -> None:
    """Its script and data have their usual names where it runs; one that fails leaves the old file."""
    make = in_checkout(results, "make", tmp_path)
    (tmp_path / "data" / "300w").mkdir(parents=True)
    (tmp_path / "data" / "300w" / "face.txt").write_text("a face")
    program = tmp_path / "benchmarks" / "measure.py"
    program.write_text(
        "import sys, pathlib\n"
        "out = pathlib.Path(sys.argv[sys.argv.index('--out') + 1])\n"
        "out.write_text(pathlib.Path('300w/face.txt').read_text() + sys.argv[1])\n"
        "sys.exit(sys.argv[1] == 'fails')\n"
    )
    target = tmp_path / "benchmarks" / "results" / "a.json"
    for word, done in (("works", True), ("fails", False)):
        result = results["Result"]("a.json", ("fast",), results["script"]("measure", word))
        assert make(result, tmp_path / "data") is done
        assert target.read_text() == "a faceworks"
