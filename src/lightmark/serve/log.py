"""Request log: one line per request, without client data."""

from __future__ import annotations

import time
from collections.abc import Callable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

UNKNOWN = (404, 421, None)  # statuses of paths that the client made up, which are not logged


def with_log(app: ASGIApp, log: Callable[[str], None]) -> ASGIApp:
    """Middleware that calls `log` after each request with time of day, method, path, status and milliseconds.

    Client addresses, queries and pictures are not logged. The status of a response that never began is "-".
    """

    async def logged(scope: Scope, receive: Receive, send: Send) -> None:
        status: int | None = None
        began = time.perf_counter()
        done = False

        def log_once() -> None:
            nonlocal done
            if done:
                return
            done = True
            path = "(unknown)" if status in UNKNOWN else scope["path"]
            duration = f"{1000 * (time.perf_counter() - began):.0f} ms"
            log(f"{time.strftime('%H:%M:%S')} {scope['method']} {path} {status or '-'} {duration}")

        async def send_and_note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)
            if message["type"] == "http.response.body" and not message.get("more_body"):
                log_once()  # here, since the client does not wait for the application's cleanup

        try:
            await app(scope, receive, send_and_note)
        finally:
            log_once()

    return logged
