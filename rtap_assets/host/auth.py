"""Who may talk to the platform's web servers: callers by a name of this machine, from no foreign web page, with the token.

A page in a browser can send requests to 127.0.0.1; its Origin, or the name in Host after a DNS rebinding, gives it away.
The stream host has `Guard`; `local/ui_guard.py` puts the same checks before Dagster's UI, which has no token.
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
OWN_SITES = frozenset({"same-origin", "none"})  # "none": typed into the address bar, or a bookmark


class Guard:
    """ASGI middleware: 400 for several Hosts, 421 for a foreign Host, 403 for a foreign Origin, 401 without the token."""

    def __init__(self, app: ASGIApp, *, token: str, allowed_hosts: Iterable[str] = ()) -> None:
        self._app = app
        self._bearer = f"Bearer {token}".encode()
        self._names = host_names(allowed_hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        refusal = self._refusal(scope["path"], Headers(scope=scope))
        await (refusal or self._app)(scope, receive, send)

    def _refusal(self, path: str, headers: Headers) -> JSONResponse | None:
        if refusal := host_refusal(headers, self._names, setting="RTAP_STREAMS_ALLOWED_HOSTS"):
            return refusal
        for origin in headers.getlist("origin"):
            if _host_name(origin) not in self._names:
                return foreign_origin()
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


def host_names(allowed_hosts: Iterable[str]) -> frozenset[str]:
    """Return the names by which a server may be called: the loopback ones and those of a setting."""
    return LOOPBACK_NAMES | {name.lower() for name in allowed_hosts}


def host_refusal(headers: Headers, names: frozenset[str], *, setting: str) -> JSONResponse | None:
    """Return the refusal of a request whose Host is not exactly one of these names, else None."""
    hosts = headers.getlist("host")
    if len(hosts) > 1:  # a proxy and this server could each believe another one
        return error_response(400, "several_hosts", "The request has more than one Host header.", "Send one.")
    if _host_name(f"//{''.join(hosts)}") not in names:
        return error_response(
            421, "foreign_host", "This host is not called by that name.",
            f"Call it as 127.0.0.1, or list the name in {setting}.",
        )  # fmt: skip
    return None


def is_own_page(headers: Headers, *, may_follow_link: bool) -> bool:
    """Return whether no page sent the request (a program has no Origin), or one of this server itself.

    A link on a foreign page may lead to a page here where looking at it changes nothing (`may_follow_link`).
    """
    own = headers["host"].lower()  # another port of this machine is another site: the scheme may be a proxy's
    if any(_address(origin) != own for origin in headers.getlist("origin")):
        return False
    if headers.get("sec-fetch-site", "none") in OWN_SITES:
        return True
    is_link = headers.get("sec-fetch-mode") == "navigate" and headers.get("sec-fetch-dest") == "document"
    return may_follow_link and is_link


def foreign_origin() -> JSONResponse:
    """Return the refusal of a request that a web page of another site sent."""
    return error_response(403, "foreign_origin", "Web pages of other sites may not call this host.", "")


def error_response(status: int, code: str, message: str, remedy: str) -> JSONResponse:
    """Return an error in the form that every endpoint uses."""
    return JSONResponse({"error": {"code": code, "message": message, "remedy": remedy}}, status_code=status)


def _address(origin: str) -> str:
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""


def _host_name(url: str) -> str | None:
    """Return the host name in a URL, or None when it has none."""
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None
