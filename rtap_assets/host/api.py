"""The stream host's HTTP API: a thin layer of JSON over the engine. Knows no Spark and starts nothing.

`openapi.py` describes it, `auth.py` decides who may call it, `client.py` calls it.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from threading import Event
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from rtap_assets.config import Settings
from rtap_assets.errors import DependencyUnavailable, RtapError
from rtap_assets.host.auth import Guard, error_response
from rtap_assets.host.description import HostDescription
from rtap_assets.host.idle import Activity, Engine
from rtap_assets.host.metrics import CONTENT_TYPE, metrics_text
from rtap_assets.host.openapi import openapi_document
from rtap_assets.quality.batch_totals import BatchTotals
from rtap_assets.streaming.model.operation import STREAM_ACTIONS, TABLE_ACTIONS, Operation

DEFAULT_PROGRESS, MOST_PROGRESS = 20, 1000
MOST_ARGUMENT_BYTES = 16_384

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Host:
    """What the endpoints need. `shutdown` asks the process to end; `stopping` is set once it does."""

    engine: Engine
    info: HostDescription
    activity: Activity
    shutdown: Callable[[str], None]
    stopping: Event = field(default_factory=Event)
    totals: BatchTotals = field(default_factory=BatchTotals)


def build_app(host: Host, settings: Settings, *, token: str) -> Starlette:
    """Return the application; every endpoint but `/healthz` requires the token."""
    api = _Endpoints(host)
    routes = [
        Route("/healthz", api.health),
        Route("/openapi.json", api.openapi),
        Route("/metrics", api.metrics),
        Route("/v1/streams", api.streams),
        Route("/v1/streams/{name}", api.stream),
        Route("/v1/streams/{name}/progress", api.progress),
        Route("/v1/streams/{name}/{action}", api.submit, methods=["POST"]),
        Route("/v1/tables/{work}", api.submit_for_tables, methods=["POST"]),
        Route("/v1/operations/{id}", api.operation),
        Route("/v1/operations/{id}/cancel", api.cancel, methods=["POST"]),
        Route("/v1/host", api.host_info),
        Route("/v1/host/shutdown", api.shutdown, methods=["POST"]),
    ]
    return Starlette(
        routes=routes,
        middleware=[Middleware(Guard, token=token, allowed_hosts=settings.streams_allowed_hosts)],
        exception_handlers={HTTPException: _http_error, RtapError: _rtap_error, Exception: _unexpected},
    )


class _Endpoints:
    """One method per endpoint. Those that read memory are answered on the event loop, the others in a thread."""

    def __init__(self, host: Host) -> None:
        self._host = host

    async def health(self, _: Request) -> Response:
        """Answer 200 while the host may be believed."""
        if self._host.stopping.is_set():
            return error_response(503, "stopping", "The stream host is about to end.", "")
        if not self._host.engine.jvm_answers():
            return error_response(
                503, "jvm_gone", "The JVM of the stream host has died or does not answer.", "Restart the host."
            )
        return JSONResponse({"status": "ok"})

    async def openapi(self, _: Request) -> Response:
        return JSONResponse(openapi_document(self._host.info.version))

    async def metrics(self, _: Request) -> Response:
        info = self._host.info
        text = metrics_text(
            self._host.engine.statuses(),
            host={"version": info.version, "pid": str(info.pid), "jvm_pid": str(info.jvm_pid or "")},
            since=info.since,
            jvm_answers=self._host.engine.jvm_answers(),
            counted=self._host.totals.read(),
        )
        return Response(text, media_type=CONTENT_TYPE)

    async def streams(self, _: Request) -> Response:
        return JSONResponse({"streams": [status.to_json() for status in self._host.engine.statuses()]})

    async def stream(self, request: Request) -> Response:
        name = self._stream_name(request)
        (status,) = (status for status in self._host.engine.statuses() if status.name == name)
        return JSONResponse(status.to_json())

    async def progress(self, request: Request) -> Response:
        name = self._stream_name(request)
        text = request.query_params.get("limit", str(DEFAULT_PROGRESS))
        if not text.isdecimal() or not 1 <= int(text) <= MOST_PROGRESS:
            raise HTTPException(400, f"limit must be a number from 1 to {MOST_PROGRESS}.")
        batches = await run_in_threadpool(self._host.engine.progress, name, int(text))
        return JSONResponse({"stream": name, "batches": batches})

    async def submit(self, request: Request) -> Response:
        name, action = self._stream_name(request), request.path_params["action"]
        if action not in STREAM_ACTIONS:
            raise HTTPException(404, f"There is no action {action!r}: it is one of {', '.join(STREAM_ACTIONS)}.")
        self._refuse_when_stopping()
        operation = await run_in_threadpool(self._host.engine.submit, name, action)
        log.info("%s %s: operation %s", action, name, operation.id)
        return self._answer(operation, status=202)

    async def submit_for_tables(self, request: Request) -> Response:
        action = request.path_params["work"]
        if action not in TABLE_ACTIONS:
            raise HTTPException(404, f"There is no action {action!r}: it is one of {', '.join(TABLE_ACTIONS)}.")
        arguments = await _arguments(request)
        self._refuse_when_stopping()
        operation = await run_in_threadpool(self._host.engine.submit_for_tables, action, arguments)
        return self._answer(operation, status=202)

    async def operation(self, request: Request) -> Response:
        return self._answer(self._operation(request))

    async def cancel(self, request: Request) -> Response:
        id = self._operation(request).id
        return self._answer(await run_in_threadpool(self._host.engine.cancel, id))

    async def host_info(self, _: Request) -> Response:
        return JSONResponse(replace(self._host.info, stopping=self._host.stopping.is_set()).to_json())

    async def shutdown(self, _: Request) -> Response:
        self._host.shutdown("asked to by a caller")
        return JSONResponse(replace(self._host.info, stopping=True).to_json(), status_code=202)

    def _stream_name(self, request: Request) -> str:
        name: str = request.path_params["name"]
        names = [status.name for status in self._host.engine.statuses()]
        if name not in names:
            raise HTTPException(404, f"There is no stream {name!r}: it is one of {', '.join(names)}.")
        return name

    def _operation(self, request: Request) -> Operation:
        operation = self._host.engine.operation(request.path_params["id"])
        if operation is None:
            raise HTTPException(
                404,
                "There is no such operation: it ended long ago, or the host was restarted since. Desired states are kept.",
            )
        return operation

    def _refuse_when_stopping(self) -> None:
        if self._host.stopping.is_set():
            raise DependencyUnavailable(
                "The stream host is about to end.", remedy="Ask again in a moment.", dependency="stream host"
            )

    def _answer(self, operation: Operation, *, status: int = 200) -> Response:
        self._host.activity.asked(operation)
        return JSONResponse(operation.to_json(), status_code=status)


async def _arguments(request: Request) -> dict[str, Any]:
    """Return the JSON object of a command's body; {} without a body."""
    body = await request.body()
    if len(body) > MOST_ARGUMENT_BYTES:
        raise HTTPException(400, f"The arguments must not exceed {MOST_ARGUMENT_BYTES} bytes.")
    try:
        arguments = json.loads(body or b"{}")
    except ValueError as error:
        raise HTTPException(400, f"The arguments are not JSON: {error}.") from error
    if not isinstance(arguments, dict):
        raise HTTPException(400, "The arguments must be a JSON object.")
    return arguments


async def _http_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    code = {400: "bad_request", 404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "http_error")
    return error_response(error.status_code, code, error.detail, "See /openapi.json.")


async def _rtap_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, RtapError)
    status = 503 if isinstance(error, DependencyUnavailable) else 409
    return error_response(status, type(error).__name__, error.message, error.remedy)


async def _unexpected(request: Request, error: Exception) -> Response:
    log.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return error_response(500, "defect", f"{type(error).__name__}: {error}", "See the log of the stream host.")
