"""Downloads with resume and retries; a file is complete or absent."""

import contextlib
import hashlib
import http.client
import os
import pathlib
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator

_CHUNK = 2**18
_TRIES = 4  # consecutive tries that receive no byte
_TIMEOUT = 30.0  # seconds without a byte

Progress = Callable[[int, int | None], None]
"""Called with the number of bytes so far, and the total, or None if it is unknown."""


def download(
    url: str, part: pathlib.Path, progress: Progress = lambda have, total: None, wait: float = 1.0
) -> None:
    """Downloads `url` into `part`, and resumes an earlier download.

    Redirects are followed, and the proxies of HTTP_PROXY, HTTPS_PROXY and NO_PROXY are used. A
    lost connection is opened again, as long as each connection brings new bytes.

    Args:
      url: http, https or file.
      part: the file, which may hold the first part; its folder exists.
      progress: called after each chunk.
      wait: seconds before the first retry; doubled before each further retry.

    Raises:
      OSError: the server refuses (`urllib.error.HTTPError`) or cannot be reached, or `part` cannot
        be written; received bytes stay in `part`.
    """
    failed, begun = 0, _size(part)
    while True:
        before = _size(part)
        try:
            if _fetched(url, part, progress):
                return
            error: Exception = OSError("the connection was lost")
        except urllib.error.HTTPError as found:
            if found.code < 500 and found.code != 429:
                raise
            error = found
        except urllib.error.URLError as found:
            if _size(part) == begun:  # no network or no such host: retries would not help
                raise
            error = found
        except (http.client.HTTPException, TimeoutError, ConnectionError) as found:
            error = found
        failed = 0 if _size(part) > before else failed + 1
        if failed >= _TRIES:
            raise error if isinstance(error, OSError) else OSError(str(error))
        time.sleep(wait * 2 ** max(failed - 1, 0))


def _fetched(url: str, part: pathlib.Path, progress: Progress) -> bool:
    """Appends the bytes of one connection; returns whether the file is complete."""
    have = _size(part)
    request = urllib.request.Request(url, headers={"User-Agent": "jaxseg"})
    if have and not url.startswith("file:"):
        request.add_header("Range", f"bytes={have}-")
    try:
        response = _open(request)
    except urllib.error.HTTPError as error:
        if error.code == 416 and have:  # the file is complete
            return True
        raise
    with response:
        resumed = getattr(response, "status", None) == 206
        have = have if resumed else 0
        length = response.headers.get("Content-Length")
        total = int(length) + have if length else None
        lost = False
        with part.open("ab" if resumed else "wb") as file:
            try:
                while chunk := response.read(_CHUNK):
                    file.write(chunk)
                    have += len(chunk)
                    progress(have, total)
            except http.client.IncompleteRead as error:  # of a response without a length
                file.write(error.partial)
                have, lost = have + len(error.partial), True
            file.flush()
            os.fsync(file.fileno())
    return not lost and (total is None or have >= total)


def _open(request: urllib.request.Request):
    """Like `urlopen`, but reads the proxy variables at every call, not only the first."""
    return urllib.request.build_opener().open(request, timeout=_TIMEOUT)


def by_proxy(url: str) -> str:
    """The proxy of a URL, for messages: " through the proxy HOST:PORT", or "" without one."""
    there = urllib.parse.urlsplit(url)
    proxy = urllib.request.getproxies().get(there.scheme)
    if not proxy or urllib.request.proxy_bypass(there.netloc):
        return ""
    return f" through the proxy {proxy.rpartition('//')[2].rpartition('@')[2].rstrip('/')}"


def _size(part: pathlib.Path) -> int:
    return part.stat().st_size if part.exists() else 0


def read_url(url: str, limit: int) -> bytes:
    """Reads the content of `url`, at most `limit` bytes.

    Raises:
      OSError: the URL cannot be read, or its content is longer.
    """
    request = urllib.request.Request(url, headers={"User-Agent": "jaxseg"})
    try:
        with _open(request) as response:
            data = response.read(limit + 1)
    except (http.client.HTTPException, ValueError) as error:
        raise OSError(str(error)) from None
    if len(data) > limit:
        raise OSError(f"it is longer than {limit} bytes")
    return data


def digest(path: pathlib.Path, kind: str) -> str:
    """The checksum of a file in hex; `kind` is a hashlib name."""
    with path.open("rb") as file:
        return hashlib.file_digest(
            file, lambda: hashlib.new(kind, usedforsecurity=False)
        ).hexdigest()


@contextlib.contextmanager
def bar(title: str) -> Iterator[Progress]:
    """Shows a progress bar on a terminal, nothing elsewhere."""
    import tqdm

    with tqdm.tqdm(unit="B", unit_scale=True, desc=title, disable=None, leave=False) as shown:

        def progress(have: int, total: int | None) -> None:
            shown.total = total
            shown.update(have - shown.n)

        yield progress
