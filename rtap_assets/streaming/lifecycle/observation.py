"""What is shown of a stream, derived from its snapshot and the time: a proof that ages out is STALLED.

Pure functions of their arguments: no Spark, no I/O, no clock.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from rtap_assets.streaming.lifecycle.phases import (
    Backoff,
    Broken,
    Refused,
    Running,
    Snapshot,
    Starting,
    Stopped,
    Stopping,
    StreamState,
    Waiting,
)
from rtap_assets.streaming.lifecycle.restart_policy import Policy
from rtap_assets.streaming.model.states import FailureNote, Observed, StreamStatus
from rtap_assets.streaming.probes.source_probe import Lag

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

OBSERVED = {
    Stopping: Observed.STOPPING,
    Waiting: Observed.WAITING,
    Backoff: Observed.BACKOFF,
    Broken: Observed.BROKEN,
    Refused: Observed.REFUSED,
}


@dataclass(frozen=True)
class ProbeReadings:
    """What the probes see of a stream's surroundings now.

    `away`: the dependency whose probe gets no answer. `jvm_silent_since`: since when the JVM has not answered.
    `held`: the open transaction that keeps a query that runs well from the end of its source. `lag`: what is left to read.
    """

    away: str | None = None
    jvm_silent_since: datetime | None = None
    held: FailureNote | None = None
    lag: Lag | None = None


def observe(
    state: StreamState, now: datetime, *, policy: Policy, readings: ProbeReadings = ProbeReadings()
) -> tuple[Observed, datetime]:
    """Return the state and since when it is so. A query in a silent JVM is stalled, however fresh its last proof is."""
    phase = state.phase
    if isinstance(phase, Stopped):
        return (Observed.DIRTY if state.checkpoint.is_dirty else Observed.STOPPED), phase.since
    if not isinstance(phase, Starting | Running):
        return OBSERVED[type(phase)], phase.since
    if readings.jvm_silent_since is not None:
        began = phase.since if isinstance(phase, Starting) else phase.started_at
        return Observed.STALLED, max(began, readings.jvm_silent_since)
    return (
        _observe_start(phase, now, policy, readings)
        if isinstance(phase, Starting)
        else _observe_run(phase, now, policy, readings)
    )


def _proof_seconds(policy: Policy) -> float:
    """Return how long a proof is good for: an idle stream proves itself only when its trigger comes."""
    return policy.running_proof_seconds + policy.trigger_seconds


def waited_for(state: StreamState, readings: ProbeReadings) -> str | None:
    """Return the dependency that the stream waits for, if it does."""
    match state.phase:
        case Waiting(dependency=dependency):
            return dependency
        case Starting(waited=waited) if waited is not None:
            return waited.dependency
    return readings.away


def _observe_start(phase: Starting, now: datetime, policy: Policy, readings: ProbeReadings) -> tuple[Observed, datetime]:
    proof, start = timedelta(seconds=_proof_seconds(policy)), timedelta(seconds=policy.start_seconds)
    if now - phase.since > start:
        return _stuck(readings), phase.since + start
    if phase.waited is not None:
        return Observed.WAITING, phase.waited.since
    if readings.away is not None and now - phase.since > proof:
        return Observed.WAITING, phase.since + proof
    return Observed.STARTING, phase.since


def _observe_run(phase: Running, now: datetime, policy: Policy, readings: ProbeReadings) -> tuple[Observed, datetime]:
    proof = timedelta(seconds=_proof_seconds(policy))
    if now - phase.proven_at > proof:
        return _stuck(readings), phase.proven_at + proof
    return (Observed.RUNNING, phase.since) if readings.held is None else (Observed.WAITING, readings.held.at)


def _stuck(readings: ProbeReadings) -> Observed:
    return Observed.STALLED if readings.away is None else Observed.WAITING


def status_of(
    name: str,
    snapshot: Snapshot,
    readings: ProbeReadings,
    *,
    policy: Policy,
    now: datetime,
    validity_seconds: float,
    reads_kafka: bool,
) -> StreamStatus:
    """Return the status at `now`, from one snapshot and what the probes see."""
    state, newest = snapshot.state, snapshot.newest_batch
    watermark_ms = state.checkpoint.watermark_ms or newest.get("watermark_ms")
    observed, since = observe(state, now, policy=policy, readings=readings)
    waited, phase = waited_for(state, readings), state.phase
    is_waiting = observed is Observed.WAITING
    # Where its source is another topic now, its position is none of that.
    lag = None if observed is Observed.REFUSED and reads_kafka else readings.lag
    error = state.health.last_error
    if readings.jvm_silent_since is not None:
        error = _silence(readings.jvm_silent_since)
    elif is_waiting and waited is None:
        error = readings.held
    return StreamStatus(
        name=name,
        desired=state.goal.desired,
        observed=observed,
        since=since,
        observed_at=now,
        valid_until=now + timedelta(seconds=validity_seconds),
        desired_generation=state.goal.generation,
        observed_generation=state.observed_generation,
        last_commit_at=state.checkpoint.committed_at,
        last_batch_id=state.checkpoint.committed,
        batch_seconds=newest.get("batch_seconds"),
        input_rows_per_second=newest.get("input_rows_per_second"),
        processed_rows_per_second=newest.get("processed_rows_per_second"),
        lag_records=None if lag is None else lag.records,
        lag_seconds=None if lag is None else lag.seconds(now),
        watermark=EPOCH + timedelta(milliseconds=watermark_ms) if watermark_ms else None,
        state_rows=newest.get("state_rows"),
        state_bytes=newest.get("state_bytes"),
        waiting_for=waited or "an open transaction" if is_waiting else None,
        next_start=phase.next_start if isinstance(phase, Waiting | Backoff) else None,
        failures=state.health.failures,
        last_error=error,
    )


def _silence(since: datetime) -> FailureNote:
    return FailureNote(
        "jvm_silent",
        "The Java process of the host does not answer: it is frozen, or the machine has no time or memory for it.",
        since,
        "It goes on by itself when it answers again; else `rtap down`, then `rtap up --ui --streams`.",
    )
