"""The server's socket, and the address that leads to it."""

from __future__ import annotations

import socket

import pytest

from lightmark.errors import ConfigError
from lightmark.serve.server import open_socket, url_of


def test_a_free_port_is_taken() -> None:
    """Port 0 selects a free port, which is in the URL."""
    with open_socket("127.0.0.1", 0) as listening:
        assert url_of(listening) == f"http://127.0.0.1:{listening.getsockname()[1]}/"


def test_all_addresses_are_reached_by_one_that_a_browser_opens() -> None:
    """0.0.0.0 is nothing that can be visited."""
    with open_socket("0.0.0.0", 0) as listening:
        assert url_of(listening).startswith("http://127.0.0.1:")


def test_ipv6_is_bracketed() -> None:
    """An IPv6 address is in brackets in the URL."""
    if not socket.has_dualstack_ipv6():
        pytest.skip("no IPv6 here")
    try:
        listening = open_socket("::1", 0)
    except ConfigError:
        pytest.skip("no IPv6 loopback here")
    with listening:
        assert url_of(listening).startswith("http://[::1]:")


def no_such_name(*_: object, **__: object) -> None:
    raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")


def test_a_name_that_leads_nowhere_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """An unknown host name and an invalid one raise an error."""
    with pytest.raises(ConfigError, match=r"--host a\.\.b: not an address of this machine; 127\.0\.0\.1 is its own"):
        open_socket("a..b", 0)
    monkeypatch.setattr(socket, "getaddrinfo", no_such_name)
    with pytest.raises(ConfigError, match="--host nowhere: not an address of this machine"):
        open_socket("nowhere", 0)
