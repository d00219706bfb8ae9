"""The options of `generate` and its report."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from datetime import datetime

from rtap_assets.contracts.rules import Reason
from rtap_assets.errors import ConfigurationError

CHUNK_EVENTS = 25_000
STEADY_CHUNK_SECONDS = 5
DELAY_SECONDS = (15 * 60, 40 * 60)
# Records per transaction; how the transactions end, in turn.
TRANSACTION_EVENTS = 100
COMMITTED, ABORTED, LEFT_OPEN = "committed", "aborted", "left open"
TRANSACTION_ENDS = (COMMITTED, ABORTED, LEFT_OPEN)


SHARES = ("duplicates", "delayed", "invalid", "v1_share", "spellings", "later_copies", "foreign_schemas")


@dataclass(frozen=True)
class GeneratorOptions:
    """One run of the generator. Shares are fractions of all records; times are in seconds.

    Without `rate`, `events` records are sent as fast as the broker takes them, with event times spread over the
    `span_seconds` before the start. With `rate`, event times follow the clock, for `duration_seconds`, for `events`
    records, or until the process is stopped.

    Equal options with the same `start_time` (None: now) give equal records, but for copies of earlier runs' records.

    `later_copies` is the share of events that are sent again with a later event time, `foreign_schemas` the share written
    with a schema of another subject and namespace. `transactions` are sent after all other records, each with
    `TRANSACTION_EVENTS` records of its own: the first is committed, the second aborted, the third left open, and so on.
    """

    events: int | None = 100_000
    rate: float | None = None
    duration_seconds: float | None = None
    seed: int = 1
    start_time: datetime | None = None
    span_seconds: float = 6 * 3600
    duplicates: float = 0.01
    delayed: float = 0.005
    invalid: float = 0.005
    reasons: tuple[Reason, ...] = tuple(Reason)
    v1_share: float = 0.3
    spellings: float = 0.02
    later_copies: float = 0.0
    foreign_schemas: float = 0.0
    transactions: int = 0
    accounts: int = 5_000
    run_id: str | None = None

    def __post_init__(self) -> None:
        for name in SHARES:
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigurationError(f"{name} is {getattr(self, name)}; a share lies between 0 and 1.")
        if self.duplicates + self.later_copies + self.invalid > 0.9:
            raise ConfigurationError(
                "duplicates, later copies and invalid together exceed 0.9; there must be good records to copy."
            )
        if self.rate is None and self.events is None:
            raise ConfigurationError("Neither events nor rate is given.", remedy="Set a number of events, or a rate.")
        if self.rate is None and self.duration_seconds is not None:
            raise ConfigurationError("duration is given without rate.", remedy="Add a rate in events per second.")
        if self.rate is not None and not 0 < self.rate <= 1_000_000:
            raise ConfigurationError(f"rate is {self.rate}; it lies above 0 and up to 1,000,000 events per second.")
        if self.accounts < 2 or self.span_seconds < 0 or (self.events is not None and self.events < 0):
            raise ConfigurationError("accounts must be 2 or more; span and events may not be negative.")
        if self.transactions < 0 or (self.transactions and self.total is None):
            raise ConfigurationError(
                "transactions come after all other records, so the run needs an end.", remedy="Add events or a duration."
            )
        if self.seed < 0:
            raise ConfigurationError(f"seed is {self.seed}; it may not be negative.")
        if self.invalid and not self.reasons:
            raise ConfigurationError(
                "invalid records are requested without a reason.", remedy="Name reasons, or set invalid to 0."
            )

    @property
    def total(self) -> int | None:
        """Return how many records the run intends; None when it runs until it is stopped."""
        by_time = None
        if self.rate is not None and self.duration_seconds is not None:
            by_time = math.ceil(self.rate * self.duration_seconds)
        bounds = [bound for bound in (self.events, by_time) if bound is not None]
        return min(bounds) if bounds else None

    @property
    def chunk_events(self) -> int:
        """Return how many records are built, recorded and sent together."""
        return CHUNK_EVENTS if self.rate is None else max(1, min(CHUNK_EVENTS, round(self.rate * STEADY_CHUNK_SECONDS)))


@dataclass(frozen=True)
class GenerationReport:
    """The result of a run. `intended` = `acknowledged` + `aborted` + `unknown` + `failed`; `by_kind` counts all of them."""

    run_id: str
    intended: int
    acknowledged: int
    aborted: int
    unknown: int
    failed: int
    seconds: float
    by_kind: dict[str, int] = field(default_factory=dict)
    aborted_by_kind: dict[str, int] = field(default_factory=dict)
    by_reason: dict[str, int] = field(default_factory=dict)
