"""The image of a request: reads it up to a limit, and decodes it if it is not too large."""

import contextlib
import pathlib
import threading
from collections.abc import AsyncIterator, Iterator
from typing import NamedTuple

import anyio
import numpy as np
from PIL import Image
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from jaxseg.data import read_image
from jaxseg.data.decode import read_size
from jaxseg.errors import InputError
from jaxseg.serve.refusals import Refused, busy, refused

_NAME = pathlib.Path("The image")  # its name in messages
_CHUNK = 2**16
_BOMBS = (Image.DecompressionBombError, Image.DecompressionBombWarning)


class Limits(NamedTuple):
    """Limits of a single request, and of all requests together.

    Attributes:
      bytes: size of a request's body.
      pixels: pixels of an image.
      seconds: time to receive a body; also to send a response, and again for each further MiB.
      requests: number of concurrent requests with an image, until their response is received.
      held: bytes of the bodies and pixels of all concurrent requests.
    """

    bytes: int = 2**24
    pixels: int = 2**22
    seconds: float = 30.0
    requests: int = 64
    held: int = 2**28


class Held:
    """Counts the concurrent requests with an image, and their bytes, against the limits."""

    def __init__(self, limits: Limits):
        self._limits = limits
        self._lock = threading.Lock()
        self.requests = self.bytes = 0

    @contextlib.contextmanager
    def request(self) -> Iterator["Share"]:
        """The share of one request, released at the end.

        Raises:
          Refused: there are too many requests.
        """
        with self._lock:
            if self.requests >= self._limits.requests:
                raise busy()
            self.requests += 1
        share = Share(self)
        try:
            yield share
        finally:
            with self._lock:
                self.requests -= 1
                self.bytes -= share.bytes

    def _take(self, count: int) -> None:
        with self._lock:
            if self.bytes + count > self._limits.held:
                raise busy()
            self.bytes += count


class Share:
    """The memory held by one request."""

    def __init__(self, held: Held):
        self._held, self.bytes = held, 0

    def take(self, count: int) -> None:
        """Adds `count` bytes.

        Raises:
          Refused: all requests together would exceed the limit.
        """
        self._held._take(count)
        self.bytes += count


async def read_upload(request: Request, limits: Limits, share: Share) -> bytes:
    """Reads the image file of a request: its body, or the first file of a form.

    Raises:
      Refused: there is none, it is too large, or it does not arrive in time.
    """
    try:
        with anyio.fail_after(limits.seconds):
            body = await _body(request, limits, share)
    except TimeoutError:
        raise refused(408, "The image did not arrive in time.", "Send it again.") from None
    if request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        body = await _first_file(request, body)
    if not body:
        raise refused(
            400,
            "The request contains no image.",
            "Send an image file as the body, or as the field `image` of a form.",
        )
    return body


async def _body(request: Request, limits: Limits, share: Share) -> bytes:
    too_large = refused(
        413,
        f"The request has more than {limits.bytes:,} bytes.",
        "Send a smaller or compressed image.",
    )
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length) > limits.bytes:
        raise too_large
    body = bytearray()
    async for chunk in request.stream():
        if len(body) + len(chunk) > limits.bytes:
            raise too_large
        share.take(len(chunk))
        body += chunk
    return bytes(body)


async def _first_file(request: Request, body: bytes) -> bytes:
    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(body), _CHUNK):
            yield body[start : start + _CHUNK]

    try:
        parser = MultiPartParser(request.headers, chunks(), max_files=1, max_fields=16)  # type: ignore[arg-type]
        form = await parser.parse()
    except MultiPartException as error:
        raise refused(400, f"The form cannot be read: {error.message}", "Send one file.") from None
    try:
        files = [value for value in form.values() if isinstance(value, UploadFile)]
        return await files[0].read() if files else b""
    finally:
        await form.close()


def decoded(data: bytes, limits: Limits, share: Share) -> np.ndarray:
    """Decodes an image file, upright: uint8 [H, W, 3]. Checks its header first.

    Raises:
      Refused: it is not a supported image, or too large.
    """
    try:
        height, width = read_size(_NAME, data)
        if height * width > limits.pixels:
            raise refused(
                413,
                f"The image is {width:,} wide and {height:,} high, {height * width:,} pixels; the "
                f"limit is {limits.pixels:,}.",
                "Scale it down.",
            )
        share.take(3 * height * width)
        return read_image(_NAME, data)
    except InputError as error:
        bomb = isinstance(error.__cause__, _BOMBS)
        raise Refused(413 if bomb else 415, error) from None
