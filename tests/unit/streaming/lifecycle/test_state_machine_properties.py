"""What no sequence of events can make of a stream: an impossible state, or one in which what is desired is lost."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from hypothesis import given, settings
from hypothesis import strategies as st
from stream_states import AGAIN, AWAY, EVENTS, FAULT, NOTE, POLICY, UNWANTED, at

from rtap_assets.streaming.lifecycle.events import (
    Declared,
    DiskHasRoom,
    DrainDeclared,
    DrainEnded,
    DrainNeedsQuery,
    Effect,
    Event,
    Inspected,
    JvmEnded,
    QueryEnded,
    QueryStopped,
    RefusalFound,
    StartQuery,
    StopFailed,
    StopQuery,
)
from rtap_assets.streaming.lifecycle.phases import (
    Backoff,
    Broken,
    Refused,
    Running,
    Starting,
    Stopped,
    Waiting,
)
from rtap_assets.streaming.lifecycle.state_machine import step, wanted_trigger
from rtap_assets.streaming.model.reports import CheckpointReading
from rtap_assets.streaming.model.states import Desired

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
