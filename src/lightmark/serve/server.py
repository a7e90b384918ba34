"""Listening socket, and uvicorn on it until SIGINT or SIGTERM."""

from __future__ import annotations

import errno
import ipaddress
import signal
import socket
from collections.abc import Callable
from types import FrameType

import uvicorn
from starlette.types import ASGIApp

from lightmark.errors import ConfigError
from lightmark.serve.connection import Connection

ENDING = (signal.SIGINT, signal.SIGTERM)
WILDCARDS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # all of a machine's addresses → one that a browser can open


def open_socket(host: str, port: int) -> socket.socket:
    """Socket that listens on `host` at `port`, 0 for one that is free; raises `ConfigError` where it cannot."""
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        return socket.create_server(address[:2], family=family)
    except (socket.gaierror, UnicodeError) as error:
        raise ConfigError(f"--host {host}: not an address of this machine; 127.0.0.1 is its own") from error
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            reason = f"port {port} on {host} is taken; give another, such as --port {port % 65535 + 1}, or 0 for any"
        elif error.errno == errno.EACCES:
            reason = f"port {port} on {host} is not for ordinary users; give one from 1024 on, such as --port 8000"
        else:
            reason = f"cannot listen on {host}, port {port}: {error.strerror}; 127.0.0.1 is this machine's own address"
        raise ConfigError(reason) from error


def url_of(listening: socket.socket) -> str:
    """Where a browser on this machine reaches the socket."""
    host, port = listening.getsockname()[:2]
    host = WILDCARDS.get(host, host)
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"


def server_of(app: ASGIApp, grace: float, connection: type[Connection] = Connection) -> uvicorn.Server:
    """Server of `app`, not running yet, that gives what is being answered `grace` seconds when it is to end."""
    return uvicorn.Server(
        uvicorn.Config(
            app,
            http=connection,
            loop="asyncio",
            ws="none",
            lifespan="off",
            log_config=None,  # errors alone, as Python's logging prints them by itself
            log_level="error",  # its warnings are a line for whatever a stranger sends that is no HTTP
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=max(1, round(grace)),
        )
    )


def names_of(host: str) -> list[str]:
    """What this machine may be called by those who reach it at `host`: that, and its own names for more than itself."""
    if is_own(host):
        return [host]
    name = socket.gethostname()
    return [host, name, f"{name.partition('.')[0]}.local", socket.getfqdn()]


def is_own(host: str) -> bool:
    """Whether only this machine itself reaches `host`."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def run(app: ASGIApp, listening: socket.socket, grace: float, ready: Callable[[], None]) -> int | None:
    """Serve `app` until SIGINT or SIGTERM, the first of which is returned, None for a server that stopped by itself.

    `ready` is called once connections are taken and signals heeded. After a signal nothing more is accepted, and what
    is being answered has `grace` seconds; a second SIGINT ends it at once.
    """
    server = server_of(app, grace)
    came: list[int] = []

    def note(number: int, _frame: FrameType | None) -> None:
        came.append(number)
        server.should_exit = True

    # uvicorn, when it is done, raises the signal that ended it once more, for the handlers that were there before its
    # own.
    before = {number: signal.signal(number, note) for number in ENDING}
    try:
        ready()
        server.run([listening])
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return came[0] if came else None
