"""The policy of one stream: how long a proof is good for, when to start again, when the breaker opens.

Pure functions of their arguments, the time included: no Spark, no I/O, no clock.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Self

from rtap_assets.config import Settings

# What differs between two reports of the same fault: ids, offsets, addresses, times.
VARYING = re.compile(r"0x[0-9a-f]+|[0-9a-f]{8}-[0-9a-f-]{27}|\d+", re.IGNORECASE)


@dataclass(frozen=True)
class Policy:
    """The times and limits of one stream, in seconds. A proof is good for `running_proof_seconds` and one trigger more."""

    trigger_seconds: float
    running_proof_seconds: float
    start_seconds: float
    stop_seconds: float
    backoff_first_seconds: float
    backoff_longest_seconds: float
    breaker_failures: int
    breaker_healthy_seconds: float

    @classmethod
    def of(cls, settings: Settings, *, trigger_seconds: float) -> Self:
        """Return the policy of a stream with this trigger interval."""
        return cls(
            trigger_seconds=trigger_seconds,
            running_proof_seconds=settings.running_proof_seconds,
            start_seconds=settings.start_timeout_seconds,
            stop_seconds=settings.stop_timeout_seconds,
            backoff_first_seconds=settings.backoff_first_seconds,
            backoff_longest_seconds=settings.backoff_longest_seconds,
            breaker_failures=settings.breaker_failures,
            breaker_healthy_seconds=settings.breaker_healthy_seconds,
        )


def restart_delay_seconds(*, failures: int, is_waiting: bool, first_seconds: float, longest_seconds: float) -> float:
    """Return the delay before the next start: none after a first failure, else doubling up to a cap.

    `failures` counts those since the newest commit, this one included. A dependency that is away is never tried at once.
    """
    if failures <= 1 and not is_waiting:
        return 0.0
    doublings = min(failures - 1, 30)  # beyond that the cap has long been reached
    return min(first_seconds * 2.0**doublings, longest_seconds)


@dataclass(frozen=True)
class Breaker:
    """The faults of a stream since it was last well. `opened_at` is set while the breaker is open."""

    faults: tuple[str, ...] = ()
    opened_at: datetime | None = None


def after_fault(breaker: Breaker, fault: str, now: datetime, *, was_well: bool, limit: int) -> Breaker:
    """Return the breaker after one more fault: open once the same one has come `limit` times in a row.

    `was_well`: the stream proved itself for long enough before this fault to forget the earlier ones.
    """
    kept: Sequence[str] = () if was_well else breaker.faults
    faults = (*kept, fault)[-limit:]
    repeated = len(faults) == limit and len(set(faults)) == 1
    return Breaker(faults, breaker.opened_at or now if repeated else None)


def fingerprint(code: str, message: str) -> str:
    """Return what two reports of the same fault have in common."""
    return f"{code}: {VARYING.sub('#', message)[:300]}"


def extend_proof(proven_at: datetime, since: datetime, newest: datetime, *, gap_seconds: float) -> tuple[datetime, datetime]:
    """Return the new `proven_at` and `since`: a series ends where the time between two proofs is too long."""
    newest = max(newest, proven_at)
    has_gap = newest - proven_at > timedelta(seconds=gap_seconds)
    return newest, newest if has_gap else since
