"""What a failure does to a stream: wait for what is away, start again with back-off, or open the breaker.

Part of the state machine: a pure function of state, diagnosis and time.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from rtap_assets.streaming.failures import Diagnosis, Verdict
from rtap_assets.streaming.lifecycle.events import Effect, Log, PersistBreaker
from rtap_assets.streaming.lifecycle.phases import Backoff, Broken, Running, Starting, StreamState, Waiting
from rtap_assets.streaming.lifecycle.restart_policy import Policy, after_fault, fingerprint, restart_delay_seconds
from rtap_assets.streaming.model.states import FailureNote

RESTARTS_KEPT = 100


def after_failure(
    state: StreamState, found: Diagnosis, policy: Policy, now: datetime
) -> tuple[StreamState, tuple[Effect, ...]]:
    """Return the state after a query failed or could not be started, and what is to be done."""
    phase = state.phase
    if not isinstance(phase, Starting | Running):
        return with_error(state, note_of(found, now)), ()
    health = replace(state.health, failures=state.health.failures + 1, last_error=note_of(found, now))
    state = replace(state, health=health)
    delay = restart_delay_seconds(
        failures=health.failures,
        is_waiting=found.verdict is Verdict.WAIT,
        first_seconds=policy.backoff_first_seconds,
        longest_seconds=policy.backoff_longest_seconds,
    )
    next_start = now + timedelta(seconds=delay)
    if found.verdict is Verdict.WAIT:
        return _waiting(state, phase, found, next_start, now)
    again = Log(f"starting again in {delay:g} s ({found.reason})")
    health = replace(health, restarts=(*health.restarts, found.reason)[-RESTARTS_KEPT:], restarted=health.restarted + 1)
    if found.verdict is Verdict.RESTART:
        return replace(state, phase=Backoff(now, next_start), health=health), (again,)
    was_well = isinstance(phase, Running) and phase.proven_at - phase.since >= timedelta(
        seconds=policy.breaker_healthy_seconds
    )
    fault, limit = fingerprint(found.code, found.reason), policy.breaker_failures
    breaker = after_fault(health.breaker, fault, now, was_well=was_well, limit=limit)
    health = replace(health, faults=health.faults + 1, breaker=breaker)
    kept = PersistBreaker(breaker, health.last_error)
    if breaker.opened_at is None:
        return replace(state, phase=Backoff(now, next_start), health=health), (kept, again)
    opened = Log(f"BROKEN after the same failure {limit} times: {found.reason}")
    return replace(state, phase=Broken(breaker.opened_at), health=health), (kept, opened)


def note_of(found: Diagnosis, now: datetime) -> FailureNote:
    """Return a diagnosis as the failure that is shown."""
    return FailureNote(found.code, found.reason, now, found.remedy)


def with_error(state: StreamState, note: FailureNote) -> StreamState:
    """Return the state with this as its newest error."""
    return replace(state, health=replace(state.health, last_error=note))


def _waiting(
    state: StreamState, phase: Starting | Running, found: Diagnosis, next_start: datetime, now: datetime
) -> tuple[StreamState, tuple[Effect, ...]]:
    dependency = found.dependency or "a dependency"
    waited = phase.waited if isinstance(phase, Starting) else None
    if waited is not None and waited.dependency == dependency:
        return replace(state, phase=Waiting(waited.since, dependency, next_start)), ()
    return replace(state, phase=Waiting(now, dependency, next_start)), (Log(f"WAITING for {dependency}: {found.reason}"),)
