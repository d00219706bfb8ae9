"""What follows from the facts: the state of a stream, when to start it again, when the breaker opens.

Pure functions of their arguments, the time included: no Spark, no I/O, no clock.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from rtap_assets.streaming.model.states import Observed

# What differs between two reports of the same fault: ids, offsets, addresses, times.
VARYING = re.compile(r"0x[0-9a-f]+|[0-9a-f]{8}-[0-9a-f-]{27}|\d+", re.IGNORECASE)


@dataclass(frozen=True)
class Facts:
    """What is known of one stream. Each `…_since` is when it began to be so, None while it is not.

    `attempt_since`: a query is being started or is active. `proven_at`: the newest proof of that query, a commit or idle
    input; `proven_since`: the first one of an unbroken series. `is_wanted`: desired, or needed by a drain.
    """

    ended_at: datetime
    is_wanted: bool = False
    is_dirty: bool = False
    attempt_since: datetime | None = None
    proven_at: datetime | None = None
    proven_since: datetime | None = None
    stopping_since: datetime | None = None
    waiting_for: str | None = None
    waiting_since: datetime | None = None
    failed_at: datetime | None = None
    next_start: datetime | None = None
    broken_since: datetime | None = None
    refused_since: datetime | None = None


@dataclass(frozen=True)
class Patience:
    """How long a proof is good for, and how long a start may take to give its first."""

    proof_seconds: float
    start_seconds: float


def observe(
    facts: Facts,
    now: datetime,
    *,
    patience: Patience,
    is_source_away: bool = False,
    jvm_silent_since: datetime | None = None,
    held_since: datetime | None = None,
) -> tuple[Observed, datetime]:
    """The state and since when it is so. `is_source_away`: the probe gets no answer from what the stream depends on.

    A query in a JVM that is silent is stalled, however fresh its last proof is. `held_since`: since when an open transaction
    keeps a query that runs well from the end of its source.
    """
    if facts.stopping_since is not None:
        return Observed.STOPPING, facts.stopping_since
    if facts.is_wanted and facts.refused_since is not None:
        return Observed.REFUSED, facts.refused_since
    if facts.is_wanted and facts.broken_since is not None:
        return Observed.BROKEN, facts.broken_since
    if facts.attempt_since is not None and jvm_silent_since is not None:
        return Observed.STALLED, max(facts.attempt_since, jvm_silent_since)
    if facts.attempt_since is not None:
        state, since = _observe_attempt(facts, facts.attempt_since, now, patience=patience, is_source_away=is_source_away)
        return (Observed.WAITING, held_since) if state is Observed.RUNNING and held_since is not None else (state, since)
    return _observe_absence(facts)


def _observe_attempt(
    facts: Facts, began: datetime, now: datetime, *, patience: Patience, is_source_away: bool
) -> tuple[Observed, datetime]:
    """A query is being started or is active: what has it proven?"""
    proof, start = timedelta(seconds=patience.proof_seconds), timedelta(seconds=patience.start_seconds)
    stuck = Observed.WAITING if is_source_away else Observed.STALLED
    if facts.proven_at is not None:
        is_fresh = now - facts.proven_at <= proof
        return (Observed.RUNNING, facts.proven_since or facts.proven_at) if is_fresh else (stuck, facts.proven_at + proof)
    if now - began > start:
        return stuck, began + start
    if facts.waiting_for is not None:
        return Observed.WAITING, facts.waiting_since or began
    if is_source_away and now - began > proof:
        return Observed.WAITING, began + proof
    return Observed.STARTING, began


def _observe_absence(facts: Facts) -> tuple[Observed, datetime]:
    """No query is active: is it to start again, or at rest?"""
    if not facts.is_wanted:
        return (Observed.DIRTY if facts.is_dirty else Observed.STOPPED), facts.ended_at
    if facts.waiting_for is not None:
        return Observed.WAITING, facts.waiting_since or facts.ended_at
    if facts.failed_at is not None:
        return Observed.BACKOFF, facts.failed_at
    return Observed.STARTING, facts.ended_at


def restart_delay_seconds(*, failures: int, is_waiting: bool, first_seconds: float, longest_seconds: float) -> float:
    """How long to wait before the next start: nothing after a first failure, else doubling up to a cap.

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
    """The breaker after one more fault: open once the same one has come `limit` times in a row.

    `was_well`: the stream proved itself for long enough before this fault to forget the earlier ones.
    """
    kept: Sequence[str] = () if was_well else breaker.faults
    faults = (*kept, fault)[-limit:]
    repeated = len(faults) == limit and len(set(faults)) == 1
    return Breaker(faults, breaker.opened_at or now if repeated else None)


def fingerprint(code: str, message: str) -> str:
    """What two reports of the same fault have in common."""
    return f"{code}: {VARYING.sub('#', message)[:300]}"


def was_well_before(facts: Facts, *, healthy_seconds: float) -> bool:
    """Whether the stream had proven itself for `healthy_seconds` on end."""
    if facts.proven_at is None or facts.proven_since is None:
        return False
    return facts.proven_at - facts.proven_since >= timedelta(seconds=healthy_seconds)


def extend_proof(facts: Facts, proven_at: datetime, *, proof_seconds: float) -> tuple[datetime, datetime]:
    """The new `proven_at` and `proven_since`: a series ends where the time between two proofs is too long."""
    if facts.proven_at is None or facts.proven_since is None:
        return proven_at, proven_at
    newest = max(proven_at, facts.proven_at)
    gap = newest - facts.proven_at > timedelta(seconds=proof_seconds)
    return newest, newest if gap else facts.proven_since
