"""The guard before Dagster's UI: no web page of another site, and no other name than this machine's, reaches it.

Dagster's webserver executes mutations by GET, and reads the query of a form's POST from the address. Any page that a browser
on this machine opens could start or stop runs that way.
"""

from __future__ import annotations

from collections.abc import Iterable

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rtap_assets.host.auth import error_response, foreign_origin, host_names, host_refusal, is_own_page

GRAPHQL = "/graphql"
METHODS = ("GET", "HEAD", "POST")
# A form of a foreign page cannot send these types without asking first (a CORS preflight), and is then refused.
GRAPHQL_TYPES = frozenset({"application/json", "application/graphql"})


class UiGuard:
    """ASGI middleware: 400 or 421 for the Host, 403 for another site's page, 405 and 415 for GraphQL by GET or by a form."""

    def __init__(self, app: ASGIApp, *, allowed_hosts: Iterable[str] = ()) -> None:
        self._app = app
        self._names = host_names(allowed_hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return

        async def send_unframed(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["X-Frame-Options"] = "DENY"  # a foreign page could borrow a click
            await send(message)

        refusal = self._refusal(scope, Headers(scope=scope))
        if refusal is not None and scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008, "reason": ""})  # the server answers 403
            return
        await (refusal or self._app)(scope, receive, send_unframed)

    def _refusal(self, scope: Scope, headers: Headers) -> JSONResponse | None:
        if refusal := host_refusal(headers, self._names, setting="RTAP_UI_ALLOWED_HOSTS"):
            return refusal
        if not is_own_page(headers, may_follow_link=_is_page(scope)):
            return foreign_origin()
        if scope["type"] == "websocket":
            return None
        if scope["method"] not in METHODS:
            return error_response(405, "method_not_allowed", f"The UI takes {', '.join(METHODS)}.", "")
        return _graphql_refusal(scope["method"], headers) if scope["path"].rstrip("/") == GRAPHQL else None


def _is_page(scope: Scope) -> bool:
    return bool(scope["type"] == "http" and scope["method"] == "GET" and scope["path"].rstrip("/") != GRAPHQL)


def _graphql_refusal(method: str, headers: Headers) -> JSONResponse | None:
    if method != "POST":
        if method == "GET" and "text/html" in headers.get("accept", ""):
            return None  # the page with the editor; it executes nothing by itself
        refusal = error_response(405, "method_not_allowed", "GraphQL is answered by POST.", "Send the query as JSON.")
        refusal.headers["Allow"] = "POST"
        return refusal
    media_type = headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type in GRAPHQL_TYPES:
        return None
    return error_response(415, "unsupported_type", "GraphQL is taken as JSON.", "Set Content-Type: application/json.")
