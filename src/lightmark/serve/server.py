"""Listening socket, and the uvicorn server on it until SIGINT or SIGTERM."""

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
WILDCARDS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # all addresses of a machine → one that a browser can open


def open_socket(host: str, port: int) -> socket.socket:
    """Socket that listens on `host` and `port` (0: a free one); raises `ConfigError` if it cannot."""
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
    """URL of the socket for a browser on this machine."""
    host, port = listening.getsockname()[:2]
    host = WILDCARDS.get(host, host)
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"


def server_of(app: ASGIApp, grace: float, connection: type[Connection] = Connection) -> uvicorn.Server:
    """Server of `app`, not started; when it stops, running requests have `grace` seconds to finish."""
    return uvicorn.Server(
        uvicorn.Config(
            app,
            http=connection,
            loop="asyncio",
            ws="none",
            lifespan="off",
            log_config=None,  # only errors, by Python's logging itself
            log_level="error",  # uvicorn warns about each invalid request, which any client could send
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=max(1, round(grace)),
        )
    )


def names_of(host: str) -> list[str]:
    """Accepted host names of a server at `host`: that name, and the machine's names unless it is a loopback address."""
    if is_own(host):
        return [host]
    name = socket.gethostname()
    return [host, name, f"{name.partition('.')[0]}.local", socket.getfqdn()]


def is_own(host: str) -> bool:
    """Whether `host` is a loopback address or localhost, reachable from this machine only."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def run(app: ASGIApp, listening: socket.socket, grace: float, ready: Callable[[], None]) -> int | None:
    """Serve `app` until SIGINT or SIGTERM; returns the first signal, None if the server stopped by itself.

    `ready` is called when connections are accepted and signals handled. After a signal no connection is accepted, and
    running requests have `grace` seconds; a second SIGINT stops at once.
    """
    server = server_of(app, grace)
    signals: list[int] = []

    def note(number: int, _frame: FrameType | None) -> None:
        signals.append(number)
        server.should_exit = True

    # uvicorn raises the signal again when it has stopped, for the handlers that were installed before its own.
    before = {number: signal.signal(number, note) for number in ENDING}
    try:
        ready()
        server.run([listening])
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return signals[0] if signals else None
