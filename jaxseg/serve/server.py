"""The server process: its socket, and its shutdown."""

import contextlib
import errno
import functools
import logging
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Mapping

import uvicorn
from starlette.applications import Starlette

from jaxseg.errors import InputError
from jaxseg.inference.network import Network
from jaxseg.serve.app import make_app, warm_up
from jaxseg.serve.idle import MOST, SECONDS, PatientProtocol
from jaxseg.serve.labeller import Labeller
from jaxseg.serve.metrics import Metrics
from jaxseg.serve.networks import Served
from jaxseg.serve.upload import Limits
from jaxseg.utils.access import reason

LOOPBACK = ("127.0.0.1", "localhost", "::1")
_LAST_SECONDS = 60  # time for open requests when the server is stopped


def bound_socket(host: str, port: int) -> socket.socket:
    """Returns a socket bound to the address.

    Raises:
      InputError: the port is in use, or the address does not belong to this machine.
    """
    if not 0 <= port <= 65535:
        raise InputError(f"--port is {port}.", "Give 1 to 65535, or 0 for any free port.")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listening = socket.socket(family, kind, protocol)
    except (OSError, UnicodeError) as error:
        raise InputError(f"--host is {host!r}: {error}.", "Give 127.0.0.1, or 0.0.0.0.") from None
    try:
        if hasattr(socket, "SO_REUSEADDR") and hasattr(signal, "SIGHUP"):  # not on Windows
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(128)
    except OSError as error:
        listening.close()
        if error.errno == errno.EADDRNOTAVAIL:
            raise InputError(
                f"--host is {host!r}, which is no address of this machine.",
                "Give 127.0.0.1 for this machine alone, or 0.0.0.0 for all its addresses.",
            ) from None
        raise InputError(
            f"Port {port} of {host} is not available: {reason(error)}.",
            "Give another --port, or --port 0 for any free port.",
        ) from None
    return listening


def make_server_app(
    networks: Mapping[str, Network], host: str, *, limits: Limits, most_batch: int
) -> Starlette:
    """Creates the application for trained networks, by their displayed names.

    Args:
      networks: from `jaxseg.load`.
      host: address of the server; for a loopback address, requests must use a loopback name.
      limits: limits of requests.
      most_batch: maximum number of images per batch.
    """
    metrics = Metrics()
    served = {
        name: Served(
            network.info,
            Labeller(
                network,
                most_batch=most_batch,
                compiled=metrics.compilations.labels(name).inc,
            ),
            {"model": network.card["network"], "data": network.card["data_set"]},
        )
        for name, network in networks.items()
    }
    hosts = [*LOOPBACK, "[::1]"] if host in LOOPBACK else None
    return make_app(served, limits=limits, most_batch=most_batch, hosts=hosts, metrics=metrics)


def serve(
    app: Starlette,
    listening: socket.socket,
    ready: Callable[[], None],
    *,
    seconds: float = SECONDS,
    most_idle: int = MOST,
) -> None:
    """Answers requests until SIGINT or SIGTERM, and then those still open.

    Args:
      app: the application.
      listening: from `bound_socket`.
      ready: called when the server accepts requests.
      seconds: time for the head of a request to arrive; then its connection is closed.
      most_idle: maximum number of connections without a request; beyond it, the oldest is closed.
    """
    http = functools.partial(PatientProtocol, waiting={}, seconds=seconds, most=most_idle)
    log = logging.getLogger("uvicorn.error")
    log.setLevel(logging.ERROR)
    log.addFilter(_is_news)
    config = uvicorn.Config(
        app,
        http=http,  # type: ignore[arg-type]  # a class is expected, and only called
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=_LAST_SECONDS,
        timeout_keep_alive=15,
        ws="none",
    )
    server = _Server(config, ready)
    warm_up(app)
    server.run(sockets=[listening])


def _is_news(record: logging.LogRecord) -> bool:
    """False for tracebacks that the application logs itself, and of cancelled tasks."""
    text = record.getMessage()
    return not text.startswith("Exception in ASGI application") and "CancelledError" not in text


class _Server(uvicorn.Server):
    """A server that shuts down on a signal, after which the process continues."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]):
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._ready()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        numbers = (signal.SIGINT, signal.SIGTERM)
        before = {number: signal.signal(number, self.handle_exit) for number in numbers}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def address_of(listening: socket.socket, host: str) -> str:
    """The URL to open in a browser."""
    shown = "127.0.0.1" if host in ("0.0.0.0", "::", "") else host
    return f"http://{f'[{shown}]' if ':' in shown else shown}:{listening.getsockname()[1]}"
