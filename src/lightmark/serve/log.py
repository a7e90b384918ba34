"""Request log: one line per request, without client data."""

from __future__ import annotations

import time
from collections.abc import Callable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

UNKNOWN = (404, 421, None)  # the address is the visitor's own words, which the log does not repeat


def with_log(app: ASGIApp, tell: Callable[[str], None]) -> ASGIApp:
    """`app`, with a line to `tell` after each request: time of day, method, address, status, milliseconds.

    No visitor's address, no query, nothing of a picture. An answer that never began has "-" for its status.
    """

    async def logged(scope: Scope, receive: Receive, send: Send) -> None:
        status: int | None = None
        began = time.perf_counter()
        logged_already = False

        def tell_once() -> None:
            nonlocal logged_already
            if logged_already:
                return
            logged_already = True
            address = "(unknown)" if status in UNKNOWN else scope["path"]
            took = f"{1000 * (time.perf_counter() - began):.0f} ms"
            tell(f"{time.strftime('%H:%M:%S')} {scope['method']} {address} {status or '-'} {took}")

        async def send_and_note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)
            if message["type"] == "http.response.body" and not message.get("more_body"):
                tell_once()  # now: what the application tidies up afterwards is not what the visitor waited for

        try:
            await app(scope, receive, send_and_note)
        finally:
            tell_once()

    return logged
