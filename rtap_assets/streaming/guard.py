"""Who may talk to the stream host: callers by a loopback name, from no foreign web page, with the token.

A page in a browser can send requests to 127.0.0.1; its Origin, or the name in Host after a DNS rebinding, gives it away.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

LOOPBACK_NAMES = frozenset({"127.0.0.1", "localhost", "::1"})
OPEN_PATHS = frozenset({"/healthz"})


class Guard:
    """ASGI middleware: 421 for a foreign Host, 403 for a foreign Origin, 401 without the token."""

    def __init__(self, app: ASGIApp, *, token: str, allowed_hosts: Iterable[str] = ()) -> None:
        self._app = app
        self._bearer = f"Bearer {token}".encode()
        self._names = LOOPBACK_NAMES | {name.lower() for name in allowed_hosts}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        refusal = self._refusal(scope["path"], Headers(scope=scope))
        await (refusal or self._app)(scope, receive, send)

    def _refusal(self, path: str, headers: Headers) -> JSONResponse | None:
        if _host_name(f"//{headers.get('host', '')}") not in self._names:
            return error_response(
                421, "foreign_host", "This host is not called by that name.",
                "Call it as 127.0.0.1, or list the name in RTAP_STREAMS_ALLOWED_HOSTS.",
            )  # fmt: skip
        for origin in headers.getlist("origin"):
            if _host_name(origin) not in self._names:
                return error_response(403, "foreign_origin", "Web pages of other sites may not call this host.", "")
        shown = headers.get("authorization", "").encode()
        if path not in OPEN_PATHS and not hmac.compare_digest(shown, self._bearer):
            refusal = error_response(
                401,
                "no_token",
                "The token is missing or wrong.",
                "Send `Authorization: Bearer …` with the token of the state folder.",
            )
            refusal.headers["WWW-Authenticate"] = "Bearer"
            return refusal
        return None


def error_response(status: int, code: str, message: str, remedy: str) -> JSONResponse:
    """An error as every endpoint tells it."""
    return JSONResponse({"error": {"code": code, "message": message, "remedy": remedy}}, status_code=status)


def _host_name(url: str) -> str | None:
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None
