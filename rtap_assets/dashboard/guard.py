"""Who may look at the dashboard, and what a browser may do with its pages.

Read-only: GET and HEAD alone. By default any program of this machine may look; with a token, or behind a reverse proxy that
signs users in, the data are for those who show the one or come by the other. The page's own files hold no data and are open.
"""

from __future__ import annotations

import hmac

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rtap_assets.config import Settings
from rtap_assets.host.auth import error_response, foreign_origin, host_names, host_refusal, is_own_page

METHODS = ("GET", "HEAD")
DATA_PREFIX, EVENTS = "/api/", "/events"
POLICY = "; ".join(
    (
        "default-src 'none'", "script-src 'self'", "style-src 'self'", "img-src 'self' data:", "connect-src 'self'",
        "base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'", "require-trusted-types-for 'script'",
    )
)  # fmt: skip
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class DashboardGuard:
    """ASGI middleware: 400 or 421 for the Host, 403 for another site's page, 405 for a method, 401 without leave."""

    def __init__(self, app: ASGIApp, *, settings: Settings) -> None:
        self._app = app
        self._names = host_names(settings.dashboard_allowed_hosts)
        token = settings.dashboard_token.get_secret_value()
        self._bearer = f"Bearer {token}".encode() if token else b""
        self._user_header, self._proxies = settings.dashboard_user_header, frozenset(settings.dashboard_proxies)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
            await send(message)

        refusal = self._refusal(scope, Headers(scope=scope))
        await (refusal or self._app)(scope, receive, send_guarded)

    def _refusal(self, scope: Scope, headers: Headers) -> JSONResponse | None:
        path = scope["path"]
        is_data = path.startswith(DATA_PREFIX) or path == EVENTS
        if refusal := host_refusal(headers, self._names, setting="RTAP_DASHBOARD_ALLOWED_HOSTS"):
            return refusal
        if not is_own_page(headers, may_follow_link=scope["method"] == "GET" and not is_data):
            return foreign_origin()
        if scope["method"] not in METHODS:
            refusal = error_response(405, "method_not_allowed", "The dashboard is read-only: GET and HEAD.", "")
            refusal.headers["Allow"] = ", ".join(METHODS)
            return refusal
        if is_data and not self._may_read(scope, headers):
            return _no_leave(has_token=bool(self._bearer))
        return None

    def _may_read(self, scope: Scope, headers: Headers) -> bool:
        if not self._bearer and not self._user_header:
            return True
        if self._bearer and hmac.compare_digest(headers.get("authorization", "").encode(), self._bearer):
            return True
        peer = (scope.get("client") or ("",))[0]
        return bool(self._user_header and headers.get(self._user_header, "").strip() and peer in self._proxies)


def _no_leave(*, has_token: bool) -> JSONResponse:
    if not has_token:
        return error_response(
            401, "not_signed_in", "The reverse proxy in front of the dashboard names no user.",
            "Call the dashboard by the proxy's address, and sign in there.",
        )  # fmt: skip
    refusal = error_response(
        401, "no_token", "The token is missing or wrong.", "Send `Authorization: Bearer …` with RTAP_DASHBOARD_TOKEN."
    )
    refusal.headers["WWW-Authenticate"] = "Bearer"
    return refusal
