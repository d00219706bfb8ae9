"""A stream host that exists in memory alone, for tests of what talks to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Self

from rtap_assets.config import Settings
from rtap_assets.contracts.streams import STREAM_NAMES
from rtap_assets.errors import StreamError
from rtap_assets.resources.spark import SparkSessionResource
from rtap_assets.resources.streams import StreamHost
from rtap_assets.streaming.model.operation import Action, Operation, OperationState
from rtap_assets.streaming.model.states import Desired, Observed, StreamStatus

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
REPORT: dict[str, Any] = {
    "stream": "bronze",
    "batches": 2,
    "input_rows": 10,
    "dropped_late": 0,
    "position": None,
    "watermark_ms": 1_500,
    "seconds": 1.5,
    "restarts": [],
}


def status(name: str = "bronze", observed: Observed = Observed.RUNNING, **changes: Any) -> StreamStatus:
    """A status that was observed at NOW, of a stream that is desired to run."""
    given = StreamStatus(name, Desired.RUNNING, observed, NOW, NOW, NOW + timedelta(seconds=60))
    return replace(given, **changes)


@dataclass
class FakeClient:
    """Keeps what it was asked. A stream in `failing` fails; `interruption` is raised by the first wait."""

    failing: dict[str, StreamError] = field(default_factory=dict)
    interruption: BaseException | None = None
    reported: list[StreamStatus] = field(default_factory=lambda: [status(name) for name in STREAM_NAMES])
    asked: list[tuple[str, str]] = field(default_factory=list)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...

    def statuses(self) -> list[StreamStatus]:
        return self.reported

    def submit(self, stream: str, action: str) -> Operation:
        self.asked.append((action, stream))
        return Operation(f"{action}-{stream}", stream, Action(action))

    def wait(self, operation: Operation, *, echo: Callable[[str], None]) -> Operation:
        self.asked.append(("wait", operation.stream))
        if self.interruption is not None:
            raise self.interruption
        echo("a step")
        if operation.stream in self.failing:
            raise self.failing[operation.stream]
        result = REPORT | {"stream": operation.stream} if operation.action is Action.DRAIN else {"batch_id": 7}
        return replace(operation, state=OperationState.SUCCEEDED, result=result)

    def cancel(self, operation_id: str) -> Operation:
        action, _, stream = operation_id.partition("-")
        self.asked.append(("cancel", stream))
        return Operation(operation_id, stream, Action(action), state=OperationState.CANCELLED)


class NoSpark(SparkSessionResource):
    """The resource of a run that must start no session."""

    def _init_session(self) -> None:
        raise AssertionError("a Spark session was started")


NO_SPARK = NoSpark(settings=Settings())


def host_over(client: FakeClient, *, begins: Iterator[bool] | None = None) -> StreamHost:
    """The resource over a fake client; `begins` says what each attempt to start a host does."""

    class FakeHost(StreamHost):
        def client(self) -> Any:
            return client

        def ensure(self, echo: Callable[[str], None]) -> None:
            echo("stream host adopted")

        def begin(self) -> bool:
            assert begins is not None, "nobody was to start a host"
            return next(begins)

        def client_in_charge(self, echo: Callable[[str], None]) -> Any:
            echo("stream host adopted")
            return client

    return FakeHost(settings=Settings())
