"""Standard output and error that survive or report a full disk, closed streams and pipes, and odd encodings."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO, cast

from lightmark.errors import WriteError

EXIT_AFTER_SIGPIPE = 141  # 128 + number of SIGPIPE, as in shells


class StandardOutput:
    """Standard output that raises `WriteError` if it is full, and exits silently on a closed pipe."""

    def __init__(self, stream: TextIO | None) -> None:
        self._stream, self._error = stream, cast(OSError | None, None)

    def __getattr__(self, name: str) -> Any:
        if name == "buffer":  # click would use it to write UTF-8 to an ASCII stream
            raise AttributeError(name)
        return getattr(self._stream, name)

    @property
    def encoding(self) -> str:
        """Encoding of the stream; UTF-8 for a closed one, which fails at its first write."""
        return "utf-8" if self._stream is None else self._stream.encoding

    def isatty(self) -> bool:
        """Whether it is a terminal."""
        return self._stream is not None and self._stream.isatty()

    def write(self, text: str | bytes) -> int:
        """Write `text`, also UTF-8 bytes, in which click offers completions to the shell."""
        if text == b"":  # click's test whether a stream is binary, to which it would write everything as UTF-8
            raise TypeError("standard output takes text")
        if isinstance(text, bytes):
            text = text.decode()
        if text == "":  # click's test whether a stream takes text, which ignores all errors
            return 0
        with self._failures():
            self._open().write(text)
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write all of `lines`."""
        with self._failures():
            self._open().writelines(lines)

    def flush(self) -> None:
        """Flush the buffer, unless an earlier write failed."""
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
            raise SystemExit(EXIT_AFTER_SIGPIPE) from None
        except OSError as error:
            self._discard(error)
            raise WriteError(f"standard output cannot be written: {error.strerror or error}") from error

    def _discard(self, error: OSError) -> None:
        """Redirect the rest of a broken stream to the null device: Python would report it again at exit."""
        self._error = error
        with suppress(OSError, ValueError, AttributeError):
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, cast(TextIO, self._stream).fileno())
            os.close(null)


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
    """Context manager that wraps both streams, escapes unencodable characters, and flushes at the end."""
    _occupy_standard_descriptors()
    original = sys.stdout, sys.stderr
    for stream in original:
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # as Python does for standard error
    sys.stdout, sys.stderr = cast(TextIO, StandardOutput(sys.stdout)), cast(TextIO, StandardError(sys.stderr))
    try:
        yield
    finally:
        try:
            sys.stderr.flush()
            sys.stdout.flush()
        finally:
            sys.stdout, sys.stderr = original


def set_machine_output() -> None:
    """Set standard output to UTF-8 for programs, with file names byte for byte (surrogateescape)."""
    with suppress(AttributeError):  # closed, or no stream that can change
        cast(io.TextIOWrapper, sys.stdout).reconfigure(encoding="utf-8", errors="surrogateescape")


def _occupy_standard_descriptors() -> None:
    """Open the null device as closed descriptors 0 to 2: the next opened file would become a standard stream."""
    with suppress(OSError):
        while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
            pass
        os.close(descriptor)
