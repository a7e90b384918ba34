"""HTTP connections with limits: idle time, header time, stalled clients, number of connections."""

from __future__ import annotations

import asyncio
import json

import h11
from uvicorn.protocols.http.h11_impl import STATUS_PHRASES, H11Protocol

from lightmark.serve.headers import HEADERS

MOST = 512  # at a time; the usual limit of open files is 1024, and static files open some, too
HEADER_SECONDS = 10.0  # from the connection, or from the answer before, to a whole header
STALL_SECONDS = 30.0  # without a visitor taking anything of what waits for it: 64 kB, below 2 kB/s
LINGER_SECONDS = 2.0  # for what is written to a connection that is closing


class Connection(H11Protocol):
    """uvicorn's connection with timeouts; uvicorn itself waits forever for headers and for slow clients.

    Where there are too many, the one that has been idle longest makes way, idle being all without a request: what
    waits for nothing cannot keep others out. Where all have one, the newest is refused.
    """

    most = MOST
    header_seconds = HEADER_SECONDS
    stall_seconds = STALL_SECONDS
    _timer: asyncio.TimerHandle | None = None
    _stall: asyncio.TimerHandle | None = None
    _idle_since = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        """Make room, and await a header."""
        super().connection_made(transport)
        self._await_header()
        if len(self.connections) > self.most:
            idle = [one for one in self.connections if isinstance(one, Connection) and one._idle and one is not self]
            if idle:
                min(idle, key=lambda one: one._idle_since).drop()
            else:
                self.refuse(503, "too many connections; try again")

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the timers."""
        self._cancel()
        if self._stall is not None:
            self._stall.cancel()
        super().connection_lost(exc)

    def handle_events(self) -> None:
        """Once a request has come the application says how long it may take."""
        before = self.cycle
        super().handle_events()
        if self.cycle is not before and not self._idle:
            self._cancel()

    def on_response_complete(self) -> None:
        """Await the next header; what still comes of a body is none."""
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
        """Refuse what is no HTTP, in the form and with the headers of all other answers."""
        self.refuse(400, "this is no HTTP request that is understood here")

    def refuse(self, status: int, reason: str) -> None:
        """Answer a visitor whose request did not reach the application, and end the connection."""
        if self.conn.our_state not in (h11.IDLE, h11.SEND_RESPONSE):  # in the midst of another answer
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
        """End the connection, at the latest after `LINGER_SECONDS`."""
        self._cancel()
        self.transport.close()
        self.connections.discard(self)  # one that lingers takes no other's place
        self.loop.call_later(LINGER_SECONDS, self.transport.abort)

    @property
    def _idle(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _await_header(self) -> None:
        self._cancel()
        self._idle_since = self.loop.time()
        self._timer = self.loop.call_later(self.header_seconds, self._header_did_not_come)

    def _header_did_not_come(self) -> None:
        begun = bool(self.conn.trailing_data[0]) and self.cycle is None
        if begun:
            self.refuse(408, f"the header did not arrive within {self.header_seconds:g} s")
        else:
            self.drop()

    def _cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
