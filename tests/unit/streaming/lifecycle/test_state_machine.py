"""The state machine of a stream: what each event makes of each phase, and what no sequence of events can reach."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rtap_assets.streaming.failures import Diagnosis, Verdict
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
    JvmEnded,
    Log,
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
    Health,
    Phase,
    Refused,
    Running,
    Starting,
    Stopped,
    Stopping,
    StreamState,
    Wait,
    Waiting,
)
from rtap_assets.streaming.lifecycle.restart_policy import Breaker, Policy
from rtap_assets.streaming.lifecycle.state_machine import FINISHING_TRIGGER_SECONDS, step, wanted_trigger
from rtap_assets.streaming.model.reports import CheckpointReading
from rtap_assets.streaming.model.states import Desired, FailureNote

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
POLICY = Policy(
    trigger_seconds=5,
    running_proof_seconds=25,
    start_seconds=120,
    stop_seconds=30,
    backoff_first_seconds=1,
    backoff_longest_seconds=30,
    breaker_failures=3,
    breaker_healthy_seconds=300,
)


def at(seconds: float) -> datetime:
    """An instant after noon."""
    return NOON + timedelta(seconds=seconds)


TWENTY = at(20)
NOTE = FailureNote("boom", "it burst", at(20), "mend it")
CLEAN, DIRTY = Inspected(CheckpointReading()), Inspected(CheckpointReading(is_dirty=True))
FAULT = Diagnosis(Verdict.FAULT, "boom", "it burst", "mend it")
AWAY = Diagnosis(Verdict.WAIT, "registry_away", "no answer", "wait", "registry")
AGAIN = Diagnosis(Verdict.RESTART, "restart", "SPARK-54027", "")
WANTED = StreamState(Stopped(at(0)), Goal(Desired.RUNNING, 1), observed_generation=1, is_resumed=True)
UNWANTED = StreamState(Stopped(at(0)), Goal(Desired.STOPPED, 1), observed_generation=1, is_resumed=True)

STATES: dict[str, StreamState] = {
    "Stopped": UNWANTED,
    "Starting": replace(WANTED, phase=Starting(at(10), 5, 1)),
    "Running": replace(WANTED, phase=Running(at(12), at(10), 5, 1, at(15))),
    "Stopping": replace(UNWANTED, phase=Stopping(at(10), at(40))),
    "Waiting": replace(WANTED, phase=Waiting(at(10), "registry", at(60))),
    "Backoff": replace(WANTED, phase=Backoff(at(10), at(60))),
    "Broken": replace(WANTED, phase=Broken(at(10)), health=Health(breaker=Breaker(("a", "a", "a"), at(10)))),
    "Refused": replace(WANTED, phase=Refused(at(10))),
}
EVENTS: dict[str, Event] = {
    "start": Declared(Desired.RUNNING, 2),
    "stop": Declared(Desired.STOPPED, 2),
    "restart": Declared(Desired.RUNNING, 2, is_restart=True),
    "drain asked for": DrainDeclared(2),
    "drain needs a query": DrainNeedsQuery(2),
    "drain over": DrainEnded(2),
    "host resumed": HostResumed(),
    "host closing": HostClosing(10),
    "table work begins": TableWorkBegins(),
    "table work ends": TableWorkEnds(),
    "look": CLEAN,
    "proof": Inspected(CheckpointReading(), at(19)),
    "fault": QueryEnded(FAULT, CLEAN),
    "dependency away": QueryEnded(AWAY, CLEAN),
    "stopped, clean": QueryStopped(CLEAN),
    "stopped, batch cut off": QueryStopped(DIRTY),
    "stop failed": StopFailed(NOTE),
    "refusal": RefusalFound(NOTE),
    "JVM ended": JvmEnded(NOTE),
    "room": DiskHasRoom(),
}
SHORT = {StartQuery: "start", StopQuery: "stop", PersistBreaker: "breaker", Log: "log"}


def outcome(state: StreamState, event: Event, now: datetime = TWENTY) -> str:
    after, effects = step(state, event, POLICY, now)
    return " ".join([type(after.phase).__name__, *(f"+{SHORT[type(effect)]}" for effect in effects)])


# What becomes of each phase: the phase after the event and the effects. A phase that is left out stays, without effect.
CHANGES: dict[str, dict[str, str]] = {
    "start": {
        "Stopped": "Starting +breaker +start",
        "Starting": "Starting +breaker",
        "Running": "Running +breaker",
        "Stopping": "Stopping +breaker",
        "Waiting": "Starting +breaker +start",
        "Backoff": "Starting +breaker +start",
        "Broken": "Starting +breaker +start",
        "Refused": "Starting +breaker +start",
    },
    "stop": {
        "Starting": "Stopping +stop",
        "Running": "Stopping +stop",
        "Waiting": "Stopped",
        "Backoff": "Stopped",
        "Broken": "Stopped",
        "Refused": "Stopped",
    },
    "restart": {
        "Stopped": "Starting +breaker +start",
        "Starting": "Stopping +breaker +stop",
        "Running": "Stopping +breaker +stop",
        "Stopping": "Stopping +breaker",
        "Waiting": "Starting +breaker +start",
        "Backoff": "Starting +breaker +start",
        "Broken": "Starting +breaker +start",
        "Refused": "Starting +breaker +start",
    },
    "drain asked for": {},
    "drain needs a query": {
        "Stopped": "Starting +start",
    },
    "drain over": {},
    "host resumed": {},
    "host closing": {
        "Starting": "Stopping +stop",
        "Running": "Stopping +stop",
        "Waiting": "Stopped",
        "Backoff": "Stopped",
        "Broken": "Stopped",
        "Refused": "Stopped",
    },
    "table work begins": {
        "Starting": "Stopping +stop",
        "Running": "Stopping +stop",
    },
    "table work ends": {},
    "look": {
        "Stopping": "Stopping +stop",
    },
    "proof": {
        "Starting": "Running",
        "Stopping": "Stopping +stop",
    },
    "fault": {
        "Starting": "Starting +breaker +log +start",
        "Running": "Starting +breaker +log +start",
        "Stopping": "Stopped",
    },
    "dependency away": {
        "Starting": "Waiting +log",
        "Running": "Waiting +log",
        "Stopping": "Stopped",
    },
    "stopped, clean": {
        "Stopping": "Stopped",
    },
    "stopped, batch cut off": {
        "Stopping": "Stopping +start",
    },
    "stop failed": {
        "Stopped": "Stopped +log",
        "Starting": "Starting +log",
        "Running": "Running +log",
        "Stopping": "Stopping +log",
        "Waiting": "Waiting +log",
        "Backoff": "Backoff +log",
        "Broken": "Broken +log",
        "Refused": "Refused +log",
    },
    "refusal": {
        "Stopped": "Stopped +log",
        "Starting": "Refused +log",
        "Running": "Refused +log",
        "Stopping": "Stopped +log",
        "Waiting": "Waiting +log",
        "Backoff": "Backoff +log",
        "Broken": "Broken +log",
        "Refused": "Refused +log",
    },
    "JVM ended": {
        "Starting": "Stopped",
        "Running": "Stopped",
        "Stopping": "Stopped",
        "Waiting": "Stopped",
        "Backoff": "Stopped",
        "Broken": "Stopped",
        "Refused": "Stopped",
    },
    "room": {
        "Broken": "Starting +log +breaker +start",
    },
}


@pytest.mark.parametrize("name", EVENTS)
@pytest.mark.parametrize("phase", STATES)
def test_what_an_event_makes_of_a_phase(phase: str, name: str) -> None:
    assert outcome(STATES[phase], EVENTS[name]) == CHANGES[name].get(phase, phase)


def run(state: StreamState, *events: Event, now: datetime = TWENTY) -> tuple[StreamState, list[Effect]]:
    """The state after the events, and all effects."""
    effects: list[Effect] = []
    for event in events:
        state, found = step(state, event, POLICY, now)
        effects += found
    return state, effects


def test_a_restart_is_observed_once_a_query_of_its_generation_is_started() -> None:
    state, effects = run(STATES["Running"], Declared(Desired.RUNNING, 2, is_restart=True))
    assert (state.observed_generation, effects[-1]) == (1, StopQuery(30))
    state, effects = run(state, QueryStopped(CLEAN))
    assert (state.observed_generation, effects) == (2, [StartQuery(5)])
    assert isinstance(state.phase, Starting)
    assert state.phase.generation == 2
    again, effects = run(state, Declared(Desired.RUNNING, 3))
    assert (again.observed_generation, again.phase) == (3, state.phase), "two starts are one"


def test_a_stop_is_observed_once_no_query_is_left() -> None:
    state, _ = run(STATES["Running"], Declared(Desired.STOPPED, 2))
    assert state.observed_generation == 1
    state, _ = run(state, QueryStopped(CLEAN))
    assert (state.observed_generation, state.phase) == (2, Stopped(at(20)))


def test_a_stop_overtakes_a_start_and_a_drain() -> None:
    state, _ = run(
        UNWANTED, DrainNeedsQuery(2), Declared(Desired.RUNNING, 3), Declared(Desired.STOPPED, 4), QueryStopped(CLEAN)
    )
    state, _ = run(state, CLEAN)
    assert (state.phase, state.drains) == (Stopped(at(20)), frozenset())


def test_a_start_takes_over_the_query_of_a_drain_with_its_own_trigger() -> None:
    state, effects = run(UNWANTED, DrainNeedsQuery(2))
    assert effects == [StartQuery(0.0)]
    state, effects = run(state, Declared(Desired.RUNNING, 3), QueryStopped(CLEAN))
    assert effects[-2:] == [StopQuery(30), StartQuery(5)]


def test_a_batch_that_a_stop_cut_off_is_run_to_its_end() -> None:
    state, effects = run(STATES["Stopping"], QueryStopped(DIRTY))
    assert effects == [StartQuery(FINISHING_TRIGGER_SECONDS)]
    assert run(state, DIRTY) == (state, [])
    ended, effects = run(state, CLEAN, QueryStopped(CLEAN))
    assert (ended.phase, effects) == (Stopped(at(20)), [StopQuery(0.0)])
    failed, _ = run(state, QueryEnded(AWAY, DIRTY))
    assert not failed.has_query
    assert run(failed, DIRTY)[1] == []
    assert run(failed, DIRTY, now=at(22))[1] == [StartQuery(FINISHING_TRIGGER_SECONDS)]
    late, effects = run(state, DIRTY, QueryStopped(DIRTY), now=at(41))
    assert (late.phase, effects) == (Stopped(at(41)), [StopQuery(0.0)])


def test_a_restart_and_a_rest_leave_a_cut_off_batch_to_the_next_start() -> None:
    state, effects = run(STATES["Running"], Declared(Desired.RUNNING, 2, is_restart=True), QueryStopped(DIRTY))
    assert effects[-1] == StartQuery(5)
    state, effects = run(STATES["Running"], TableWorkBegins(), QueryStopped(DIRTY))
    assert (state.phase, effects[-1]) == (Stopped(at(20)), StopQuery(30))
    assert run(state, TableWorkEnds())[1] == [StartQuery(5)]


def test_a_stop_that_spark_does_not_carry_out_is_asked_for_again_and_starts_nothing() -> None:
    state, _ = run(STATES["Stopping"], StopFailed(NOTE), Declared(Desired.RUNNING, 2))
    assert (state.health.last_error, state.has_query) == (NOTE, True)
    assert run(state, CLEAN)[1] == [StopQuery(0.0)]


def test_a_dependency_that_is_away_is_waited_for_without_end_and_logged_once() -> None:
    state, said = STATES["Running"], []
    for second in range(0, 4_000, 40):
        state, effects = run(state, QueryEnded(AWAY, CLEAN), now=at(second))
        said += [effect for effect in effects if isinstance(effect, Log)]
        assert isinstance(state.phase, Waiting)
        assert state.phase.since == at(0)
        state, effects = run(state, CLEAN, now=at(second + 30))
        assert effects == [StartQuery(5)]
    assert (state.health.failures, state.health.breaker, len(said)) == (100, Breaker(), 1)
    assert isinstance(state.phase, Starting)
    assert state.phase.waited == Wait("registry", at(0))
    state, effects = run(state, Inspected(CheckpointReading(1, at(4_000)), None), now=at(4_000))
    assert (state.health.failures, effects) == (0, [Log("goes on after waiting for registry")])


def test_the_same_fault_again_and_again_opens_the_breaker_and_a_start_resets_it() -> None:
    state, effects = run(STATES["Running"], QueryEnded(FAULT, CLEAN), QueryEnded(FAULT, CLEAN))
    assert isinstance(state.phase, Backoff)
    state, effects = run(state, CLEAN, QueryEnded(FAULT, CLEAN), now=at(60))
    assert (state.phase, state.health.faults) == (Broken(at(60)), 3)
    assert PersistBreaker(state.health.breaker, state.health.last_error) in effects
    stopped, _ = run(state, Declared(Desired.STOPPED, 2))
    needed, effects = run(stopped, DrainNeedsQuery(3))
    assert (needed.phase, effects) == (Broken(at(60)), []), "a drain does not reset it"
    state, effects = run(stopped, Declared(Desired.RUNNING, 4))
    assert effects == [PersistBreaker(Breaker(), None), StartQuery(5)]


def test_a_stream_that_ran_well_for_long_has_its_faults_forgotten() -> None:
    state = replace(STATES["Running"], health=Health(breaker=Breaker(("boom: it burst", "boom: it burst"))))
    assert isinstance(run(state, QueryEnded(FAULT, CLEAN))[0].phase, Broken)
    well = replace(state, phase=Running(at(-400), at(-400), 5, 1, at(15)))
    assert run(well, QueryEnded(FAULT, CLEAN))[0].health.breaker.faults == ("boom: it burst",)


def test_a_query_that_ends_for_a_known_defect_of_spark_starts_again_without_a_fault() -> None:
    state, effects = run(STATES["Running"], QueryEnded(AGAIN, CLEAN))
    assert (state.health.faults, state.health.restarts, effects[-1]) == (0, ("SPARK-54027",), StartQuery(5))


def test_a_host_that_closes_stops_within_its_own_time_and_keeps_what_is_desired() -> None:
    state, effects = run(STATES["Running"], HostClosing(10), QueryStopped(CLEAN))
    assert (state.phase, state.goal.desired, effects) == (Stopped(at(20)), Desired.RUNNING, [StopQuery(10)])
    assert run(state, CLEAN, Declared(Desired.RUNNING, 2))[1] == [PersistBreaker(Breaker(), None)]


def test_nothing_runs_before_the_host_resumes_or_someone_asks() -> None:
    state = replace(WANTED, is_resumed=False)
    assert run(state, CLEAN) == (state, [])
    assert run(state, HostResumed())[1] == [StartQuery(5)]
    assert run(state, DrainNeedsQuery(2))[1] == [StartQuery(0.0)]


OBSERVATIONS = ["look", "proof", "fault", "away", "again", "refusal", "stop fails", "JVM ends", "room"]
INSTRUCTIONS = [name for name in EVENTS if isinstance(EVENTS[name], Declared | DrainDeclared | DrainNeedsQuery | DrainEnded)]
INSTRUCTIONS += ["host resumed", "host closing", "table work begins", "table work ends"]


class World:
    """A query that obeys the effects and does what the drawn names say; it fails where an impossible thing is asked."""

    def __init__(self) -> None:
        self.state, self.now, self.generation = UNWANTED, at(0), 1
        self.has_query, self.commits, self.is_dirty = False, 0, False
        self.desired = Desired.STOPPED

    def happen(self, name: str, *, seconds: float, is_dirty: bool, fails: bool) -> None:
        self.now += timedelta(seconds=seconds)
        self.is_dirty, self.fails = is_dirty, fails
        event = self._event(name)
        if event is None:
            return
        pending = [event]
        while pending:
            self.state, effects = step(self.state, pending.pop(0), POLICY, self.now)
            for effect in effects:
                pending += self._perform(effect)
            self._verify(is_settled=not pending)

    def _event(self, name: str) -> Event | None:
        inspected = Inspected(CheckpointReading(self.commits, self.now, 0, self.is_dirty))
        if name in INSTRUCTIONS:
            event = EVENTS[name]
            if isinstance(event, Declared | DrainDeclared | DrainNeedsQuery | DrainEnded):
                self.generation += not isinstance(event, DrainEnded)
                event = replace(event, generation=self.generation)
            if isinstance(event, Declared):
                self.desired = event.desired
            return event
        if name == "proof" and self.has_query:
            self.commits += 1
            return Inspected(CheckpointReading(self.commits, self.now, 0, self.is_dirty), self.now)
        if name in ("fault", "away", "again", "refusal") and self.has_query:
            self.has_query = False
            found = {"fault": FAULT, "away": AWAY, "again": AGAIN}
            return RefusalFound(NOTE) if name == "refusal" else QueryEnded(found[name], inspected)
        if name == "JVM ends":
            self.has_query = False
            return JvmEnded(NOTE)
        return DiskHasRoom() if name == "room" else inspected

    def _perform(self, effect: Effect) -> list[Event]:
        inspected = Inspected(CheckpointReading(self.commits, self.now, 0, self.is_dirty))
        if isinstance(effect, StartQuery):
            assert not self.has_query, "a second query beside the first"
            assert self.state.has_jvm
            if self.fails:
                self.fails = False
                return [QueryEnded(FAULT, inspected)]
            self.has_query = True
        elif isinstance(effect, StopQuery):
            assert self.has_query, "a stop of nothing"
            if self.fails:
                self.fails = False
                return [StopFailed(NOTE)]
            self.has_query = False
            return [QueryStopped(inspected)]
        return []

    def _verify(self, *, is_settled: bool) -> None:
        state = self.state
        assert state.goal.desired is self.desired, "what is desired is lost"
        if is_settled:
            assert state.has_query is self.has_query, state
        if isinstance(state.phase, Stopped | Waiting | Backoff | Broken | Refused):
            assert not self.has_query, state
        assert state.observed_generation <= state.goal.generation
        if isinstance(state.phase, Running | Starting):
            assert wanted_trigger(state, POLICY) == state.phase.trigger_seconds
            assert state.health.breaker.opened_at is None
        if isinstance(state.phase, Waiting | Backoff) and not state.is_paused:
            assert wanted_trigger(state, POLICY) is not None


HAPPENINGS = st.tuples(
    st.sampled_from(OBSERVATIONS + INSTRUCTIONS),
    st.floats(0, 60),
    st.booleans(),
    st.sampled_from([False, False, False, True]),
)


@settings(derandomize=True, max_examples=150, deadline=None)
@given(st.lists(HAPPENINGS, max_size=40))
def test_no_sequence_of_events_reaches_an_impossible_state_or_loses_what_is_desired(
    happenings: list[tuple[str, float, bool, bool]],
) -> None:
    world = World()
    for name, seconds, is_dirty, fails in happenings:
        world.happen(name, seconds=seconds, is_dirty=is_dirty, fails=fails)


@settings(derandomize=True, max_examples=80, deadline=None)
@given(st.lists(HAPPENINGS.filter(lambda one: one[0] not in ("JVM ends", "host closing")), max_size=30), st.booleans())
def test_once_the_trouble_is_over_the_stream_gets_where_it_is_desired(
    happenings: list[tuple[str, float, bool, bool]], runs: bool
) -> None:
    world = World()
    for name, seconds, is_dirty, fails in happenings:
        world.happen(name, seconds=seconds, is_dirty=is_dirty, fails=fails)
    for name in ("table work ends", "start" if runs else "stop", "look", "look", "proof", "proof"):
        world.happen(name, seconds=31, is_dirty=False, fails=False)
    assert isinstance(world.state.phase, Running if runs else Stopped)
    assert world.state.observed_generation == world.state.goal.generation


def test_every_phase_is_in_the_matrix() -> None:
    assert {type(state.phase) for state in STATES.values()} == set(Phase.__args__)
