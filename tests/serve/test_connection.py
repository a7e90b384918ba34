"""Silent, slow and oversized connections are closed, and do not block others."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from lightmark.serve.app import build_app
from lightmark.serve.connection import Connection
from lightmark.serve.headers import HEADERS
from lightmark.serve.static import StaticFile, page_files

Serving: TypeAlias = Callable[..., AbstractContextManager[Any]]
URL = "http://127.0.0.1:8000/"
GET = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"


class Hasty(Connection):
    """As served, but so fast that a test need not wait, and few."""

    most = 3
    header_seconds = 0.3
    stall_seconds = 0.3


class Few(Connection):
    """Connection with a small limit and usual timeouts."""

    most = 3


@pytest.fixture
def hasty(page: Path, serving: Serving) -> Iterator[Any]:
    """Server of the page with short timeouts."""
    with serving(build_app(page_files(page), None, URL), Hasty) as client:
        yield client


def connect(client: Any) -> socket.socket:
    return socket.create_connection(("127.0.0.1", client.port), timeout=10)


def everything(connection: socket.socket) -> bytes:
    """What comes until the other side has ended; fails after ten seconds without anything."""
    received = bytearray()
    while part := connection.recv(65536):
        received += part
    return bytes(received)


def healthy(connection: socket.socket, request: bytes = GET) -> None:
    """Request and response over a kept-alive connection."""
    connection.sendall(request)
    received = b""
    while not received.endswith(b'{"status":"ok"}'):
        part = connection.recv(65536)
        assert part, received
        received += part


def refused(answer: bytes, status: int) -> str:
    """The reason in a refusal that must have that status and all headers."""
    head, _, body = answer.partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    assert lines[0].startswith(f"HTTP/1.1 {status} ")
    fields = dict(line.split(": ", 1) for line in lines[1:])
    assert {name.lower(): value for name, value in HEADERS.items()}.items() <= {
        name.lower(): value for name, value in fields.items()
    }.items()
    reason: str = json.loads(body)["error"]
    return reason


def test_a_silent_connection_is_closed(hasty: Any) -> None:
    """A connection that sends nothing is closed after the header timeout."""
    with connect(hasty) as connection:
        assert everything(connection) == b""


def test_a_half_sent_header_gets_a_response(hasty: Any) -> None:
    """408, with the headers of every other response."""
    with connect(hasty) as connection:
        connection.sendall(GET[:30])
        assert refused(everything(connection), 408) == "the header did not arrive within 0.3 s"


def test_a_header_that_trickles_does_not_last(hasty: Any) -> None:
    """Single bytes do not extend the time limit of the header."""
    with connect(hasty) as connection:
        connection.settimeout(0.05)
        received = b""
        for _ in range(200):
            try:
                connection.sendall(b"G")
                received += connection.recv(1000)
                break
            except TimeoutError:
                continue
            except OSError:
                break
        else:
            pytest.fail("still open after 200 bytes")
        assert b"408" in received or received == b""


def test_the_next_header_is_awaited_no_longer(hasty: Any) -> None:
    """Half a second request after an answered one; uvicorn's own clock stops at its first byte."""
    with connect(hasty) as connection:
        healthy(connection)
        connection.sendall(GET[:20])
        assert everything(connection) == b""


def test_a_body_that_nobody_asked_for_is_not_awaited(hasty: Any) -> None:
    """The response is sent before the rest of the request arrives."""
    with connect(hasty) as connection:
        healthy(connection, GET[:-2] + b"Content-Length: 1000\r\n\r\n")
        connection.sendall(b"begin")
        assert everything(connection) == b""


def test_a_visitor_who_takes_nothing_is_left(tmp_path: Path, serving: Serving, wait_until: Callable[..., None]) -> None:
    """A file of megabytes is not held open for one who does not read it."""
    path = tmp_path / "large.bin"
    path.write_bytes(bytes(40_000_000))
    lines: list[str] = []
    with serving(build_app({"/large.bin": StaticFile(path, '"a"')}, None, URL, lines.append), Hasty) as ask, connect(
        ask
    ) as connection:
        connection.sendall(GET.replace(b"/healthz", b"/large.bin"))
        wait_until(lambda: len(lines) == 1)


def test_idle_connections_make_way(page: Path, serving: Serving) -> None:
    """The one that has been idle longest is closed for the newcomer, who is answered."""
    with serving(build_app(page_files(page), None, URL), Few) as ask, ExitStack() as stack:
        idle = [stack.enter_context(connect(ask)) for _ in range(3)]
        healthy(idle[1])  # is answered, so that it has been idle for the shortest time
        assert ask("GET", "/healthz").status == 200
        assert everything(idle[0]) == b""
        healthy(idle[1])


def test_where_all_are_busy_the_newest_is_refused(serving: Serving, wait_until: Callable[..., None]) -> None:
    """503 with every header, and those who came first keep theirs."""
    begun: list[Any] = []

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        begun.append(await receive())
        await receive()  # until the visitor leaves

    with serving(slow, Few) as ask, ExitStack() as stack:
        busy = [stack.enter_context(connect(ask)) for _ in range(3)]
        for connection in busy:
            connection.sendall(GET)
        wait_until(lambda: len(begun) == 3)
        late = stack.enter_context(connect(ask))
        assert "too many connections" in refused(everything(late), 503)
        for connection in busy:
            connection.settimeout(0.05)
            with pytest.raises(TimeoutError):
                connection.recv(1)


@pytest.mark.parametrize(
    "request_bytes",
    [b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", bytes(range(256)), b"GET / HTTP/1.1\r\n\r\n",
     b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", b"GET /?" + b"a" * 100_000,
     GET[:-2] + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n"],
)  # fmt: skip
def test_what_is_no_http_gets_every_header(
    hasty: Any, request_bytes: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """TLS, bytes, no host, two hosts, an endless address, two lengths: refused in the application's form, unlogged."""
    with connect(hasty) as connection:
        connection.sendall(request_bytes + b"\r\n\r\n")
        assert "no HTTP request" in refused(connection.recv(65536), 400)
    assert hasty("GET", "/healthz").status == 200
    assert not caplog.records  # else strangers fill the log
