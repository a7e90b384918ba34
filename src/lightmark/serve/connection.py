"""HTTP connections with limits: idle time, header time, stalled clients, number of connections."""

from __future__ import annotations

import asyncio
import json

import h11
from uvicorn.protocols.http.h11_impl import STATUS_PHRASES, H11Protocol

from lightmark.serve.headers import HEADERS

MOST = 512  # connections; the usual limit of open files is 1024, and static files need some, too
HEADER_SECONDS = 10.0  # from the connection, or the previous response, to the end of the header
STALL_SECONDS = 30.0  # without the client reading any of the 64 kB of buffered output
LINGER_SECONDS = 2.0  # for the last output of a closing connection


class Connection(H11Protocol):
    """uvicorn's connection with timeouts; uvicorn itself waits forever for headers and for slow clients.

    At the limit, a new connection replaces the one that has been without a request for longest, so that idle clients
    cannot lock others out. If all have a request, the new one is refused.
    """

    most = MOST
    header_seconds = HEADER_SECONDS
    stall_seconds = STALL_SECONDS
    _timer: asyncio.TimerHandle | None = None
    _stall: asyncio.TimerHandle | None = None
    _idle_since = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        """Wait for a header; at the limit, close the longest idle connection or refuse this one."""
        super().connection_made(transport)
        self._await_header()
        if len(self.connections) > self.most:
            idle = [one for one in self.connections if isinstance(one, Connection) and one._idle and one is not self]
            if idle:
                min(idle, key=lambda one: one._idle_since).drop()
            else:
                self.refuse(503, "too many connections; try again")

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel the timers."""
        self._cancel()
        if self._stall is not None:
            self._stall.cancel()
        super().connection_lost(exc)

    def handle_events(self) -> None:
        """Handle events; a complete request cancels the header timer, since the application has its own limits."""
        before = self.cycle
        super().handle_events()
        if self.cycle is not before and not self._idle:
            self._cancel()

    def on_response_complete(self) -> None:
        """Wait for the next header; the rest of an unread body does not count as one."""
        self._await_header()
        super().on_response_complete()

    def pause_writing(self) -> None:
        """Start the stall timer: the client does not read."""
        super().pause_writing()
        self._stall = self.loop.call_later(self.stall_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        """Stop the stall timer: the client reads again."""
        super().resume_writing()
        if self._stall is not None:
            self._stall.cancel()

    def send_400_response(self, msg: str) -> None:
        """Refuse invalid HTTP with the same format and headers as all other errors."""
        self.refuse(400, "this is no HTTP request that is understood here")

    def refuse(self, status: int, reason: str) -> None:
        """Respond to a client whose request did not reach the application, and close the connection."""
        if self.conn.our_state not in (h11.IDLE, h11.SEND_RESPONSE):  # another response has begun
            self.drop()
            return
        body = json.dumps({"error": reason}).encode()
        fields = {**HEADERS, "Cache-Control": "no-store", "Content-Type": "application/json", "Connection": "close"}
        fields["Content-Length"] = str(len(body))
        headers = [(name.encode(), value.encode()) for name, value in fields.items()]
        answer = h11.Response(status_code=status, headers=headers, reason=STATUS_PHRASES[status])
        events = (answer, h11.Data(data=body), h11.EndOfMessage())
        self.transport.write(b"".join(self.conn.send(event) or b"" for event in events))
        self.drop()

    def drop(self) -> None:
        """Close the connection, at the latest after `LINGER_SECONDS`."""
        self._cancel()
        self.transport.close()
        self.connections.discard(self)  # a lingering connection does not count for the limit
        self.loop.call_later(LINGER_SECONDS, self.transport.abort)

    @property
    def _idle(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _await_header(self) -> None:
        self._cancel()
        self._idle_since = self.loop.time()
        self._timer = self.loop.call_later(self.header_seconds, self._header_timeout)

    def _header_timeout(self) -> None:
        begun = bool(self.conn.trailing_data[0]) and self.cycle is None
        if begun:
            self.refuse(408, f"the header did not arrive within {self.header_seconds:g} s")
        else:
            self.drop()

    def _cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
