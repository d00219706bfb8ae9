"""The guard before Dagster's UI: which requests of programs and of pages reach the application behind it."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient
from starlette.websockets import WebSocket, WebSocketDisconnect

from rtap_assets.local.ui_guard import UiGuard

OWN = "127.0.0.1:3000"
JSON = {"Content-Type": "application/json"}
LINK = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
MUTATION = "/graphql?query=mutation{launchRun}"


@pytest.fixture
def reached() -> list[str]:
    """What came through to the application."""
    return []


@pytest.fixture
def client(reached: list[str]) -> TestClient:
    async def page(request: Request) -> PlainTextResponse:
        reached.append(f"{request.method} {request.url.path}")
        return PlainTextResponse("ok")

    async def socket(websocket: WebSocket) -> None:
        reached.append("websocket")
        await websocket.accept()
        await websocket.close()

    methods = ["GET", "POST", "PUT", "DELETE", "OPTIONS"]
    app = Starlette(routes=[WebSocketRoute("/graphql", socket), Route("/{path:path}", page, methods=methods)])
    return TestClient(UiGuard(app, allowed_hosts=["Ops.Example"]), base_url=f"http://{OWN}")


@pytest.mark.parametrize(
    "method, path, headers",
    [
        ("GET", "/runs", {}),
        ("GET", "/runs", {"Sec-Fetch-Site": "none"}),
        ("GET", "/runs", {"Host": "ops.example"}),
        ("GET", "/runs", {"Host": "[::1]:3000"}),
        ("GET", "/runs", LINK),
        ("GET", "/graphql", {"Accept": "text/html"}),
        ("POST", "/graphql", JSON),
        ("POST", "/graphql", JSON | {"Origin": f"http://{OWN}", "Sec-Fetch-Site": "same-origin"}),
        ("POST", "/graphql", {"Content-Type": "application/graphql; charset=utf-8"}),
        ("POST", "/graphql", JSON | {"Host": "ops.example", "Origin": "https://ops.example"}),
    ],
)
def test_programs_and_the_ui_itself_are_served(
    client: TestClient, reached: list[str], method: str, path: str, headers: dict[str, str]
) -> None:
    answer = client.request(method, path, headers=headers)
    assert (answer.status_code, answer.headers["X-Frame-Options"]) == (200, "DENY")
    assert reached == [f"{method} {path}"]


@pytest.mark.parametrize(
    "method, path, headers, status",
    [
        ("GET", "/runs", {"Host": "evil.example"}, 421),
        ("GET", "/runs", {"Host": ""}, 421),
        ("POST", "/graphql", JSON | {"Host": "127.0.0.1.evil.example"}, 421),
        ("POST", "/graphql", JSON | {"Origin": "https://evil.example"}, 403),
        ("POST", "/graphql", JSON | {"Origin": "null"}, 403),
        ("POST", "/graphql", JSON | {"Origin": "http://[::1"}, 403),
        ("POST", "/graphql", JSON | {"Origin": "http://127.0.0.1:8000", "Sec-Fetch-Site": "same-site"}, 403),
        ("POST", "/graphql", JSON | {"Sec-Fetch-Site": "cross-site"}, 403),
        ("POST", "/report_asset_materialization/a", {"Origin": "https://evil.example"}, 403),
        ("GET", "/runs", {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"}, 403),
        ("GET", "/runs", {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"}, 403),
        ("GET", MUTATION, LINK, 403),
        ("GET", "/graphql/", LINK, 403),
        ("GET", MUTATION, {}, 405),
        ("HEAD", MUTATION, {}, 405),
        ("POST", MUTATION, {"Content-Type": "application/x-www-form-urlencoded"}, 415),
        ("POST", MUTATION, {"Content-Type": "text/plain; application/json"}, 415),
        ("POST", MUTATION, {}, 415),
        ("OPTIONS", "/graphql", {}, 405),
        ("PUT", "/runs", {}, 405),
    ],
)
def test_nothing_else_reaches_the_application(
    client: TestClient, reached: list[str], method: str, path: str, headers: dict[str, str], status: int
) -> None:
    assert client.request(method, path, headers=headers).status_code == status
    assert reached == []


def test_two_host_headers_are_refused(client: TestClient, reached: list[str]) -> None:
    both: Any = [("Host", OWN), ("Host", "evil.example")]
    assert client.get("/runs", headers=both).status_code == 400
    assert reached == []


@pytest.mark.parametrize(
    "headers", [{"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}, {"Host": "evil.example"}]
)
def test_a_websocket_of_a_foreign_page_is_refused(client: TestClient, reached: list[str], headers: dict[str, str]) -> None:
    with pytest.raises(WebSocketDisconnect), client.websocket_connect(f"ws://{OWN}/graphql", headers=headers):
        pass
    assert reached == []


def test_a_websocket_of_the_ui_itself_is_accepted(client: TestClient, reached: list[str]) -> None:
    with client.websocket_connect(f"ws://{OWN}/graphql", headers={"Origin": f"http://{OWN}"}):
        pass
    assert reached == ["websocket"]
