"""Tests of files that are whole or not there, and of their hashes."""

import pytest

from lightmark.errors import DataError
from lightmark.files import replacing, replacing_together, sha256_of


def test_file_is_written_in_full(tmp_path):
    """After the block the target holds what was written, and nothing else is left."""
    with replacing(tmp_path / "a.txt") as temporary:
        temporary.write_text("whole")
    assert (tmp_path / "a.txt").read_text() == "whole"
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_target_is_not_there_before_the_end(tmp_path):
    """A reader never sees half a file."""
    with replacing(tmp_path / "a.txt") as temporary:
        temporary.write_text("half")
        assert not (tmp_path / "a.txt").exists()
        assert temporary.parent == tmp_path  # a rename is whole only inside one file system


def test_old_file_is_replaced(tmp_path):
    """An existing target is overwritten, and until then keeps its content."""
    (tmp_path / "a.txt").write_text("old")
    with replacing(tmp_path / "a.txt") as temporary:
        temporary.write_text("new")
        assert (tmp_path / "a.txt").read_text() == "old"
    assert (tmp_path / "a.txt").read_text() == "new"


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_error_keeps_the_old_file(tmp_path, error):
    """An error or an interrupt half-way goes on to the caller; the old file stays, no temporary one does."""
    (tmp_path / "a.txt").write_text("old")

    def write_half():
        with replacing(tmp_path / "a.txt") as temporary:
            temporary.write_text("half")
            raise error

    with pytest.raises(error):
        write_half()
    assert (tmp_path / "a.txt").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_error_leaves_no_new_file(tmp_path):
    """Where there was no file, an error leaves none."""

    def write_half():
        with replacing(tmp_path / "a.txt") as temporary:
            temporary.write_text("half")
            raise ValueError

    with pytest.raises(ValueError):
        write_half()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["model.safetensors", "copy-001.npz", "curves.tar.gz", "plain"])
def test_suffix_is_kept(tmp_path, name):
    """Libraries that choose the format by the suffix choose the same one."""
    with replacing(tmp_path / name) as temporary:
        temporary.touch()
        assert temporary.suffix == (tmp_path / name).suffix
    assert (tmp_path / name).exists()


def test_temporary_file_is_hidden(tmp_path):
    """A glob over the folder while it is written finds no half file."""
    with replacing(tmp_path / "copy-001.npz") as temporary:
        temporary.touch()
        assert temporary.name.startswith(".")


def test_folders_are_made(tmp_path):
    """The target's folder need not exist; a path may be text."""
    with replacing(str(tmp_path / "new" / "folder" / "ä.txt")) as temporary:
        temporary.write_text("whole")
    assert (tmp_path / "new" / "folder" / "ä.txt").read_text() == "whole"


def test_writing_nothing_is_an_error(tmp_path):
    """A block that wrote no file says so instead of passing."""
    with pytest.raises(FileNotFoundError), replacing(tmp_path / "a.txt"):
        pass


def test_parts_are_replaced_together(tmp_path):
    """The target and what is written beside it, folders too; nothing else is touched or left."""
    for name in ("m.xml", "m.bin", "other.txt"):
        (tmp_path / name).write_text("old")
    (tmp_path / "m.package").mkdir()
    (tmp_path / "m.package" / "stale").write_text("old")
    with replacing_together(tmp_path / "m.xml") as temporary:
        temporary.write_text("new")
        temporary.with_name("m.bin").write_text("new")
        assert (tmp_path / "m.xml").read_text() == "old"
    with replacing_together(tmp_path / "m.package") as temporary:
        temporary.mkdir()
        (temporary / "fresh").write_text("new")
    assert [(tmp_path / name).read_text() for name in ("m.xml", "m.bin", "other.txt")] == ["new", "new", "old"]
    assert [path.name for path in (tmp_path / "m.package").iterdir()] == ["fresh"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.bin", "m.package", "m.xml", "other.txt"]


def test_an_error_keeps_all_old_parts(tmp_path):
    """Where the last part fails, none of the others is there."""
    (tmp_path / "m.xml").write_text("old")

    def write_half():
        with replacing_together(tmp_path / "m.xml") as temporary:
            temporary.with_name("m.bin").write_text("new")
            raise ValueError

    with pytest.raises(ValueError):
        write_half()
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("m.xml", "old")]


def test_sha256_is_the_file_s(tmp_path):
    """The hash of "abc" is the one in the standard."""
    (tmp_path / "m").write_bytes(b"abc")
    assert sha256_of(tmp_path / "m").startswith("ba7816bf8f01cfea")


def test_sha256_of_nothing_names_the_file(tmp_path):
    """A missing file is our error, not Python's."""
    with pytest.raises(DataError, match="gone: cannot be read"):
        sha256_of(tmp_path / "gone")
