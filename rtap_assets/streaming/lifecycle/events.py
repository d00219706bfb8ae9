"""What can happen to a stream (events) and what is to be done about it (effects), as values."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from rtap_assets.streaming.failures import Diagnosis
from rtap_assets.streaming.lifecycle.restart_policy import Breaker
from rtap_assets.streaming.model.reports import CheckpointReading
from rtap_assets.streaming.model.states import Desired, FailureNote


@dataclass(frozen=True)
class Declared:
    """A command set what is desired. A restart replaces the query that is active."""

    desired: Desired
    generation: int
    is_restart: bool = False


@dataclass(frozen=True)
class DrainDeclared:
    """A command asked for a drain; whether it needs a query is found out next."""

    generation: int


@dataclass(frozen=True)
class DrainNeedsQuery:
    """The source holds something that is not committed yet."""

    generation: int


@dataclass(frozen=True)
class DrainEnded:
    """A drain has reached its target, or was given up."""

    generation: int


@dataclass(frozen=True)
class HostResumed:
    """The host is ready: what is desired to run may run."""


@dataclass(frozen=True)
class HostClosing:
    """The host ends; a stop may take `stop_seconds`."""

    stop_seconds: float


@dataclass(frozen=True)
class TableWorkBegins:
    """Work on the stream's table needs it to rest between two batches."""


@dataclass(frozen=True)
class TableWorkEnds:
    """The rest is over."""


@dataclass(frozen=True)
class Inspected:
    """A look at checkpoint and query. `proven_at` is the end of the query's newest trigger, if it had one."""

    checkpoint: CheckpointReading
    proven_at: datetime | None = None


@dataclass(frozen=True)
class QueryEnded:
    """A query failed, or could not be started."""

    diagnosis: Diagnosis
    inspected: Inspected


@dataclass(frozen=True)
class QueryStopped:
    """A query was stopped as asked."""

    inspected: Inspected


@dataclass(frozen=True)
class StopFailed:
    """Spark has not ended a query yet."""

    note: FailureNote


@dataclass(frozen=True)
class RefusalFound:
    """Checkpoint, table or source are not what the stream may go on with; no query is active any more."""

    note: FailureNote


@dataclass(frozen=True)
class JvmEnded:
    """The Java process is gone, and every query with it."""

    note: FailureNote


@dataclass(frozen=True)
class DiskHasRoom:
    """A disk that was full has room again."""


Instruction = (
    Declared | DrainDeclared | DrainNeedsQuery | DrainEnded | HostResumed | HostClosing | TableWorkBegins | TableWorkEnds
)
Observation = Inspected | QueryEnded | QueryStopped | StopFailed | RefusalFound | JvmEnded | DiskHasRoom
Event = Instruction | Observation


@dataclass(frozen=True)
class StartQuery:
    """Start the query with this trigger interval."""

    trigger_seconds: float


@dataclass(frozen=True)
class StopQuery:
    """Stop the query between batches; after `seconds`, stop it all the same."""

    seconds: float


@dataclass(frozen=True)
class PersistBreaker:
    """Keep the breaker, with the failure that is shown, for the next host."""

    breaker: Breaker
    note: FailureNote | None


@dataclass(frozen=True)
class Log:
    """Write a line to the log."""

    text: str


Effect = StartQuery | StopQuery | PersistBreaker | Log
