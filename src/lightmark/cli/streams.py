"""Standard streams of a command: any encoding, full, closed, or read no further."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO, cast

from lightmark.errors import WriteError

READER_GONE = 141  # 128 + SIGPIPE, as shells count


class StandardOutput:
    """Standard output whose failures are ours: `WriteError` where it is full, a quiet end where nobody reads on."""

    def __init__(self, stream: TextIO | None) -> None:
        self._stream, self._error = stream, cast(OSError | None, None)

    def __getattr__(self, name: str) -> Any:
        if name == "buffer":  # by which click would write UTF-8 past an encoding that is ASCII
            raise AttributeError(name)
        return getattr(self._stream, name)

    @property
    def encoding(self) -> str:
        """Of the stream; a closed one takes anything, to fail at its first character."""
        return "utf-8" if self._stream is None else self._stream.encoding

    def isatty(self) -> bool:
        """Whether people read it."""
        return self._stream is not None and self._stream.isatty()

    def write(self, text: str) -> int:
        """Write `text`."""
        if text == "":  # by which click asks whether a stream takes text, deaf to any failure
            return 0
        with self._failures():
            self._open().write(text)
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write all of `lines`."""
        with self._failures():
            self._open().writelines(lines)

    def flush(self) -> None:
        """Hand on what is still held, unless it was refused before."""
        with self._failures():
            if self._stream is not None and self._error is None:
                self._stream.flush()

    def _open(self) -> TextIO:
        if self._error is not None:
            raise self._error
        if self._stream is None:
            raise OSError("it is closed")
        return self._stream

    @contextmanager
    def _failures(self) -> Iterator[None]:
        try:
            yield
        except BrokenPipeError as error:
            self._discard(error)
            raise SystemExit(READER_GONE) from None
        except OSError as error:
            self._discard(error)
            raise WriteError(f"standard output cannot be written: {error.strerror or error}") from error

    def _discard(self, error: OSError) -> None:
        """Let what a broken stream still holds go nowhere, or Python says so again when it ends."""
        self._error = error
        with suppress(OSError, ValueError, AttributeError):
            number = os.open(os.devnull, os.O_WRONLY)
            os.dup2(number, cast(TextIO, self._stream).fileno())
            os.close(number)


class StandardError(StandardOutput):
    """Standard error that ignores write failures: text that cannot be written is dropped, and the command goes on."""

    @contextmanager
    def _failures(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self._discard(error)

    def _open(self) -> TextIO:
        return io.StringIO() if self._stream is None or self._error is not None else self._stream


@contextmanager
def standard_streams() -> Iterator[None]:
    """The two streams guarded and set to take any character; what is still held is written at the end."""
    _keep_numbers()
    before = sys.stdout, sys.stderr
    for stream in before:
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # as Python itself sets the error stream
    sys.stdout, sys.stderr = cast(TextIO, StandardOutput(sys.stdout)), cast(TextIO, StandardError(sys.stderr))
    try:
        yield
    finally:
        try:
            sys.stderr.flush()
            sys.stdout.flush()
        finally:
            sys.stdout, sys.stderr = before


def set_machine_output() -> None:
    """Standard output for programs: UTF-8 whatever the terminal's encoding, names of files byte for byte."""
    with suppress(AttributeError):  # closed, or no stream that can change
        cast(io.TextIOWrapper, sys.stdout).reconfigure(encoding="utf-8", errors="surrogateescape")


def _keep_numbers() -> None:
    """Fill the numbers 0 to 2 where whoever started the process closed them: the next file would be taken for one."""
    with suppress(OSError):
        while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
            pass
        os.close(number)
