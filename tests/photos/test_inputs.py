"""Words of a command line become pictures, each once, with places that do not collide."""

from __future__ import annotations

from pathlib import Path

import pytest

from lightmark.photos.inputs import Input, find_inputs, places_with


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with pictures at several depths and other things between."""
    names = ["a/1.jpg", "a/b/2.PNG", "a/b/.3.jpg", "a/notes.txt", "c/1.jpg", "c/[x].webp", "ñ 顔.heic", "empty/x.txt"]
    for name in names:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (tmp_path / "a" / "folder.jpg").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def resolved(*words: str) -> list[tuple[str, str]]:
    """Name and place of each input, where no word fails."""
    inputs, failures = find_inputs(words)
    assert failures == []
    return [(one.name, one.place.as_posix()) for one in inputs]


def test_a_file_is_itself(tree: Path) -> None:
    """Its place is its name alone, wherever it lies."""
    assert resolved("a/b/2.PNG") == [("a/b/2.PNG", "2.PNG")]
    assert resolved(str(tree / "ñ 顔.heic")) == [(str(tree / "ñ 顔.heic"), "ñ 顔.heic")]


def test_a_folder_is_the_pictures_in_it_and_below(tree: Path) -> None:
    """By suffix in any case, sorted; hidden names, other files and folders are no pictures."""
    assert resolved("a") == [("a/1.jpg", "1.jpg"), ("a/b/2.PNG", "b/2.PNG")]


def test_several_folders_keep_their_names(tree: Path) -> None:
    """Pictures of one name in two folders go to two places."""
    assert resolved("a", "c/1.jpg") == [("a/1.jpg", "a/1.jpg"), ("a/b/2.PNG", "a/b/2.PNG"), ("c/1.jpg", "c/1.jpg")]


def test_a_pattern_is_what_fits_it(tree: Path) -> None:
    """Also through folders, as shells that do not expand it leave it; a folder that fits is gone through."""
    assert resolved("a/**/*.[jJpP]*") == [("a/1.jpg", "1.jpg"), ("a/b/2.PNG", "b/2.PNG")]
    assert resolved("?/1.jpg") == [("a/1.jpg", "a/1.jpg"), ("c/1.jpg", "c/1.jpg")]
    assert resolved("a/*") == [("a/1.jpg", "1.jpg"), ("a/b/2.PNG", "b/2.PNG"), ("a/notes.txt", "notes.txt")]


def test_a_file_whose_name_looks_like_a_pattern_is_itself(tree: Path) -> None:
    """What is there goes before what might be meant."""
    assert resolved("c/[x].webp") == [("c/[x].webp", "[x].webp")]


def test_each_picture_is_read_once(tree: Path) -> None:
    """Named twice, by a detour, or by a folder too."""
    assert resolved("a/1.jpg", "c/../a/1.jpg", "a", str(tree / "a" / "1.jpg"))[0] == ("a/1.jpg", "1.jpg")
    assert len(resolved("a/1.jpg", "c/../a/1.jpg", "a", str(tree / "a" / "1.jpg"))) == 2


def test_places_never_leave_the_folder_of_results(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Inputs with ".." in their paths get a place relative to the common folder."""
    monkeypatch.chdir(tree / "c")
    assert resolved("../a/1.jpg", "1.jpg") == [("../a/1.jpg", "a/1.jpg"), ("1.jpg", "c/1.jpg")]


def test_standard_input_is_one_picture(tree: Path) -> None:
    """It moves no other place; a file called "-" is named with its folder."""
    (tree / "-").touch()
    assert resolved("-", "a/1.jpg", "-", "./-") == [("-", "stdin"), ("a/1.jpg", "a/1.jpg"), ("-", "-")]
    assert find_inputs(["-"])[0][0].path is None


def test_a_missing_file_is_left_to_its_reading(tree: Path) -> None:
    """A missing file is an input, so that it is reported with the unreadable ones."""
    assert resolved("a/9.jpg") == [("a/9.jpg", "9.jpg")]


@pytest.mark.parametrize(
    ("word", "text"),
    [
        ("empty", "empty: no picture in this folder or below (.png, "),
        ("a/*.bmp", "a/*.bmp: no such file, and nothing fits it as a pattern"),
        ("", "'': an empty name"),
    ],
)
def test_arguments_without_files_are_reported(tree: Path, word: str, text: str) -> None:
    """One sentence each; the other words are gone on with."""
    inputs, (sentence,) = find_inputs([word, "c/1.jpg"])
    assert sentence.startswith(text)
    assert [one.name for one in inputs] == ["c/1.jpg"]


def test_results_are_called_after_the_picture() -> None:
    """The picture's suffix is kept only if two places differ in nothing else, ignoring case."""
    inputs = [Input(Path(name), Path(name)) for name in ("a/x.jpg", "a/X.png", "a/y.v2.jpg", "b/x.jpg", "stdin")]
    expected = ["a/x.jpg.pts", "a/X.png.pts", "a/y.v2.pts", "b/x.pts", "stdin.pts"]
    assert [place.as_posix() for place in places_with(".pts", inputs)] == expected
