"""A stream host without Spark: streams that do at once what they are asked and remember it, called through HTTP or not."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self

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
from rtap_assets.resources.spark import SparkSessionResource
from rtap_assets.resources.streams import StreamHost
from rtap_assets.streaming.model.operation import Action, Operation, OperationState, Step
from rtap_assets.streaming.model.states import Desired, Observed, StreamStatus

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
DRAINED: dict[str, Any] = {
    "batches": 2,
    "input_rows": 10,
    "dropped_late": 0,
    "position": None,
    "watermark_ms": 1_500,
    "seconds": 1.5,
    "restarts": [],
}


def status(name: str = "bronze", observed: Observed = Observed.RUNNING, **changes: Any) -> StreamStatus:
    """Return the status of a stream that is desired to run, observed at noon, valid for a minute."""
    return replace(StreamStatus(name, Desired.RUNNING, observed, NOON, NOON, NOON + timedelta(minutes=1)), **changes)


def status_now(name: str, **changes: Any) -> StreamStatus:
    """Return the status of a stream that has been stopped since noon, observed just now, as a client of a host sees it."""
    now = datetime.now(UTC)
    stopped = {"observed": Observed.STOPPED, "desired": Desired.STOPPED}
    return status(name, **stopped | {"observed_at": now, "valid_until": now + timedelta(minutes=1)} | changes)


@dataclass
class FakeEngine:
    """Streams that do what they are asked at once, unless `outcome` says otherwise; `asked` holds action and stream."""

    found: dict[str, StreamStatus] = field(default_factory=lambda: {name: status_now(name) for name in STREAM_NAMES})
    operations: dict[str, Operation] = field(default_factory=dict)
    outcome: OperationState = OperationState.SUCCEEDED
    refusal: Exception | None = None
    jvm: bool = True
    pulse: bool = True
    asked: list[tuple[str, str]] = field(default_factory=list)

    def resume(self) -> None:
        raise NotImplementedError

    def statuses(self) -> list[StreamStatus]:
        return list(self.found.values())

    def submit(self, stream: str, action: str) -> Operation:
        if self.refusal is not None:
            raise self.refusal
        self.asked.append((action, stream))
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
        self.asked.append(("cancel", self.operations[id].stream))
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
    """Yield a host over a `FakeEngine`, with a state folder of its own."""
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


def engine_with(*statuses: StreamStatus) -> FakeEngine:
    """Return streams with these statuses, by default running as of noon, whose operations are waited for."""
    found = statuses or tuple(status(name) for name in STREAM_NAMES)
    return FakeEngine({one.name: one for one in found}, outcome=OperationState.PENDING)


@dataclass
class FakeClient:
    """Calls the streams without HTTP. A stream in `failing` fails; `interruption` is raised by the first wait."""

    engine: FakeEngine = field(default_factory=engine_with)
    failing: dict[str, StreamError] = field(default_factory=dict)
    interruption: BaseException | None = None

    @property
    def asked(self) -> list[tuple[str, str]]:
        return self.engine.asked

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...

    def statuses(self) -> list[StreamStatus]:
        return self.engine.statuses()

    def submit(self, stream: str, action: str) -> Operation:
        return self.engine.submit(stream, action)

    def cancel(self, operation_id: str) -> Operation:
        return self.engine.cancel(operation_id)

    def wait(self, operation: Operation, *, echo: Callable[[str], None]) -> Operation:
        self.asked.append(("wait", operation.stream))
        if self.interruption is not None:
            raise self.interruption
        for step in operation.steps:
            echo(step.text)
        if operation.stream in self.failing:
            raise self.failing[operation.stream]
        result = {"stream": operation.stream, **DRAINED} if operation.action is Action.DRAIN else {"batch_id": 7}
        return replace(operation, state=OperationState.SUCCEEDED, result=result)


class NoSpark(SparkSessionResource):
    """The resource of a run that must start no session."""

    def _init_session(self) -> None:
        raise AssertionError("a Spark session was started")


NO_SPARK = NoSpark(settings=Settings())


def host_over(client: FakeClient, *, begins: Iterator[bool] | None = None) -> StreamHost:
    """Return the Dagster resource over the client; `begins` gives what each attempt to start a host does."""

    class AdoptedHost(StreamHost):
        def client(self) -> Any:
            return client

        def ensure(self, echo: Callable[[str], None]) -> None:
            echo("stream host adopted")

        def begin(self) -> bool:
            assert begins is not None, "no host was to be started"
            return next(begins)

        def client_in_charge(self, echo: Callable[[str], None]) -> Any:
            echo("stream host adopted")
            return client

    return AdoptedHost(settings=Settings())
