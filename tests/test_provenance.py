"""Where a number comes from."""

from __future__ import annotations

import subprocess

from lightmark import provenance


def test_versions_name_what_numbers_depend_on() -> None:
    """Python, this package, numpy and the runtime are there."""
    assert {"python", "lightmark", "numpy", "onnxruntime"} <= provenance.versions().keys()


def checkout(folder) -> None:
    """A git checkout with one committed file."""
    (folder / "provenance.py").write_text("x = 1\n")
    who = ["-c", "user.name=n", "-c", "user.email=e@example.org", "-c", "commit.gpgsign=false"]
    for command in (["init", "-q"], ["add", "."], [*who, "commit", "-q", "-m", "one"]):
        subprocess.run(["git", *command], cwd=folder, check=True)


def test_commit_is_the_checkout_s(tmp_path, monkeypatch) -> None:
    """Forty hex digits of the checkout in which the code lies."""
    checkout(tmp_path)
    monkeypatch.setattr(provenance, "__file__", str(tmp_path / "provenance.py"))
    commit = provenance.git_commit()
    assert commit is not None
    assert len(commit) == 40


def test_commit_marks_uncommitted_changes(tmp_path, monkeypatch) -> None:
    """Code that was edited is not the commit's."""
    checkout(tmp_path)
    (tmp_path / "provenance.py").write_text("x = 2\n")
    monkeypatch.setattr(provenance, "__file__", str(tmp_path / "provenance.py"))
    assert str(provenance.git_commit()).endswith("+changes")


def test_results_that_were_made_again_are_no_change(tmp_path, monkeypatch) -> None:
    """Rewritten results do not count as changed code."""
    (tmp_path / "benchmarks" / "results").mkdir(parents=True)
    result = tmp_path / "benchmarks" / "results" / "a.json"
    result.write_text("1")
    checkout(tmp_path)
    result.write_text("2")
    monkeypatch.setattr(provenance, "__file__", str(tmp_path / "provenance.py"))
    assert len(str(provenance.git_commit())) == 40


def test_commit_of_code_that_git_does_not_know_is_none(tmp_path, monkeypatch) -> None:
    """A package installed inside somebody's checkout is not their commit."""
    checkout(tmp_path)
    installed = tmp_path / "site-packages"
    installed.mkdir()
    monkeypatch.setattr(provenance, "__file__", str(installed / "provenance.py"))
    assert provenance.git_commit() is None
