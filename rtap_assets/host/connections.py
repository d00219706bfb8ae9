"""HTTP connections that are cut off when they say nothing: uvicorn limits only the pause after an answer.

A connection that sent no request, or half of one, would be kept for ever, and hold one of the process's file descriptors.
"""

from __future__ import annotations

import asyncio

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

REQUEST_SECONDS = 10.0  # from the connection, or the end of the answer before, to the end of the request
MOST_CONNECTIONS = 128


class ImpatientProtocol(H11Protocol):
    """HTTP/1.1 with a deadline for each request, headers and body, and a bound on connections.

    Above the bound the connection that has waited longest without a request makes room, so honest callers get in.
    """

    request_seconds = REQUEST_SECONDS
    most_connections = MOST_CONNECTIONS
    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._wait_for_a_request()
        others = [one for one in self.connections if isinstance(one, ImpatientProtocol) and one._timer and one is not self]
        if len(self.connections) > self.most_connections and others:
            min(others, key=lambda one: one._timer.when() if one._timer else 0.0)._cut_off()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._stop_when_asked()

    def on_response_complete(self) -> None:
        self._wait_for_a_request()
        super().on_response_complete()
        self._stop_when_asked()  # the next request may have come with the one before

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        self._stop_waiting()
        super().handle_websocket_upgrade(event)

    def _stop_when_asked(self) -> None:
        """End the waiting when a whole request is there; its answer may take as long as it does."""
        if self.cycle is not None and not self.cycle.response_complete and not self.cycle.more_body:
            self._stop_waiting()

    def _wait_for_a_request(self) -> None:
        self._stop_waiting()
        self._timer = self.loop.call_later(self.request_seconds, self._cut_off)

    def _stop_waiting(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _cut_off(self) -> None:
        self._timer = None
        self.connections.discard(self)
        self.transport.abort()
