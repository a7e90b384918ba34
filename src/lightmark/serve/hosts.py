"""Host header check against DNS rebinding.

A page of a stranger's domain, whose name its owner lets point to 127.0.0.1 a moment later, may read from a server here
as if it were its own (DNS rebinding). What gives it away is the Host header, which then has the stranger's name. A bare
address has no owner who could do so.
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
    """`app`, for visitors who name an address, localhost or one of `names` as their host; all others get 421."""
    known = {"localhost", *(name.lower().rstrip(".") for name in names)}

    async def checked(scope: Scope, receive: Receive, send: Send) -> None:
        if is_known(Headers(scope=scope).get("Host", ""), known):
            await app(scope, receive, send)
        else:
            await JSONResponse({"error": REASON}, MISDIRECTED)(scope, receive, send)

    return checked


def is_known(host: str, names: set[str]) -> bool:
    """Whether a Host header, its port aside, is an address or one of `names`, in small letters.

    >>> [is_known(host, {"localhost"}) for host in ("127.0.0.1:8000", "[::1]:8000", "LocalHost:1", "example.org", "")]
    [True, True, True, False, False]
    """
    found = HOST.fullmatch(host.lower())
    if found is None:
        return False
    bracketed, name = found.groups()
    return _is_address(bracketed) if bracketed else name.rstrip(".") in names or _is_address(name)


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
