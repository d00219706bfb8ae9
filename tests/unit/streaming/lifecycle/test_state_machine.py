"""The state machine of a stream: what each event makes of each phase."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

import pytest
from stream_states import (
    AGAIN,
    AWAY,
    CHANGES,
    CLEAN,
    DIRTY,
    EVENTS,
    FAULT,
    NOTE,
    POLICY,
    STATES,
    TWENTY,
    UNWANTED,
    WANTED,
    at,
    outcome,
)

from rtap_assets.streaming.lifecycle.events import (
    Declared,
    DrainNeedsQuery,
    Effect,
    Event,
    HostClosing,
    HostResumed,
    Inspected,
    Log,
    PersistBreaker,
    QueryEnded,
    QueryStopped,
    StartQuery,
    StopFailed,
    StopQuery,
    TableWorkBegins,
    TableWorkEnds,
)
from rtap_assets.streaming.lifecycle.phases import (
    Backoff,
    Broken,
    Health,
    Phase,
    Running,
    Starting,
    Stopped,
    StreamState,
    Wait,
    Waiting,
)
from rtap_assets.streaming.lifecycle.restart_policy import Breaker
from rtap_assets.streaming.lifecycle.state_machine import FINISHING_TRIGGER_SECONDS, step
from rtap_assets.streaming.model.reports import CheckpointReading
from rtap_assets.streaming.model.states import Desired


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


def test_every_phase_is_in_the_matrix() -> None:
    assert {type(state.phase) for state in STATES.values()} == set(Phase.__args__)
