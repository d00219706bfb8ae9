"""What alerts are made of, as values: conditions, facts that they follow from, events, and the message that is sent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from rtap_assets.streaming.model.states import StreamStatus


class Severity(StrEnum):
    """WARNING: look at it today. ERROR: look at it now."""

    WARNING = "warning"
    ERROR = "error"

    @property
    def rank(self) -> int:
        return list(Severity).index(self)


@dataclass(frozen=True)
class Condition:
    """Something that is wrong now. Rule and subject identify it; `is_settled`: an alert without a time of watching."""

    rule: str
    subject: str
    severity: Severity
    summary: str
    is_settled: bool = False

    @property
    def key(self) -> str:
        return f"{self.rule}/{self.subject}"


class Kind(StrEnum):
    """What an event reports of an alert."""

    RAISED = "raised"
    WORSE = "worse"
    REMINDER = "reminder"
    RECOVERED = "recovered"


@dataclass(frozen=True)
class AlertEvent:
    """A change of an alert that its readers get. `since` is when the condition was first seen."""

    kind: Kind
    rule: str
    subject: str
    severity: Severity
    summary: str
    since: datetime
    at: datetime


@dataclass(frozen=True)
class Message:
    """What is delivered: one or more events in the words and fields of `document`. `id` is its idempotency key."""

    id: str
    at: datetime
    document: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class CheckFact:
    """The newest result of a data-quality check."""

    table: str
    check: str
    passed: bool
    severity: Severity
    description: str


@dataclass(frozen=True)
class DeadLettersFact:
    """Dead letters that are not reviewed, and the instant of the oldest."""

    records: int
    oldest: datetime | None


@dataclass(frozen=True)
class TickFact:
    """A sensor that is switched on: its interval, and when it last ticked."""

    sensor: str
    interval_seconds: float
    ticked_at: datetime


@dataclass(frozen=True)
class DiskFact:
    """The room on the disk of a folder, bytes."""

    folder: str
    free_bytes: int
    total_bytes: int


@dataclass(frozen=True)
class NewsFact:
    """When an asset last had news, and why it is expected to have some: a stream that should run, or a newer source."""

    asset: str
    at: datetime


@dataclass(frozen=True)
class DaemonFact:
    """The newest sign of life of Dagster's daemon."""

    alive_at: datetime


@dataclass(frozen=True)
class Facts:
    """What was found out at one look. None is "not looked at": alerts of such rules neither begin nor end."""

    now: datetime
    streams: Sequence[StreamStatus] | None = None
    checks: Sequence[CheckFact] | None = None
    news: Sequence[NewsFact] | None = None
    dead_letters: DeadLettersFact | None = None
    ticks: Sequence[TickFact] | None = None
    disks: Sequence[DiskFact] | None = None
    tables: Mapping[str, Sequence[str]] | None = None  # table -> a sentence per bound that it exceeds
    daemon: DaemonFact | None = None


def event_document(event: AlertEvent) -> dict[str, Any]:
    """Return an event as JSON has it."""
    return asdict(event) | {"since": event.since.isoformat(), "at": event.at.isoformat()}


def event_of(document: Mapping[str, Any]) -> AlertEvent:
    """Return the event of a document."""
    return AlertEvent(
        Kind(document["kind"]),
        document["rule"],
        document["subject"],
        Severity(document["severity"]),
        document["summary"],
        datetime.fromisoformat(document["since"]),
        datetime.fromisoformat(document["at"]),
    )
