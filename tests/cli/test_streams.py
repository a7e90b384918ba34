"""Standard output of every command: any encoding, full, closed, read no further, and how signals end it."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner

from lightmark.cli import main

REPORTS = "evaluate MODEL --data FACES --schema SCHEMA --report ROOT/report"
# Everything that prints to standard output.
PRINTING = {
    "help": "--help",
    "version": "--version",
    "help of a command": "detect --help",
    "info": "info MODEL",
    "models": "models",
    "models as JSON": "models --json",
    "recipes": "recipes",
    "evaluate": "evaluate MODEL --data FACES --schema SCHEMA",
    "compare": "compare ROOT/report ROOT/report",
    "compare as JSON": "compare ROOT/report ROOT/report --json",
    "bench": "bench MODEL --batch 1 --rounds 1",
    "check": "data check FACES --schema SCHEMA",
    "convert": "data convert FACES ROOT/new --to pts --schema SCHEMA",
    "pack": "data pack FACES --schema SCHEMA --out ROOT/packed",
    "export": "export MODEL --out ROOT/copy.onnx",
    **{f"detect as {form}": f"detect FACES --model MODEL --format {form}" for form in ("json", "jsonl", "csv", "coco")},
    "track": "track FILM --model MODEL --records ROOT/rows.csv",
}


@contextmanager
def full() -> Iterator[io.TextIOWrapper]:
    """Standard output of a full disk."""
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    with open("/dev/full", "w", encoding="utf-8") as stream:  # noqa: PTH123  # as the interpreter opens it
        yield stream


@contextmanager
def closed() -> Iterator[None]:
    """Standard output as the interpreter has it if it was closed."""
    yield None


@contextmanager
def unread() -> Iterator[io.TextIOWrapper]:
    """A pipe whose reader has ended, as `| head` leaves it."""
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w", encoding="utf-8") as stream:
        yield stream


def status_of(words: list[str], stream: io.TextIOBase | None, monkeypatch: pytest.MonkeyPatch) -> tuple[int, str]:
    """Exit status and standard error of a command that prints to `stream`."""
    errors = io.StringIO()
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", stream)
        patch.setattr(sys, "stderr", errors)
        with pytest.raises(SystemExit) as ended:
            main.main(words, prog_name="lightmark")
    return int(ended.value.code or 0), errors.getvalue()


@pytest.fixture
def words(request: pytest.FixtureRequest, world) -> list[str]:
    """Words of one of the commands that print, with what it reads made."""
    text = PRINTING[request.param]
    if "ROOT/report" in text:
        assert CliRunner().invoke(main, world.words(REPORTS)).exit_code == 0
    return world.words(text)


every_command = pytest.mark.parametrize("words", PRINTING, indirect=True)


@every_command
@pytest.mark.parametrize(("output", "reason"), [(full, "No space left on device"), (closed, "it is closed")])
def test_output_that_is_not_taken_is_status_two(words, output, reason, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line reports it, in every format; nothing is printed when the interpreter exits."""
    with output() as stream:
        status, printed = status_of(words, stream, monkeypatch)
        assert status == 2
        last = printed.splitlines()[-1]
        assert last == f"lightmark: standard output cannot be written: {reason}"
        assert "Traceback" not in printed


@every_command
def test_a_reader_that_is_gone_ends_it_quietly(words, monkeypatch: pytest.MonkeyPatch) -> None:
    """As `| head` does: no word, and the status that shells give for it."""
    with unread() as stream:
        status, printed = status_of(words, stream, monkeypatch)
        assert status == 141
        assert "rror" not in printed
        assert "Traceback" not in printed


@every_command
@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_any_encoding_is_printed_to(words, encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it lacks is escaped; JSON and CSV for programs are UTF-8."""
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    status, printed = status_of(words, stream, monkeypatch)
    assert status == 0, printed
    assert stream.buffer.getvalue().decode("utf-8" if "--format" in words else encoding) or "track" in words


def test_errors_are_printed_in_any_encoding(world, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name with an accent on a terminal of ASCII."""
    errors = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stderr", errors)
    with pytest.raises(SystemExit):
        main.main(["detect", "é×.jpg", "--model", str(world.model)], prog_name="lightmark")
    assert b"\\xe9\\xd7.jpg: no such picture" in errors.buffer.getvalue()


def test_a_full_error_stream_does_not_end_the_work(world, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full standard error stream does not stop the results."""
    with full() as stream:
        monkeypatch.setattr(sys, "stderr", stream)
        with pytest.raises(SystemExit) as ended:
            main.main(world.words("detect FACES --model MODEL --out ROOT/out.json"), prog_name="lightmark")
        assert not ended.value.code
    assert (world.root / "out.json").exists()


def test_a_closed_standard_input_is_named(world, monkeypatch: pytest.MonkeyPatch) -> None:
    """A closed standard input is named in the error."""
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(SystemExit) as ended:
        main.main(world.words("detect - --model MODEL --out ROOT/out.json"), prog_name="lightmark")
    assert ended.value.code == 1


@pytest.mark.skipif(os.name != "posix", reason="needs a POSIX shell")
@pytest.mark.parametrize(
    ("shell", "status", "printed"),
    [
        ("{} info fast > /dev/full", 2, "lightmark: standard output cannot be written: No space left on device\n"),
        ("{} info fast >&-", 2, "lightmark: standard output cannot be written: it is closed\n"),
        ("{} info fast >&- 2>&-", 2, ""),
        ("PYTHONIOENCODING=ascii {} info fast > /dev/null", 0, ""),
        ("LC_ALL=C PYTHONUTF8=0 PYTHONCOERCECLOCALE=0 {} info fast > /dev/null", 0, ""),
    ],
)
def test_a_shell_sees_the_same(shell: str, status: int, printed: str) -> None:
    """A complete process, including the interpreter's exit."""
    if "/dev/full" in shell and not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    command = ["bash", "-c", shell.format(f"'{sys.executable}' -m lightmark")]
    for unbuffered in ("", "1"):
        environment = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
        assert (done.returncode, done.stderr) == (status, printed)


def test_a_pipe_without_a_reader_ends_the_process_quietly() -> None:
    """The interpreter prints nothing at its exit either."""
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "lightmark", "info", "fast"]
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, "")


INTERRUPTED = {
    "detect": ("detect FACES --model MODEL --out ROOT/out.json", "lightmark.photos.detect.detect_inputs"),
    "annotate": (
        "annotate FACES --model MODEL --engine local --out ROOT/out",
        "lightmark.annotate.engines.annotate_chunk",
    ),
    "check": ("data check FACES --schema SCHEMA", "lightmark.data.check.check.check"),
    "pack": ("data pack FACES --schema SCHEMA --out ROOT/out", "lightmark.data.shards.pack.pack"),
    "evaluate": ("evaluate MODEL --data FACES --schema SCHEMA", "lightmark.evaluate.run.evaluate_model"),
    "export": ("export MODEL --out ROOT/out.onnx", "lightmark.export.exporter.export_formats"),
    "bench": ("bench MODEL", "lightmark.bench.speed.bench_models"),
    "train": ("train demo64-plain --data FACES --schema SCHEMA --out ROOT/out", "lightmark.train.loop.train"),
}


@pytest.mark.parametrize(("text", "worker"), INTERRUPTED.values(), ids=INTERRUPTED)
def test_an_interrupt_is_status_130(world, text: str, worker: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An interrupt gives status 130 and one line without traceback."""

    def interrupt(*_words: object, **_options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(worker, interrupt)
    result = CliRunner().invoke(main, world.words(text))
    assert result.exit_code == 130
    assert result.stderr.splitlines()[-1].startswith("lightmark: interrupted")


@pytest.mark.parametrize("command", ["detect", "annotate"])
def test_sigterm_leaves_nothing_half_written(world, command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Status 143; the handler before it is back."""
    text, worker = INTERRUPTED[command]
    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(worker, lambda *_words, **_options: signal.raise_signal(signal.SIGTERM))
    result = CliRunner().invoke(main, world.words(text))
    assert result.exit_code == 143
    assert "lightmark: stopped by SIGTERM; " in result.stderr
    assert not (world.root / "out.json").exists()
    assert not list(world.root.rglob(".lightmark-*"))
    assert signal.getsignal(signal.SIGTERM) is before
