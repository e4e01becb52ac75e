"""Connections that send no request are closed after a while, so that they do not pile up."""

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

SECONDS = 30.0
"""Time for the head of a request to arrive, from the start of a connection or the last response."""
MOST = 256
"""Number of connections that may wait for a request; beyond it, the oldest is closed."""


class PatientProtocol(H11Protocol):
    """uvicorn's protocol, with a limit on the time without a request.

    uvicorn's own limit, for connections kept alive, ends with the first byte that arrives and does
    not apply before the first request. This one applies until the head of a request is complete.
    """

    def __init__(
        self,
        *args: Any,
        waiting: dict["PatientProtocol", None],
        seconds: float = SECONDS,
        most: int = MOST,
        **kwargs: Any,
    ):
        """Args:
        waiting: the connections of the server without a request, oldest first; initially empty.
        seconds: time for the head of a request to arrive.
        most: maximum number of waiting connections.
        """
        super().__init__(*args, **kwargs)
        self._waiting, self._seconds, self._most = waiting, seconds, most
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._wait()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._answers():
            self._stop_waiting()

    def on_response_complete(self) -> None:
        super().on_response_complete()  # may begin the next request, if it was already received
        if not self._answers() and not self.transport.is_closing():
            self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        super().connection_lost(exc)

    def _answers(self) -> bool:
        """Whether a request is being received or answered."""
        return self.cycle is not None and not self.cycle.response_complete

    def _wait(self) -> None:
        self._stop_waiting()
        if len(self._waiting) >= self._most:
            next(iter(self._waiting))._close()
        self._waiting[self] = None
        self._deadline = self.loop.call_later(self._seconds, self._close)

    def _stop_waiting(self) -> None:
        self._waiting.pop(self, None)
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _close(self) -> None:
        self._stop_waiting()
        self.transport.abort()  # `close` would wait for a client that does not read
