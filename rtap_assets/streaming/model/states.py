"""The desired and observed states of a stream, and the status that host, client and Dagster exchange.

Values only: no Spark, no I/O, no clock. A field is named here alone: API, OpenAPI, metrics and Dagster's metadata follow.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Annotated

from rtap_assets.streaming.model.wire import Instant, Shown, Wire


class Desired(StrEnum):
    """What was asked for; durable."""

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
    BROKEN = "broken"  # the breaker is open: the same failure again and again; a start resets it
    REFUSED = "refused"  # checkpoint and table do not belong together; nothing was started
    STOPPING = "stopping"
    UNKNOWN = "unknown"  # made by readers alone: no host answers, or its answer is past `valid_until`


@dataclass(frozen=True)
class FailureNote(Wire):
    """A failure as it is shown. `code` is a short, stable name; `remedy` the next step."""

    code: str
    message: str
    at: Instant
    remedy: str


@dataclass(frozen=True)
class StreamStatus(Wire):
    """One stream as observed at `observed_at`; past `valid_until` it must be read as UNKNOWN.

    `since` is when `observed` began; `observed` is about the commands up to `observed_generation`. Lag is against the end of
    the source. None means not known, never zero.
    """

    name: str
    desired: Annotated[Desired, Shown("1 when the stream is desired to run, else 0.", "rtap_stream_desired_running")]
    observed: Observed
    since: Annotated[
        Instant,
        Shown(
            "When the observed state began, seconds since the epoch.", "rtap_stream_state_since_timestamp_seconds", "since"
        ),
    ]
    observed_at: Annotated[
        Instant,
        Shown(
            "When the stream was last looked at, seconds since the epoch.",
            "rtap_stream_observed_timestamp_seconds",
            "observed at",
        ),
    ]
    valid_until: Annotated[
        Instant,
        Shown(
            "Until when these readings may be believed, seconds since the epoch.",
            "rtap_stream_valid_until_timestamp_seconds",
            "valid until",
        ),
    ]
    desired_generation: Annotated[int, Shown("Number of the newest command.", "rtap_stream_desired_generation")] = 0
    observed_generation: Annotated[
        int, Shown("Number of the newest command that the observed state serves.", "rtap_stream_observed_generation")
    ] = 0
    last_commit_at: Annotated[
        Instant | None,
        Shown(
            "When the last micro-batch was committed, seconds since the epoch.",
            "rtap_stream_last_commit_timestamp_seconds",
            "last commit",
        ),
    ] = None
    last_batch_id: Annotated[
        int | None, Shown("Id of the newest committed micro-batch.", "rtap_stream_last_batch_id", "newest batch")
    ] = None
    batch_seconds: Annotated[
        float | None,
        Shown("Duration of the last micro-batch, seconds.", "rtap_stream_batch_duration_seconds", "batch time (s)"),
    ] = None
    input_rows_per_second: Annotated[
        float | None, Shown("Rows that arrive per second.", "rtap_stream_input_rows_per_second", "input (rows/s)")
    ] = None
    processed_rows_per_second: Annotated[
        float | None,
        Shown(
            "Rows that a micro-batch works off per second.", "rtap_stream_processed_rows_per_second", "processed (rows/s)"
        ),
    ] = None
    lag_records: Annotated[
        int | None,
        Shown(
            "Offsets up to the last stable one (bronze) or rows of the source that are not committed yet.",
            "rtap_stream_lag_records",
            "lag (records)",
        ),
    ] = None
    lag_seconds: Annotated[
        float | None, Shown("Age of the oldest of them, seconds.", "rtap_stream_lag_seconds", "lag (s)")
    ] = None
    watermark: Annotated[
        Instant | None,
        Shown("The event-time watermark, seconds since the epoch.", "rtap_stream_watermark_timestamp_seconds", "watermark"),
    ] = None
    state_rows: Annotated[int | None, Shown("Event ids that are remembered.", "rtap_stream_state_rows", "state rows")] = None
    state_bytes: Annotated[
        int | None, Shown("Memory of the remembered event ids, bytes.", "rtap_stream_state_bytes", "state (bytes)")
    ] = None
    waiting_for: Annotated[str | None, Shown("What the stream waits for.", label="waiting for")] = None
    next_start: Annotated[
        Instant | None,
        Shown(
            "When a failed stream starts again, seconds since the epoch.",
            "rtap_stream_next_start_timestamp_seconds",
            "next start",
        ),
    ] = None
    failures: Annotated[int, Shown("Failures in a row since the last commit or start command.", "rtap_stream_failures")] = 0
    last_error: FailureNote | None = None

    @property
    def error_is_over(self) -> bool:
        """True when the stream has proven since its last error that it runs again."""
        return self.last_error is not None and self.observed is Observed.RUNNING and self.since >= self.last_error.at

    def is_valid_at(self, now: datetime) -> bool:
        """Return whether the status may still be believed."""
        return now <= self.valid_until

    def as_unknown(self, *, reason: str, now: datetime) -> StreamStatus:
        """Return the same stream as UNKNOWN; its last readings are kept, `reason` is shown as the error."""
        note = FailureNote("unknown", reason, now, "Look at `rtap streams status` and the log of the stream host.")
        return replace(self, observed=Observed.UNKNOWN, since=now, observed_at=now, valid_until=now, last_error=note)
