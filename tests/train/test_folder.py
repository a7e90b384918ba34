"""Folder of a run: finished or not, and the comparison of fingerprints."""

from __future__ import annotations

import json
import locale
from pathlib import Path

import pytest

from lightmark.errors import CheckpointError, ConfigError
from lightmark.train.folder import RESULT, is_finished, read_result, require_same, write_result

FINGERPRINT = {"recipe": {"steps": 8}, "start": ""}


def test_a_folder_without_a_result_is_not_finished(tmp_path: Path) -> None:
    """Whatever else lies in it, or is not there at all."""
    (tmp_path / "state.safetensors").write_bytes(b"")
    assert not is_finished(tmp_path, FINGERPRINT)
    assert not is_finished(tmp_path / "none", FINGERPRINT)


def test_the_very_run_is_finished_and_another_is_refused(tmp_path: Path) -> None:
    """By its fingerprint; the difference is named with what to do."""
    write_result(tmp_path, FINGERPRINT, {"recipe": {}, "note": "Größe"})
    assert is_finished(tmp_path, FINGERPRINT)
    message = (
        rf"^{tmp_path}: holds a finished run of another recipe, seed or data set: recipe: steps \(was 8, is 9\); "
        "give another --out, or delete it$"
    )
    with pytest.raises(ConfigError, match=message):
        is_finished(tmp_path, {"recipe": {"steps": 9}, "start": ""})


def test_a_run_without_a_fingerprint_is_of_an_older_lightmark(tmp_path: Path) -> None:
    """Without a fingerprint it is refused."""
    (tmp_path / RESULT).write_text(json.dumps({"recipe": {}}))
    with pytest.raises(ConfigError, match=rf"^{tmp_path}: holds a finished run of an older Lightmark, which .* --out"):
        is_finished(tmp_path, FINGERPRINT)


def test_the_same_fingerprint_needs_no_words() -> None:
    """Nothing is raised."""
    require_same(FINGERPRINT, dict(FINGERPRINT), "here")


def test_a_result_comes_back_as_it_was_written(tmp_path: Path) -> None:
    """With the fingerprint beside it, in UTF-8."""
    write_result(tmp_path, FINGERPRINT, {"recipe": {"name": "größer"}, "seconds": 1.5})
    expected = {"fingerprint": FINGERPRINT, "recipe": {"name": "größer"}, "seconds": 1.5}
    assert read_result(tmp_path) == expected == json.loads((tmp_path / RESULT).read_bytes().decode("utf-8"))


def test_a_result_has_a_line_for_each_value(tmp_path: Path) -> None:
    """So that people can read it and two of them can be compared line by line."""
    write_result(tmp_path, FINGERPRINT, {"recipe": {"steps": 8}})
    lines = (tmp_path / RESULT).read_text(encoding="utf-8").splitlines()
    assert lines[:5] == ["{", ' "fingerprint": {', '  "recipe": {', '   "steps": 8', "  },"]


@pytest.mark.parametrize("content", [None, "", "[]", "{}", "3", '{"seconds": 1}', b"\xff\xfe"])
def test_what_is_no_result_is_named(tmp_path: Path, content: str | bytes | None) -> None:
    """Missing, cut, of another kind or not text."""
    if content is not None:
        (tmp_path / RESULT).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(CheckpointError, match=r"result\.json: not the result of a finished training run \(.+\)"):
        read_result(tmp_path)


def test_a_result_is_read_as_utf_8(tmp_path: Path) -> None:
    """Whatever the locale's encoding is: ASCII here."""
    (tmp_path / RESULT).write_bytes('{"recipe": {"name": "größer"}}'.encode())
    before = locale.setlocale(locale.LC_CTYPE)
    try:
        locale.setlocale(locale.LC_CTYPE, "C")
        assert read_result(tmp_path)["recipe"]["name"] == "größer"
    finally:
        locale.setlocale(locale.LC_CTYPE, before)
