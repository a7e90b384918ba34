"""Signals that end a command, and the exit status of each."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import click

INTERRUPTED, TERMINATED = 130, 143  # 128 + number of SIGINT and SIGTERM, as in shells


@contextmanager
def terminable(what_stays: str) -> Iterator[None]:
    """Context manager that turns SIGTERM into `SystemExit` 143, so that partial files are removed.

    Prints `what_stays`. Has no effect outside the main thread, where Python handles no signals.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(*_signal: object) -> None:
        click.echo(f"lightmark: stopped by SIGTERM; {what_stays}", err=True)
        sys.exit(TERMINATED)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
