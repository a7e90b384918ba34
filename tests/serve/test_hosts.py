"""The Host header: a stranger's name that leads to this machine is not answered."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from lightmark.serve.app import build_app
from lightmark.serve.headers import HEADERS
from lightmark.serve.server import is_own, names_of
from lightmark.serve.static import page_files

Serving: TypeAlias = Callable[..., AbstractContextManager[Callable[..., Any]]]
URL = "http://127.0.0.1:8000/"


@pytest.fixture(scope="module")
def ask(page: Path, serving: Serving) -> Any:
    """A page that is also called landmarks.example."""
    with serving(build_app(page_files(page), None, URL, hosts=["landmarks.example"])) as client:
        yield client


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "127.0.0.1:8000", "localhost", "LOCALHOST:8000", "localhost.", "[::1]", "[::1]:8000", "192.168.1.7",
     "landmarks.example", "Landmarks.Example:443"],
)  # fmt: skip
def test_known_hosts_are_answered(ask: Any, host: str) -> None:
    """IP addresses, localhost and the names of the command are accepted."""
    assert ask("GET", "/", headers={"Host": host}).status == 200


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:8000", "127.0.0.1.evil.example", "localhost.evil.example", "evil.landmarks.example",
     "localhost:evil", "[::1", "[evil]", "127.0.0.1@evil.example", "", "0x7f.1"],
)  # fmt: skip
def test_strangers_are_not(ask: Any, host: str) -> None:
    """421 with every header and how to allow the name, which is not repeated."""
    answer = ask("GET", "/", headers={"Host": host})
    assert answer.status == 421
    assert "--allow-host NAME" in answer.json["error"]
    assert {name: answer.headers[name] for name in HEADERS} == HEADERS
    assert answer.headers["Cache-Control"] == "no-store"
    assert b"evil" not in answer.body


def test_no_log_line_has_the_strangers_words(page: Path, serving: Serving) -> None:
    """Nor its path, which is unchecked, too."""
    lines: list[str] = []
    with serving(build_app(page_files(page), None, URL, lines.append)) as ask:
        ask("GET", "/Ada", headers={"Host": "ada.example"})
    assert [line.split()[1:4] for line in lines] == [["GET", "(unknown)", "421"]]


def test_the_machines_own_names_are_for_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who listens on this machine alone is called by no name of the network."""
    monkeypatch.setattr("socket.gethostname", lambda: "desk")
    monkeypatch.setattr("socket.getfqdn", lambda: "desk.example")
    assert names_of("127.0.0.1") == ["127.0.0.1"]
    assert names_of("0.0.0.0") == ["0.0.0.0", "desk", "desk.local", "desk.example"]
    assert all(is_own(host) for host in ("localhost", "::1", "127.9.9.9"))
    assert not any(is_own(host) for host in ("::", "0.0.0.0", "10.0.0.1", "desk"))
