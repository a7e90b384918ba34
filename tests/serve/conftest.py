"""A page folder, and a server on a free port of this machine that lives as long as a `with` block."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from starlette.types import ASGIApp

from lightmark.serve.connection import Connection
from lightmark.serve.server import open_socket, server_of


@dataclass(frozen=True)
class Answer:
    """Status, headers and body of an answer."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def json(self) -> Any:
        """The body's JSON."""
        return json.loads(self.body)


@dataclass(frozen=True)
class Client:
    """Asks the server at `port`, each time on a connection of its own."""

    port: int

    def __call__(
        self,
        method: str,
        path: str,
        body: bytes | Iterable[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """The answer to a request whose path is sent as it is."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, path, body, dict(headers or {}))
            answer = connection.getresponse()
            return Answer(answer.status, answer.headers, answer.read())
        finally:
            connection.close()


@contextmanager
def _serving(app: ASGIApp, connection: type[Connection] = Connection) -> Iterator[Client]:
    listening = open_socket("127.0.0.1", 0)
    server = server_of(app, 5, connection)
    thread = threading.Thread(target=server.run, args=([listening],))
    port = listening.getsockname()[1]
    thread.start()
    try:
        yield Client(port)
    finally:
        server.should_exit = True
        thread.join(10)


@pytest.fixture(scope="session")
def serving() -> Callable[..., AbstractContextManager[Client]]:
    """Context with an application behind uvicorn, as `lightmark serve` runs it; yields a client."""
    return _serving


@pytest.fixture(scope="session")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small page with a file of each kind that the real one has."""
    folder = tmp_path_factory.mktemp("built") / "page"
    (folder / "assets").mkdir(parents=True)
    (folder / "index.html").write_text("<!doctype html><title>Lightmark</title>")
    (folder / "sw.js").write_text("self.addEventListener('fetch', () => {})")
    (folder / "manifest.webmanifest").write_text("{}")
    (folder / "assets" / "main-1a2b.mjs").write_text("export {}")
    (folder / "assets" / "ort.wasm").write_bytes(b"\0asm" + bytes(range(256)))
    (folder / "assets" / "style.css").write_text("p {}")
    (folder / ".hidden").write_text("not for visitors")
    (folder.parent / "secret.txt").write_text("not for visitors")
    return folder


@pytest.fixture
def wait_until() -> Callable[[Callable[[], bool]], None]:
    """Function that waits until something holds, and fails the test where it does not within ten seconds."""

    def wait(holds: Callable[[], bool]) -> None:
        end = time.monotonic() + 10
        while not holds():
            assert time.monotonic() < end, "it never came"
            time.sleep(0.005)

    return wait
