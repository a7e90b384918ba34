"""Host header check against DNS rebinding.

In this attack the owner of a domain serves a web page and then resolves the domain to 127.0.0.1, so that the page may
read from a server on the visitor's machine. The requests have the attacker's domain in their Host header. IP addresses
cannot be rebound, so they are always accepted.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

HOST = re.compile(r"(?:\[([^\]]+)\]|([^\[\]:]+))(?::[0-9]*)?")  # [IPv6] or a name, and a port
MISDIRECTED = 421
REASON = "this server is not called by that name; start it with --allow-host NAME if it is"


def with_hosts(app: ASGIApp, names: Iterable[str]) -> ASGIApp:
    """Middleware that responds 421 unless the Host header is an IP address, localhost or one of `names`."""
    known = {"localhost", *(name.lower().rstrip(".") for name in names)}

    async def checked(scope: Scope, receive: Receive, send: Send) -> None:
        if is_known(Headers(scope=scope).get("Host", ""), known):
            await app(scope, receive, send)
        else:
            await JSONResponse({"error": REASON}, MISDIRECTED)(scope, receive, send)

    return checked


def is_known(host: str, names: set[str]) -> bool:
    """Whether a Host header, without its port, is an IP address or one of the lower-case `names`.

    >>> [is_known(host, {"localhost"}) for host in ("127.0.0.1:8000", "[::1]:8000", "LocalHost:1", "example.org", "")]
    [True, True, True, False, False]
    """
    match = HOST.fullmatch(host.lower())
    if match is None:
        return False
    bracketed, name = match.groups()
    return _is_address(bracketed) if bracketed else name.rstrip(".") in names or _is_address(name)


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
