"""Signals that end a command, and the exit status of each."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import click

INTERRUPTED, TERMINATED = 130, 143  # 128 + SIGINT and SIGTERM, as shells count


@contextmanager
def terminable(what_stays: str) -> Iterator[None]:
    """SIGTERM ends the block as an error does, so that nothing half-written is left; prints `what_stays`, status 143.

    Outside the main thread, where Python knows no signals, nothing changes.
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
