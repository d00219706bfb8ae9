"""A drain: what it needs, when its report can be made, and what the report counts."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from rtap_assets.errors import DependencyUnavailable
from rtap_assets.streaming.lifecycle.drains import REPORT_SECONDS, Drain
from rtap_assets.streaming.lifecycle.phases import Goal, Running, Stopped, StreamState
from rtap_assets.streaming.model.reports import CheckpointReading
from rtap_assets.streaming.model.states import Desired

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def state(committed: int | None, *, runs: bool = False, has_query: bool = False, is_dirty: bool = False) -> StreamState:
    phase = Running(NOON, NOON, 0.0, 1, NOON) if has_query else Stopped(NOON)
    goal = Goal(Desired.RUNNING if runs else Desired.STOPPED)
    return StreamState(phase, goal, is_resumed=True, checkpoint=CheckpointReading(committed, NOON, 5, is_dirty))


class Source:
    """A source whose end is batch 3; counts how often it is asked, and does not answer while `is_away`."""

    def __init__(self) -> None:
        self.position, self.asked, self.is_away = -1, 0, False

    def find(self, _: StreamState) -> Source:
        return self

    def __call__(self) -> bool:
        self.asked += 1
        if self.is_away:
            raise DependencyUnavailable("no answer", dependency="catalog")
        return self.position >= 3


@pytest.fixture
def source() -> Source:
    return Source()


def begun(source: Source, before: StreamState) -> Drain:
    return Drain(before, find_target=source.find, position=lambda: {"at": source.position}, now=NOON)


def test_a_drain_needs_a_query_until_its_target_is_committed(source: Source) -> None:
    drain = begun(source, state(None))
    assert not drain.needs_query
    drain.look(state(None), NOON)
    assert drain.needs_query
    source.position = 3
    drain.look(state(3, has_query=True, is_dirty=True), NOON)
    assert drain.needs_query, "a batch is under way"
    drain.look(state(3, has_query=True), NOON)
    assert not drain.needs_query
    assert not drain.is_complete(state(3, has_query=True), NOON, reported=3), "the query is stopped first"
    assert drain.is_complete(state(3), NOON, reported=None)


def test_the_source_is_asked_once_per_commit_and_again_after_it_did_not_answer(source: Source) -> None:
    drain, source.is_away = begun(source, state(None)), True
    with pytest.raises(DependencyUnavailable):
        drain.look(state(None), NOON)
    source.is_away, source.position = False, 3
    for committed in (None, None, 0, 0):
        drain.look(state(committed), NOON)
    assert source.asked == 3
    assert drain.is_complete(state(0), NOON, reported=None)


def test_a_running_stream_is_waited_for_between_attempts_and_for_the_report_of_its_batch(source: Source) -> None:
    running = state(2, runs=True, has_query=True)
    drain, source.position = begun(source, running), 3
    drain.look(state(3, runs=True, has_query=True), NOON)
    assert not drain.is_complete(state(3, runs=True), NOON, reported=None), "between two attempts"
    committed = state(3, runs=True, has_query=True)
    assert not drain.is_complete(committed, NOON, reported=2)
    assert drain.is_complete(committed, NOON, reported=3)
    assert drain.is_complete(committed, NOON + timedelta(seconds=REPORT_SECONDS), reported=2)


def test_the_report_counts_the_batches_since_the_drain_began(source: Source) -> None:
    before = replace(state(1), health=replace(state(1).health, restarts=("old",), restarted=1))
    drain, source.position = begun(source, before), 3
    for batch_id in (1, 2, 3):
        drain.note({"batch_id": batch_id, "input_rows": 10, "dropped_late": 1})
    after = replace(state(3), health=replace(before.health, restarts=("old", "new"), restarted=2))
    report = drain.report("silver", after, NOON + timedelta(seconds=4))
    assert (report.batches, report.input_rows, report.dropped_late) == (2, 20, 2)
    assert (report.position, report.watermark_ms, report.seconds, report.restarts) == ({"at": 3}, 5, 4.0, ("new",))
