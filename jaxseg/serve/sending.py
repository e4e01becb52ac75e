"""A response that counts as part of its request until the client has received it."""

import contextlib
from collections.abc import Iterator

import anyio
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

_CHUNK = 2**16
_PACE = 2**20  # bytes per `seconds`: the slowest accepted client


class Sending(Response):
    """Sends a body in chunks, and then releases what its request holds.

    The server keeps what a client does not read. Without this, a client that sends many images and
    reads no response could fill the memory.

    Args:
      response: the response to send.
      held: closed after the last chunk; also if the client has left, or is too slow.
      seconds: time for the response, and again for each further MiB.
    """

    def __init__(self, response: Response, held: contextlib.ExitStack, seconds: float):
        self.status_code, self.body, self.background = response.status_code, response.body, None
        self.raw_headers = response.raw_headers
        self._held, self._seconds = held, seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        start = {
            "type": "http.response.start",
            "status": self.status_code,
            "headers": self.raw_headers,
        }
        with self._held, anyio.move_on_after(self._seconds * (1 + len(self.body) // _PACE)):
            await send(start)
            for chunk, more in _chunks(bytes(self.body)):
                await send({"type": "http.response.body", "body": chunk, "more_body": more})


def _chunks(body: bytes) -> Iterator[tuple[bytes, bool]]:
    """The parts of a body, at least one, and whether more follow."""
    for start in range(0, max(len(body), 1), _CHUNK):
        yield body[start : start + _CHUNK], start + _CHUNK < len(body)
