"""Tests of overwrite protection: existing files need force, inputs are never overwritten."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lightmark.errors import ConfigError, WriteError
from lightmark.outputs import require_folder, require_free, require_place


def test_what_is_there_needs_force(tmp_path: Path) -> None:
    """An existing file is an error without --force; a free path is none."""
    (tmp_path / "a.csv").touch()
    require_free([tmp_path / "new" / "b.csv"])
    with pytest.raises(ConfigError, match=r"a\.csv: is there already; give another name, or --force to write over it"):
        require_free([tmp_path / "new" / "b.csv", tmp_path / "a.csv"])
    require_free([tmp_path / "a.csv"], force=True)


@pytest.mark.parametrize("way", ["same", "dots", "hard link", "link", "link to the folder", "case"])
def test_an_input_is_never_written_over(tmp_path: Path, way: str) -> None:
    """By whatever name: it is the file that counts. So it is for each file below a folder that is an input."""
    photos = tmp_path / "photos"
    (photos / "below").mkdir(parents=True)
    photo = photos / "below" / "a.jpg"
    photo.touch()
    target = tmp_path / "out.jpg"
    if way == "same":
        target = photo
    elif way == "dots":
        target = photos / ".." / "photos" / "." / "below" / "a.jpg"
    elif way == "hard link":
        target.hardlink_to(photo)
    elif way == "link":
        target.symlink_to(photo)
    elif way == "link to the folder":
        target.symlink_to(photos)
        target = target / "below" / "a.jpg"
    else:
        target = photo.with_name("A.JPG")
        if not target.exists():
            pytest.skip("this file system tells A from a")
    for inputs in ([photo], [photos]):
        with pytest.raises(ConfigError, match="is one of the inputs"):
            require_free([target], inputs, force=True)


def test_two_outputs_of_one_name_are_refused(tmp_path: Path) -> None:
    """One would replace the other."""
    with pytest.raises(ConfigError, match="is the name of two outputs"):
        require_free([tmp_path / "a", tmp_path / "b" / ".." / "a"])


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    """And no file a folder, --force or not."""
    with pytest.raises(ConfigError, match="is a folder; the name of a file is needed here"):
        require_free([tmp_path], force=True)
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="file: is a file; a folder is needed here"):
        require_folder(tmp_path / "file")


@pytest.mark.skipif(not Path("/dev/null").is_char_device(), reason="needs /dev/null")
def test_what_holds_nothing_is_free(tmp_path: Path) -> None:
    """Devices and pipes lose nothing by being written to, not even twice."""
    os.mkfifo(tmp_path / "pipe")
    require_free([Path("/dev/null"), Path("/dev/null"), Path("/dev/stdout"), tmp_path / "pipe"])


def test_a_place_below_a_file_is_refused_before_the_work(tmp_path: Path) -> None:
    """The file in the way is named."""
    (tmp_path / "file").touch()
    with pytest.raises(WriteError, match="file is a file, not a folder; give another name"):
        require_place(tmp_path / "file" / "x" / "y.csv")


def test_an_output_folder_is_named_as_the_user_wrote_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the folder, not a file in it."""
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(WriteError, match=r"new: cannot be written: no permission to write to "):
        require_folder(tmp_path / "new")


def test_a_folder_without_permission_is_refused_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So is a folder below it that is still to be made."""
    monkeypatch.setattr(os, "access", lambda path, _mode: Path(path) != tmp_path)  # root may write everywhere
    with pytest.raises(WriteError, match="no permission to write to"):
        require_free([tmp_path / "x" / "y.csv"])
