"""The life of a stream as one pure function: `step(state, event, policy, now) -> (state, effects)`.

No Spark, no I/O, no clock. The supervisor performs the effects and brings back what came of them as events.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from rtap_assets.streaming.failures import Diagnosis
from rtap_assets.streaming.lifecycle.events import (
    Declared,
    DiskHasRoom,
    DrainDeclared,
    DrainEnded,
    DrainNeedsQuery,
    Effect,
    Event,
    HostClosing,
    HostResumed,
    Inspected,
    Instruction,
    JvmEnded,
    Log,
    Observation,
    PersistBreaker,
    QueryEnded,
    QueryStopped,
    RefusalFound,
    StartQuery,
    StopFailed,
    StopQuery,
    TableWorkBegins,
    TableWorkEnds,
)
from rtap_assets.streaming.lifecycle.phases import (
    Backoff,
    Broken,
    Goal,
    Refused,
    Running,
    Starting,
    Stopped,
    Stopping,
    StreamState,
    Wait,
    Waiting,
)
from rtap_assets.streaming.lifecycle.recovery import after_failure, note_of, with_error
from rtap_assets.streaming.lifecycle.restart_policy import Breaker, Policy, extend_proof
from rtap_assets.streaming.model.states import Desired

# With an interval this long a started query runs the batch that was planned, and then pauses.
FINISHING_TRIGGER_SECONDS = 3_600.0
Step = tuple[StreamState, tuple[Effect, ...]]


def step(state: StreamState, event: Event, policy: Policy, now: datetime) -> Step:
    """Return the state after the event, driven towards what is desired, and what is to be done."""
    state, effects = (
        _instructed(state, event, now) if isinstance(event, Instruction) else _observed(state, event, policy, now)
    )
    state, driven = _drive(state, policy, now, is_look=isinstance(event, Inspected))
    if not isinstance(state.phase, Stopping):
        state = replace(state, observed_generation=state.goal.generation)
    return state, effects + driven


def wanted_trigger(state: StreamState, policy: Policy) -> float | None:
    """Return the trigger interval that a query should run with; None: none should run."""
    if not state.has_jvm or state.is_paused or state.closing_seconds is not None:
        return None
    if state.runs_on:
        return policy.trigger_seconds
    return 0.0 if state.drains else None


def _instructed(state: StreamState, event: Instruction, now: datetime) -> Step:
    """Take over what a command or the host wants."""
    match event:
        case Declared():
            return _declared(state, event, now)
        case DrainDeclared(generation):
            state = replace(state, goal=replace(state.goal, generation=generation))
        case DrainNeedsQuery(generation):
            state = replace(state, drains=state.drains | {generation})
        case DrainEnded(generation):
            state = replace(state, drains=state.drains - {generation})
        case HostResumed():
            state = replace(state, is_resumed=True)
        case HostClosing(stop_seconds):
            state = replace(state, closing_seconds=stop_seconds, drains=frozenset())
        case TableWorkBegins():
            state = replace(state, is_paused=True)
        case TableWorkEnds():
            state = replace(state, is_paused=False)
    return state, ()


def _observed(state: StreamState, event: Observation, policy: Policy, now: datetime) -> Step:
    """Take over what became of the query."""
    effects: tuple[Effect, ...] = ()
    match event:
        case Inspected():
            state, effects = _inspected(state, event, now, policy)
        case QueryEnded(diagnosis, inspected):
            state, seen = _inspected(state, inspected, now, policy)
            state, effects = _query_ended(state, diagnosis, policy, now)
            effects = seen + effects
        case QueryStopped(inspected):
            state, seen = _inspected(state, inspected, now, policy)
            state, effects = _query_stopped(state, policy, now)
            effects = seen + effects
        case StopFailed(note):
            state, effects = with_error(state, note), (Log(f"Spark has not ended the query yet: {note.message}"),)
        case RefusalFound(note):
            state, effects = _refused(with_error(state, note), now), (Log(f"REFUSED: {note.message}"),)
        case JvmEnded(note):
            health = replace(state.health, failures=state.health.failures + state.has_query, last_error=note)
            state = replace(state, phase=Stopped(now), has_jvm=False, health=health)
        case DiskHasRoom() if state.health.breaker.opened_at is not None:
            state, effects = _reset(state, now)
            effects = (Log("there is room on the disk again: goes on"), *effects)
    return state, effects


def _declared(state: StreamState, event: Declared, now: datetime) -> Step:
    restart_generation = event.generation if event.is_restart else state.goal.restart_generation
    state = replace(state, goal=Goal(event.desired, event.generation, restart_generation))
    if event.desired is Desired.RUNNING:
        return _reset(replace(state, is_resumed=True), now)
    return replace(state, drains=frozenset()), ()


def _reset(state: StreamState, now: datetime) -> Step:
    """Forget breaker, refusal and back-off: it is to be tried now."""
    phase = state.phase
    if isinstance(phase, Broken | Refused | Backoff):
        phase = Stopped(now)
    elif isinstance(phase, Waiting):
        phase = replace(phase, next_start=now)
    health = replace(state.health, failures=0, breaker=Breaker())
    return replace(state, phase=phase, health=health), (PersistBreaker(Breaker(), None),)


def _inspected(state: StreamState, inspected: Inspected, now: datetime, policy: Policy) -> Step:
    """Take over what a look found; a commit or a finished trigger proves the query."""
    has_committed = inspected.checkpoint.committed != state.checkpoint.committed
    state = replace(state, checkpoint=inspected.checkpoint)
    phase, proven_at = state.phase, inspected.proven_at
    if proven_at is None or (isinstance(phase, Running) and proven_at == phase.proven_at):
        proven_at = (inspected.checkpoint.committed_at or now) if has_committed else None
    if proven_at is None or not state.has_query:
        return state, ()
    state = replace(state, health=replace(state.health, failures=0))
    if isinstance(phase, Starting):
        running = Running(proven_at, phase.since, phase.trigger_seconds, phase.generation, proven_at)
        waited = phase.waited
        effects = () if waited is None else (Log(f"goes on after waiting for {waited.dependency}"),)
        return replace(state, phase=running), effects
    if isinstance(phase, Running):
        gap_seconds = policy.running_proof_seconds + phase.trigger_seconds
        newest, since = extend_proof(phase.proven_at, phase.since, proven_at, gap_seconds=gap_seconds)
        return replace(state, phase=replace(phase, proven_at=newest, since=since)), ()
    return state, ()


def _refused(state: StreamState, now: datetime) -> StreamState:
    if not state.has_query:
        return state
    return replace(state, phase=Stopped(now) if isinstance(state.phase, Stopping) else Refused(now))


def _query_ended(state: StreamState, found: Diagnosis, policy: Policy, now: datetime) -> Step:
    if isinstance(state.phase, Stopping):
        return _query_stopped(with_error(state, note_of(found, now)), policy, now, has_failed=True)
    return after_failure(state, found, policy, now)


def _query_stopped(state: StreamState, policy: Policy, now: datetime, *, has_failed: bool = False) -> Step:
    """No query is left: run the batch that the stop cut off to its end while there is time, unless a start repeats it."""
    phase = state.phase
    if not isinstance(phase, Stopping):
        return state, ()
    if not _may_finish(state, phase, policy, now):
        return replace(state, phase=Stopped(now)), ()
    finishing = replace(phase, is_finishing=True)
    if phase.is_finishing and has_failed:
        retry_at = now + timedelta(seconds=policy.backoff_first_seconds)
        return replace(state, phase=replace(finishing, retry_at=retry_at)), ()
    return replace(state, phase=finishing), (StartQuery(FINISHING_TRIGGER_SECONDS),)


def _may_finish(state: StreamState, phase: Stopping, policy: Policy, now: datetime) -> bool:
    is_repeated = state.is_paused or wanted_trigger(state, policy) is not None
    return state.checkpoint.is_dirty and state.has_jvm and now <= phase.finish_by and not is_repeated


def _drive(state: StreamState, policy: Policy, now: datetime, *, is_look: bool) -> Step:
    """Move the phase one step towards what is desired."""
    wanted, phase = wanted_trigger(state, policy), state.phase
    if isinstance(phase, Stopping):
        return _drive_stop(state, phase, policy, now) if is_look else (state, ())
    if isinstance(phase, Starting | Running):
        is_as_wanted = wanted == phase.trigger_seconds and phase.generation >= state.goal.restart_generation
        return (state, ()) if is_as_wanted else _stop(state, policy, now)
    if wanted is not None:
        return _start(state, wanted, now)
    is_resting = state.is_paused and wanted_trigger(replace(state, is_paused=False), policy) is not None
    if isinstance(phase, Stopped) or is_resting:
        return state, ()  # a rest ends no back-off and no refusal
    return replace(state, phase=Stopped(now)), ()


def _start(state: StreamState, wanted: float, now: datetime) -> Step:
    phase, opened_at = state.phase, state.health.breaker.opened_at
    if isinstance(phase, Stopped) and opened_at is not None:
        return replace(state, phase=Broken(opened_at)), ()
    if isinstance(phase, Broken | Refused) or (isinstance(phase, Waiting | Backoff) and now < phase.next_start):
        return state, ()
    waited = Wait(phase.dependency, phase.since) if isinstance(phase, Waiting) else None
    return replace(state, phase=Starting(now, wanted, state.goal.generation, waited)), (StartQuery(wanted),)


def _stop(state: StreamState, policy: Policy, now: datetime) -> Step:
    seconds = policy.stop_seconds
    if state.closing_seconds is not None:
        seconds = min(seconds, state.closing_seconds)
    return replace(state, phase=Stopping(now, now + timedelta(seconds=seconds))), (StopQuery(seconds),)


def _drive_stop(state: StreamState, phase: Stopping, policy: Policy, now: datetime) -> Step:
    """Ask again for a stop that Spark did not carry out; end the query that finishes a batch once that is committed."""
    if not phase.is_finishing:
        return state, (StopQuery(0.0),)
    may_finish = _may_finish(state, phase, policy, now)
    if phase.retry_at is None:
        return state, () if may_finish else (StopQuery(0.0),)
    if not may_finish:
        return replace(state, phase=Stopped(now)), ()
    if now < phase.retry_at:
        return state, ()
    return replace(state, phase=replace(phase, retry_at=None)), (StartQuery(FINISHING_TRIGGER_SECONDS),)
