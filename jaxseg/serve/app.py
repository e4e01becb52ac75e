"""The server as an ASGI application: the page, predictions, and their documentation."""

import asyncio
import contextlib
import logging
import pathlib
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any

import anyio.to_thread
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from jaxseg import __version__
from jaxseg.errors import InputError, nearest
from jaxseg.serve.answers import FORMATS, INCLUDED, Result, as_json
from jaxseg.serve.batcher import Full
from jaxseg.serve.metrics import Metrics
from jaxseg.serve.networks import Networks, Served
from jaxseg.serve.openapi import description, description_page
from jaxseg.serve.refusals import Refused, busy, refused
from jaxseg.serve.samples import NAMES, SIZE, sample
from jaxseg.serve.sending import Sending
from jaxseg.serve.upload import Held, Limits, decoded, read_upload
from jaxseg.utils.exhausted import memory_is_full

_PAGE = pathlib.Path(__file__).parent / "page"
_FILES = {
    "/": ("page.html", "text/html"),
    "/page.css": ("page.css", "text/css"),
    "/page.js": ("page.js", "text/javascript"),
}
_HEADERS = {
    # allows no external resources, and keeps images out of caches
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' blob: data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
_PARAMETERS = ("network", "format", "include")  # of /predict
_CODERS = 4  # maximum number of concurrent decoders and encoders
_log = logging.getLogger(__name__)


def make_app(
    served: Mapping[str, Served],
    *,
    limits: Limits | None = None,
    most_batch: int = 4,
    hosts: list[str] | None = None,
    metrics: Metrics | None = None,
) -> Starlette:
    """Creates the application; on shutdown, it first labels the waiting images.

    Args:
      served: the networks by name, at least one.
      limits: limits of requests.
      most_batch: maximum number of images per batch.
      hosts: host names that requests may use, against web pages that let a browser call the server
        under their own name (DNS rebinding); None: any.
      metrics: receives the counts.
    """
    limits = limits or Limits()
    metrics = metrics or Metrics()

    def done(name: str, count: int) -> None:
        metrics.images.labels(name).inc(count)
        metrics.batches.labels(name).inc()

    networks = Networks(served, most_waiting=limits.requests, most_batch=most_batch, done=done)
    metrics.waiting.set_function(lambda: len(networks.batcher))
    server = _Server(networks, limits, metrics)

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        yield
        await anyio.to_thread.run_sync(networks.batcher.close)

    routes = [
        *(Route(path, _file(*file)) for path, file in _FILES.items()),
        Route("/samples/{name}.png", server.sample),
        Route("/predict", server.predict, methods=["POST"]),
        Route("/networks", server.networks),
        Route("/health", server.health),
        Route("/metrics", server.metrics),
        Route("/openapi.json", server.openapi),
        Route("/docs", server.docs),
    ]
    app = Starlette(
        routes=routes,
        lifespan=lifespan,
        middleware=[] if hosts is None else [Middleware(_KnownHosts, hosts=hosts)],
        exception_handlers={
            Refused: _refusal,
            HTTPException: _http_error,
            ClientDisconnect: _gone,
            Exception: _failure,
        },
    )
    app.state.networks = networks
    return app


class _KnownHosts:
    """Refuses requests that use another host name."""

    def __init__(self, app: ASGIApp, hosts: Sequence[str]):
        self._app, self._hosts = app, hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app = self._app
        if scope["type"] in ("http", "websocket"):
            host = Headers(scope=scope).get("host", "")
            if re.sub(r":\d*$", "", host).lower() not in self._hosts:
                app = _told(
                    400,
                    f"This server does not answer for the host {host!r}.",
                    f"Use {self._hosts[0]}, also as the Host header that a proxy sends, or start "
                    "the server with --host 0.0.0.0, which answers for any name.",
                )
        await app(scope, receive, send)


class _Server:
    """The handlers of the routes."""

    def __init__(self, networks: Networks, limits: Limits, metrics: Metrics):
        self._networks, self._limits, self._metrics = networks, limits, metrics
        self._held = Held(limits)
        self._coders = anyio.CapacityLimiter(_CODERS)

    async def predict(self, request: Request) -> Response:
        began, status = time.perf_counter(), 500
        try:
            response = await self._predict(request)
            status = response.status_code
            return response
        except Refused as error:
            status = error.status
            raise
        except ClientDisconnect:
            status = 499
            raise
        finally:
            self._metrics.requests.labels(str(status)).inc()
            self._metrics.seconds.observe(time.perf_counter() - began)

    async def _predict(self, request: Request) -> Response:
        kind, include, name = self._asked(request)
        with contextlib.ExitStack() as held:
            share = held.enter_context(self._held.request())
            data = await read_upload(request, self._limits, share)
            image = await self._in_thread(decoded, data, self._limits, share)
            del data
            labelled = await self._labelled(request, name, image)
            result = Result(name, self._networks.served[name].info, image, labelled)
            if kind == "json":
                body = await self._in_thread(as_json, result, include)
            else:
                body = await self._in_thread(FORMATS[kind].write, result)
            return Sending(
                _answer(body, FORMATS[kind].media_type), held.pop_all(), self._limits.seconds
            )

    def _asked(self, request: Request) -> tuple[str, list[str], str]:
        """The format, included pictures, and network of a request."""
        query, served = request.query_params, self._networks.served
        for key, value in query.multi_items():
            if key not in _PARAMETERS:
                raise refused(400, f"There is no parameter {key!r}.", nearest(key, _PARAMETERS))
            if value != query[key]:
                raise refused(400, f"The parameter {key!r} is given twice.", "Give it once.")
        kind, name = query.get("format", "json"), query.get("network", next(iter(served)))
        include = [part for part in query.get("include", "").split(",") if part]
        if kind not in FORMATS:
            raise refused(400, f"There is no format {kind!r}.", nearest(kind, FORMATS))
        if include and kind != "json":
            raise refused(400, "'include' works only with format=json.", "Remove it.")
        for part in include:
            if part not in INCLUDED:
                raise refused(400, f"{part!r} cannot be included.", nearest(part, INCLUDED))
        if name not in served:
            raise refused(404, f"There is no network {name!r} here.", nearest(name, served))
        return kind, include, name

    async def _labelled(self, request: Request, name: str, image):
        try:
            future = self._networks.submit(name, image)
            return await _unless_gone(request, asyncio.wrap_future(future))
        except Full:
            raise busy() from None
        except InputError as error:
            raise Refused(422, error) from None
        except Exception as error:
            if not memory_is_full(error):
                raise
            raise refused(
                413,
                "The network needs more memory for this image than is available.",
                "Scale it down.",
            ) from None

    async def _in_thread(self, function: Callable, *args: Any) -> Any:
        return await anyio.to_thread.run_sync(function, *args, limiter=self._coders)

    async def networks(self, request: Request) -> Response:
        return JSONResponse(
            {
                "networks": [
                    {
                        "name": name,
                        **one.about,
                        "classes": list(one.info.class_names),
                        "any_size": one.label.takes_any_size(),
                    }
                    for name, one in self._networks.served.items()
                ],
                "samples": list(NAMES),
                "limits": {"bytes": self._limits.bytes, "pixels": self._limits.pixels},
                "version": __version__,
            },
            headers=_HEADERS,
        )

    async def sample(self, request: Request) -> Response:
        name = request.path_params["name"]
        if name not in NAMES:
            raise refused(404, f"There is no sample {name!r}.", nearest(name, NAMES))
        return _answer(await self._in_thread(sample, name), "image/png")

    async def health(self, request: Request) -> Response:
        return JSONResponse(
            {
                "status": "ok",
                "networks": list(self._networks.served),
                "requests": self._held.requests,
                "waiting": len(self._networks.batcher),
            },
            headers=_HEADERS,
        )

    async def metrics(self, request: Request) -> Response:
        return _answer(self._metrics.text(), "text/plain; version=0.0.4; charset=utf-8")

    async def openapi(self, request: Request) -> Response:
        return JSONResponse(self._description(), headers=_HEADERS)

    async def docs(self, request: Request) -> Response:
        return _answer(description_page(self._description()).encode(), "text/html")

    def _description(self) -> dict[str, Any]:
        return description(list(self._networks.served), self._limits)


async def _unless_gone(request: Request, future: asyncio.Future) -> Any:
    """Waits for a result; if the client leaves first, cancels it, which makes room in the queue.

    Raises:
      ClientDisconnect: the client has left.
    """
    gone = asyncio.ensure_future(_left(request))
    try:
        await asyncio.wait({future, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not future.done():
            raise ClientDisconnect
        return future.result()
    finally:
        future.cancel()
        gone.cancel()


async def _left(request: Request) -> None:
    """Returns when the client has left; the body was received before."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def warm_up(app: Starlette) -> None:
    """Compiles each network for the samples' size, before the first request."""
    import numpy as np

    networks: Networks = app.state.networks
    for name in networks.served:
        with contextlib.suppress(InputError, Full):
            networks.submit(name, np.zeros((*SIZE, 3), np.uint8))


def _file(name: str, media_type: str) -> Callable[[Request], Awaitable[Response]]:
    async def serve(request: Request) -> Response:
        return _answer((_PAGE / name).read_bytes(), media_type)

    return serve


def _answer(body: bytes, media_type: str) -> Response:
    return Response(body, media_type=media_type, headers=_HEADERS)


def _told(
    status: int, problem: str, fix: str, headers: Mapping[str, str] | None = None
) -> JSONResponse:
    told = {"problem": problem, "fix": fix}
    return JSONResponse(told, status, headers={**_HEADERS, **(headers or {})})


async def _refusal(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refused)
    return _told(error.status, error.error.problem, error.error.remedy, error.headers)


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == 404:
        return _told(404, "There is nothing at this URL.", "See /docs.")
    if error.status_code == 405:
        return _told(
            405, f"This URL does not support {request.method}.", "See /docs.", error.headers
        )
    return _told(error.status_code, f"{error.detail}.", "See /docs.", error.headers)


async def _gone(request: Request, error: Exception) -> Response:
    return Response(status_code=499)  # the client is gone


async def _failure(request: Request, error: Exception) -> Response:
    _log.error("a request failed", exc_info=error)
    return _told(
        500,
        "The server failed on this image.",
        "See the server log for the reason; other images may work.",
    )
