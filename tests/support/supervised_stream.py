"""A supervisor over a stream and a query that exist in memory alone: no JVM, no broker, no sleep of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from polling import wait_until

from rtap_assets.config import Settings, load_settings
from rtap_assets.streaming.checkpoints.progress import ProgressLog
from rtap_assets.streaming.lifecycle.command_tracker import CommandTracker
from rtap_assets.streaming.lifecycle.desired import DurableStates
from rtap_assets.streaming.lifecycle.drains import Drain
from rtap_assets.streaming.lifecycle.phases import (
    StreamState,
)
from rtap_assets.streaming.lifecycle.query_watch import Context
from rtap_assets.streaming.lifecycle.restart_policy import Policy
from rtap_assets.streaming.lifecycle.supervisor import StreamSupervisor
from rtap_assets.streaming.model.operation import STREAM_ACTIONS, Action, Operation
from rtap_assets.streaming.model.reports import CheckpointReading
from rtap_assets.streaming.queries.query_handle import Query, QueryProgress

SECONDS = 60
REPORT: Mapping[str, Any] = {"id": "q", "runId": "r", "timestamp": "2026-03-01T12:00:00.000Z", "durationMs": {}}


@dataclass
class FakeStream:
    """A source of `available` batches and a query that commits them; faults are put in as lists of errors."""

    name: str = "silver"
    available: int = 1
    committed: int = -1
    is_dirty: bool = False
    is_paced: bool = False  # commits nothing
    queries: list[FakeQuery] = field(default_factory=list)
    start_errors: list[Exception] = field(default_factory=list)
    stop_errors: list[Exception] = field(default_factory=list)
    has_jvm: bool = True
    read_error: Exception | None = None

    @property
    def active(self) -> list[FakeQuery]:
        return [query for query in self.queries if query.is_active]

    def read_checkpoint(self) -> CheckpointReading:
        if self.read_error is not None:
            raise self.read_error
        committed = None if self.committed < 0 else self.committed
        return CheckpointReading(committed, datetime.now(UTC), 1_000, self.is_dirty)

    def verify(self) -> None: ...

    def start(self, trigger_seconds: float) -> Query:
        assert not self.active, "a second query beside the first"
        if self.start_errors:
            raise self.start_errors.pop(0)
        self.queries.append(FakeQuery(self, trigger_seconds))
        return self.queries[-1]

    def jvm_is_alive(self) -> bool:
        return self.has_jvm


@dataclass
class FakeQuery:
    """One query of a `FakeStream`."""

    stream: FakeStream
    trigger_seconds: float
    is_active: bool = True
    error: Exception | None = None
    reported: int = -1

    def verify(self) -> None: ...

    def look(self, now: datetime) -> QueryProgress:
        stream, batches = self.stream, []
        if self.is_active and not stream.is_paced and stream.committed + 1 < stream.available:
            stream.committed, stream.is_dirty = stream.committed + 1, False
            batches.append({**REPORT, "batchId": stream.committed, "numInputRows": 10})
            self.reported = stream.committed
        proven_at = None if stream.is_paced or not self.is_active else now
        return QueryProgress(tuple(batches), proven_at, self.is_active, self.error)

    def stop(self, *, seconds: float) -> None:
        if self.stream.stop_errors:
            raise self.stream.stop_errors.pop(0)
        self.is_active = False

    def fail(self, error: Exception) -> None:
        """End with an error, in the middle of a batch."""
        self.error, self.is_active, self.stream.is_dirty = error, False, True


@dataclass
class Setup:
    """A supervisor over a fake stream, with what it logged."""

    settings: Settings
    stream: FakeStream = field(default_factory=FakeStream)
    said: list[str] = field(default_factory=list)
    has_room: bool = False
    target_errors: list[Exception] = field(default_factory=list)

    def __post_init__(self) -> None:
        policy = Policy.of(self.settings, trigger_seconds=0.5)
        durable, clock = DurableStates(self.settings), lambda: datetime.now(UTC)
        self.policy, log = policy, ProgressLog(self.settings, "silver")

        def find_target(_: StreamState) -> Any:
            if self.target_errors:
                raise self.target_errors.pop(0)
            end = self.stream.available
            return lambda: self.stream.committed + 1 >= end

        commands = CommandTracker(
            "silver",
            policy=policy,
            durable=durable,
            timeouts=dict.fromkeys(STREAM_ACTIONS, 10.0),
            patience_seconds=0.5,
            begin_drain=lambda before: Drain(before, find_target=find_target, position=lambda: {"at": 1}, now=clock()),
            away=lambda: None,
            clock=clock,
            spark_log="spark.log",
        )
        context = Context(clock, self.said.append, "spark.log", lambda: self.has_room, lambda: None, lambda _: None)
        self.supervisor = StreamSupervisor(
            self.stream, policy=policy, commands=commands, durable=durable, log=log, context=context
        )
        self.supervisor.start()

    @property
    def state(self) -> StreamState:
        return self.supervisor.snapshot.state

    def wait_for(self, phase: type) -> None:
        wait_until(lambda: isinstance(self.state.phase, phase), seconds=SECONDS, what=phase.__name__)

    def ask(self, action: Action) -> Operation:
        return self.supervisor.submit(action)

    def end_of(self, operation: Operation) -> Operation:
        def now() -> Operation:
            found = self.supervisor.operation(operation.id)
            assert found is not None
            return found

        wait_until(lambda: now().ended, seconds=SECONDS, what=f"the end of {operation.action}")
        return now()

    def done(self, action: Action) -> Operation:
        return self.end_of(self.ask(action))

    def close(self) -> bool:
        self.supervisor.close(stop_seconds=1)
        return self.supervisor.join(SECONDS)


def open_setup(tmp_path: Path, **changes: Any) -> Setup:
    own = {"backoff_first_seconds": 0.05, "backoff_longest_seconds": 0.1, "stop_timeout_seconds": 2, "breaker_failures": 3}
    return Setup(load_settings(state_dir=tmp_path / ".rtap", **own | {"running_proof_seconds": 1.0} | changes))
