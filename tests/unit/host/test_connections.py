"""Connections that say nothing, or half of something, are cut off; those that ask are answered meanwhile."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Iterator
from threading import Event, Thread

import pytest
import uvicorn
from polling import wait_until
from starlette.types import Receive, Scope, Send

from rtap_assets.host.connections import ImpatientProtocol

PATIENCE_SECONDS = 0.5
MOST_SECONDS = 5  # on a busy machine
MOST = 50
HALF_OPEN = 600
REQUEST = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"


class QuickProtocol(ImpatientProtocol):
    """The protocol with bounds that a test can wait for."""

    request_seconds = PATIENCE_SECONDS
    most_connections = MOST


answered = Event()


async def slow_app(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer after the body, and for one path when the test says so."""
    while (await receive()).get("more_body"):
        pass
    if scope["path"] == "/slow":
        await asyncio.to_thread(answered.wait, 10)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


@pytest.fixture(scope="module")
def server() -> Iterator[uvicorn.Server]:
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(slow_app, http=QuickProtocol, ws="none", lifespan="off", log_config=None, timeout_keep_alive=60)
    server = uvicorn.Server(config)
    thread = Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    wait_until(lambda: server.started, seconds=60, what="the server listens")
    yield server
    server.should_exit = True
    thread.join(10)
    listener.close()


def connect(server: uvicorn.Server) -> socket.socket:
    address = server.servers[0].sockets[0].getsockname()
    connection = socket.create_connection(address, timeout=10)
    connection.settimeout(10)
    return connection


def is_cut_off(connection: socket.socket) -> bool:
    try:
        return connection.recv(100) == b""
    except ConnectionResetError:
        return True


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"GET / HT",
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhalf",
    ],
)
def test_a_connection_with_no_whole_request_is_cut_off(server: uvicorn.Server, sent: bytes) -> None:
    with connect(server) as connection:
        began = time.monotonic()
        connection.sendall(sent)
        assert is_cut_off(connection)
        assert PATIENCE_SECONDS / 2 < time.monotonic() - began < MOST_SECONDS


def test_bytes_that_drip_in_do_not_prolong_the_patience(server: uvicorn.Server) -> None:
    def is_refused() -> bool:
        try:
            connection.sendall(b"G")
        except (ConnectionResetError, BrokenPipeError):
            return True
        return False

    with connect(server) as connection:
        wait_until(is_refused, seconds=MOST_SECONDS, what="the connection is cut off")


def test_a_slow_answer_is_waited_for_and_the_connection_cut_off_after_it(server: uvicorn.Server) -> None:
    with connect(server) as connection:
        connection.sendall(REQUEST.replace(b"/ ", b"/slow "))
        asked = time.monotonic()
        wait_until(lambda: time.monotonic() - asked > 2 * PATIENCE_SECONDS, seconds=60, what="the answer is slow")
        answered.set()
        assert connection.recv(1_000).endswith(b"ok")
        assert is_cut_off(connection)


def test_requests_sent_at_once_are_all_answered(server: uvicorn.Server) -> None:
    with connect(server) as connection:
        connection.sendall(3 * REQUEST)
        received = b""
        while received.count(b"HTTP/1.1 200") < 3:
            received += connection.recv(1_000)


def test_a_flood_of_half_open_connections_shuts_no_caller_out_and_is_not_kept(server: uvicorn.Server) -> None:
    flood = []
    try:
        for _ in range(HALF_OPEN):
            flood.append(connect(server))
            flood[-1].sendall(b"GET")
        with connect(server) as caller:
            caller.sendall(REQUEST)
            assert caller.recv(1_000).endswith(b"ok")
        assert len(server.server_state.connections) <= MOST + 1
        wait_until(lambda: not server.server_state.connections, seconds=60, what="none of them is kept")
    finally:
        for connection in flood:
            connection.close()
