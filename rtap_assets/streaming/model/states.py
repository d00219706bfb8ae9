"""What can be said about a stream: desired and observed states, and the status that host, client and Dagster exchange.

Values only: standard library, no Spark, no I/O, no clock. What state follows from which facts is in `verdicts.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Self


class Desired(StrEnum):
    """What a person asked for; durable."""

    RUNNING = "running"
    STOPPED = "stopped"
    UNKNOWN = "unknown"  # made by readers alone: an external host keeps it, and does not answer


class Observed(StrEnum):
    """What is so. RUNNING is earned, never assumed."""

    STOPPED = "stopped"  # no query; newest planned batch = newest committed batch
    DIRTY = "dirty"  # no query; a batch was planned and not committed: the next start repeats it, which is safe
    STARTING = "starting"  # a query was started and has proven nothing yet
    RUNNING = "running"  # a commit, or proven idle input, within `running_proof_seconds`
    STALLED = "stalled"  # a query is active, and neither commit nor idle proof came for longer than that
    WAITING = "waiting"  # a dependency does not answer; capped back-off without end
    BACKOFF = "backoff"  # failed; starts again at `next_start`
    BROKEN = "broken"  # the breaker is open: the same failure again and again; a person's start resets it
    REFUSED = "refused"  # checkpoint and table do not belong together; nothing was started
    STOPPING = "stopping"
    UNKNOWN = "unknown"  # made by readers alone: no host answers, or its answer is past `valid_until`


@dataclass(frozen=True)
class FailureNote:
    """A failure as people see it. `code` is a short, stable name; `remedy` the next step."""

    code: str
    message: str
    at: datetime
    remedy: str

    def to_json(self) -> dict[str, Any]:
        return {"code": self.code, "message": self.message, "at": as_text(self.at), "remedy": self.remedy}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        return cls(document["code"], document["message"], as_instant(document["at"]), document["remedy"])


@dataclass(frozen=True)
class StreamStatus:
    """One stream as observed at `observed_at`; whoever reads it after `valid_until` must say UNKNOWN.

    `since` is when `observed` began. `desired_generation` numbers the newest command; `observed` is about the commands up to
    `observed_generation`. Lag is against the end of the source: Kafka records for bronze, table rows for the
    others; lag in seconds is the age of the oldest of them. None means not known, never zero.
    """

    name: str
    desired: Desired
    observed: Observed
    since: datetime
    observed_at: datetime
    valid_until: datetime
    desired_generation: int = 0
    observed_generation: int = 0
    last_commit_at: datetime | None = None
    last_batch_id: int | None = None
    batch_seconds: float | None = None
    input_rows_per_second: float | None = None
    processed_rows_per_second: float | None = None
    lag_records: int | None = None
    lag_seconds: float | None = None
    watermark: datetime | None = None
    state_rows: int | None = None
    state_bytes: int | None = None
    waiting_for: str | None = None
    next_start: datetime | None = None
    failures: int = 0
    last_error: FailureNote | None = None

    @property
    def error_is_over(self) -> bool:
        """True when the stream has proven since its last error that it runs again."""
        return self.last_error is not None and self.observed is Observed.RUNNING and self.since >= self.last_error.at

    def is_valid_at(self, now: datetime) -> bool:
        return now <= self.valid_until

    def as_unknown(self, *, reason: str, now: datetime) -> StreamStatus:
        """The same stream, of which nothing is known now; its last readings are kept, `reason` is said as the error."""
        note = FailureNote("unknown", reason, now, "Look at `rtap streams status` and the log of the stream host.")
        return replace(self, observed=Observed.UNKNOWN, since=now, observed_at=now, valid_until=now, last_error=note)

    def to_json(self) -> dict[str, Any]:
        """Instants as ISO 8601 in UTC, enums by their values."""
        document: dict[str, Any] = {}
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, datetime):
                value = as_text(value)
            elif isinstance(value, FailureNote):
                value = value.to_json()
            elif isinstance(value, StrEnum):
                value = value.value
            document[field.name] = value
        return document

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """The status that `to_json` wrote; what a newer version added is ignored."""
        known = {field.name: document[field.name] for field in fields(cls) if field.name in document}
        for name in ("since", "observed_at", "valid_until", "last_commit_at", "watermark", "next_start"):
            if known.get(name) is not None:
                known[name] = as_instant(known[name])
        if known.get("last_error") is not None:
            known["last_error"] = FailureNote.from_json(known["last_error"])
        return cls(**known | {"desired": Desired(known["desired"]), "observed": Observed(known["observed"])})


def as_text(instant: datetime) -> str:
    """ISO 8601 in UTC."""
    return instant.astimezone(UTC).isoformat()


def as_instant(text: str) -> datetime:
    """The instant that `as_text` wrote, in UTC."""
    return datetime.fromisoformat(text).astimezone(UTC)
