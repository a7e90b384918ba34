"""Atomic writing of files, and their hashes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lightmark.errors import DataError, WriteError
from lightmark.files import is_stream, replacing, replacing_together, sha256_of


def test_file_is_written_in_full(tmp_path):
    """After the block the target holds what was written, and nothing else is left."""
    with replacing(tmp_path / "a.txt") as temporary:
        temporary.write_text("whole")
    assert (tmp_path / "a.txt").read_text() == "whole"
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_target_is_not_there_before_the_end(tmp_path):
    """The target does not exist until the file is complete."""
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
    """A glob over the folder during a write finds no incomplete file."""
    with replacing(tmp_path / "copy-001.npz") as temporary:
        temporary.touch()
        assert temporary.name.startswith(".")


def test_folders_are_made(tmp_path):
    """The target's folder need not exist; a path may be text."""
    with replacing(str(tmp_path / "new" / "folder" / "ä.txt")) as temporary:
        temporary.write_text("whole")
    assert (tmp_path / "new" / "folder" / "ä.txt").read_text() == "whole"


def test_writing_nothing_is_an_error(tmp_path):
    """A block that wrote no file is an error."""
    with pytest.raises(WriteError, match=r"a\.txt: cannot be written: No such file"), replacing(tmp_path / "a.txt"):
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


def test_a_link_is_written_through(tmp_path):
    """The link stays, and its target is replaced with the same permissions."""
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "real.txt").write_text("old")
    (tmp_path / "store" / "real.txt").chmod(0o640)
    (tmp_path / "link.csv").symlink_to("store/real.txt")
    with replacing(tmp_path / "link.csv") as temporary:
        assert (temporary.parent, temporary.suffix) == (tmp_path / "store", ".csv")
        temporary.write_text("new")
    assert (tmp_path / "link.csv").is_symlink()
    assert (tmp_path / "store" / "real.txt").read_text() == "new"
    assert (tmp_path / "store" / "real.txt").stat().st_mode & 0o777 == 0o640


def test_a_link_to_nothing_makes_its_file(tmp_path):
    """A link whose file is still to come."""
    (tmp_path / "link").symlink_to("real")
    with replacing(tmp_path / "link") as temporary:
        temporary.write_text("new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_text() == "new"


@pytest.mark.skipif(os.name != "posix", reason="needs named pipes")
@pytest.mark.parametrize("write", [replacing, replacing_together])
def test_a_pipe_is_written_through(tmp_path, write):
    """The reader of the pipe gets the complete file, and the pipe stays."""
    os.mkfifo(tmp_path / "pipe.txt")
    reader = os.open(tmp_path / "pipe.txt", os.O_RDONLY | os.O_NONBLOCK)
    with write(tmp_path / "pipe.txt") as temporary:
        temporary.write_text("whole")
    assert os.read(reader, 99) == b"whole"
    os.close(reader)
    assert is_stream(tmp_path / "pipe.txt")
    assert [path.name for path in tmp_path.iterdir()] == ["pipe.txt"]


@pytest.mark.skipif(not Path("/dev/null").is_char_device(), reason="needs /dev/null")
def test_a_device_is_not_replaced(tmp_path):
    """Neither by its name nor through a link to it."""
    (tmp_path / "link").symlink_to("/dev/null")
    for path in (Path("/dev/null"), tmp_path / "link"):
        with replacing(path) as temporary:
            assert temporary.parent not in (Path("/dev"), tmp_path)
            temporary.write_text("gone")
    assert Path("/dev/null").is_char_device()
    assert (tmp_path / "link").is_symlink()


@pytest.mark.skipif(not Path("/dev/stdout").exists(), reason="needs /dev/stdout")
def test_standard_output_in_a_file_is_gone_on_with(tmp_path):
    """What was printed before and after stays: the file is not opened anew, nor replaced."""
    code = (
        "from lightmark.files import replacing\n"
        "print('before')\n"
        "with replacing('/dev/stdout') as path: path.write_text('within\\n')\n"
        "print('after')"
    )
    with (tmp_path / "out").open("w") as out:
        subprocess.run([sys.executable, "-c", code], stdout=out, check=True)
    assert (tmp_path / "out").read_text().split() == ["before", "within", "after"]


def test_a_refusal_names_the_target_alone(tmp_path):
    """A failed write raises our error without the temporary name."""
    (tmp_path / "taken").mkdir()
    with pytest.raises(WriteError, match=r"taken: cannot be written: Is a directory") as refused, replacing(
        tmp_path / "taken"
    ) as temporary:
        temporary.write_text("x")
    assert ".lightmark" not in str(refused.value)
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


def test_a_file_in_a_folder_s_place_is_named(tmp_path):
    """A file where a folder should be."""
    (tmp_path / "file").touch()
    with pytest.raises(WriteError, match="a file is where its folder should be"), replacing(tmp_path / "file" / "x"):
        pass


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_our_error(tmp_path):
    """A full disk raises our error with the reason in one line."""
    (tmp_path / "link.txt").symlink_to("/dev/full")
    refusal = pytest.raises(WriteError, match=r"^[^\n]*link\.txt: cannot be written: No space left on device[^\n]*$")
    with refusal, replacing(tmp_path / "link.txt") as temporary:
        temporary.write_text("x")


def test_long_names_are_written(tmp_path):
    """A name as long as file systems allow leaves no room for more of it before it."""
    name = "é" * 125 + ".csv"
    with replacing(tmp_path / name) as temporary:
        temporary.write_text("whole")
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.skipif(os.name != "posix", reason="elsewhere nobody tells whether a process runs")
def test_what_a_killed_run_left_is_swept(tmp_path):
    """The next process that writes there takes it away, and nothing of one that runs, nor any other file."""
    code = (
        "import os, signal, sys\n"
        "from lightmark.files import replacing, replacing_together\n"
        "with replacing(sys.argv[1]) as file, replacing_together(sys.argv[1] + '.xml') as folder:\n"
        "    file.touch(), folder.touch(), print(file, folder, flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGKILL) if sys.argv[2] == 'dead' else sys.stdin.read()"
    )
    words = [sys.executable, "-c", code, str(tmp_path / "a.txt")]
    (tmp_path / ".hidden-1-file").touch()
    with subprocess.Popen([*words, "alive"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as alive:
        kept = alive.stdout.readline().split()
        dead = subprocess.run([*words, "dead"], capture_output=True, text=True, check=False)
        left = dead.stdout.split()
        assert all(Path(path).exists() for path in [*kept, *left])
        with replacing(tmp_path / "b.txt") as temporary:
            temporary.touch()
        assert not any(Path(path).exists() for path in left)
        assert all(Path(path).exists() for path in kept)
        alive.stdin.close()
        assert alive.wait() == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == [".hidden-1-file", "a.txt", "a.txt.xml", "b.txt"]
