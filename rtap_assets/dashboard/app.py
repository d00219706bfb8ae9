"""The dashboard as an ASGI application: the page, its events and the API, with the tasks that keep them up to date."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from importlib.metadata import version

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from rtap_assets.dashboard.api import Api
from rtap_assets.dashboard.events import EventStream, Payloads, Stand
from rtap_assets.dashboard.feed import Feed
from rtap_assets.dashboard.guard import DashboardGuard
from rtap_assets.dashboard.hub import MOST_VIEWERS, Hub
from rtap_assets.dashboard.openapi import PATHS, openapi_document
from rtap_assets.dashboard.pages import load_assets
from rtap_assets.dashboard.sources import MartsWatch
from rtap_assets.dashboard.view import View
from rtap_assets.errors import ConfigurationError, RtapError
from rtap_assets.host.auth import error_response

ERROR_CODES = {400: "bad_request", 404: "not_found", 405: "method_not_allowed", 406: "not_acceptable"}

log = logging.getLogger(__name__)
FeedOf = Callable[[asyncio.AbstractEventLoop, MartsWatch], Feed]


def build_app(api: Api, *, feed_of: FeedOf) -> Starlette:
    """Return the application. `feed_of` makes the live feed once the event loop runs."""
    hub, pages = api.hub, _Pages(api.hub)
    routes = [
        *(Route(path, pages.file) for path in pages.assets),
        Route("/healthz", pages.health),
        Route("/openapi.json", pages.openapi),
        Route("/events", pages.events),
        Route("/api/windows/{kind}", api.windows),
        Route("/api/dead-letters/{reason}", api.records),
        Route("/api/streams", api.streams),
        *(Route(path, api.reading) for path in PATHS if "{" not in path and "windows" not in path),
    ]
    return Starlette(
        routes=routes,
        lifespan=_kept_up_to_date(api, feed_of),
        middleware=[Middleware(DashboardGuard, settings=hub.settings)],
        exception_handlers={HTTPException: _http_error, RtapError: _rtap_error, Exception: _unexpected},
    )


def _kept_up_to_date(api: Api, feed_of: FeedOf) -> Callable[[Starlette], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        marts = MartsWatch(api.hub, api.marts)
        await marts.look()  # before the feed: where they end is where it begins
        feed = feed_of(asyncio.get_running_loop(), marts)
        feed.start()
        tasks = [asyncio.create_task(marts.run(), name="marts"), asyncio.create_task(api.host.run(), name="host")]
        for task in tasks:
            task.add_done_callback(_report_defect)
        try:
            yield
        finally:
            feed.stop()
            for task in tasks:
                task.cancel()
            api.marts.close()
            api.lake.close()

    return lifespan


def _report_defect(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("the task %s ended", task.get_name(), exc_info=error)


class _Pages:
    """The page's files and its events."""

    def __init__(self, hub: Hub) -> None:
        self.assets = load_assets()
        self._hub, self._payloads = hub, Payloads(hub)

    async def file(self, request: Request) -> Response:
        return self.assets[request.url.path].response(request.headers)

    async def health(self, _: Request) -> Response:
        """Answer 200 while the process serves; the page says what of its sources is away."""
        return JSONResponse({"status": "ok"})

    async def openapi(self, _: Request) -> Response:
        return JSONResponse(openapi_document(version("rtap-assets")))

    async def events(self, request: Request) -> Response:
        """Answer with the stream of events for the view that the address asks for."""
        if request.method == "HEAD":
            return Response(media_type="text/event-stream")  # has no end that a program could wait for
        view = View.of(dict(request.query_params), most_hours=self._hub.settings.dashboard_hours)
        if self._hub.viewers >= MOST_VIEWERS:
            return error_response(503, "too_many_viewers", f"There are {MOST_VIEWERS} viewers.", "Try again in a moment.")
        seen = Stand.parse(request.headers.get("last-event-id", ""))
        return _Streamed(EventStream(self._hub, self._payloads, view=view, seen=seen))


class _Streamed(Response):
    """A response that is sent by the stream of events."""

    def __init__(self, stream: EventStream) -> None:
        super().__init__()
        self._stream = stream

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._stream(scope, receive, send)


async def _http_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    code = ERROR_CODES.get(error.status_code, "http_error")
    return error_response(error.status_code, code, error.detail, "See /openapi.json.")


async def _rtap_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, RtapError)
    status = 400 if isinstance(error, ConfigurationError) else 503
    code = "bad_request" if status == 400 else type(error).__name__
    return error_response(status, code, error.message, error.remedy or "")


async def _unexpected(request: Request, error: Exception) -> Response:
    log.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return error_response(500, "defect", f"{type(error).__name__}.", "See the log of the dashboard.")
