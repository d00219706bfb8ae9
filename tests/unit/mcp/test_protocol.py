"""The MCP server's side of the protocol, over strings: both eras, faults of a client, calls that run beside the reading."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Mapping
from typing import Any

import pytest
from polling import wait_until

from rtap_assets.errors import ServingError
from rtap_assets.mcp.protocol import META_SERVER, META_VERSION, MOST_LINE_CHARACTERS, MOST_WAITING, Server

TOOLS = [{"name": "echo"}, {"name": "fail"}, {"name": "wait"}]
MODERN = {"_meta": {META_VERSION: "2026-07-28"}}


class Client:
    """Sends lines to a server of its own and reads what it says."""

    def __init__(self) -> None:
        self.output = io.StringIO()
        self.released = threading.Event()
        self.ended = 0

    def call(self, name: str, arguments: Mapping[str, Any]) -> Any:
        if name == "fail":
            raise ServingError("It is not a query.", remedy="Ask again.")
        if name == "wait":
            assert self.released.wait(30)
        return dict(arguments)

    def cancel(self) -> None:
        self.ended += 1
        self.released.set()

    def exchange(self, *lines: str | Mapping[str, Any]) -> list[dict[str, Any]]:
        source = io.StringIO("".join(f"{line if isinstance(line, str) else json.dumps(line)}\n" for line in lines))
        Server(TOOLS, self.call, self.cancel, self.output).serve(source)
        return self.answers()

    def answers(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.output.getvalue().splitlines()]


class Pipe(io.StringIO):
    """An input that gives its lines one by one, and ends when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []
        self.is_closed = threading.Event()

    def readline(self, _: int | None = -1, /) -> str:
        wait_until(lambda: bool(self.lines) or self.is_closed.is_set(), seconds=30, what="a line")
        return self.lines.pop(0) if self.lines else ""


def request(id: int | str, method: str, **params: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": id, "method": method, "params": params}


@pytest.mark.parametrize(
    "asked, answered",
    [("2025-11-25", "2025-11-25"), ("2024-11-05", "2024-11-05"), ("1999-01-01", "2025-11-25"), (None, "2025-11-25")],
)
def test_a_client_that_begins_with_initialize_gets_its_revision_or_the_newest_of_that_era(
    asked: str | None, answered: str
) -> None:
    (answer,) = Client().exchange(request(1, "initialize", protocolVersion=asked))
    assert answer["result"]["protocolVersion"] == answered
    assert answer["result"]["serverInfo"]["name"] == "rtap"
    assert "resultType" not in answer["result"]


def test_a_client_that_names_its_revision_in_each_request_needs_no_beginning() -> None:
    discovered, listed = Client().exchange(request(1, "server/discover", **MODERN), request(2, "tools/list", **MODERN))
    assert discovered["result"]["supportedVersions"][0] == "2026-07-28"
    assert listed["result"]["tools"] == TOOLS
    for answer in (discovered, listed):
        assert answer["result"]["resultType"] == "complete"
        assert answer["result"]["_meta"][META_SERVER]["name"] == "rtap"
        assert {"ttlMs", "cacheScope"} <= answer["result"].keys()


def test_a_revision_that_is_not_spoken_is_refused_with_those_that_are() -> None:
    (answer,) = Client().exchange(request(1, "tools/list", _meta={META_VERSION: "1900-01-01"}))
    assert answer["error"]["code"] == -32022
    assert answer["error"]["data"]["requested"] == "1900-01-01"
    assert "2026-07-28" in answer["error"]["data"]["supported"]


@pytest.mark.parametrize(
    "line, code",
    [
        ("{", -32700),
        ("[" * 100_000, -32700),
        ("[]", -32600),
        ('{"id": 1, "method": "ping"}', -32600),
        ('{"jsonrpc": "2.0", "id": null, "method": "ping"}', -32600),
        ('{"jsonrpc": "2.0", "id": 1, "method": "ping", "params": []}', -32602),
        ('{"jsonrpc": "2.0", "id": 1, "method": "tools/destroy"}', -32601),
        ('{"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "rm"}}', -32602),
        ('{"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "echo", "arguments": 3}}', -32602),
        ('"' + "x" * MOST_LINE_CHARACTERS + '"', -32600),
        ("x" * 3 * MOST_LINE_CHARACTERS, -32600),
        ('{"jsonrpc": "2.0", "id": true, "method": "ping"}', -32600),
        ('{"jsonrpc": "2.0", "id": "\\ud800", "method": "tools/destroy"}', -32601),
    ],
)
def test_a_fault_of_the_client_is_an_error_and_the_next_line_is_answered(line: str, code: int) -> None:
    first, last = Client().exchange(line, request(7, "ping"))
    assert first["error"]["code"] == code
    assert last == {"jsonrpc": "2.0", "id": 7, "result": {}}


def test_notifications_and_empty_lines_get_no_answer() -> None:
    assert (
        Client().exchange(
            {"jsonrpc": "2.0", "method": "notifications/initialized"}, "", {"jsonrpc": "2.0", "method": "other"}
        )
        == []
    )


def served(client: Client, pipe: Pipe) -> threading.Thread:
    thread = threading.Thread(
        target=Server(TOOLS, client.call, client.cancel, client.output).serve, args=(pipe,), daemon=True
    )
    thread.start()
    return thread


def closed(thread: threading.Thread, pipe: Pipe) -> None:
    pipe.is_closed.set()
    thread.join(30)
    assert not thread.is_alive()


def test_a_call_answers_as_text_and_as_structure_and_a_failure_says_what_to_do() -> None:
    client, pipe = Client(), Pipe()
    thread = served(client, pipe)
    pipe.lines += [json.dumps(request(1, "tools/call", name="echo", arguments={"a": "1.50"})) + "\n"]
    pipe.lines += [json.dumps(request(2, "tools/call", name="fail")) + "\n"]
    wait_until(lambda: len(client.answers()) == 2, seconds=30, what="both answers")
    closed(thread, pipe)
    good, bad = client.answers()
    assert good["result"]["structuredContent"] == {"a": "1.50"}
    assert json.loads(good["result"]["content"][0]["text"]) == {"a": "1.50"}
    assert good["result"]["isError"] is False
    assert bad["result"]["isError"] is True
    assert bad["result"]["structuredContent"] == {"error": "It is not a query.", "next_step": "Ask again."}


def test_a_ping_is_answered_while_a_call_runs_and_a_cancelled_call_is_not() -> None:
    client, pipe = Client(), Pipe()
    thread = served(client, pipe)
    pipe.lines += [json.dumps(request("slow", "tools/call", name="wait")) + "\n", json.dumps(request(2, "ping")) + "\n"]
    wait_until(lambda: [one["id"] for one in client.answers()] == [2], seconds=30, what="the ping alone")
    pipe.lines += [
        json.dumps({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": "slow"}}) + "\n"
    ]
    wait_until(lambda: client.ended == 1, seconds=30, what="the call is ended")
    pipe.lines += [json.dumps(request(3, "tools/call", name="echo")) + "\n"]
    wait_until(lambda: len(client.answers()) == 2, seconds=30, what="the next call")
    closed(thread, pipe)
    assert [one["id"] for one in client.answers()] == [2, 3]


def test_the_end_of_the_input_ends_a_call_that_runs() -> None:
    client, pipe = Client(), Pipe()
    thread = served(client, pipe)
    pipe.lines += [json.dumps(request(1, "tools/call", name="wait")) + "\n"]
    wait_until(lambda: not pipe.lines, seconds=30, what="the call is read")
    closed(thread, pipe)
    assert client.ended == 1
    assert client.answers() == []


def test_calls_that_wait_are_bounded() -> None:
    client = Client()
    calls = [request(number, "tools/call", name="wait") for number in range(MOST_WAITING + 3)]
    refused = [one for one in client.exchange(*calls) if "error" in one]
    assert [one["id"] for one in refused] == [MOST_WAITING, MOST_WAITING + 1, MOST_WAITING + 2]


def test_a_second_call_with_the_id_of_one_that_waits_is_refused() -> None:
    client = Client()
    (refused,) = client.exchange(request(1, "tools/call", name="wait"), request(1, "tools/call", name="echo"))
    assert refused["id"] == 1
    assert "has not been answered yet" in refused["error"]["message"]


def test_an_answer_is_ascii_whatever_is_in_it() -> None:
    client = Client()
    client.exchange(request("\ud800 \N{EURO SIGN}", "ping"))
    assert client.output.getvalue().isascii()
    assert client.answers()[0]["id"] == "\ud800 \N{EURO SIGN}"
