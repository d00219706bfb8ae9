"""A stream host without Spark: the API over an engine that only remembers what it was asked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from rtap_assets.config import Settings, load_settings
from rtap_assets.contracts.streams import STREAM_NAMES
from rtap_assets.errors import StreamError
from rtap_assets.host.api import Host, build_app
from rtap_assets.host.client import StreamsClient
from rtap_assets.host.description import HostDescription
from rtap_assets.host.idle import Activity
from rtap_assets.host.token import ensure_token
from rtap_assets.streaming.model.operation import Action, Operation, OperationState, Step
from rtap_assets.streaming.model.states import Desired, Observed, StreamStatus

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def status(name: str, **fields: Any) -> StreamStatus:
    """A stopped stream, looked at now, with these fields."""
    now = datetime.now(UTC)
    plain = StreamStatus(name, Desired.STOPPED, Observed.STOPPED, NOON, now, now + timedelta(seconds=60))
    return replace(plain, **fields)


@dataclass
class FakeEngine:
    """Streams that do as they are told at once, unless `outcome` says otherwise."""

    found: dict[str, StreamStatus] = field(default_factory=lambda: {name: status(name) for name in STREAM_NAMES})
    operations: dict[str, Operation] = field(default_factory=dict)
    outcome: OperationState = OperationState.SUCCEEDED
    refusal: Exception | None = None
    jvm: bool = True
    pulse: bool = True

    def resume(self) -> None:
        raise NotImplementedError

    def statuses(self) -> list[StreamStatus]:
        return list(self.found.values())

    def submit(self, stream: str, action: str) -> Operation:
        if self.refusal is not None:
            raise self.refusal
        operation = Operation(f"op-{len(self.operations)}", stream, Action(action), self.outcome, (Step(NOON, "done"),))
        self.operations[operation.id] = operation
        return operation

    def submit_for_tables(self, action: str, arguments: Mapping[str, Any] | None = None) -> Operation:
        return self.submit("tables", action)

    def operation(self, id: str) -> Operation | None:
        return self.operations.get(id)

    def cancel(self, id: str) -> Operation:
        if self.operations[id].ended:
            raise StreamError("It has ended already.")
        self.operations[id] = replace(self.operations[id], state=OperationState.CANCELLED)
        return self.operations[id]

    def progress(self, stream: str, limit: int) -> list[dict[str, Any]]:
        return [{"batch_id": batch, "stream": stream} for batch in range(limit)]

    def jvm_is_alive(self) -> bool:
        return self.jvm

    def jvm_answers(self) -> bool:
        return self.jvm and self.pulse

    def close(self, *, seconds: float) -> dict[str, bool]:
        raise NotImplementedError


@dataclass
class FakeHost:
    """The host's parts, and two ways to call it: plain HTTP with the right token, and our client."""

    settings: Settings
    engine: FakeEngine
    host: Host
    token: str
    http: TestClient
    client: StreamsClient
    shutdowns: list[str]


@pytest.fixture
def fake_host(tmp_path: Path) -> Iterator[FakeHost]:
    """A host over a `FakeEngine`, with a state folder of its own."""
    settings = load_settings(state_dir=tmp_path / ".rtap")
    engine, shutdowns, token = FakeEngine(), [], ensure_token(settings)
    info = HostDescription(4711, NOON, str(settings.state_dir), "0.1.0", 4712)
    host = Host(engine, info, Activity(engine), shutdowns.append)
    app = build_app(host, settings, token=token)
    with (
        TestClient(app, base_url=settings.streams_address, headers={"Authorization": f"Bearer {token}"}) as http,
        TestClient(app, base_url=settings.streams_address) as plain,
    ):
        yield FakeHost(settings, engine, host, token, http, StreamsClient(settings, http=plain), shutdowns)
